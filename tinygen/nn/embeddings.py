"""Fixed embeddings of numbers and of positions."""

import math

import torch
from torch import Tensor


def sinusoidal_embedding(values: Tensor, channels: int, max_period: float = 10_000.0) -> Tensor:
    """(B,) real numbers, of the order of 0 to 1000 -> (B, channels) cosines and sines (arXiv:1706.03762, section 3.5)."""
    half = channels // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, device=values.device, dtype=torch.float32) / half)
    angles = values.float()[:, None] * frequencies                              # (B, half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def sinusoidal_positions_2d(height: int, width: int, channels: int) -> Tensor:
    """(height * width, channels): one half of the channels embeds the row, the other half the column."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.cat([sinusoidal_embedding(rows.flatten(), channels // 2, 100.0),
                      sinusoidal_embedding(columns.flatten(), channels // 2, 100.0)], dim=-1)
