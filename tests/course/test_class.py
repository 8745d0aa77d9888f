"""A class hands in one lab. Its grading is killed at a random point and started again: right grades for all.

What a student writes is drawn from the lab's own proof (reference, other right answers, mutants, attacks, nothing), so
everybody's right grade is known. `make prove-labs` has a class of 60.
"""

import csv
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from tinygen.course import sandbox
from tinygen.course.course import Course
from tinygen.course.hostile import HOSTILE, hostile
from tinygen.course.lab import Cell
from tinygen.course.prove import load, mutate
from tinygen.course.release import make_release
from tinygen.course.worker import Limits

SIZE, NAME = int(os.environ.get("TINYGEN_CLASS", "4")), "lab11"
LABS = Path(__file__).resolve().parents[2] / "labs" / "source"
KINDS = ("good", "hostile", "partial", "mixed", "other", "wrong")
LIMITS = Limits(seconds=10, megabytes=1024)
GRADE = ("import sys\nfrom pathlib import Path\nfrom tinygen.course.course import Course\n"
         "from tinygen.course.worker import Limits\n"
         f"Course(Path(sys.argv[1])).grade({NAME!r}, unsafe=True, limits={LIMITS!r})")
SLOW = ("an infinite loop", "all of the memory")        # one of each is enough


def answer(kind: str, task: Cell, plan: dict, draw: random.Random, attacks: list[str]) -> tuple[str | None, float]:
    """What a student of this kind writes for a task (None: nothing), and the points that it deserves."""
    if kind == "mixed":
        kind = draw.choice(("good", "other", "partial", "wrong"))
    if kind == "partial" and draw.random() < 0.5:
        return None, 0
    if kind == "hostile" and attacks:
        return hostile(attacks.pop(), task), 0
    if kind == "wrong":
        mutant = draw.choice(plan["mutants"])
        return mutate(task, mutant), mutant.get("keeps", 0)
    if kind == "other":
        return draw.choice(plan["alternatives"])["code"], task.points
    return task.source, task.points


def class_of(n: int) -> dict[str, tuple[dict[str, str] | None, float]]:
    """{student: (what is written in which cell, or None for bytes that are no notebook; points)}."""
    _, lab, plans = load(LABS / NAME)
    draw, students = random.Random(0), {}
    attacks = [kind for kind in HOSTILE if kind not in SLOW] * 9
    draw.shuffle(attacks)
    attacks += SLOW
    for i in range(n):
        kind = KINDS[i % len(KINDS)] if i % 10 != 9 else "garbage"
        if kind == "garbage":
            students[f"garbage-{i:02}"] = None, 0
            continue
        tasks = {task.name: answer(kind, task, plans[task.name], draw, attacks) for task in lab.tasks}
        written = {name: source for name, (source, _) in tasks.items() if source is not None}
        students[f"{kind}-{i:02}"] = written, sum(points for _, points in tasks.values())
    return students


@pytest.fixture(scope="module")
def students() -> dict:
    return class_of(SIZE)


@pytest.fixture(scope="module")
def graded(students, tmp_path_factory) -> tuple[Course, dict[str, float]]:
    """The course, and the points of everybody after a killed run and a whole one."""
    folder = tmp_path_factory.mktemp("class")
    course, release = Course.init(folder / "course", LABS), make_release(load(LABS / NAME)[0])
    course.release(NAME)
    (folder / "inbox").mkdir()
    for student, (written, _) in students.items():
        notebook = nbformat.from_dict(release)
        for cell in notebook.cells:
            cell.source = (written or {}).get(cell.metadata.get("nbgrader", {}).get("grade_id"), cell.source)
        path = folder / "inbox" / f"{student}.ipynb"
        path.write_bytes(b"\x93garbage\x00" * 50) if written is None else nbformat.write(notebook, path)
    course.collect(NAME, folder / "inbox")
    start = time.monotonic()
    killed = kill_half_way(course)
    lines, before = [], resource.getrusage(resource.RUSAGE_SELF)
    scores = course.grade(NAME, unsafe=True, limits=LIMITS, tell=lines.append)
    now = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{SIZE} submissions of {NAME}, killed after {killed}: {time.monotonic() - start:.0f} s on the clock, "
          f"{now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime:.0f} s of the CPU outside of sandboxes")
    assert lines[0] == f"{NAME}: {SIZE} submissions, {killed} graded before"
    assert len(lines) == 1 + SIZE - killed              # nobody twice, nobody skipped
    return course, scores


def kill_half_way(course: Course) -> int:
    """Start to grade, kill it all at a random point; -> how many were graded by then."""
    environment = os.environ | {"PYTHONPATH": str(sandbox.PACKAGE.parent), "PYTHONUNBUFFERED": "1"}
    run = subprocess.Popen([sys.executable, "-c", GRADE, course.folder], stdout=subprocess.PIPE, text=True,
                           env=environment, start_new_session=True)
    last = random.randint(1, max(1, SIZE // 2))
    for line in run.stdout:
        if line.startswith(f"{last}/"):
            break
    time.sleep(random.uniform(0, 2))
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    return len(list(course.folder.glob(f"verdicts/{NAME}/*.done")))


def test_every_student_has_the_right_points(graded, students):
    assert graded[1] == {student: points for student, (_, points) in students.items()}


def test_the_grade_book_has_them_too(graded, tmp_path):
    course, scores = graded
    assert course.export(tmp_path / "grades.csv") == SIZE
    rows = list(csv.DictReader((tmp_path / "grades.csv").open()))
    assert {row["student_id"]: float(row["raw_score"]) for row in rows} == scores


def test_the_class_is_a_mixture(students):
    deserved = {points for _, points in class_of(60).values()}
    assert len(deserved) > 8 and 0 in deserved and max(deserved) == sum(task.points for task in load(LABS / NAME)[1].tasks)
