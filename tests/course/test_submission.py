"""Whatever is handed in, a gradable notebook comes out."""

import nbformat
import pytest

from tinygen.course.lab import answers
from tinygen.course.submission import read_submission


@pytest.fixture
def read(tiny, tmp_path):
    """read(notebook or bytes) -> the clean notebook."""
    def read(content):
        path = tmp_path / "lab99.ipynb"
        path.write_bytes(content) if isinstance(content, bytes) else nbformat.write(content, path)
        return read_submission(path, tiny.release)
    return read


def names(notebook) -> list[str]:
    return [cell.metadata.nbgrader.grade_id for cell in notebook.cells if cell.metadata.get("nbgrader")]


@pytest.mark.parametrize("content", [
    b"", b"\x00\xff\x93NUMPY", b"[]", b"{}", b'{"cells": 3, "nbformat": 4}', b"\x80" * 999,
    b'{"cells": [{"cell_type": "code"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'])
def test_what_is_no_notebook_counts_as_nothing_written(read, tiny, content):
    clean = read(content)
    nbformat.validate(clean)
    assert names(clean) == names(tiny.release)
    assert all("NotImplementedError" in source for source in answers(clean, tiny.lab).values())
    assert "is no notebook" in clean.cells[0].source


def test_an_answer_is_kept_and_edited_tests_are_not(read, tiny):
    handed_in = nbformat.from_dict(tiny.release)
    for cell in handed_in.cells:
        mark = cell.metadata.get("nbgrader", {}).get("grade_id")
        if mark == "square":
            cell.source = "def square(x):\n    return 0"
        elif mark in ("test_square", "setup"):
            cell.source = "pass"
            cell.metadata.nbgrader.points = 100
    clean = read(handed_in)
    assert answers(clean, tiny.lab)["square"].endswith("return 0")
    tests = {cell.metadata.nbgrader.grade_id: cell for cell in clean.cells if cell.metadata.get("nbgrader")}
    assert "square of 3" in tests["test_square"].source and tests["test_square"].metadata.nbgrader.points == 2
    assert "import torch" in tests["setup"].source


def test_deleted_cells_come_back_where_they_were(read, tiny):
    handed_in = nbformat.from_dict(tiny.release)
    handed_in.cells = [cell for cell in handed_in.cells
                       if "grade" not in str(cell.metadata) or "plot" in str(cell.metadata)]
    assert names(read(handed_in)) == names(tiny.release)


def test_of_two_cells_with_one_name_the_first_counts(read, tiny):
    handed_in = nbformat.from_dict(tiny.release)
    copy = nbformat.from_dict(handed_in.cells[3])
    copy.source, copy.id = "second", "another"
    handed_in.cells.insert(5, copy)
    clean = read(handed_in)
    assert names(clean) == names(tiny.release) and "NotImplementedError" in answers(clean, tiny.lab)["square"]
    assert any(cell.source == "second" and not cell.metadata for cell in clean.cells)


def test_outputs_are_texts_and_pictures_only(read, tiny):
    handed_in = nbformat.from_dict(tiny.release)
    handed_in.cells[3].outputs = [
        nbformat.v4.new_output("display_data", data={"text/html": "<script>1</script>", "text/plain": "a table"}),
        nbformat.v4.new_output("display_data", data={"application/javascript": "1"}),
        nbformat.v4.new_output("stream", name="stderr", text="a warning")]
    assert [dict(output).get("data", output.get("text")) for output in read(handed_in).cells[3].outputs] == [
        {"text/plain": "a table"}, "a warning"]
