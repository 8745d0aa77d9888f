"""The vector-quantised autoencoder: encoder, quantiser, decoder (van den Oord et al. 2017, arXiv:1711.00937)."""

import torch
from torch import Tensor, nn

from ..autoencoder import Decoder, Encoder
from .quantizers import FSQ, VectorQuantizer


class VQAutoencoder(nn.Module):
    """First stage with discrete codes: (B, 3, S, S) in [-1, 1] <-> (B, S/f, S/f) codes of K.

    Args:
        codebook_size, code_channels, decay, l2_normalize, restart_below: see VectorQuantizer.
        levels: (8, 8, 8), say, uses FSQ and ignores those; None uses a learned codebook.
        channels, blocks, downsampling: see Encoder.
    """

    def __init__(self, codebook_size: int = 512, code_channels: int = 8, decay: float | None = 0.97,
                 l2_normalize: bool = False, restart_below: float = 0.03, levels: tuple[int, ...] | None = None,
                 channels: int = 64, blocks: int = 1, downsampling: int = 4, image_size: int = 32):
        super().__init__()
        self.quantizer = FSQ(levels) if levels else \
            VectorQuantizer(codebook_size, code_channels, decay, l2_normalize, restart_below)
        self.codebook_size = self.quantizer.codebook_size
        size = image_size // downsampling
        self.latent_shape = (self.quantizer.code_channels, size, size)
        self.encoder = Encoder(self.latent_shape[0], channels, blocks, downsampling)
        self.decoder = Decoder(self.latent_shape[0], channels, blocks, downsampling)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """(reconstruction, losses of the quantiser and the codes): what the objective trains on."""
        z_q, codes, losses = self.quantizer(self.encoder(x), generator)
        return self.decoder(z_q), losses | {"codes": codes}

    def to_latent(self, x: Tensor) -> Tensor:
        """Images -> latents before quantisation (B, D, h, w)."""
        return self.encoder(x)

    def from_latent(self, z: Tensor) -> Tensor:
        """Latents -> nearest codes -> images, clamped to [-1, 1]."""
        return self.decoder(self.quantizer(z).z_q).clamp(-1.0, 1.0)

    def encode_codes(self, x: Tensor) -> Tensor:
        """Images -> (B, h, w) int64."""
        return self.quantizer(self.encoder(x)).codes

    def decode_codes(self, codes: Tensor) -> Tensor:
        """(B, h, w) int64 -> images, clamped to [-1, 1]."""
        return self.decoder(self.quantizer.codes_to_latents(codes)).clamp(-1.0, 1.0)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Images -> images by way of the codes."""
        return self.from_latent(self.to_latent(x))
