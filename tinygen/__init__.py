"""tinygen: small, readable GANs, vector quantisation and latent diffusion that really train."""

__version__ = "0.1.0"
