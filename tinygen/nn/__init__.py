"""Blocks shared by every network: residual blocks, attention, norms, embeddings."""

from .attention import Attention, TransformerBlock
from .blocks import Downsample, ResidualBlock, Upsample, group_norm, zero_
from .embeddings import sinusoidal_embedding, sinusoidal_positions_2d

__all__ = ["Attention", "Downsample", "ResidualBlock", "TransformerBlock", "Upsample", "group_norm",
           "sinusoidal_embedding", "sinusoidal_positions_2d", "zero_"]
