"""A submission judged task by task, each task in a process of its own with limits.

`python -m tinygen.course.worker` reads a job from stdin and writes a verdict to stdout, in JSON: the sandbox starts it.
"""

import json
import math
import os
import re
import resource
import secrets
import select
import signal
import sys
import time
import types
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from . import guard
from .judge import Score, judge, run
from .lab import Cell, Lab

MEGABYTE = 2**20


@dataclass(frozen=True)
class Limits:
    """Of one task: seconds of the CPU (four times as many on the clock), megabytes beyond what torch and lab need."""

    seconds: float = 30.0
    megabytes: int = 2048
    file_megabytes: int = 64
    processes: int = 256

    @property
    def patience(self) -> float:
        """Seconds on the clock: other work may have the CPU."""
        return 4 * self.seconds


def prepare(lab: Lab) -> Iterator[tuple[Cell, types.ModuleType]]:
    """The tasks in order, each with the module in which all given cells and reference solutions above it ran."""
    import torch.testing

    torch.set_num_threads(1)
    torch.testing.assert_close(torch.ones(1), torch.ones(1))            # what is loaded late is loaded once, here,
    for symbol in lab.blocked:                                          # and not after every fork
        guard.codes(symbol)
    base = types.ModuleType("lab")
    for cell in lab.cells:
        if cell.tests:
            yield cell, base
        torch.manual_seed(0)
        run(cell.source, f"<given {cell.name}>", base)


def zero(task: Cell, message: str) -> dict[str, Score]:
    """No points, for one reason."""
    return {test.name: Score(0.0, test.points, message) for test in task.tests}


def judge_apart(task: Cell, source: str | None, base: types.ModuleType, lab: Lab,
                limits: Limits = Limits()) -> dict[str, Score]:
    """`judge` in a forked process, guarded and limited: whatever the student's code does, there is a score."""
    if any(re.search(r"\boptim\b", text) for text in (source or "", *(cell.source for cell in lab.cells))):
        import torch._dynamo  # noqa: F401  the first optimiser loads it (seconds), and it replaces torch.manual_seed

    token = secrets.token_hex(16)                       # known in no place that the student's code can read
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reading)
            os.setpgid(0, 0)
            for stream in range(3):                     # nothing that others read is left open to the student's code
                os.dup2(os.open(os.devnull, os.O_RDWR), stream)
            os.closerange(3, writing)
            os.closerange(writing + 1, 1 << 16)
            try:
                verdict = limited(task, source, base, lab, limits)
            except BaseException as error:              # out of memory, above all
                reason = f"the process stopped: {type(error).__name__}: {error}"
                verdict = {name: asdict(score) for name, score in zero(task, reason[:300]).items()}
            os.write(writing, json.dumps([token, verdict]).encode() + b"\n")
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    text, late = read(reading, limits.patience)
    os.close(reading)
    try:
        os.killpg(pid, signal.SIGKILL)                  # also what the student's code may have started
    except (ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    for line in text.splitlines():
        try:
            key, verdict = json.loads(line)
        except (ValueError, TypeError):
            continue
        if isinstance(key, str) and secrets.compare_digest(key, token):
            return {name: Score(**score) for name, score in verdict.items()}
    if late or usage.ru_utime + usage.ru_stime > limits.seconds - 0.3:     # the kernel kills a little early
        return zero(task, f"stopped after {limits.seconds:g} s: is there a loop without an end?")
    signalled = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return zero(task, "the process ended before the tests did" + (f" (signal {signalled})" if signalled else ""))


def read(descriptor: int, seconds: float) -> tuple[bytes, bool]:
    """What comes from a pipe until it is closed, or a line is there and no more follows; was it too late?"""
    text, end = b"", time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and len(text) < MEGABYTE:
        ready, _, _ = select.select([descriptor], [], [], left)
        if not ready:
            break
        if not (part := os.read(descriptor, 65536)):
            return text, False
        text += part
    return text, True


def limited(task: Cell, source: str | None, base: types.ModuleType, lab: Lab, limits: Limits) -> dict:
    """In the forked process: set limits and guard, then judge; nothing that is printed goes anywhere."""
    quiet = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(quiet, descriptor)
    sys.stdin = open(0, closefd=False)
    sys.stdout = sys.stderr = open(1, "w", closefd=False)
    pages = int(open("/proc/self/statm").read().split()[0]) if os.path.exists("/proc/self/statm") else 0
    lower(resource.RLIMIT_AS, pages * resource.getpagesize() + limits.megabytes * MEGABYTE if pages else None)
    lower(resource.RLIMIT_CPU, math.ceil(limits.seconds))
    lower(resource.RLIMIT_FSIZE, limits.file_megabytes * MEGABYTE)
    lower(resource.RLIMIT_NPROC, limits.processes)
    lower(resource.RLIMIT_CORE, 0)
    warnings.simplefilter("ignore")                     # they would show lines of files that students may not open
    changed = guard.install(lab.blocked)
    return {name: asdict(score) for name, score in judge(task, source, base, changed).items()}


def lower(what: int, value: int | None) -> None:
    """Set a limit, unless a lower one is set."""
    hard = resource.getrlimit(what)[1]
    if value is not None:
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (value, value))


def main() -> None:
    """Judge the job on stdin: {"lab": ..., "answers": {task: source}, "limits": {...}}."""
    job = json.load(sys.stdin)
    lab, limits = Lab.from_data(job["lab"]), Limits(**job["limits"])
    scores, cells = {}, prepare(lab)
    while True:
        try:
            task, base = next(cells)
        except StopIteration:
            break
        except Exception as error:                      # of the lab, not of the student
            json.dump({"error": f"{type(error).__name__}: {error}"}, sys.stdout)
            return
        scores |= judge_apart(task, job["answers"].get(task.name), base, lab, limits)
    json.dump({name: asdict(score) for name, score in scores.items()}, sys.stdout)


if __name__ == "__main__":
    main()
