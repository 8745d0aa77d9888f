"""A small diffusion transformer (DiT; Peebles and Xie 2023, arXiv:2212.09748)."""

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import TinygenError
from ..nn import Attention, attend, sinusoidal_positions_2d, zero_

from .unet import ConditionEmbedding


def modulate(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """(B, N, C) scaled and shifted by (B, 1, C) each."""
    return x * (1 + scale) + shift


class DiTBlock(nn.Module):
    """adaLN-zero block: norms without parameters, modulated and gated by the embedding. (B, N, C) -> (B, N, C)."""

    def __init__(self, channels: int, heads: int, context_channels: int = 0, expansion: int = 4, dropout: float = 0.0):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels, elementwise_affine=False, eps=1e-6)
        self.modulation = zero_(nn.Linear(channels, 6 * channels))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.cross = Attention(channels, heads, context_channels) if context_channels else None    # starts at zero
        self.mlp = nn.Sequential(nn.Linear(channels, expansion * channels), nn.GELU(approximate="tanh"),
                                 nn.Dropout(dropout), nn.Linear(expansion * channels, channels))

    def attention(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)    # (B, heads, N, d) each
        return self.out(attend(q, k, v).transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, embedding: Tensor, context: Tensor | None = None,
                context_mask: Tensor | None = None) -> Tensor:
        scale1, shift1, gate1, scale2, shift2, gate2 = self.modulation(embedding)[:, None].chunk(6, dim=-1)  # (B, 1, C)
        x = x + gate1 * self.attention(modulate(self.norm(x), scale1, shift1))
        if self.cross is not None and context is not None:
            x = x + self.cross(self.norm(x), context, context_mask)
        return x + gate2 * self.mlp(modulate(self.norm(x), scale2, shift2))


class DiT(nn.Module):
    """Diffusion transformer on patches of the image, with fixed sine and cosine positions.

    x (B, in_channels, H, W) with H = W = image_size, noise_level (B,) in [0, 1], labels (B,) int64 (num_classes: none),
    context (B, L, context_channels), context_mask (B, L) bool, True for the tokens to look at (where none is,
    the context has no effect) -> (B, in_channels, H, W), 0 before training. TinygenError for sizes that do not divide.
    """

    def __init__(self, in_channels: int, image_size: int = 8, patch_size: int = 2, channels: int = 128, depth: int = 6,
                 heads: int = 4, num_classes: int = 0, context_channels: int = 0, dropout: float = 0.0):
        super().__init__()
        if image_size % patch_size:
            raise TinygenError(f"image_size ({image_size}) must be a multiple of patch_size ({patch_size})")
        if channels % heads or channels % 4:
            raise TinygenError(f"channels ({channels}) must be a multiple of heads ({heads}) and of 4")
        self.patch_size, self.grid = patch_size, image_size // patch_size
        patch = in_channels * patch_size**2
        self.embed = ConditionEmbedding(channels, channels, num_classes, context_channels)
        self.stem = nn.Linear(patch, channels)
        self.register_buffer("positions", sinusoidal_positions_2d(self.grid, self.grid, channels), persistent=False)
        self.blocks = nn.ModuleList(DiTBlock(channels, heads, context_channels, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(channels, elementwise_affine=False, eps=1e-6)
        self.modulation = zero_(nn.Linear(channels, 2 * channels))
        self.head = zero_(nn.Linear(channels, patch))

    def forward(self, x: Tensor, noise_level: Tensor, labels: Tensor | None = None, context: Tensor | None = None,
                context_mask: Tensor | None = None) -> Tensor:
        embedding = F.silu(self.embed(noise_level, labels, context, context_mask))  # (B, C)
        patches = F.pixel_unshuffle(x, self.patch_size).flatten(2).transpose(1, 2)      # (B, N, in_channels p^2)
        tokens = self.stem(patches) + self.positions                            # (B, N, C)
        for block in self.blocks:
            tokens = block(tokens, embedding, context, context_mask)
        scale, shift = self.modulation(embedding)[:, None].chunk(2, dim=-1)
        patches = self.head(modulate(self.norm(tokens), scale, shift)).transpose(1, 2)
        return F.pixel_shuffle(patches.unflatten(2, (self.grid, self.grid)), self.patch_size)
