"""The KL-regularised autoencoder: a VAE with a feature map as its latent (Kingma and Welling 2013, arXiv:1312.6114)."""

import torch
from torch import Tensor, nn

from .networks import Decoder, Encoder


class DiagonalGaussian:
    """q(z|x) = N(mean, diag(exp(log_variance))), both (B, C, h, w); the log-variance is clamped to [-20, 10]."""

    def __init__(self, moments: Tensor):
        self.mean, log_variance = moments.float().chunk(2, dim=1)               # 2 x (B, C, h, w)
        self.log_variance = log_variance.clamp(-20.0, 10.0)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """mean + standard deviation * noise: the reparameterisation trick."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def kl(self) -> Tensor:
        """KL(q || N(0, I)) in nats per image, (B,): 1/2 sum(mean^2 + variance - 1 - log variance)."""
        return 0.5 * (self.mean**2 + self.log_variance.exp() - 1 - self.log_variance).sum(dim=(1, 2, 3))


class KLAutoencoder(nn.Module):
    """First stage with a Gaussian latent: (B, 3, S, S) in [-1, 1] <-> (B, latent_channels, S/f, S/f)."""

    def __init__(self, latent_channels: int = 8, channels: int = 64, blocks: int = 1, downsampling: int = 4,
                 image_size: int = 32):
        super().__init__()
        self.latent_shape = (latent_channels, image_size // downsampling, image_size // downsampling)
        self.encoder = Encoder(2 * latent_channels, channels, blocks, downsampling)
        self.decoder = Decoder(latent_channels, channels, blocks, downsampling)

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """Images -> the posterior q(z|x)."""
        return DiagonalGaussian(self.encoder(x))

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """(reconstruction from a sampled latent, {"kl": mean KL in nats per image}): what the objective trains on."""
        posterior = self.encode(x)
        return self.decoder(posterior.sample(generator)), {"kl": posterior.kl().mean()}

    def to_latent(self, x: Tensor) -> Tensor:
        """Images -> posterior means (B, C, h, w)."""
        return self.encode(x).mean

    def from_latent(self, z: Tensor) -> Tensor:
        """Latents -> images, clamped to [-1, 1]."""
        return self.decoder(z).clamp(-1.0, 1.0)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Images -> images by way of the posterior mean."""
        return self.from_latent(self.to_latent(x))
