"""Encoders, decoders and the KL autoencoder."""

from .kl import DiagonalGaussian, KLAutoencoder
from .networks import Decoder, Encoder

__all__ = ["Decoder", "DiagonalGaussian", "Encoder", "KLAutoencoder"]
