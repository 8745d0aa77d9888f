"""The small Python behind the site, without building it."""

import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

SITE = Path(__file__).parents[2] / "book" / "site"


@pytest.fixture(autouse=True)
def on_path(monkeypatch):
    monkeypatch.syspath_prepend(SITE)
    yield
    for name in ("build", "docstrings", "links", "notebooks", "pages"):
        sys.modules.pop(name, None)


def figure(source):
    return v4.new_code_cell(source, outputs=[v4.new_output("display_data", {"image/png": "AAAA", "text/plain": "x"})])


@pytest.mark.parametrize("source, words", [
    ('axis.set(title="loss of $D$", xlabel="step")\nplt.show()', "Section: loss of D"),
    ('show(labelled_grid(x, 2, ("before", "after"), scale=2))', "Section: before; after"),
    ('def draw_it():\n    """A box and an arrow."""\n\ndraw_it()', "Section: A box and an arrow."),
    ('axis.set_title(f"{k} codes")', "Section: What follows is shown."),
    ('show(labelled_grid(x, 2, facts["class_names"]))', "Section: What follows is shown."),
])
def test_figures_are_described_by_what_they_say(source, words):
    import notebooks
    text = v4.new_markdown_cell("## Section\n\n*What* follows is shown. More.")
    notebook = v4.new_notebook(cells=[text, figure(source)])
    notebooks.describe_figures(notebook)
    assert notebook.cells[1].metadata["mystnb"]["image"]["alt"] == words


def test_without_a_repository_only_what_works_is_offered():
    import notebooks
    assert "colab" not in notebooks.badges("07-x", "") and "make lab" in notebooks.badges("07-x", "")
    notebook = v4.new_notebook(cells=[v4.new_code_cell("1")])
    assert notebooks.installing(notebook, "") == notebook
    assert notebooks.installing(v4.new_notebook(cells=[figure("1")]), "").cells[0].outputs == []
    nbformat.validate(notebooks.installing(notebook, "https://github.com/a/b"))


def test_a_lab_is_given_away_as_it_was_released(tmp_path):
    import notebooks
    lab, source, downloads = (tmp_path / name for name in ("release/lab99", "source", "downloads"))
    lab.mkdir(parents=True)
    downloads.mkdir()
    nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell("# Lab 99\n\nDo it.")]), lab / "lab99.ipynb")
    (lab / "expected.png").write_bytes(b"picture")
    (lab / ".hidden").touch()
    (tmp_path / "release" / "capstone").mkdir()
    (tmp_path / "release" / "capstone" / "data.csv").touch()                        # no notebook: no page
    assert notebooks.write_labs(tmp_path / "release", source, downloads) == ["labs/lab99/lab99"]
    assert (downloads / "lab99.ipynb").read_bytes() == (lab / "lab99.ipynb").read_bytes()
    page = notebooks.load(source / "labs" / "lab99" / "lab99.ipynb").cells[0].source
    assert page.startswith("# Lab 99\n\n<p") and 'href="../../notebooks/lab99.ipynb"' in page and page.endswith("Do it.")
    assert sorted(path.name for path in (source / "labs" / "lab99").iterdir()) == ["expected.png", "lab99.ipynb"]


def test_no_chapter_is_forgotten_in_the_contents():
    import pages
    text = pages.front({"07-vq-vae": None, "20-faster": None, "25-new": None}, ["labs/lab05/lab05"], "Welcome")
    captions = [line.partition("caption: ")[2] for line in text.splitlines() if "caption" in line]
    assert captions == ["Vector quantisation", "Latent diffusion", "More", "Labs", "Find"]
    assert all(f"\n{name}\n" in text for name in ("07-vq-vae", "20-faster", "25-new", "labs/lab05/lab05"))


def test_docstrings_are_plain_text():
    from docstrings import convert
    text = ["x (B, *) and `a_b` | c", "go on.", "", "    f(*x)", "", "a: one", "    two"]
    assert convert(text) == ["x (B, \\*) and ``a_b`` \\| c", "go on.", "", ".. code-block:: python", "", "   f(*x)", "",
                             "| a: one", "|     two", ""]


def test_names_that_a_page_imports_are_linked_once():
    from links import link_names
    objects = {"tinygen.vq.FSQ": ("api/tinygen.vq", "tinygen.vq.FSQ")}
    code = ('<span class="kn">from</span> <span class="nn">tinygen.vq</span> <span class="kn">import</span> '
            '<span class="n">FSQ</span>')
    linked = link_names(f"{code}\n<a href='#'><span class=\"n\">FSQ</span></a>", "07-x", objects)
    assert linked.count('<a class="library" href="api/tinygen.vq.html#tinygen.vq.FSQ"') == 1
    assert link_names('<span class="n">FSQ</span>', "07-x", objects) == '<span class="n">FSQ</span>'


def test_an_equation_and_its_check_lead_to_each_other():
    from links import link_equations
    page = ('<div class="math notranslate" id="equation-eq-a-b">\n'
            '<span class="eqno">(2)<a class="headerlink"></a></span></div>'
            '<a class="reference internal" href="#equation-eq-a-b">(2)</a>'
            '<a class="reference internal" href="03-gans.html#equation-eq-gan-x">(1)</a>'
            '<span class="s2">&quot;eq-a-b&quot;</span><span class="s2">&quot;eq-a-b&quot;</span>')
    linked = link_equations(page, "07-vq")
    assert linked.count('id="check-eq-a-b"') == 1 and linked.count('href="#check-eq-a-b"') == 1
    assert linked.count("(07.2)") == 2 and "(03.1)<" in linked


def test_a_folder_that_is_no_site_is_kept(tmp_path, monkeypatch):
    import build
    (tmp_path / "thesis.tex").touch()
    monkeypatch.setattr(sys, "argv", ["build.py", "--out", str(tmp_path)])
    with pytest.raises(SystemExit):
        build.main()
    assert (tmp_path / "thesis.tex").exists()


def test_the_guide_to_the_labs_stands_alone():
    from pages import teaching
    text = teaching("# Labs\n\nThe [`release`](release) and [b](https://example.org) of [A](A.md#x).\n\n```\n$ one\ntwo\n```\n")
    assert text == ("# Labs and courses\n\nThe `release` and [b](https://example.org) of A.\n\n"
                    "```console\n$ one\ntwo\n```\n")
