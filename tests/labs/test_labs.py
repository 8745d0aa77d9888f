"""Every lab: its graders are proved (the full proof is `make prove-labs`), and its committed files belong together."""

from pathlib import Path

import nbformat
import pytest
from jupytext.compare import compare_notebooks
from rules import portability

from tinygen.course.lab import cell_kind
from tinygen.course.prove import load, prove, table
from tinygen.course.release import find_leaks, make_release

LABS = Path(__file__).resolve().parents[2] / "labs"
NAMES = sorted(path.parent.name for path in LABS.glob("source/*/mutants.yaml"))
LARGEST = 700_000


def test_there_are_labs():
    assert NAMES and NAMES == sorted(path.name for path in (LABS / "source").iterdir() if path.is_dir())


@pytest.mark.parametrize("name", NAMES)
def test_the_graders_are_proved_quickly(name):
    proof = prove(LABS / "source" / name, quick=True)
    print(table([proof]))
    assert proof.problems == []
    assert proof.caught == proof.mutants == proof.tasks >= 4


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_belong_to_their_source(name):
    """The solution has the source's cells and is executed; the release is what would be made today, without leaks."""
    notebook = load(LABS / "source" / name)[0]
    solution = nbformat.read(LABS / "source" / name / f"{name}.ipynb", as_version=4)
    release = nbformat.read(LABS / "release" / name / f"{name}.ipynb", as_version=4)
    compare_notebooks(solution, notebook, fmt="ipynb", compare_ids=False, compare_outputs=False)
    compare_notebooks(release, make_release(notebook), fmt="ipynb", compare_ids=False)
    assert find_leaks(solution, release) == []
    assert portability(solution) == []
    assert all(cell.execution_count for cell in solution.cells if cell.cell_type == "code" and cell.source)
    more = [path.name for path in (LABS / "source" / name).glob("*.csv")]
    assert sorted(path.name for path in (LABS / "release" / name).iterdir()) == sorted(
        ["expected.png", f"{name}.ipynb", *more])
    files = [path for place in ("source", "release") for path in (LABS / place / name).iterdir()]
    assert all(path.stat().st_size < LARGEST for path in files)


@pytest.mark.parametrize("name", NAMES)
def test_a_lab_has_what_a_lab_needs(name):
    notebook, lab, plans = load(LABS / "source" / name)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert 4 <= len(lab.tasks) <= 7 and "expected.png" in text and "rubric" in text.lower()
    assert text.count("<summary>Hint 1</summary>") >= len(lab.tasks) - 1
    assert "</details>\n<details>" not in text          # JupyterLab would show the second hint unfolded
    assert "answer" in {cell_kind(cell) for cell in notebook.cells}
    assert any(plan.get("library") for plan in plans.values()) and notebook.metadata.tinygen.blocked
