"""One task judged alone: the student's cell, everything else from the reference."""

import ast
import functools
import importlib.abc
import sys
import traceback
import types
from dataclasses import dataclass

from .lab import Cell, Test

NOT_WRITTEN = "not written yet"


@dataclass
class Score:
    """What a test says: all points or none, and why."""

    points: float
    max_points: float
    message: str = ""


class Loader(importlib.abc.InspectLoader):
    """Runs one cell's source in a module."""

    def __init__(self, source: str, filename: str):
        self.source, self.filename = source, filename

    def get_source(self, fullname: str) -> str:
        """The text, without what only a notebook understands (lines that begin with % or !)."""
        try:
            ast.parse(self.source)
        except SyntaxError:
            lines = self.source.splitlines()
            return "\n".join("" if line.startswith(("%", "!")) else line for line in lines)
        return self.source

    def get_code(self, fullname: str) -> types.CodeType:
        """Compiled under the cell's own name, so that tracebacks tell where."""
        return self.source_to_code(self.get_source(fullname), self.filename)


def run(source: str, filename: str, module: types.ModuleType) -> None:
    """Run a cell in a module."""
    Loader(source, filename).exec_module(module)


def judge(task: Cell, source: str | None, base: types.ModuleType, changed=lambda: "") -> dict[str, Score]:
    """The score of every test of `task`, for a student's `source` (None: the cell is gone).

    base: the module in which the cells above ran; it is as before when this returns. The student's cell runs in it, the
    tests in a copy that has only the names that the reference defines from the student. `changed()` tells what the
    student's code broke (see guard.py), or "".
    """
    before = dict(vars(base))
    try:
        names, problem = students_names(task, source, base, before)
        scores = {}
        for test in task.tests:
            message = problem or changed() or run_test(task.name, source, test, before | names)
            scores[test.name] = Score(0.0 if message else test.points, test.points, message)
        touched = [name for name in before if vars(base).get(name) is not before[name] and name not in task.defines]
        message = changed() or (f"your code changes {touched[0]!r}, which is given" if touched else "")
        if message:                                     # found out at the end: no test can be believed
            scores = {test.name: Score(0.0, test.points, message) for test in task.tests}
        return scores
    finally:
        vars(base).clear()
        vars(base).update(before)


def students_names(task: Cell, source: str | None, base: types.ModuleType, before: dict) -> tuple[dict, str]:
    """What the student's cell defines of what the task asks for; or what is wrong with the cell."""
    if source is None:
        return {}, f"the cell {task.name!r} is missing: it was deleted, or its metadata were changed"
    for name in task.defines:
        vars(base).pop(name, None)
    try:
        run(source, f"<student {task.name}>", base)
    except BaseException as error:                      # also SystemExit and KeyboardInterrupt
        return {}, describe(error, f"<student {task.name}>", source)
    for name in before:                                 # a given name may be reused: others go on with what was given
        if name not in task.defines:
            vars(base)[name] = before[name]
    for name in task.defines:
        if name not in vars(base):
            return {}, f"{name!r} is not defined in its cell: was it renamed?"
    return {name: guarded(vars(base)[name]) for name in task.defines}, ""


def run_test(task: str, students: str, test: Test, names: dict) -> str:
    """"" if the test passes, else one paragraph that says what is wrong."""
    import torch

    module = types.ModuleType("test")
    vars(module).update(names)
    torch.manual_seed(0)
    try:
        run(test.source, f"<test {test.name}>", module)
    except BaseException as error:
        return describe(error, f"<student {task}>", students)
    return ""


def describe(error: BaseException, filename: str, source: str) -> str:
    """The error for a student: its message, and for what is no test's message the line of the student's cell."""
    if isinstance(error, NotImplementedError) and not str(error):
        return NOT_WRITTEN
    text = " ".join(str(error).split())[:600]
    if isinstance(error, AssertionError) and text:
        return text
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__, 50) if frame.filename == filename]
    where = source.splitlines()[lines[-1] - 1].strip() if lines and lines[-1] else ""
    return f"{type(error).__name__}: {text}".rstrip(": ") + (f" (at `{where}`)" if where else "")


def guarded(value):
    """A function that hands out plain values only: a student's own type could claim to be equal to everything."""
    if not isinstance(value, types.FunctionType):
        return value

    @functools.wraps(value)
    def function(*args, **kwargs):
        result = value(*args, **kwargs)
        check_plain(result, value.__name__)
        return result

    del function.__wrapped__
    return function


def check_plain(value, function: str, depth: int = 4) -> None:
    """TypeError for an object whose class is derived from a tensor, number or container, or redefines equality."""
    kind = type(value)
    known = getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind
    if not known and (kind.__eq__ is not object.__eq__ or "__torch_function__" in vars(kind)):
        raise TypeError(f"{function} returns a {kind.__name__}, a type of its own: return plain tensors and numbers")
    if depth and isinstance(value, tuple | list):
        for item in value:
            check_plain(item, function, depth - 1)
    elif depth and isinstance(value, dict):
        for item in value.values():
            check_plain(item, function, depth - 1)
