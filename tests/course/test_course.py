"""A course from nothing to exported grades: a mixed class, a grading run that is killed, a mended test."""

import csv
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tinygen.cli import main
from tinygen.course import sandbox
from tinygen.course.course import Course

SIZE = 6                                                # of the KINDS below; test_class.py has more
RIGHT = {"square": "def square(x):\n    return x ** 2", "fourth": "def fourth(x):\n    return x ** 4"}
KINDS = {                                               # what is written in the cells, the points of its tests
    "good": (RIGHT, 7),
    "half": (RIGHT | {"square": "def square(x):\n    return 2 * x"}, 5),
    "hostile": (RIGHT | {"square": "import os\nos._exit(0)"}, 4),
    "untouched": ({}, 0),
    "garbage": (None, 0),
    "partial": (RIGHT | {"square": "def square(x):\n    return x * x * 1.0"}, 6),
    "forged": ({"square": "import torch\ntorch.testing.assert_close = print\ndef square(x):\n    return 9",
                "fourth": "print(4)\ndef fourth(x):\n    return True"}, 0),
    "renamed": (RIGHT | {"fourth": "def power(x):\n    return x ** 4"}, 3),
    "wrong": ({"square": "def square(x):\n    return x", "fourth": "def fourth(x):\n    return x * x"}, 1),
    "hungry": (RIGHT | {"fourth": "hoard = bytearray(2 ** 42)"}, 3),
}
GRADE = ("import sys\nfrom pathlib import Path\nfrom tinygen.course.course import Course\n"
         "Course(Path(sys.argv[1])).grade('lab99', unsafe=True)")


def class_of(n: int) -> dict[str, tuple[dict | None, int]]:
    """{student: (answers, points)}."""
    kinds = list(KINDS.items())
    return {f"{kinds[i % len(kinds)][0]}-{i:02}": kinds[i % len(kinds)][1] for i in range(n)}


def hand_in(path: Path, release, answers: dict | None) -> None:
    """Write the notebook of a student."""
    if answers is None:
        path.write_bytes(b"\x93garbage\x00" * 50)
        return
    notebook = nbformat.from_dict(release)
    for cell in notebook.cells:
        mark = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = answers.get(mark, cell.source)
    nbformat.write(notebook, path)


@pytest.fixture(scope="module")
def course(tiny, tmp_path_factory) -> Course:
    """A course whose class has handed in; nothing is graded."""
    folder = tmp_path_factory.mktemp("teaching")
    course = Course.init(folder / "course", tiny.path.parent.parent)
    course.release("lab99")
    (folder / "inbox").mkdir()
    for student, (answers, _) in class_of(SIZE).items():
        hand_in(folder / "inbox" / f"{student}.ipynb", tiny.release, answers)
    assert course.collect("lab99", folder / "inbox") == sorted(class_of(SIZE))
    assert course.collect("lab99", folder / "inbox") == []
    return course


@pytest.fixture(scope="module")
def graded(course) -> dict[str, float]:
    """The class graded: a first run is killed after the second student, a second run completes it."""
    environment = os.environ | {"PYTHONPATH": str(sandbox.PACKAGE.parent), "PYTHONUNBUFFERED": "1"}
    run = subprocess.Popen([sys.executable, "-c", GRADE, course.folder], stdout=subprocess.PIPE, text=True,
                           env=environment, start_new_session=True)
    for line in run.stdout:
        if line.startswith("2/"):
            break
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    finished = {path: path.read_text() for path in course.folder.glob("verdicts/lab99/*.done")}
    assert len(finished) >= 1
    lines = []
    scores = course.grade("lab99", unsafe=True, tell=lines.append)
    assert lines[0] == f"lab99: {SIZE} submissions, {len(finished)} graded before"
    assert len(lines) == 1 + SIZE - len(finished)       # nobody twice, nobody skipped
    assert all(path.read_text() == text for path, text in finished.items())
    return scores


def test_every_student_has_the_right_points(graded):
    assert graded == {student: points for student, (_, points) in class_of(SIZE).items()}


def test_the_grade_book_has_them_too(course, graded, tmp_path):
    assert course.export(tmp_path / "grades.csv") == SIZE
    rows = list(csv.DictReader((tmp_path / "grades.csv").open()))
    assert {row["student_id"]: float(row["score"]) for row in rows} == graded
    assert {row["max_score"] for row in rows} == {"10.0"}


def test_a_third_run_has_nothing_to_do(course, graded):
    lines = []
    assert course.grade("lab99", unsafe=True, tell=lines.append) == graded
    assert lines == [f"lab99: {SIZE} submissions, {SIZE} graded before"]


def test_feedback_tells_messages_and_no_hidden_tests(course, graded):
    pages = sorted(course.feedback("lab99").glob("*/lab99/lab99.html"))
    assert len(pages) == SIZE
    half = next(page for page in pages if "half" in str(page)).read_text()
    assert "the square of 3 is 9, not 6" in half
    assert not any(secret in half for secret in ("in secret", "HIDDEN", "squared_value_of_the_input"))


def test_a_mended_test_changes_the_grades_that_it_should(course, graded, tmp_path):
    folder = tmp_path / "course"
    shutil.copytree(course.folder, folder)
    settings = folder / "nbgrader_config.py"
    settings.write_text(settings.read_text().replace(str(course.folder), str(folder)))
    for path in sorted((folder / "submitted").iterdir())[:-2]:
        shutil.rmtree(path)
    source = folder / "source" / "lab99" / "lab99.ipynb"
    source.write_text(source.read_text().replace("fourth(2) == 16", "fourth(2) >= 0"))
    left = [path.name for path in sorted((folder / "submitted").iterdir())]
    changed = Course(folder).regrade("lab99", unsafe=True, tell=lambda line: None)
    assert changed == {student: (graded[student], graded[student] + 4) for student in left
                       if student.startswith(("wrong", "untouched")) and graded[student] < 3 and "wrong" in student}


def test_the_commands(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["course", "init", "mine", "--labs", str(tiny.path.parent.parent)]) == 0
    assert main(["course", "release", "lab99", "--course", "mine"]) == 0
    assert "release/lab99/" in capsys.readouterr().out
    assert main(["course", "init", "mine", "--labs", str(tiny.path.parent.parent)]) == 2
    assert main(["course", "grade", "lab99", "--course", "mine"]) == 2
    assert main(["course", "grade", "lab98", "--course", "mine"]) == 2
    assert main(["course", "export", "--course", "nowhere"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert [next(word for word in ("already", "collect", "lab99", "init") if word in line) for line in errors] == [
        "already", "collect", "lab99", "init"]


def test_students_check_themselves(tiny, tmp_path, capsys):
    path = tmp_path / "lab99.ipynb"
    hand_in(path, tiny.release, RIGHT | {"square": "def square(x):\n    return 2 * x"})
    assert main(["lab", "check", str(path)]) == 1
    out = capsys.readouterr().out
    assert "fails  test_square (2 points): the square of 3 is 9, not 6" in out
    hand_in(path, tiny.release, RIGHT)
    assert main(["lab", "check", str(path)]) == 0
    path.write_bytes(b"\x00")
    assert main(["lab", "check", str(path)]) == 2
