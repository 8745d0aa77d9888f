"""The built site: every link leads somewhere, nothing is fetched from elsewhere, indices and badges are complete."""

import re
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import registry

BOOK = Path(registry.__file__).parent
CHAPTERS = sorted(path.stem for path in BOOK.glob("*.ipynb"))
LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href"), ("object", "data")}


class Page(HTMLParser):
    """What a page loads, where it leads, which places it has, and its text outside of scripts and code."""

    def __init__(self, path: Path):
        super().__init__()
        self.loaded, self.links, self.places, self.pictures, self.words, self.depth = [], [], set(), [], [], 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.places |= {value for name, value in attributes if name in ("id", "name") and value}
        self.loaded += [value for name, value in attributes if (tag, name) in LOADED]
        self.links += [found["href"]] if tag == "a" and found.get("href") else []
        self.pictures += [found] if tag == "img" else []
        self.depth += tag in ("script", "style", "pre", "code")

    def handle_endtag(self, tag):
        self.depth -= tag in ("script", "style", "pre", "code")

    def handle_data(self, data):
        self.words += [] if self.depth else [data]


@pytest.fixture(scope="module")
def pages(site):
    return {path.resolve(): Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


def test_it_is_small_and_has_every_chapter(site):
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 40_000_000
    assert [name for name in CHAPTERS if not (site / f"{name}.html").exists()] == []
    contents = (site / "index.html").read_text()
    assert [name for name in CHAPTERS if f'href="{name}.html"' not in contents] == []


def test_nothing_is_loaded_from_elsewhere(site, pages):
    outside = {address for page in pages.values() for address in page.loaded
               if urlsplit(address).netloc or urlsplit(address).scheme not in ("", "data")}
    assert outside == set()
    for path in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']*", path.read_text()) == [], path


def test_every_internal_link_leads_somewhere(site, pages):
    broken = defaultdict(set)
    for path, page in pages.items():
        for address in page.links + page.loaded:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                broken[address].add(path.name)
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
                broken[address].add(path.name)
    assert dict(broken) == {}


def test_every_picture_is_described_in_words(pages):
    bad = [(path.name, picture.get("src")) for path, page in pages.items() for picture in page.pictures
           if not picture.get("alt") or re.fullmatch(r"\S+\.(png|jpe?g|svg|gif)", picture["alt"])]
    assert bad == []


def test_no_directive_is_left_as_text(pages):
    found = [(path.name, word) for path, page in pages.items() for word in page.words
             if re.search(r"^```|^:::|\{(eq|math|code-cell|ref|doc|numref)\}|\$\$", word, re.MULTILINE)]
    assert found == []


def test_every_equation_leads_to_its_check_and_is_listed(site):
    listed = (site / "equations.html").read_text()
    for name in CHAPTERS:
        page = (site / f"{name}.html").read_text()
        for equation in registry.equations(nbformat.read(BOOK / f"{name}.ipynb", as_version=4), name):
            assert f'href="#check-{equation.label}"' in page and f'id="check-{equation.label}"' in page, equation
            assert f'href="{name}.html#equation-{equation.label}">({name.partition("-")[0]}.' in listed, equation


def test_names_of_the_library_lead_to_their_reference(site):
    page = (site / "07-vq-vae.html").read_text()
    link = r'<a class="library" href="api/tinygen\.vq\.html#tinygen\.vq\.VectorQuantizer"[^>]*>'
    assert re.search(link + '<span class="n">VectorQuantizer</span></a>', page)
    assert re.search(link + '<span class="pre">tinygen.vq.VectorQuantizer</span></a>', page)
    reference = (site / "api" / "tinygen.vq.html").read_text()
    assert 'id="tinygen.vq.VectorQuantizer"' in reference


def test_indices_follow_the_chapters(site):
    def text(name):
        return re.sub("<[^>]+>", "", (site / f"{name}.html").read_text())

    assert "VQGAN (or a VQ-VAE) quantises the pixels." in text("myths")
    assert "the codebook collapses" in text("failures")
    assert "tinygen.vq.straight_through" in text("symbols")
    assert "zoo:cifar10-ldm" in text("gallery")


def test_badges_open_the_notebook_with_an_install_cell(site):
    page = (site / "07-vq-vae.html").read_text()
    where = "github/an-owner/a-name/blob/gh-pages/notebooks/07-vq-vae.ipynb"
    assert f'href="https://colab.research.google.com/{where}"' in page
    assert 'href="https://mybinder.org/v2/gh/an-owner/a-name/HEAD?labpath=book%2F07-vq-vae.ipynb"' in page
    first, *others = nbformat.read(site / "notebooks" / "07-vq-vae.ipynb", as_version=4).cells
    assert '%pip install -q "tinygen @ git+https://github.com/an-owner/a-name"' in first.source
    lab = (site / "labs" / "lab07" / "lab07.html").read_text()
    assert 'href="../../notebooks/lab07.ipynb"' in lab and (site / "notebooks" / "lab07.ipynb").exists()
    assert len(others) == len(nbformat.read(BOOK / "07-vq-vae.ipynb", as_version=4).cells)
