"""The worker shut in: no network, no sources, no other students' work, a home of its own. Linux only.

bubblewrap where it is installed and works; else `unshare` with `setpriv`, which hide folders behind empty ones; else a
refusal. Limits on time, memory, files and processes are the worker's own (worker.py) and hold in any case.
"""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..errors import TinygenError
from .judge import Score
from .lab import Lab
from .worker import Limits, zero

PACKAGE = Path(__file__).resolve().parents[1]
REFUSAL = ("student code needs a sandbox, and this machine offers none (install bubblewrap, or allow user namespaces): "
           "it could read your sources, other students' work and the network; --unsafe runs it all the same")
WORKER = [sys.executable, "-I", "-c", "import sys; sys.path.insert(0, sys.argv[1]); "
          "from tinygen.course.worker import main; main()", str(PACKAGE.parent)]


def readable() -> list[str]:
    """What the worker must see: Python, its packages, the shared libraries, tinygen itself; no more of its checkout."""
    roots = ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/alternatives", sys.prefix, sys.base_prefix,
             os.path.dirname(os.path.realpath(sys.executable)), *site_folders(), str(PACKAGE)]
    return [root for root in dict.fromkeys(roots) if os.path.exists(root)]


def site_folders() -> list[str]:
    """The folders that packages come from, but not a whole checkout on PYTHONPATH."""
    return [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]


def environment(home: str) -> dict[str, str]:
    """The worker's own; nothing of the instructor's."""
    return {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "MPLCONFIGDIR": home, "PYTHONDONTWRITEBYTECODE": "1"}


def bubblewrap() -> list[str]:
    """The command line before the worker's: namespaces of its own, an empty /tmp, the rest read-only or absent."""
    binds = [word for root in readable() for word in ("--ro-bind", root, root)]
    variables = [word for item in environment("/tmp/home").items() for word in ("--setenv", *item)]
    return ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
            "--clearenv", *variables, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", *binds, "--dir",
            "/tmp/home", "--chdir", "/tmp/home"]


def unshare(hidden: Sequence[Path]) -> list[str]:
    """The same by util-linux: an empty folder over each of `hidden`, and no capabilities to take it away."""
    folders = [str(path.resolve()) for path in hidden if path.exists()]
    if any(PACKAGE.is_relative_to(folder) for folder in folders):
        raise TinygenError("the course may not lie around tinygen itself: choose another folder")
    script = ('for folder in "$@"; do [ "$folder" = -- ] && break; '
              'mount -t tmpfs -o mode=1777 none "$folder" || exit 97; done; '
              'while [ "$1" != -- ]; do shift; done; shift; '
              'exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"')
    return ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--ipc",
            "--mount-proc", "sh", "-c", script, "sh", *folders, "--"]


@functools.cache
def works(command: tuple[str, ...]) -> bool:
    """Does a trial end well?"""
    if not all(shutil.which(tool) for tool in command[:1]):
        return False
    try:
        return subprocess.run([*command, "true"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def choose(hidden: Sequence[Path], unsafe: bool = False) -> list[str]:
    """The command line to put in front of the worker; TinygenError where there is no sandbox and not `unsafe`."""
    for command in (bubblewrap, functools.partial(unshare, hidden)):
        if works(tuple(command())):
            return command()
    if unsafe:
        return []
    raise TinygenError(REFUSAL)


def judge_submission(lab: Lab, given: dict[str, str], front: Sequence[str],
                     limits: Limits = Limits()) -> dict[str, Score]:
    """The score of every test for the students' answers {task: source}, by a worker behind the command line `front`."""
    job = json.dumps({"lab": lab.as_data(), "answers": given, "limits": asdict(limits)})
    seconds = 300 + len(lab.tasks) * (limits.patience + 5)
    with tempfile.TemporaryDirectory() as home:
        process = subprocess.Popen([*front, *WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=home,
                                   stderr=subprocess.PIPE, text=True, start_new_session=True,
                                   env=environment(home))
        try:
            out, errors = process.communicate(job, timeout=seconds)
        except subprocess.TimeoutExpired:
            out, errors = "", "it did not end in time"
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
    try:
        verdict = json.loads(out)
        if "error" in verdict:
            raise TinygenError(f"{lab.name} itself fails, no submission can be graded: {verdict['error']}")
        return {name: Score(**score) for name, score in verdict.items()}
    except (ValueError, TypeError, AttributeError):
        reason = f"the grader stopped: {(errors.strip().splitlines() or ['no reason given'])[-1]}"
        return {name: score for task in lab.tasks for name, score in zero(task, reason).items()}
