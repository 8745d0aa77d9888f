"""Student releases, made by nbgrader's own preprocessors from a notebook with solutions."""

import copy
import logging

from nbformat import NotebookNode

from .lab import cell_kind


def make_release(notebook: NotebookNode) -> NotebookNode:
    """A copy for students: stubs for solutions, no hidden tests, no outputs; tests and given cells locked."""
    from nbgrader import preprocessors

    logging.getLogger("nbgrader").setLevel(logging.ERROR)
    release, resources = copy.deepcopy(notebook), {}
    for step in ("LockCells", "ClearSolutions", "ClearOutput", "CheckCellMetadata", "ComputeChecksums",
                 "ClearHiddenTests", "ComputeChecksums", "CheckCellMetadata"):
        release, resources = getattr(preprocessors, step)().preprocess(release, resources)
    return release


def regions(source: str, what: str) -> str:
    """The text between ### BEGIN `what` and ### END `what` of a cell."""
    lines, inside, kept = source.splitlines(), False, []
    for line in lines:
        if f"### END {what}" in line:
            inside = False
        elif inside:
            kept.append(line)
        elif f"### BEGIN {what}" in line:
            inside = True
    return "\n".join(kept)


def find_leaks(notebook: NotebookNode, release: NotebookNode) -> list[str]:
    """What of the solutions and hidden tests is still in a release: a marker, or all long lines of one of them."""
    text = "\n".join(cell.source for cell in release.cells)
    leaks = [f"the release holds a marker: {mark}" for mark in ("BEGIN SOLUTION", "BEGIN HIDDEN") if mark in text]
    public = {line.strip() for line in text.splitlines()}
    for cell in notebook.cells:
        kind = cell_kind(cell)
        secret = regions(cell.source, "SOLUTION" if kind != "test" else "HIDDEN TESTS")
        if kind in ("solution", "answer") and not secret:
            leaks.append(f"{cell.metadata.nbgrader.grade_id}: mark its solution (### BEGIN SOLUTION, ### END SOLUTION)")
        long_lines = {line.strip() for line in secret.splitlines() if len(line.strip()) > 20}
        if long_lines and long_lines <= public:
            leaks.append(f"the release holds what is hidden in {cell.metadata.nbgrader.grade_id}")
    return leaks + ["the release has outputs"] * any(cell.get("outputs") for cell in release.cells)
