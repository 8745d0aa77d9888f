"""Blocks shared by every network: residual blocks, attention, norms, embeddings; and how to make them smaller."""

from .attention import Attention, TransformerBlock, attend
from .blocks import Downsample, ResidualBlock, Upsample, group_norm, zero_
from .compression import (Int8Conv2d, Int8Linear, Int8Model, keep_pruned, prune_channels, prune_magnitude, quantize_int8,
                          quantize_layers)
from .embeddings import sinusoidal_embedding, sinusoidal_positions_2d

__all__ = ["Attention", "Downsample", "Int8Conv2d", "Int8Linear", "Int8Model", "ResidualBlock", "TransformerBlock", "Upsample",
           "attend", "group_norm", "keep_pruned", "prune_channels", "prune_magnitude", "quantize_int8", "quantize_layers",
           "sinusoidal_embedding", "sinusoidal_positions_2d", "zero_"]
