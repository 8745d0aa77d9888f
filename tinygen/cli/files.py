"""Images as files, whole or not there. Imports torch: import it in a command."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..models import write_atomically
from ..show import labelled_grid, save_gif, save_png, to_hwc

SHEET = 100                                             # images on a contact sheet


def sheet_beside(path: Path) -> Path:
    """Where the contact sheet of FILE.npz goes: FILE.png."""
    return path.with_suffix(".png")


def write_npz(path: Path, images: Tensor, labels: Tensor | None) -> None:
    """`images` uint8 (N, 3, S, S) as (N, S, S, 3), and `labels` int64 (N,) where there are any."""
    arrays = {"images": to_hwc(images)} | ({} if labels is None else {"labels": labels.cpu().numpy()})
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def picture(images: Tensor, classes: Sequence[str] = ()) -> np.ndarray:
    """A grid, uint8 (height, width, 3): a column for each of `classes`, if there are any and the images fill a row."""
    if classes and len(images) >= len(classes):
        return labelled_grid(images, len(classes), column_titles=classes)
    return labelled_grid(images, min(10, len(images)))


def write_png(path: Path, images: Tensor, classes: Sequence[str] = ()) -> None:
    """A grid of `images` uint8 (N, 3, S, S), see `picture`."""
    save_png(picture(images, classes), path)


def write_gif(path: Path, frames: Sequence[Tensor], classes: Sequence[str] = ()) -> None:
    """An animation: a grid for each of `frames` uint8 (N, 3, S, S)."""
    save_gif([picture(images, classes) for images in frames], path)


def write_pairs(path: Path, originals: Tensor, images: Tensor) -> None:
    """A grid: rows of originals, uint8 (N, 3, S, S), with their reconstructions below; white where none are left."""
    columns = min(10, len(images))
    white = images.new_full((-len(images) % columns, *images.shape[1:]), 255)
    rows = [torch.cat([part.cpu(), white]).unflatten(0, (-1, columns)) for part in (originals, images)]
    both = torch.stack(rows, dim=1)                                         # (rows, 2, columns, 3, S, S)
    save_png(labelled_grid(both.flatten(0, 2), columns, row_titles=("original", "reconstructed") * len(both)), path)
