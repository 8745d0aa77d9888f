"""Chromium, a JupyterLab for a student, and pages that note every error and every attempt to reach another machine."""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},        # every cell is in the page
}
# A machine that keeps no bytecode would compile torch again for every server and every kernel.
BYTECODE = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(ROOT / "build" / "bytecode")}
NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
DESKTOP = {"width": 1280, "height": 900}


@pytest.fixture(scope="session")
def browser(chromium):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", NOWHERE])
        yield browser
        browser.close()


class Visitor:
    """A reader's pages; `problems` collects console errors, exceptions, and requests to elsewhere (which fail)."""

    def __init__(self, browser):
        self.context = browser.new_context(viewport=DESKTOP, reduced_motion="reduce")
        self.context.set_default_timeout(120_000)
        self.context.on("request", self._note)
        self.problems: list[str] = []

    def _note(self, request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("file", "data", "blob") and parts.hostname not in ("127.0.0.1", "localhost"):
            self.problems.append(f"request: {request.url}")

    def open(self, address: str):
        """A new page at this address."""
        page = self.context.new_page()
        page.on("console", lambda message: self.problems.append(f"{message.text} {message.location.get('url', '')}")
                if message.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.goto(address)
        return page


@pytest.fixture
def visitor(browser):
    """A reader, at a desk at first."""
    visitor = Visitor(browser)
    yield visitor
    visitor.context.close()
    assert visitor.problems == []


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Where screenshots are left, to be looked at."""
    folder = ROOT / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def running_lab(folder: Path, home: Path, **environment: str):
    """A JupyterLab on `folder`, all its settings in `home`; -> its address as a format of a notebook's name.

    `reset`: a visitor finds an empty workspace, without what another left open.
    """
    (home / "labconfig").mkdir(parents=True)
    (home / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(SETTINGS))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", "--ServerApp.port_retries=0",
               f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={token}",
               "--KernelManager.shutdown_wait_time=1"]
    command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    paths = {"JUPYTER_CONFIG_DIR": str(home), "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
             "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "PYTHONPATH": str(ROOT)}
    paths |= BYTECODE if sys.flags.dont_write_bytecode else {}
    with open(home / "log", "wb") as log:
        server = subprocess.Popen(command, env=os.environ | paths | environment, stdout=log, stderr=log, cwd=folder)
    try:
        for _ in range(3000):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status?token={token}", timeout=10)
                break
            except OSError:
                assert server.poll() is None, (home / "log").read_text()
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}?reset&token={token}"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(address of a running JupyterLab as a format of the notebook's name, its folder)."""
    folder = tmp_path_factory.mktemp("student")
    with running_lab(folder, tmp_path_factory.mktemp("home") / "jupyter") as address:
        yield address, folder


@pytest.fixture(scope="session")
def start_lab():
    """`running_lab`, for tests that need more than one, or settings of their own."""
    return running_lab
