"""What students hand in for the leaderboard, read without trust: a file of samples, or a model that draws them."""

import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import TinygenError

HOW = "write it with `tinygen sample MODEL --n {} --out samples.npz`"
SECONDS, GIGABYTES = 3600, 16                           # of the CPU and of memory, for a model that draws its samples
SIDE = 32


def read_samples(path: Path, n: int, classes: int) -> tuple[Tensor, bool]:
    """`images` uint8 (n, 3, 32, 32) of an .npz as `tinygen sample` writes it, and whether it has labels.

    Labels, where there are any, must be 0, 1, 2, ... in turn, as `tinygen evaluate` asks for them. Nothing is unpickled,
    and sizes are looked at before anything is unpacked. TinygenError with one line for everything else.
    """
    how = HOW.format(n)
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(archive.namelist())
            extra = [name.removesuffix(".npy") for name in names if name not in ("images.npy", "labels.npy")]
            if extra:
                raise TinygenError(f"{path.name} holds {extra[0]!r}: hand in images and labels only, "
                                   "numbers are measured here")
            if names not in (["images.npy"], ["images.npy", "labels.npy"]):
                raise TinygenError(f"{path.name} holds no images, or holds them twice: {how}")
            images = read_array(archive, "images.npy", np.dtype("uint8"), (n, SIDE, SIDE, 3), path.name, how)
            labels = None
            if "labels.npy" in names:
                labels = read_array(archive, "labels.npy", np.dtype("int64"), (n,), path.name, how)
    except TinygenError:
        raise
    except Exception as error:                          # zipfile and NumPy raise nearly anything on damaged files
        raise TinygenError(f"{path.name} cannot be read as a file of samples: {how}") from error
    if labels is not None and not np.array_equal(labels, np.arange(n) % classes):
        raise TinygenError(f"the labels in {path.name} are not 0, 1, ... {classes - 1} in turn: {how}, without --label")
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), labels is not None


def read_array(archive: zipfile.ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...], file: str,
               how: str) -> np.ndarray:
    """One array, if its header promises what is wanted; TinygenError where it does not."""
    with archive.open(name) as member:
        version = np.lib.format.read_magic(member)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        found, fortran, kind = reader(member)
        if (found, kind, fortran) != (shape, dtype, False):
            raise TinygenError(f"{name.removesuffix('.npy')} in {file}: {kind} {found}, not {dtype} {shape}; {how}")
        content = member.read(dtype.itemsize * int(np.prod(shape)) + 1)
    return np.frombuffer(content, dtype).reshape(shape).copy()          # ValueError where there is less or more


def draw_samples(model: str, n: int, seed: int, to: Path) -> None:
    """`tinygen sample` in a process of its own, with limits; TinygenError with its last line where it fails."""
    command = [sys.executable, "-m", "tinygen", "sample", model, "--n", str(n), "--seed", str(seed), "--out", str(to)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=4 * SECONDS, preexec_fn=limit)
    except subprocess.TimeoutExpired as error:
        raise TinygenError(f"{model} did not draw {n} images within {4 * SECONDS} s") from error
    if done.returncode or not to.exists():
        last = (done.stderr.strip().splitlines() or ["it was killed: too much memory or time"])[-1]
        raise TinygenError(f"{model} draws no samples: {last.removeprefix('tinygen: ')}")


def limit() -> None:
    """In the child, before it starts."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES << 30, GIGABYTES << 30))
