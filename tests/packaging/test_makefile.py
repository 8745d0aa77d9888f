"""The Makefile's set-up, with a Python and a uv that only write down what they were asked."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = """#!/bin/sh
case "$*" in *-m?uv?--version*|*-m?uv?pip*) test -e "$LOG.has-uv" || exit 1 ;; esac
echo "python $*" >> "$LOG"
case "$*" in
  *version_info*) exit $OLD ;;
  *ensurepip*) exit $NO_VENV ;;
  *sys.executable*) echo python3 ;;
  --version) echo "Python 3.9.1" ;;
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *"-m pip install"*) : > "$LOG.has-uv" ;;
esac
"""
UV = """#!/bin/sh
echo "uv $*" >> "$LOG"
case "$1" in
  venv) mkdir -p .venv/bin && cp "$(command -v "${PYTHON:-python3}")" .venv/bin/python ;;
  pip) exit $FAIL ;;
esac
"""


class Clone:
    """A fresh clone in a folder with a space in its name, on a machine with hardly anything installed."""

    def __init__(self, folder: Path, uv: bool):
        self.folder, self.log, self.bin = folder / "a clone", folder / "log", folder / "bin"
        self.folder.mkdir()
        self.bin.mkdir()
        for name in ("Makefile", "pyproject.toml", "requirements.in", "requirements.txt"):
            shutil.copy2(ROOT / name, self.folder)
        for tool in ("make", "sh", "cat", "date", "rm", "mkdir", "cp", "id", "sed", "find", "touch"):
            (self.bin / tool).symlink_to(shutil.which(tool))
        for name, text in [("python3", PYTHON)] + [("uv", UV)] * uv:
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)

    def make(self, *arguments, **environment):
        """(exit status, the commands that were run, everything printed)"""
        self.log.unlink(missing_ok=True)
        settings = {"OLD": "0", "NO_VENV": "0", "FAIL": "0", **environment}
        result = subprocess.run(["make", *arguments], cwd=self.folder, text=True, capture_output=True, timeout=60,
                                env={"PATH": str(self.bin), "LOG": str(self.log), **settings})
        commands = self.log.read_text().splitlines() if self.log.exists() else []
        asked = [line for line in commands if "sys" not in line and "--version" not in line and "ensurepip" not in line]
        return result.returncode, asked, result.stdout + result.stderr


@pytest.fixture
def with_uv(tmp_path):
    return Clone(tmp_path, uv=True)


@pytest.fixture
def without_uv(tmp_path):
    return Clone(tmp_path, uv=False)


INSTALLS = ["pip install --quiet --python .venv/bin/python -r pyproject.toml --all-extras -r requirements.in"
            " -c requirements.txt", "pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e ."]


def test_the_first_demo_sets_up_with_the_uv_that_is_there(with_uv):
    status, commands, printed = with_uv.make("demo")
    assert status == 0, printed
    assert commands == ["uv venv --quiet --python python3 .venv", *[f"uv {line}" for line in INSTALLS],
                        "python -m tinygen demo"]
    assert "Set up in" in printed


def test_the_first_demo_fetches_uv_where_there_is_none(without_uv):
    status, commands, printed = without_uv.make("demo")
    assert status == 0, printed
    assert commands == ["python -m venv .venv", "python -m pip install --quiet uv",
                        *[f"python -m uv {line}" for line in INSTALLS], "python -m tinygen demo"]


def test_a_second_run_does_not_set_up_again(with_uv):
    with_uv.make("setup")
    assert with_uv.make("demo", "ARGS=--out pictures")[:2] == (0, ["python -m tinygen demo --out pictures"])


def test_new_pins_are_installed_into_the_same_environment(with_uv):
    with_uv.make("setup")
    later = time.time() + 5
    os.utime(with_uv.folder / "requirements.txt", (later, later))
    assert with_uv.make("setup")[:2] == (0, [f"uv {line}" for line in INSTALLS])


def test_a_folder_that_was_moved_is_set_up_again(with_uv):
    with_uv.make("setup")
    with_uv.folder = with_uv.folder.rename(with_uv.folder.with_name("moved"))
    assert with_uv.make("setup")[:2] == (0, [f"uv {line}" for line in INSTALLS])


def test_a_failed_installation_is_said_and_tried_again(with_uv):
    status, _, printed = with_uv.make("demo", FAIL="1")
    assert status != 0 and "installation failed" in printed
    status, commands, _ = with_uv.make("demo")
    assert status == 0 and commands[-1] == "python -m tinygen demo" and f"uv {INSTALLS[0]}" in commands


def test_parallel_jobs_set_up_once(with_uv):
    (with_uv.folder / "book").mkdir()
    status, commands, printed = with_uv.make("-j4", "demo", "unit", "book")
    assert status == 0, printed
    assert sum("uv venv" in line for line in commands) == 1
    assert commands.index(f"uv {INSTALLS[1]}") < min(commands.index(line) for line in commands if "python -m " in line)


def test_the_tests_are_run_and_then_every_notebook(with_uv):
    (with_uv.folder / "book").mkdir()
    for name in ("07-vq-vae.ipynb", "08-vqgan.ipynb"):
        (with_uv.folder / "book" / name).touch()
    with_uv.make("setup")
    _, [unit, notebooks], _ = with_uv.make("-j4", "test")
    assert unit.startswith("python -m pytest") and unit.rstrip().endswith(" tests") and "--nbval" not in unit
    assert "--nbval --nbval-current-env" in notebooks
    assert notebooks.endswith("book/07-vq-vae.ipynb book/08-vqgan.ipynb")


def test_another_python_can_be_named(with_uv):
    (with_uv.bin / "python3").rename(with_uv.bin / "python3.12")
    assert with_uv.make("setup", PYTHON="python3.12")[0] == 0
    assert with_uv.make("clean")[0] == 0
    status, _, printed = with_uv.make("setup", "PYTHON=python3.99")
    assert status != 0 and "python3.99 was not found: install Python 3.11 or newer" in printed


def test_a_python_that_is_too_old_is_named(without_uv):
    status, commands, printed = without_uv.make("test", OLD="1")
    assert status != 0 and commands == []
    assert "tinygen needs Python 3.11 or newer; this is Python 3.9.1" in printed
    assert "make PYTHON=python3.12" in printed


def test_a_python_without_venv_is_told_what_to_install(without_uv):
    status, commands, printed = without_uv.make("test", NO_VENV="1")
    assert status != 0 and commands == []
    assert "sudo apt install python3-venv" in printed


def test_clean_keeps_runs(with_uv):
    with_uv.make("setup")
    (with_uv.folder / "runs" / "mine").mkdir(parents=True)
    assert with_uv.make("clean")[0] == 0
    assert (with_uv.folder / "runs" / "mine").exists() and not (with_uv.folder / ".venv").exists()
