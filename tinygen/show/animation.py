"""Moving pictures: a denoising run as a GIF."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import TinygenError
from ..models import write_atomically


def gif_bytes(frames: Sequence[np.ndarray], seconds: float = 4.0, hold: float = 1.5) -> bytes:
    """Frames, uint8 (height, width, 3) of one size -> a GIF of `seconds`, endless; the last one rests for `hold`.

    A GIF has 256 colours; those of the last frame serve for all. TinygenError for no frames or several sizes.
    """
    if not frames or len({frame.shape for frame in frames}) > 1:
        raise TinygenError("an animation needs at least one frame, and all of one size")
    palette = Image.fromarray(frames[-1]).quantize(256)
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames]
    durations = [max(20, round(1000 * seconds / len(frames)))] * len(frames)    # milliseconds
    durations[-1] += round(1000 * hold)
    buffer = io.BytesIO()
    images[0].save(buffer, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    return buffer.getvalue()


def save_gif(frames: Sequence[np.ndarray], path: str | Path, seconds: float = 4.0, hold: float = 1.5) -> Path:
    """Write `gif_bytes` of the frames to `path`; TinygenError where one cannot write."""
    write_atomically(Path(path), gif_bytes(frames, seconds, hold))
    return Path(path)
