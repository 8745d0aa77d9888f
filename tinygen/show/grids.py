"""Many small images as one picture."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ..data import to_uint8
from ..errors import TinygenError
from ..models import write_atomically


def to_hwc(images: Tensor) -> np.ndarray:
    """Images (N, 3, H, W), uint8 or float in [-1, 1], on any device -> uint8 (N, H, W, 3)."""
    images = images.detach() if images.dtype == torch.uint8 else to_uint8(images)
    return images.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def grid(images: Tensor, columns: int | None = None, pad: int = 2, scale: int = 2, background: int = 255) -> np.ndarray:
    """Images (N, 3, H, W), uint8 or float in [-1, 1], in rows of `columns` (None: near a square) -> (height, width, 3).

    The picture is uint8. Every pixel becomes scale x scale of them; `pad` pixels of grey level
    `background` lie between and around images.
    """
    tiles = to_hwc(images).repeat(scale, axis=1).repeat(scale, axis=2)          # (N, s H, s W, 3)
    n, height, width, _ = tiles.shape
    if not n:
        raise TinygenError("there are no images to show: ask for at least one")
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    canvas = np.full((rows * (height + pad) + pad, columns * (width + pad) + pad, 3), background, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = pad + i // columns * (height + pad), pad + i % columns * (width + pad)
        canvas[top:top + height, left:left + width] = tile
    return canvas


def labelled_grid(images: Tensor, columns: int, row_titles: Sequence[str] = (), column_titles: Sequence[str] = (),
                  title: str = "", pad: int = 2, scale: int = 2) -> np.ndarray:
    """`grid` with a title beside every row and above every column -> uint8 (height, width, 3).

    Titles of columns are written upright where they are long. TinygenError where the number of titles does not fit.
    """
    rows = math.ceil(len(images) / columns)
    for kind, titles, count in (("row", row_titles, rows), ("column", column_titles, columns)):
        if titles and len(titles) != count:
            raise TinygenError(f"{len(titles)} {kind} titles for {count} {kind}s: give one each, or none")
    picture = grid(images, columns, pad, scale)
    height, width, _ = picture.shape
    letter, dpi = 7.2, 100                                                      # pixels a letter, pixels an inch
    longest = max((len(t) for t in column_titles), default=0)
    steep = longest * letter > width / columns
    left = round(20 + letter * max((len(t) for t in row_titles), default=0)) if row_titles else 4
    top = (round(8 + letter * longest) if steep else 24 if column_titles else 4) + (26 if title else 0)
    right = max(4, round(len(title) * 8.5) - left - width)                      # room for a long title
    figure = Figure(figsize=((left + width + right) / dpi, (top + height + 4) / dpi), dpi=dpi, facecolor="white")
    total_height, total_width = top + height + 4, left + width + right
    figure.figimage(picture, xo=left, yo=4)
    cell_height, cell_width = (height - pad) / rows, (width - pad) / columns
    for i, text in enumerate(row_titles):
        y = 4 + height - pad - (i + 0.5) * cell_height
        figure.text((left - 6) / total_width, y / total_height, text, ha="right", va="center", fontsize=9)
    for i, text in enumerate(column_titles):
        x = left + pad + (i + 0.5) * cell_width
        figure.text(x / total_width, (height + 8) / total_height, text, ha="center", va="bottom", fontsize=9,
                    rotation=90 if steep else 0)
    if title:
        figure.text(left / total_width, 1 - 6 / total_height, title, ha="left", va="top", fontsize=11, weight="bold")
    return figure_to_array(figure)


def figure_to_array(figure: Figure) -> np.ndarray:
    """A matplotlib figure -> uint8 (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def png_bytes(array: np.ndarray) -> bytes:
    """uint8 (height, width, 3) -> a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def save_png(array: np.ndarray, path: str | Path) -> Path:
    """uint8 (height, width, 3) -> a PNG at `path`, whose folder is made; TinygenError where one cannot write."""
    write_atomically(Path(path), png_bytes(array))
    return Path(path)
