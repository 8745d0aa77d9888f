"""Latent diffusion: one pipeline from a class or a sentence to a picture; a CLIP that says how well the two agree."""

from .clip import CLIP, ClipObjective, info_nce
from .distillation import DistillationObjective, DistilledDiffusion
from .objective import LatentDiffusionObjective, cache_latents
from .pipeline import LatentDiffusion
from .text import TextEncoder, Tokenizer

__all__ = ["CLIP", "ClipObjective", "DistillationObjective", "DistilledDiffusion", "LatentDiffusion",
           "LatentDiffusionObjective", "TextEncoder", "Tokenizer", "cache_latents", "info_nce"]
