"""`book/execute.py` writes notebooks that do not churn, and nbval as `make test` calls it notices a changed output."""

import subprocess
import sys
from pathlib import Path

import execute
import nbformat
import pytest
import rules

ROOT = Path(__file__).resolve().parents[2]


CORRUPTIONS = {                     # name: what is replaced in the committed notebook
    "good": ("still here", "still here"),
    "text": ("agree to 1e-06", "agree to 1e-07"),
    "number": ("4999950000 in", "4999950001 in"),
    "equation": ("+ 2 * a * b +", "- 2 * a * b +"),
}


@pytest.fixture(scope="module")
def report(executed, tmp_path_factory) -> str:
    """What nbval says, called with the Makefile's options, of a good notebook and of corrupted ones."""
    folder = tmp_path_factory.mktemp("nbval")
    text = (executed / "01-squares.ipynb").read_text()
    for name, (old, new) in CORRUPTIONS.items():
        assert old in text
        (folder / f"{name}.ipynb").write_text(text.replace(old, new))
    line = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("NBVAL ="))
    options = [word.replace("book/", f"{ROOT}/book/") for word in line.split() if word.startswith(("--nbval", "book/"))]
    assert {"--nbval", "--nbval-current-env", f"{ROOT}/book/nbval.cfg"} <= set(options)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "--rootdir", ".", *options, "."]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert result.returncode == 1, result.stdout + result.stderr
    return result.stdout


def test_a_second_execution_changes_only_times_and_addresses(executed, book):
    before = (executed / "01-squares.ipynb").read_text().splitlines()
    assert execute.main(["01"], book) == 0
    after = (book / "01-squares.ipynb").read_text().splitlines()
    assert len(before) == len(after)
    changed = [line for line, other in zip(before, after) if line != other]
    assert len(changed) <= 1 and all(" s at 0x" in line for line in changed)


def test_a_written_notebook_is_normal(book):
    notebook = nbformat.read(book / "01-squares.ipynb", as_version=4)
    assert notebook.metadata == execute.METADATA
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert {key for cell in notebook.cells for key in cell.metadata} == {"tags"}
    [error] = rules.code_cells(notebook)[2].outputs
    assert error.traceback == ["ValueError: on purpose"]


def test_a_chapter_that_fails_keeps_its_notebook(book, capsys):
    before = (book / "01-squares.ipynb").read_bytes()
    source = book / "01-squares.md"
    source.write_text(source.read_text().replace('print("still here")', "undefined_name"))
    assert execute.main([], book) == 1
    assert (book / "01-squares.ipynb").read_bytes() == before
    assert "undefined_name" in capsys.readouterr().err
    assert sorted(path.name for path in book.iterdir()) == ["01-squares.ipynb", "01-squares.md"]


def test_a_chapter_that_does_not_exist(book, capsys):
    assert execute.main(["77"], book) == 2
    assert capsys.readouterr().err == "no chapter starts with '77'; there are: 01-squares\n"


def test_nbval_accepts_other_times_and_addresses(report):
    assert report.count("PASSED good.ipynb::Cell") == 4 and "FAILED good.ipynb" not in report


@pytest.mark.parametrize("name, cell", [("text", 0), ("number", 1), ("equation", 0)])
def test_nbval_notices_a_changed_output(report, name, cell):
    assert f"FAILED {name}.ipynb::Cell {cell}" in report
    assert report.count(f"PASSED {name}.ipynb::Cell") == 3


def test_nbval_shows_the_two_numbers_of_an_equation_that_does_not_hold(report):
    assert "eq-squares-sum fails: 49.0 and 1.0 differ by 48" in report
