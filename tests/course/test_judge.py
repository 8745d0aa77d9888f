"""A task is judged alone, in a process of its own; what hostile code does ends with a score and a message."""

import re

import pytest

from tinygen.course.hostile import HOSTILE, hostile
from tinygen.course.worker import Limits, judge_apart, prepare

SHORT = Limits(seconds=1, megabytes=512)


@pytest.fixture
def judged(tiny):
    """judged(task, source) -> {test: Score}."""
    def judged(name: str, source: str | None, limits: Limits = Limits()) -> dict:
        task, base = next(pair for pair in prepare(tiny.lab) if pair[0].name == name)
        return judge_apart(task, source, base, tiny.lab, limits)
    return judged


def points(scores: dict) -> float:
    return sum(score.points for score in scores.values())


def test_a_right_answer_gets_full_marks(judged):
    assert points(judged("square", "def square(x):\n    return x ** 2")) == 3
    assert points(judged("fourth", "fourth = lambda x: x ** 4")) == 4


def test_points_are_given_test_by_test(judged):
    scores = judged("square", "def square(x):\n    return 1.0 * x * x")
    assert (scores["test_square"].points, scores["test_square_type"].points) == (2, 0)
    assert scores["test_square_type"].message == "an int stays an int"


def test_earlier_answers_come_from_the_reference(judged):
    """The student's own square is nowhere; fourth is judged with the reference's."""
    assert points(judged("fourth", "def fourth(x):\n    return square(square(x))")) == 4


def test_a_message_says_what_is_wrong(judged):
    assert judged("square", "def square(x):\n    return 2 * x")["test_square"].message == "the square of 3 is 9, not 6"
    assert judged("square", "def square(x):\n    return x ** 3 // 3 if x == 3 else x")["test_square"].message == (
        "wrong below 0, in secret")


@pytest.mark.parametrize("source, message", [
    (None, "missing"),
    ("def quadrat(x):\n    return x * x", "renamed"),
    ("def square(x):\n    raise NotImplementedError()", "not written yet"),
    ("def square(x):\n    return y", "name 'y' is not defined"),
    ("def square(x)\n    return x", "SyntaxError"),
    ("raise SystemExit(3)", "SystemExit"),
    ("import os\nos._exit(0)", "ended before the tests"),
    ("while True:\n    pass", "stopped after 1 s"),
    ("x = bytearray(2 ** 40)", "MemoryError"),
    ("import torch\ntorch.equal = print\ndef square(x):\n    return x", "replacing torch.equal"),
    ("import sys\ndef square(x):\n    sys._getframe(1)\n    return 9", "sys._getframe"),
    ("def square(x):\n    try:\n        open('/etc/hostname')\n    except Exception:\n        pass\n    return x * x",
     "opening /etc/hostname"),
    ("import socket\ntry:\n    socket.create_connection(('192.0.2.1', 80), 1)\nexcept Exception:\n    pass\n"
     "def square(x):\n    return x * x", "socket"),
])
def test_what_goes_wrong_is_told(judged, source, message):
    scores = judged("square", source, SHORT)
    assert points(scores) == 0
    assert re.search(message, scores["test_square"].message), scores["test_square"].message


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_hostile_cell_gets_a_point(judged, tiny, kind):
    assert points(judged("square", hostile(kind, tiny.lab.tasks[0]), SHORT)) == 0


def test_a_given_name_may_be_reused_without_harm(judged):
    assert points(judged("fourth", "given = 5\ndef fourth(x):\n    return x ** 4")) == 4


def test_given_helpers_are_not_changed_in_secret(judged):
    source = "def fourth(x):\n    global square\n    square = None\n    return x ** 4"
    scores = judged("fourth", source)
    assert points(scores) == 0 and "square" in scores["test_fourth"].message
