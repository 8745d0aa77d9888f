"""A lab as its graders see it: what is given, what the student writes, what tests it."""

import ast
from dataclasses import asdict, dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ..errors import TinygenError

UNTESTED = "free"                                       # a solution cell without tests: an experiment's code


@dataclass(frozen=True)
class Test:
    """One graded cell: all its points or none."""

    name: str
    points: float
    source: str


@dataclass(frozen=True)
class Cell:
    """A code cell that is needed to judge others: given to the student (no tests), or a task's reference solution."""

    name: str
    source: str
    tests: tuple[Test, ...] = ()

    @property
    def points(self) -> float:
        """What the task is worth."""
        return sum(test.points for test in self.tests)

    @property
    def defines(self) -> list[str]:
        """The names that the cell binds, outside of functions and classes."""
        return defined(self.source)


@dataclass(frozen=True)
class Lab:
    """The cells that graders run, in the notebook's order, and the library's symbols that students may not call."""

    name: str
    cells: tuple[Cell, ...]
    blocked: tuple[str, ...] = ()

    @property
    def tasks(self) -> list[Cell]:
        """The cells that are judged by tests."""
        return [cell for cell in self.cells if cell.tests]

    def as_data(self) -> dict:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: dict) -> "Lab":
        """What `as_data` gave."""
        cells = tuple(Cell(cell["name"], cell["source"], tuple(Test(**test) for test in cell["tests"]))
                      for cell in data["cells"])
        return cls(data["name"], cells, tuple(data["blocked"]))


def defined(source: str) -> list[str]:
    """The names that a cell binds at its top level, without imports; [] where it is no Python."""
    names = []
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [name.id for target in targets for name in ast.walk(target)
                      if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)]
    return names


def read_source(path: Path) -> NotebookNode:
    """The notebook of a lab's source (.py, percent format), its nbgrader metadata completed; TinygenError if it is bad.

    In the source a task's solution says `nbgrader={"grade_id": "NAME", "solution": true}`, a test `{"grade_id": ...,
    "grade": true, "points": 3}`, a given cell `{"grade_id": ..., "locked": true}`, a free answer (a text graded by
    hand) `{"grade_id": ..., "solution": true, "grade": true, "points": 4}`.
    """
    import jupytext

    notebook = jupytext.read(path, fmt="py:percent")
    seen = set()
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i}"
        if "nbgrader" in cell.metadata:
            complete(cell, path.name)
            name = cell.metadata.nbgrader.grade_id
            if name in seen:
                raise TinygenError(f"{path.name}: two cells have the grade_id {name!r}; rename one")
            seen.add(name)
            cell.id = name.replace("_", "-")
    notebook.metadata = nbformat.from_dict({
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"file_extension": ".py", "name": "python", "pygments_lexer": "ipython3"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def complete(cell: NotebookNode, where: str) -> None:
    """Fill in, in place, the nbgrader metadata that follows from what the source says."""
    given = cell.metadata.nbgrader
    wrong = set(given) - {"grade_id", "solution", "grade", "points", "locked"}
    if wrong or "grade_id" not in given:
        raise TinygenError(f"{where}: nbgrader metadata {dict(given)} needs a grade_id, and knows solution, grade, "
                           "points, locked")
    solution, grade = given.get("solution", False), given.get("grade", False)
    if grade != ("points" in given):
        raise TinygenError(f"{where}: {given.grade_id}: give points to what is graded, and only to that")
    full = {"schema_version": 3, "grade_id": given.grade_id, "solution": solution, "grade": grade,
            "locked": not solution, "task": False, "cell_type": cell.cell_type}
    if grade:
        full["points"] = given.points
    cell.metadata.nbgrader = nbformat.from_dict(full)


def cell_kind(cell: NotebookNode) -> str:
    """"given", "solution", "test", "answer" (by hand), or "" for a cell that graders do not need."""
    marks = cell.metadata.get("nbgrader", {})
    if not marks.get("grade_id"):
        return ""
    if marks.get("solution"):
        return "answer" if marks.get("grade") else "solution" if cell.cell_type == "code" else ""
    if cell.cell_type != "code":
        return ""
    return "test" if marks.get("grade") else "given"


def read_lab(notebook: NotebookNode, name: str) -> Lab:
    """The lab in a notebook with nbgrader metadata; TinygenError where a test stands before any solution.

    A test belongs to the solution cell above it; a solution cell without tests is free and no grader runs it.
    """
    cells: list[dict] = []
    for cell in notebook.cells:
        kind, marks = cell_kind(cell), cell.metadata.get("nbgrader", {})
        if kind in ("given", "solution"):
            cells.append({"name": marks["grade_id"], "kind": kind, "source": cell.source, "tests": []})
        elif kind == "test":
            above = [other for other in cells if other["kind"] == "solution"]
            if not above:
                raise TinygenError(f"{name}: the test {marks['grade_id']} has no solution cell above it")
            above[-1]["tests"].append(Test(marks["grade_id"], float(marks["points"]), cell.source))
    needed = tuple(Cell(cell["name"], cell["source"], tuple(cell["tests"])) for cell in cells
                   if cell["kind"] == "given" or cell["tests"])
    return Lab(name, needed, tuple(notebook.metadata.get("tinygen", {}).get("blocked", ())))


def answers(notebook: NotebookNode, lab: Lab) -> dict[str, str]:
    """The student's text of every task that is there: {task: source}. Of two cells with one name the first counts."""
    wanted, found = {task.name for task in lab.tasks}, {}
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        if name in wanted and cell.cell_type == "code":
            found.setdefault(name, cell.source)
    return found
