"""What a student handed in, made fit for grading: whatever it holds, a notebook with the release's cells comes out."""

import copy
from pathlib import Path

import nbformat
from nbformat import NotebookNode

LARGEST = 30 * 2**20                                    # bytes of a notebook that is still read
UNREADABLE = "**The file that was handed in is no notebook ({}). It was graded as if nothing had been written.**"


def read_submission(path: Path, release: NotebookNode) -> NotebookNode:
    """The submission with the release's given and test cells, and with nothing in its outputs that a browser would run.

    What is missing is put back where it stood; of two cells with one name the first counts; what is not a notebook is
    replaced by the release with a note.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"more than {LARGEST >> 20} MB")
        handed_in = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        cells = [plain_cell(cell) for cell in handed_in.cells]
    except Exception as error:                          # nbformat raises nearly anything on what is not a notebook
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        cells = [nbformat.v4.new_markdown_cell(UNREADABLE.format(reason)), *copy.deepcopy(release.cells)]
    named, kept = {mark(cell): cell for cell in release.cells if mark(cell)}, []
    for cell in cells:
        original = named.get(mark(cell))
        if mark(cell) in {mark(other) for other in kept if mark(other)} or original is None:
            cell.metadata = nbformat.from_dict({})
        elif original.metadata.nbgrader.solution and cell.cell_type == original.cell_type:
            cell.metadata = copy.deepcopy(original.metadata)
        else:
            cell = copy.deepcopy(original)
        kept.append(cell)
    put_back(kept, [cell for cell in release.cells if mark(cell)])
    notebook = copy.deepcopy(release)
    notebook.cells = kept
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i}"
    return notebook


def mark(cell: NotebookNode) -> str:
    """The cell's grade_id, or ""."""
    name = (cell.metadata.get("nbgrader") or {}).get("grade_id") if hasattr(cell.metadata, "get") else None
    return name if isinstance(name, str) else ""


def put_back(kept: list[NotebookNode], wanted: list[NotebookNode]) -> None:
    """Insert, in place, the cells of the release that are not there, each after the one before it."""
    place = 0
    for cell in wanted:
        found = [i for i, other in enumerate(kept) if mark(other) == mark(cell)]
        if not found:
            kept.insert(place, copy.deepcopy(cell))
            found = [place]
        place = found[0] + 1


def plain_cell(cell: NotebookNode) -> NotebookNode:
    """A cell's text, and of its outputs texts and PNG pictures."""
    source = cell.source if isinstance(cell.source, str) else "".join(cell.source)
    if cell.cell_type != "code":
        clean = nbformat.v4.new_markdown_cell(source)
    else:
        clean = nbformat.v4.new_code_cell(source, outputs=[plain for output in cell.get("outputs", [])
                                                            if (plain := plain_output(output)) is not None])
    clean.metadata = nbformat.from_dict({"nbgrader": dict(cell.metadata["nbgrader"])} if mark(cell) else {})
    return clean


def plain_output(output: NotebookNode) -> NotebookNode | None:
    """The text or picture of an output."""
    if output.get("output_type") == "stream":
        return nbformat.v4.new_output("stream", name="stdout", text=str(output.get("text", ""))[:20_000])
    data = {kind: value for kind, value in (output.get("data") or {}).items()
            if kind in ("text/plain", "image/png") and isinstance(value, str)}
    return nbformat.v4.new_output("display_data", data=data) if data else None
