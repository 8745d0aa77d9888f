"""The committed notebooks keep to every rule of book/rules.py and book/registry.py (each proved able to fail in
test_rules.py and test_registry.py); what they compute is compared by nbval in `make test`."""

from pathlib import Path

import nbformat
import pytest
import registry
import rules

BOOK = Path(__file__).resolve().parents[2] / "book"
NOTEBOOKS = sorted({path.with_suffix(".ipynb") for path in rules.sources(BOOK)} | set(BOOK.glob("*.ipynb")))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_keeps_to_the_rules(path):
    assert rules.pairing(path) == []
    notebook = nbformat.read(path, as_version=4)
    assert rules.execution(notebook) == []
    assert rules.portability(notebook) == []
    assert rules.size(path) == []


def test_the_book_as_a_whole():
    assert NOTEBOOKS, "the book has no chapter"
    assert rules.problems(BOOK) == []


def test_every_labelled_equation_of_the_book_holds():
    found = [equation for path in NOTEBOOKS
             for equation in registry.equations(nbformat.read(path, as_version=4), path.stem)]
    assert found, "the book has no labelled equation"
    assert [equation for equation in found if not equation.holds] == []
