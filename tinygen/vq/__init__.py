"""Vector quantisation: quantisers, the VQ autoencoder, the VQGAN objective and the prior over its codes."""

from .autoencoder import VQAutoencoder
from .objective import VQGANObjective, adaptive_weight
from .prior import PriorObjective, TokenPrior
from .quantizers import FSQ, Quantized, VectorQuantizer, straight_through
from .usage import count_codes, perplexity, usage

__all__ = ["FSQ", "PriorObjective", "Quantized", "TokenPrior", "VQAutoencoder", "VQGANObjective", "VectorQuantizer",
           "adaptive_weight", "count_codes", "perplexity", "straight_through", "usage"]
