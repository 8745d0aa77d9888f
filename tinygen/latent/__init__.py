"""Latent diffusion: one pipeline from a class or a sentence to a picture."""

from .objective import LatentDiffusionObjective, cache_latents
from .pipeline import LatentDiffusion
from .text import TextEncoder, Tokenizer

__all__ = ["LatentDiffusion", "LatentDiffusionObjective", "TextEncoder", "Tokenizer", "cache_latents"]
