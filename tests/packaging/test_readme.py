"""The README's links lead somewhere, its table of contents follows the book, and its commands exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "book" / "README.md", ROOT / "tinygen" / "README.md"]


def test_every_relative_link_exists():
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_the_contents_list_every_chapter_and_link_those_that_exist():
    rows = re.findall(r"^\| (\d\d|[A-D]) \| (.+?) \|", README, re.MULTILINE)
    assert [number for number, _ in rows] == [f"{number:02}" for number in range(25)] + list("ABCD")
    for number, title in rows:
        written = [path.name for path in (ROOT / "book").glob(f"{number}-*.ipynb")]
        linked = re.findall(r"\(book/(.+?\.ipynb)\)", title)
        assert linked == written, f"chapter {number}: {linked} is linked, {written} exists"


def test_every_make_command_of_the_readme_exists():
    targets = set(re.findall(r"^([a-z ]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    targets = {word for line in targets for word in line.split()}
    wanted = set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test", "lab", "book"} <= wanted <= targets


def test_no_placeholder_is_left():
    assert re.findall(r"\{\{.*?\}\}", README) == []
