"""Convolutional building blocks."""

import torch.nn.functional as F
from torch import Tensor, nn


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with at most 16 groups of at least 4 channels (Wu and He 2018, arXiv:1803.08494)."""
    groups = next(g for g in range(min(16, max(1, channels // 4)), 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


def zero_(module: nn.Module) -> nn.Module:
    """Set every parameter of `module` to zero and return it: a residual branch that starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class ResidualBlock(nn.Module):
    """Pre-activation residual block, norm-SiLU-conv twice, optionally modulated by an embedding (adaptive group norm).

    (B, in_channels, H, W), optional (B, embedding_channels) -> (B, out_channels, H, W).
    Source: He et al. 2016, arXiv:1603.05027; scale and shift as in Dhariwal and Nichol 2021, arXiv:2105.05233.
    """

    def __init__(self, in_channels: int, out_channels: int, embedding_channels: int = 0, dropout: float = 0.0):
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.modulation = zero_(nn.Linear(embedding_channels, 2 * out_channels)) if embedding_channels else None
        self.norm2 = group_norm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zero_(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))                       # (B, out, H, W)
        if self.modulation is not None:
            scale, shift = self.modulation(F.silu(embedding))[:, :, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return self.skip(x) + self.conv2(self.dropout(F.silu(h)))


class Downsample(nn.Module):
    """(B, C, H, W) -> (B, out_channels, H/2, W/2): fold 2x2 pixels into channels, then a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(4 * in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pixel_unshuffle(x, 2))


class Upsample(nn.Module):
    """(B, C, H, W) -> (B, out_channels, 2H, 2W): a 1x1 convolution, then unfold channels into 2x2 pixels (arXiv:1609.05158)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4 * out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x), 2)
