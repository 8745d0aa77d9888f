"""Generative adversarial networks: losses, regularisers, networks, objective (chapters 03, 04 and 08)."""

from .augment import diff_augment
from .losses import discriminator_loss, generator_loss
from .networks import Discriminator, FeatureDiscriminator, Generator, PatchDiscriminator
from .objective import GANObjective
from .regularisers import apply_spectral_norm, gradient_penalty, power_iteration, r1_penalty

__all__ = ["Discriminator", "FeatureDiscriminator", "GANObjective", "Generator", "PatchDiscriminator", "apply_spectral_norm",
           "diff_augment", "discriminator_loss", "generator_loss", "gradient_penalty", "power_iteration", "r1_penalty"]
