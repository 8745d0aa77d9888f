"""A wrong sign planted in the code of a chapter makes the check of its equation fail: `planted/07.yaml` and its siblings.

An entry is {equation, replace, by, needs}. The chapter's first code cell (imports), then the cells that begin with the
lines in `needs`, then the cell that checks the equation are executed: as written, the check passes; with `replace` turned
into `by`, the check of that very equation fails.
"""

from pathlib import Path

import jupytext
import matplotlib
import pytest
import registry
import rules
import torch
import yaml
from IPython.core.inputtransformer2 import TransformerManager

BOOK = Path(rules.__file__).parent
PLANTED = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((Path(__file__).parent / "planted").glob("*.yaml"))}
CASES = [pytest.param(chapter, entry, id=f"{chapter}-{entry['equation']}-{number}")
         for chapter, entries in PLANTED.items() for number, entry in enumerate(entries)]


def chapter_cells(number: str) -> list[str]:
    source, = BOOK.glob(f"{number}-*.md")
    return [cell.source for cell in rules.code_cells(jupytext.read(source, fmt="md:myst"))]


def checks_of(cell: str) -> set[str]:
    return {label for label, _ in registry.calls(cell)}


def run(cells: list[str]):
    """Executes the cells one after the other in one namespace, without a notebook."""
    torch.manual_seed(0)
    namespace = {"__name__": "__main__", "display": lambda *things: None}
    for cell in cells:
        exec(compile(TransformerManager().transform_cell(cell), "<cell>", "exec"), namespace)


@pytest.fixture(autouse=True)
def quiet():
    """No windows, and no plotting style or data type left behind."""
    matplotlib.use("agg")
    with matplotlib.rc_context():
        yield
    matplotlib.pyplot.close("all")
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("chapter, entry", CASES)
def test_a_planted_error_is_found(chapter, entry, monkeypatch):
    monkeypatch.chdir(BOOK)
    cells = chapter_cells(chapter)
    needed = []
    for beginning in entry.get("needs", []):
        found = [cell for cell in cells if cell.startswith(beginning)]
        assert len(found) == 1, f"{len(found)} cells begin with {beginning!r}"
        needed += found
    cell, = [cell for cell in cells if entry["equation"] in checks_of(cell) and entry["replace"] in cell]
    assert cell.count(entry["replace"]) == 1, "the place of the planted error is not unique"
    before = [cells[0], *needed]
    run([*before, cell])
    with pytest.raises(AssertionError, match=entry["equation"]):
        run([*before, cell.replace(entry["replace"], entry["by"])])


def test_every_chapter_with_equations_has_a_planted_error():
    with_checks = {source.name[:2].rstrip("-") for source in rules.sources(BOOK)
                   if any(checks_of(cell.source) for cell in rules.code_cells(jupytext.read(source, fmt="md:myst")))}
    assert with_checks <= set(PLANTED)
    assert all(PLANTED.values())
