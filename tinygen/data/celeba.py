"""CelebA (Liu et al. 2015, arXiv:1411.7766): 202,599 photographs of faces, read from what you have downloaded yourself.

Nothing is fetched here: its terms (non-commercial research) ask for your agreement. Into the folder `celeba` of the data
root belong, as the authors and torchvision lay them out, `img_align_celeba` (the folder, or the .zip),
`list_attr_celeba.txt` and `list_eval_partition.txt`; the .csv form of the two lists is read as well.
"""

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tinygen.data.cifar10 import data_root
from tinygen.data.imageset import ImageSet
from tinygen.errors import TinygenError

SPLITS = {"train": 0, "valid": 1, "test": 2}         # their numbers in the list of partitions
FOLDER, IMAGES = "celeba", "img_align_celeba"
LISTS = ("list_attr_celeba", "list_eval_partition")
BOX, SIZE = (19, 50, 159, 190), 32                   # of 178 x 218 pixels: the inner 140 x 140, shrunk
HAIR = ("black", "blond", "brown", "gray", "bald", "other")
FACTORS = {"expression": ("serious", "smiling"), "hair": HAIR, "glasses": ("none", "glasses"), "hat": ("none", "hat"),
           "beard": ("none", "beard")}
NEEDED = ("Smiling", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Bald", "Eyeglasses", "Wearing_Hat",
          "No_Beard")


def load_celeba(split: str = "train", root: str | Path | None = None) -> ImageSet:
    """The photographs of a split (train 162,770, valid 19,867, test 19,962), uint8 (N, 3, 32, 32).

    Label = expression; five factors made of nine of the 40 attributes, and a caption that names them. What annotators
    guessed about the person (sex, age, beauty) is left out on purpose. The first call reads the JPEG files and packs them
    into the data root (500 MB for train). TinygenError, which says what belongs where, if files are missing or broken.
    """
    packed = data_root(root) / f"celeba-{split}.safetensors"
    try:
        with safe_open(packed, "numpy") as file:
            images, flags = file.get_tensor("images"), file.get_tensor("attributes")
    except (OSError, SafetensorError):
        images, flags = read_archive(data_root(root) / FOLDER, split)
        write(packed, {"images": images, "attributes": flags})
    factors = torch.from_numpy(factors_of(flags))
    return ImageSet(f"celeba:{split}", torch.from_numpy(images), factors[:, 0].clone(), FACTORS["expression"],
                    tuple(map(celeba_caption, factors.tolist())), factors, dict(FACTORS))


def celeba_caption(factors) -> str:
    """The sentence for one row of factors, such as "a smiling face with blond hair and glasses"."""
    expression, hair, glasses, hat, beard = (names[int(k)] for names, k in zip(FACTORS.values(), factors, strict=True))
    parts = [{"bald": "a bald head", "other": ""}.get(hair, f"{hair} hair"), "glasses" if glasses != "none" else "",
             "a hat" if hat != "none" else "", "a beard" if beard != "none" else ""]
    parts = [part for part in parts if part]
    return f"a {expression} face" + (f" with {' and '.join(parts)}" if parts else "")


def factors_of(flags: np.ndarray) -> np.ndarray:
    """Attributes (N, len(NEEDED)), 0 or 1, in the order of NEEDED -> factors int64 (N, 5); the first hair that is set."""
    hair = np.concatenate([flags[:, 1:6], np.ones((len(flags), 1), flags.dtype)], 1).argmax(1)
    return np.stack([flags[:, 0], hair, flags[:, 6], flags[:, 7], 1 - flags[:, 8]], 1).astype(np.int64)


def read_list(folder: Path, name: str) -> tuple[list[str], dict[str, list[str]]]:
    """A list of the archive, .txt or .csv -> the names of its columns (none in the partitions' .txt), {file: values}."""
    for path in (folder / f"{name}.txt", folder / f"{name}.csv"):
        if path.exists():
            lines = [line.replace(",", " ").split() for line in path.read_text().splitlines() if line.strip()]
            if lines and len(lines[0]) == 1:                            # the .txt begins with the number of images
                lines = lines[1:]
            head = [] if not lines or lines[0][0].endswith(".jpg") else lines.pop(0)
            head = head[1:] if head[:1] == ["image_id"] else head
            return head, {file: values for file, *values in lines}
    raise missing(folder, f"{name}.txt is not there")


@contextmanager
def opened(folder: Path) -> Iterator[Callable[[str], bytes]]:
    """A `read(file name) -> bytes` for the folder of images, or for the archive that was downloaded."""
    for place in (folder / IMAGES / IMAGES, folder / IMAGES):           # some copies are nested
        if place.is_dir():
            yield lambda name: (place / name).read_bytes()
            return
    try:
        with zipfile.ZipFile(folder / f"{IMAGES}.zip") as archive:
            members = {Path(name).name: name for name in archive.namelist()}
            yield lambda name: archive.read(members[name])
    except FileNotFoundError as error:
        raise missing(folder, f"neither {IMAGES} nor {IMAGES}.zip is there") from error
    except zipfile.BadZipFile as error:
        raise missing(folder, f"{IMAGES}.zip is broken ({error})") from error


def read_archive(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 3, 32, 32) and attributes uint8 (N, len(NEEDED)) of a split, in the order of the list."""
    columns, attributes = read_list(folder, LISTS[0])
    if absent := [name for name in NEEDED if name not in columns]:
        raise missing(folder, f"{LISTS[0]} has no column {absent[0]}")
    partition = read_list(folder, LISTS[1])[1]
    files = [file for file in attributes if partition.get(file) == [str(SPLITS[split])]]
    if not files:
        raise missing(folder, f"the lists name no image of the split {split}")
    wanted = [columns.index(name) for name in NEEDED]
    images = np.empty((len(files), 3, SIZE, SIZE), np.uint8)
    with opened(folder) as read:
        for k, file in enumerate(files):
            try:
                with Image.open(io.BytesIO(read(file))) as picture:
                    small = picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX, box=BOX)
            except (OSError, KeyError, ValueError, UnidentifiedImageError) as error:
                raise missing(folder, f"the image {file} cannot be read ({error})") from error
            images[k] = np.asarray(small).transpose(2, 0, 1)
    return images, np.array([[attributes[file][k] == "1" for k in wanted] for file in files], np.uint8)


def missing(folder: Path, what: str) -> TinygenError:
    """The error that says what is wrong and what belongs where."""
    return TinygenError(f"CelebA: {what}. It is not fetched, its terms ask for your agreement: put {IMAGES}.zip, "
                        f"{LISTS[0]}.txt and {LISTS[1]}.txt into {folder}")


def write(packed: Path, arrays: dict[str, np.ndarray]) -> None:
    """All or nothing: under a temporary name, then renamed."""
    partial = packed.with_name(f"{packed.name}.{os.getpid()}.part")
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
