"""What student code may not do in the process that judges it. Installed after a fork, for the rest of that process.

The sandbox keeps student code away from the machine; this keeps it away from the tests, which run in the same process:
no walking of frames, no patched torch or assert, no files but its own, none of the library's own solutions. A breach is
remembered, so that catching the error does not help. It is no proof against every attacker: see labs/README.md.
"""

import importlib
import inspect
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from .judge import run

JUDGE = run.__code__.co_filename
PACKAGE = str(Path(__file__).resolve().parents[1])
ROOTS = tuple({os.path.realpath(root) for root in (sys.prefix, sys.base_prefix, os.path.dirname(os.__file__))}
              | {sys.prefix, sys.base_prefix, PACKAGE})
OWN = ("<given", "<test", "<frozen", "<string>", "<__array_function__")      # the graders' and generated code
MAKES_CODE = ("dataclasses.py", "collections/__init__.py", "functools.py", "ast.py", "inspect.py", "typing.py",
              "enum.py", "linecache.py")
NEVER = ("socket.", "subprocess.", "ctypes.", "os.system", "os.fork", "os.posix_spawn", "os.exec", "os.spawn",
         "os.kill", "signal.", "sys.addaudithook", "sys.setprofile", "sys.settrace", "gc.", "pty.", "code.__new__",
         "os.remove", "os.rename", "sys._current_frames", "sys._current_exceptions")
WATCHED = ("torch", "torch.nn.functional", "torch.linalg", "torch.testing", "torch.testing._comparison", "numpy",
           "numpy.testing", "math", "builtins")


class Breach(RuntimeError):
    """Student code did what it may not do."""


def is_students(frame) -> bool:
    """Not of Python, its packages, the library or the graders."""
    name = frame.f_code.co_filename
    return not name.startswith(ROOTS + OWN)


def from_student(frame) -> bool:
    """Is student code anywhere below this frame, down to the judge that called it?"""
    while frame is not None and frame.f_code.co_filename != JUDGE:
        if is_students(frame):
            return True
        frame = frame.f_back
    return False


def called_by_student(frame) -> bool:
    """Did student code make this call, itself or through Python's and torch's own functions?"""
    while frame is not None:
        name = frame.f_code.co_filename
        if is_students(frame):
            return True
        if name.startswith((PACKAGE, *OWN)) and not name.startswith("<string>"):
            return False
        frame = frame.f_back
    return False


def forbidden(event: str, args: tuple, frame) -> str:
    """What is wrong with an audited event, or ""; frame: where it happened."""
    if event.startswith(NEVER):
        return f"use of {event}" if from_student(frame) else ""
    if event == "open":
        return "" if not from_student(frame) or may_open(args[0], args[1], frame) else f"opening {args[0]}"
    if event in ("sys._getframe", "object.__getattr__", "object.__setattr__", "object.__delattr__"):
        near = [frame, frame and frame.f_back] if event == "sys._getframe" else [frame]
        return f"use of {event}" if any(f is not None and is_students(f) for f in near) else ""
    if event in ("exec", "compile"):
        maker = frame.f_code.co_filename if frame else ""
        harmless = maker.startswith("<frozen") or maker.endswith(MAKES_CODE) and maker.startswith(ROOTS)
        return "" if harmless or not from_student(frame) else f"use of {event}"
    return ""


def may_open(path, mode, frame) -> bool:
    """Student code, and what it calls, reads Python's packages but not the library's code, and its own folders."""
    if isinstance(path, int):
        return path > 2
    path = os.path.realpath(os.fsdecode(path))
    if path.startswith(os.path.realpath(tempfile.gettempdir())) or path in ("/dev/null", "/dev/urandom"):
        return True
    if path.startswith(PACKAGE) and path.endswith((".py", ".pyc")):
        return frame.f_code.co_filename.startswith("<frozen")           # an import, not a look
    return path.startswith(ROOTS) and not set(mode or "r") & set("wax+")


def codes(symbol: str) -> list:
    """The code objects of a function, of a class with its methods, or of a module's functions and classes."""
    module, _, name = symbol.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (AttributeError, ImportError, ValueError):
        found = importlib.import_module(symbol)
    if inspect.ismodule(found):
        inside = [value for value in vars(found).values() if getattr(value, "__module__", None) == found.__name__]
    else:
        inside = [found]
    functions = []
    for value in inside:
        members = vars(value).values() if inspect.isclass(value) else [value]
        members = [getattr(member, "fget", None) or getattr(member, "__func__", member) for member in members]
        functions += [inspect.unwrap(member) for member in members if callable(member)]
    return [function.__code__ for function in functions if inspect.isfunction(function)]


def watched() -> dict:
    """What tests rely on: {(where, name): object}."""
    import torch

    spaces = {name: vars(sys.modules[name]) for name in WATCHED if name in sys.modules}
    spaces |= {"Tensor": vars(torch.Tensor), "TensorBase": vars(torch._C.TensorBase), "Module": vars(torch.nn.Module)}
    return {(space, name): value for space, names in spaces.items() for name, value in names.items()
            if name not in ("_", "__warningregistry__")}


def install(blocked: tuple[str, ...] = ()) -> Callable[[], str]:
    """Watch this process from now on; -> a function that tells the first breach, or ""."""
    import torch  # noqa: F401  what is loaded before is not audited

    breaches, busy, secret = [], threading.local(), {code: symbol for symbol in blocked for code in codes(symbol)}
    start = watched()
    getframe = sys._getframe

    def breach(what: str) -> None:
        breaches.append(f"not allowed here: {what}")
        raise Breach(breaches[-1])

    def profile(frame, event, _):
        if event == "call" and frame.f_code in secret and called_by_student(frame.f_back):
            breach(f"{secret[frame.f_code]} of the library; this is what you are asked to write")

    def audit(event, args):
        if getattr(busy, "now", False):
            return
        busy.now = True
        try:
            what = forbidden(event, args, getframe(1))
        finally:
            busy.now = False
        if what:
            breach(what)

    def changed() -> str:
        if breaches:
            return breaches[0]
        now = watched()
        for (space, name), value in start.items():
            if now.get((space, name)) is not value:
                return f"not allowed here: replacing {space}.{name}"
        return ""

    if secret:
        threading.setprofile(profile)
        sys.setprofile(profile)
    sys.addaudithook(audit)
    return changed
