"""Attention (Vaswani et al. 2017, arXiv:1706.03762) and the pre-norm transformer block."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import zero_


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """softmax(q k^T / sqrt(d)) v: q (B, heads, N, d), k and v (B, heads, M, d), mask (broadcast to B, heads, N, M) -> like q.

    On a CPU always in float32: torch's bfloat16 kernel takes up to five times as long for its backward pass.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask, is_causal=causal)


class Attention(nn.Module):
    """Multi-head attention from `x` to `context` (to itself where `context` is None).

    x (B, N, channels), context (B, M, context_channels), mask (B, M) bool, True where a key may be looked at
    -> (B, N, channels). Scores are divided by sqrt(channels / heads). The output projection starts at zero.
    """

    def __init__(self, channels: int, heads: int, context_channels: int | None = None, causal: bool = False):
        super().__init__()
        if channels % heads:
            raise ValueError(f"channels ({channels}) must be a multiple of heads ({heads})")
        self.heads, self.causal = heads, causal
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_kv = nn.Linear(context_channels or channels, 2 * channels, bias=False)
        self.out = zero_(nn.Linear(channels, channels))

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        k, v = self.to_kv(context).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.to_q(x), k, v))  # (B, heads, N, d)
        h = attend(q, k, v, None if mask is None else mask[:, None, None, :], self.causal)
        return self.out(h.transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """Pre-norm transformer block: self-attention, optional cross-attention, a GELU perceptron. (B, N, C) -> (B, N, C)."""

    def __init__(self, channels: int, heads: int, context_channels: int | None = None, causal: bool = False,
                 dropout: float = 0.0, expansion: int = 4):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = Attention(channels, heads, causal=causal)
        self.norm_cross = nn.LayerNorm(channels) if context_channels else None
        self.cross = Attention(channels, heads, context_channels) if context_channels else None
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, expansion * channels), nn.GELU(),
                                 zero_(nn.Linear(expansion * channels, channels)))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None, context: Tensor | None = None,
                context_mask: Tensor | None = None) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), mask=mask))
        if self.cross is not None and context is not None:
            x = x + self.dropout(self.cross(self.norm_cross(x), context, context_mask))
        return x + self.dropout(self.mlp(self.norm2(x)))
