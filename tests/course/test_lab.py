"""A lab's source is read, completed and released; what leaks is found."""

import copy

import pytest
from nbgrader.preprocessors import CheckCellMetadata

from tinygen.course.lab import answers, read_source
from tinygen.course.release import find_leaks
from tinygen.errors import TinygenError


def test_tasks_have_their_tests_and_points(tiny):
    assert [(task.name, task.points, task.defines) for task in tiny.lab.tasks] == [
        ("square", 3, ["square"]), ("fourth", 4, ["fourth"])]
    assert [cell.name for cell in tiny.lab.cells] == ["setup", "square", "fourth"]
    assert type(tiny.lab).from_data(tiny.lab.as_data()) == tiny.lab


def test_nbgrader_finds_its_metadata(tiny):
    CheckCellMetadata().preprocess(copy.deepcopy(tiny.notebook), {})


def test_a_release_has_stubs_and_visible_tests_only(tiny):
    text = "\n".join(cell.source for cell in tiny.release.cells)
    assert "square of 3 is 9" in text and text.count("raise NotImplementedError()") == 3
    for secret in ("squared_value_of_the_input", "in secret", "SOLUTION", "HIDDEN", "Because of the square"):
        assert secret not in text
    assert find_leaks(tiny.notebook, tiny.release) == []


def test_leaks_are_found(tiny):
    leaky = copy.deepcopy(tiny.release)
    leaky.cells[0].source += (
        "\nsquared_value_of_the_input = x * x\nreturn squared_value_of_the_input\n### BEGIN SOLUTION")
    leaks = find_leaks(tiny.notebook, leaky)
    assert len(leaks) == 2 and "marker" in leaks[0] and "square" in leaks[1]
    assert find_leaks(tiny.notebook, tiny.notebook) != []


def test_a_solution_without_marks_is_found(tiny, tmp_path):
    source = tmp_path / "lab98.py"
    source.write_text(tiny.path.read_text().replace("    ### BEGIN SOLUTION\n    return square", "    return square"))
    notebook = read_source(source)
    assert any("mark its solution" in leak for leak in find_leaks(notebook, tiny.release))


@pytest.mark.parametrize("old, new, message", [
    ('"grade_id": "fourth", ', '"grade_id": "square", ', "two cells"),
    ('"points": 2', '"pionts": 2', "pionts"),
    (', "points": 2', "", "give points"),
    ('"grade_id": "square", ', "", "grade_id"),
])
def test_bad_metadata_are_refused(tiny, tmp_path, old, new, message):
    source = tmp_path / "lab98.py"
    source.write_text(tiny.path.read_text().replace(old, new))
    with pytest.raises(TinygenError, match=message):
        read_source(source)


def test_answers_are_found_by_name(tiny):
    assert list(answers(tiny.release, tiny.lab)) == ["square", "fourth"]
    assert "x * x" in answers(tiny.notebook, tiny.lab)["square"]
