"""Is everything here that tinygen needs?"""

import hashlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import typer

NOTEBOOK_TOOLS = ("jupyterlab", "notebook", "ipykernel", "ipywidgets", "jupytext", "jupyterlab_myst")
ROOM = 2e9                                              # bytes that should be free


class Finding(NamedTuple):
    """One line of the report; `cure` is what to do, and empty where all is well."""

    what: str
    found: str
    cure: str = ""


def doctor() -> None:
    """Check that everything is here: torch, device, data, zoo, disk, notebook tools. Exit code 1: mend something."""
    cures = []
    for finding in examine():
        print(f"{'x' if finding.cure else 'ok':>2}  {finding.what:<15} {finding.found}")
        if finding.cure:
            cures.append(f"{finding.what}: {finding.cure}")
    print("\n" + ("\n".join(["to do:", *cures]) if cures else "all good"))
    if cures:
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Look at one thing after the other."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", version, "" if sys.version_info >= (3, 11) else "install Python 3.11 or newer")

    import torch

    from ..data.cifar10 import BY_HAND, PACKED, data_root
    from ..train import choose_device, choose_precision, default_tier

    old = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6)
    yield Finding("torch", torch.__version__, "install torch 2.6 or newer" if old else "")
    device = choose_device()
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    yield Finding("device", f"{device}{name}")
    yield Finding("precision", choose_precision(device))
    yield Finding("tier", default_tier(device.type),
                  "" if default_tier(device.type) in ("cpu", "gpu") else "set TINYGEN_TIER to cpu or gpu, or unset it")
    yield Finding("threads", f"{torch.get_num_threads()} of {os.cpu_count()} processors")

    root = data_root()
    yield Finding("data shapes", "drawn when it is needed")
    places = [root / PACKED, *(folder / name for folder in (root, Path("data")) for name in BY_HAND)]
    found = next((str(place) for place in places if place.exists()), "not here yet; `tinygen data cifar10` fetches it")
    yield Finding("data cifar10", found)
    yield from examine_zoo()
    for what, folder in {"disk, here": Path.cwd(), "disk, data": root}.items():
        yield examine_disk(what, folder)
    missing = [name for name in NOTEBOOK_TOOLS if importlib.util.find_spec(name) is None]
    yield Finding("notebook tools", f"without {', '.join(missing)}" if missing else "installed",
                  f"run `make setup`, or: pip install {' '.join(missing).replace('_', '-')}" if missing else "")


def examine_zoo() -> Iterator[Finding]:
    """The SHA-256 of every model's weights; a damaged description is a finding, too."""
    from ..errors import TinygenError
    from ..models import ZOO, read_facts, zoo_names

    damaged = []
    for name in zoo_names():
        try:
            content = (ZOO / name / "model.safetensors").read_bytes()
            if hashlib.sha256(content).hexdigest() != read_facts(f"zoo:{name}")["sha256"]:
                damaged.append(name)
        except (OSError, TinygenError):
            damaged.append(name)
    found, names = f"{len(zoo_names())} models", ", ".join(damaged)
    yield Finding("zoo", f"{found}, damaged: {names}" if damaged else f"{found}, whole",
                  f"get {names} again: `git checkout tinygen/zoo`, or install tinygen again" if damaged else "")


def examine_disk(what: str, folder: Path) -> Finding:
    """Room and permission to write in `folder`, or where it will be made."""
    from ..errors import TinygenError
    from .common import check_folder

    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    cure = "" if free >= ROOM else f"free some space: {ROOM / 1e9:.0f} GB are comfortable"
    try:
        check_folder(folder)
    except TinygenError:
        cure = f"make {folder} writable, or choose another" + (" with TINYGEN_DATA" if "data" in what else "")
    return Finding(what, f"{free / 1e9:.1f} GB free in {folder}", cure)
