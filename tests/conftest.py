"""One thread for torch: processes that compete for the cores are slower than processes that share them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parents[1]
BROWSERS = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")
CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))),
                None) or next(map(str, BROWSERS.glob("chromium-*/chrome-linux*/chrome")), None)
collect_ignore = [] if CHROMIUM else ["browser"]


def pytest_terminal_summary(terminalreporter) -> None:
    """Say so where the tests that need a browser were left out."""
    if not CHROMIUM:
        terminalreporter.write_line("tests/browser is left out, for want of Chromium: install it (Debian, Ubuntu: sudo"
                                    " apt install chromium; others: .venv/bin/python -m playwright install chromium)")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The program to start."""
    return CHROMIUM


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The book's site, built once for all processes of a test run: never write to it."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    with FileLock(shared / "site.lock"):
        if not (shared / "site" / "index.html").exists():
            build = [sys.executable, ROOT / "book" / "site" / "build.py", "--out", shared / "site",
                     "--repository", "https://github.com/an-owner/a-name"]
            done = subprocess.run(build, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    return shared / "site"
