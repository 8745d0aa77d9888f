"""Latent diffusion: one pipeline from a class or a sentence to a picture; CLIP; ways to adapt and to steer what was trained."""

from .adapters import Adapter
from .clip import CLIP, ClipObjective, info_nce
from .controlnet import ControlledUNet, ControlNet, ControlNetObjective, agreement, edge_map
from .decoder import DecoderObjective
from .distillation import DistillationObjective, DistilledDiffusion
from .inversion import invert
from .lora import LoRA, LoRAObjective, LowRank, add_low_rank, merge_low_rank
from .objective import LatentDiffusionObjective, cache_latents
from .pipeline import LatentDiffusion
from .steering import angle_loss, steer_codes, views
from .style import adain, codes_of_another, content_distance, gram, style_distance, stylise
from .text import TextEncoder, Tokenizer
from .textual_inversion import add_word, learn_word

__all__ = ["Adapter", "CLIP", "ClipObjective", "ControlNet", "ControlNetObjective", "ControlledUNet", "DecoderObjective", "DistillationObjective",
           "DistilledDiffusion", "LatentDiffusion", "LatentDiffusionObjective", "LoRA", "LoRAObjective", "LowRank",
           "TextEncoder", "Tokenizer", "adain", "add_low_rank", "add_word", "agreement", "angle_loss", "cache_latents",
           "codes_of_another", "content_distance", "edge_map", "gram", "info_nce", "invert", "learn_word",
           "merge_low_rank", "steer_codes", "style_distance", "stylise", "views"]
