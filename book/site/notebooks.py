"""The chapters on their way to the site: badges to run them, and words for those who cannot see the figures."""

import ast
import re
import shutil
from copy import deepcopy
from pathlib import Path
from urllib.parse import quote

import nbformat

import registry
import rules

PUBLISHED = "gh-pages"             # the branch that holds the built site and its notebooks that install what they need
LONGEST = 300                      # characters of an alternative text
DRAWING = re.compile(r"draw|plot|show|labelled_grid|set_title|suptitle")
TITLES = {"title", "row_titles", "column_titles", "captions"}


def read(folder: Path) -> dict:
    """The notebooks of the book, by name, in order."""
    paths = [path.with_suffix(".ipynb") for path in rules.sources(folder)]
    return {path.stem: load(path) for path in paths if path.exists()}


def load(path: Path):
    """A notebook, which is not validated: the tests do, and it would take longer than the reading."""
    return nbformat.v4.reads(path.read_text(encoding="utf-8"))


def save(notebook, path: Path) -> None:
    """The file that `load` reads."""
    path.write_text(nbformat.v4.writes(notebook) + "\n", encoding="utf-8")


def title(notebook) -> str:
    """What a chapter calls itself, e.g. "07 · VQ-VAE"."""
    return re.search(r"^# (.+)$", notebook.cells[0].source, re.MULTILINE).group(1)


def write(chapters: dict, source: Path, repository: str) -> None:
    """Chapters for Sphinx: with badges, and with figures that are described in words."""
    for name, notebook in chapters.items():
        page = deepcopy(notebook)
        describe_figures(page)
        below_title(page, badges(name, repository))
        save(page, source / f"{name}.ipynb")


def write_downloads(chapters: dict, folder: Path, repository: str) -> None:
    """Notebooks to take away, which install what they need."""
    folder.mkdir()
    for name, notebook in chapters.items():
        save(installing(notebook, repository), folder / f"{name}.ipynb")


def write_labs(released: Path, source: Path, downloads: Path) -> list[str]:
    """The students' notebooks of the labs, with their pictures, for Sphinx and to take away: the names of their pages.

    A lab to take away is the released file, byte for byte: it is handed in and graded.
    """
    names = []
    for path in sorted(released.glob("*/*.ipynb")):
        folder = source / "labs" / path.parent.name
        shutil.copytree(path.parent, folder, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
        shutil.copy2(path, downloads)
        page = load(path)
        below_title(page, f'<p class="run-this"><strong>Work on it.</strong> <a href="../../notebooks/{path.name}" '
                          f"download>Download the notebook</a> <span>in a clone: <code>make lab</code>, then "
                          f"<code>labs/release/{path.parent.name}/{path.name}</code></span></p>")
        save(page, folder / path.name)
        names.append(f"labs/{path.parent.name}/{path.stem}")
    return names


def below_title(page, html: str) -> None:
    """Put HTML below the title of a notebook."""
    page.cells[0].source = re.sub(r"^# .+$", lambda heading: f"{heading.group()}\n\n{html}", page.cells[0].source,
                                  count=1, flags=re.MULTILINE)


def badges(name: str, repository: str) -> str:
    """Where this chapter can be run, as HTML."""
    links = [f'<a href="notebooks/{name}.ipynb" download>Download the notebook</a>']
    if repository:
        where = repository.removeprefix("https://github.com/")
        colab = f"https://colab.research.google.com/github/{where}/blob/{PUBLISHED}/notebooks/{name}.ipynb"
        binder = f"https://mybinder.org/v2/gh/{where}/HEAD?labpath={quote(f'book/{name}.ipynb', safe='')}"
        links = [f'<a href="{colab}">Open in Colab</a>', f'<a href="{binder}">Open in Binder</a>', *links]
    local = f"in a clone: <code>make lab</code>, then <code>book/{name}.ipynb</code>"
    return f'<p class="run-this"><strong>Run this.</strong> {" ".join(links)} <span>{local}</span></p>'


def installing(notebook, repository: str):
    """A copy of a notebook whose first cell installs the library where it is missing, as on Colab.

    Outputs are left out: the site shows them, and running brings them back.
    """
    copy = deepcopy(notebook)
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    if repository:
        source = ("import importlib.util\n\nif importlib.util.find_spec(\"tinygen\") is None:      # once, in Colab\n"
                  f"    %pip install -q \"tinygen @ git+{repository}\"")
        copy.cells.insert(0, nbformat.v4.new_code_cell(source, id="install"))
    return copy


def describe_figures(notebook) -> None:
    """Give every cell that shows pictures an alternative text: its heading, then what the figure says of itself."""
    heading, sentence, functions = "", "", {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE) or [heading])[-1]
            sentence = first_sentence(cell.source) or sentence
        elif cell.cell_type == "code":
            tree = registry.tree(cell.source)
            functions |= {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
            if any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {})):
                words = "; ".join(figure_words(tree, functions)) or sentence.rstrip(":")
                text = plain(f"{heading}: {words}" if words else heading)
                text = text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " ..."
                cell.metadata["mystnb"] = {"image": {"alt": text}}


def figure_words(tree: ast.AST, functions: dict) -> list[str]:
    """Titles that a cell writes into its figures, and what the notebook's own drawing functions say they draw."""
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = getattr(call.func, "id", getattr(call.func, "attr", ""))
        parts = [keyword.value for keyword in call.keywords if keyword.arg in TITLES]
        if DRAWING.match(name):
            if isinstance(call.func, ast.Name) and name in functions and not call.args:
                found.append((ast.get_docstring(functions[name]) or "").partition("\n")[0])
            parts += call.args
        found += [word for part in parts for word in strings(part)]
    return [word for word in dict.fromkeys(found) if len(word) > 2 and ("_" not in word or " " in word)]


def strings(node: ast.AST) -> list[str]:
    """The strings written in an expression, without keys and formats."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr | ast.Subscript):
        return []
    return [word for child in ast.iter_child_nodes(node) for word in strings(child)]


def first_sentence(markdown: str) -> str:
    """The first sentence of a cell's last paragraph that is text, without its mark-up."""
    paragraphs = [part for part in re.split(r"\n\s*\n", markdown) if re.match(r"\s*[\w*$\"(]", part)]
    return re.split(r"(?<=[.:?])\s", paragraphs[-1].strip())[0] if paragraphs else ""


def plain(text: str) -> str:
    """Text without Markdown's and TeX's marks."""
    text = re.sub(r"\{\w+\}`[^`]*`|[*`$]|\\(?=[a-z])", "", text)
    return " ".join(text.split())
