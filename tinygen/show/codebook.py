"""What is in a codebook: how often each code is used, and what it looks like."""

from collections.abc import Callable

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .grids import figure_to_array, grid


@torch.no_grad()
def codebook_map(counts: Tensor, decode_codes: Callable[[Tensor], Tensor], code_shape: tuple[int, int],
                 shown: int = 256, columns: int = 32) -> np.ndarray:
    """Usage of every code, sorted, above pictures of the `shown` most used ones -> uint8 (height, width, 3).

    counts (K,) over a whole epoch, on the model's device; `decode_codes` maps (B, h, w) int64 to images in [-1, 1]; `code_shape` is (h, w).
    The picture of a code is the middle of the image that is decoded from a map filled with it.
    """
    device, counts = counts.device, counts.detach().cpu().double()
    order = counts.argsort(descending=True, stable=True)                        # (K,)
    codes = order[:shown]
    filled = codes[:, None, None].expand(-1, *code_shape)                       # (shown, h, w)
    images = torch.cat([decode_codes(part.to(device)).cpu() for part in filled.split(64)])
    size = images.shape[-1]
    pictures = grid(images[:, :, size // 4:-(size // 4), size // 4:-(size // 4)], columns=columns, pad=1, scale=2)
    share = (counts / counts.sum().clamp_min(1))[order].numpy()
    figure = Figure(figsize=(pictures.shape[1] / 100, 2.0), dpi=100, layout="constrained", facecolor="white")
    axis = figure.subplots()
    axis.fill_between(np.arange(len(share)), share * len(share), step="mid", color="#2563eb", alpha=0.8)
    axis.axhline(1.0, color="#555555", linewidth=0.8, linestyle="--")
    axis.set_xlim(0, max(1, len(share) - 1))
    axis.set_title(f"{int((counts > 0).sum())} of {len(counts)} codes are used; dashed: all equally often", fontsize=9)
    axis.set_xlabel(f"codes from most to least used; below: what the first {len(codes)} of them look like", fontsize=8)
    axis.set_ylabel("use / mean", fontsize=8)
    axis.tick_params(labelsize=7)
    histogram = figure_to_array(figure)
    width = max(histogram.shape[1], pictures.shape[1])
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0)), constant_values=255)
                           for part in (histogram, pictures)])
