"""Is everything here that tinygen needs? Every problem is named with its cure."""

import hashlib
import importlib
import importlib.util
import os
import re
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import typer

NOTEBOOK_TOOLS = ("jupyterlab", "notebook", "ipykernel", "ipywidgets", "jupytext", "jupyterlab_myst")
ROOM = 2e9                                              # bytes that should be free
MEMORY = 3.5e9                                          # a chapter may take 2.5 GB, the system and a browser the rest
NVIDIA = ("/proc/driver/nvidia/version", "/dev/nvidia0", "/dev/dxg")                # /dev/dxg: a GPU seen from WSL
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


class Finding(NamedTuple):
    """One line of the report; `cure` is what to do, and empty where all is well. Not everything is `needed`."""

    what: str
    found: str
    cure: str = ""
    needed: bool = True


def doctor() -> None:
    """Check that everything is here: torch, device, data, zoo, disk, notebook tools. Exit code 1: mend something."""
    problems = []
    for finding in examine():
        mark = ("x" if finding.needed else "!") if finding.cure else "ok"
        print(f"{mark:>2}  {finding.what:<15} {finding.found}")
        if finding.cure:
            problems.append(finding)
    urgent, others = ([f"{finding.what}: {finding.cure}" for finding in problems if finding.needed is needed]
                      for needed in (True, False))
    if others:
        print("\n" + "\n".join(["where you want it:", *others]))
    print("\n" + ("\n".join(["to do:", *urgent]) if urgent else "all good"))
    if urgent:
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Look at one thing after the other."""
    yield examine_python()
    torch, finding = examine_import("torch", (2, 6))
    yield finding
    yield examine_memory(memory())
    if torch is None:
        yield examine_disk("disk, here", Path.cwd())
        yield from examine_tools()
        return

    from ..data.cifar10 import BY_HAND, PACKED, data_root
    from ..errors import TinygenError
    from ..train import choose_device, choose_precision, default_tier

    yield examine_import("torchvision")[1]
    try:
        device = choose_device()
        name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
        yield examine_device(f"{device}{name}", nvidia_is_here(), torch.version.cuda)
    except (TinygenError, RuntimeError) as error:               # a GPU without kernels, or a full one
        device = torch.device("cpu")
        yield Finding("device", "a GPU that torch cannot use", str(error), needed=False)
    yield Finding("precision", choose_precision(device))
    yield Finding("tier", default_tier(device.type),
                  "" if default_tier(device.type) in ("cpu", "gpu") else "set TINYGEN_TIER to cpu or gpu, or unset it")
    yield Finding("threads", f"{torch.get_num_threads()} of {os.cpu_count()} processors")

    root = data_root()
    yield Finding("data shapes", "drawn when it is needed")
    places = [root / PACKED, *(folder / name for folder in (root, Path("data")) for name in BY_HAND)]
    yield examine_cifar10(next((place for place in places if place.exists()), None), root)
    yield from examine_zoo()
    yield examine_disk("disk, here", Path.cwd())
    yield examine_disk("disk, data", root)
    yield from examine_tools()


def examine_python(version: tuple[int, ...] | None = None) -> Finding:
    """The interpreter (or one of this `version`): 3.11 or newer."""
    version = version or tuple(sys.version_info[:3])
    return Finding("python", ".".join(map(str, version)), "" if version >= (3, 11) else
                   "install Python 3.11 or newer (python.org, conda, or uv python install 3.12), then "
                   "`make setup PYTHON=python3.12`")


def examine_import(name: str, oldest: tuple[int, int] = (0, 0)) -> tuple[object, Finding]:
    """(the module, its version) of torch or torchvision; (None, what its import says) where it cannot be imported."""
    again = "run `make setup`, or: pip install --force-reinstall torch torchvision (both, so that they fit)"
    try:
        module = importlib.import_module(name)
    except Exception as error:                          # a library that is missing, or of another torch: anything
        found = "not installed" if isinstance(error, ModuleNotFoundError) and error.name == name else \
            "does not start: " + " ".join(str(error).split())[:120]
        return None, Finding(name, found, again)
    version = str(getattr(module, "__version__", "unknown"))
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    old = bool(numbers) and numbers < oldest
    return module, Finding(name, version, f"install {name} {oldest[0]}.{oldest[1]} or newer: {again}" if old else "")


def nvidia_is_here() -> bool:
    """Whether this machine has an Nvidia GPU, as far as its system knows."""
    return any(Path(path).exists() for path in NVIDIA) or shutil.which("nvidia-smi") is not None


def examine_device(device: str, nvidia: bool, cuda: str | None) -> Finding:
    """Where torch computes; an Nvidia GPU that it does not use is a finding. `cuda`: the version torch was made for."""
    cure = ""
    if nvidia and not device.startswith("cuda"):
        cure = "this machine has an Nvidia GPU and its torch was made without CUDA: uv pip install torch torchvision " \
               "--torch-backend=auto" if cuda is None else \
               f"this machine has an Nvidia GPU, but torch (for CUDA {cuda}) cannot use it: look at `nvidia-smi`, " \
               "update the driver, unset CUDA_VISIBLE_DEVICES"
    return Finding("device", device, cure, needed=False)


def memory() -> float:
    """Bytes of memory this process may use, as far as the system tells; infinite where it does not."""
    limits = [float("inf")]
    if hasattr(os, "sysconf") and {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= set(os.sysconf_names):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    group = Path("/sys/fs/cgroup/memory.max")           # of a container
    if group.exists() and (text := group.read_text().strip()).isdecimal():
        limits.append(int(text))
    return min(limits)


def examine_memory(size: float) -> Finding:
    """Is there room for a notebook and its models?"""
    found = "unknown" if size == float("inf") else f"{size / 1e9:.1f} GB"
    return Finding("memory", found, "" if size >= MEMORY else
                   "a chapter may need 2.5 GB: close other programs and notebooks, and run one at a time (make test "
                   "JOBS=1); give a container or WSL 4 GB")


def reachable(address: str, seconds: float = 5.0) -> str:
    """"" where the server answers, through the proxy where one is set; else why it does not."""
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=seconds).close()
    except urllib.error.HTTPError:                      # it answers, if only to refuse
        return ""
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__
    return ""


def examine_cifar10(place: Path | None, root: Path, ask: Callable[[str], str] | None = None) -> Finding:
    """CIFAR-10: here, or to be had; only what trains on it needs it."""
    if place is not None:
        return Finding("data cifar10", str(place))
    if not (why := (ask or reachable)("https://www.cs.toronto.edu/")):
        return Finding("data cifar10", "not here yet; `tinygen data cifar10` fetches it")
    proxy = next((name for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY") if os.environ.get(name)), None)
    through = f"the proxy that {proxy} names does not let us through: check it" if proxy else \
        "check the network; behind a proxy: export HTTPS_PROXY=http://HOST:PORT"
    return Finding("data cifar10", f"not here, and no network ({why})",
                   f"{through}; or bring cifar-10-python.tar.gz from elsewhere into {root}", needed=False)


def examine_tools() -> Iterator[Finding]:
    """Programs and packages beside the library."""
    missing = [name for name in NOTEBOOK_TOOLS if importlib.util.find_spec(name) is None]
    yield Finding("notebook tools", f"without {', '.join(missing)}" if missing else "installed",
                  f"run `make setup`, or: pip install {' '.join(missing).replace('_', '-')}" if missing else "")
    yield Finding("make", shutil.which("make") or "missing", "" if shutil.which("make") else
                  "for the short commands: sudo apt install make (Debian, Ubuntu), xcode-select --install (macOS); "
                  "README.md says how to do without", needed=False)
    browser = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    yield Finding("chromium", browser or "missing", "" if browser else
                  "for the tests in a browser only: sudo apt install chromium (Debian, Ubuntu)", needed=False)


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
    cure = "" if free >= ROOM else f"free some space ({ROOM / 1e9:.0f} GB are comfortable), or work on another disk" + \
        (": set TINYGEN_DATA" if "data" in what else "")
    try:
        check_folder(folder)
    except TinygenError:
        cure = f"make {folder} writable, or choose another" + (" with TINYGEN_DATA" if "data" in what else "")
    return Finding(what, f"{free / 1e9:.1f} GB free in {folder}", cure)
