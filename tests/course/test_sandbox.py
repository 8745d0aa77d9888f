"""Student code is shut in, or refused. Machines without a sandbox (CI, perhaps) test the refusal and the limits."""

import sys

import pytest

from tinygen.course import sandbox
from tinygen.course.sandbox import PACKAGE, REFUSAL, bubblewrap, choose, judge_submission, unshare
from tinygen.course.worker import Limits
from tinygen.errors import TinygenError



@pytest.fixture
def nothing_works(monkeypatch):
    monkeypatch.setattr(sandbox, "works", lambda command: False)


def test_without_a_sandbox_student_code_is_refused(nothing_works, tmp_path):
    with pytest.raises(TinygenError) as refusal:
        choose([tmp_path])
    assert str(refusal.value) == REFUSAL and "--unsafe" in REFUSAL and "\n" not in REFUSAL
    assert choose([tmp_path], unsafe=True) == []


def test_bubblewrap_is_tried_before_unshare(monkeypatch, tmp_path):
    monkeypatch.setattr(sandbox, "works", lambda command: True)
    assert choose([tmp_path])[0] == "bwrap"
    monkeypatch.setattr(sandbox, "works", lambda command: "bwrap" not in command)
    assert "unshare" in choose([tmp_path])


def test_bubblewrap_shows_python_and_tinygen_and_not_the_checkout():
    command = bubblewrap()
    shown = [command[i + 1] for i, word in enumerate(command) if word == "--ro-bind"]
    assert {sys.prefix, str(PACKAGE)} <= set(shown)
    checkout = PACKAGE.parent
    assert not any(checkout.is_relative_to(path) for path in shown if path not in (sys.prefix, sys.base_prefix))
    assert not any((checkout / part).is_relative_to(path) for part in ("labs", "tests") for path in shown)
    assert {"--unshare-all", "--die-with-parent", "--new-session", "--clearenv"} <= set(command)
    assert "--bind" not in command


def test_unshare_hides_the_course(tmp_path):
    command = unshare([tmp_path])
    assert {"--user", "--net", "--mount", "--pid", "--kill-child"} <= set(command)
    assert str(tmp_path) in command and "--bounding-set=-all" in " ".join(command)
    with pytest.raises(TinygenError, match="around tinygen"):
        unshare([PACKAGE.parent])


def test_a_submission_is_judged_behind_every_sandbox_that_works_here(tiny, tmp_path):
    """Without any, the worker's own limits are all there is; the verdicts are the same."""
    secret = tmp_path / "secret.txt"
    secret.write_text("the solution")
    given = {"square": f"def square(x):\n    assert open({str(secret)!r}).read()\n    return x * x",
             "fourth": "while True:\n    pass"}
    fronts = [front for front in (bubblewrap(), unshare([tmp_path])) if sandbox.works(tuple(front))]
    for front in [[], *fronts]:
        scores = judge_submission(tiny.lab, given | {"fourth": "def fourth(x):\n    return x ** 4"}, front)
        assert {name: score.points for name, score in scores.items()} == {
            "test_square": 0, "test_square_type": 0, "test_fourth": 4}, (front[:1], scores)
        assert "open" in scores["test_square"].message or "No such file" in scores["test_square"].message
    scores = judge_submission(tiny.lab, given, [], Limits(seconds=2))
    assert "stopped after 2 s" in scores["test_fourth"].message


def test_a_lab_that_fails_itself_is_no_students_fault(tiny):
    broken = type(tiny.lab).from_data(tiny.lab.as_data() | {"cells": [
        {"name": "setup", "source": "1 / 0", "tests": []}, *tiny.lab.as_data()["cells"]]})
    with pytest.raises(TinygenError, match="lab99 itself fails.*ZeroDivisionError"):
        judge_submission(broken, {}, [])
