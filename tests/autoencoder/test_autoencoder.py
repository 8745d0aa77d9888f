"""Encoder, decoder and the KL autoencoder against torch.distributions."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tinygen.autoencoder import Decoder, DiagonalGaussian, Encoder, KLAutoencoder
from tinygen.errors import TinygenError
from tinygen.models import build


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("downsampling", [2, 4, 8])
@pytest.mark.parametrize("size", [16, 32])
def test_sizes(downsampling, size):
    z = Encoder(5, 8, 1, downsampling)(randn(2, 3, size, size))
    assert z.shape == (2, 5, size // downsampling, size // downsampling)
    decoder = Decoder(5, 8, 1, downsampling)
    x = decoder(z)
    assert x.shape == (2, 3, size, size)
    gradient, = torch.autograd.grad(x.square().sum(), decoder.last_weight)
    assert gradient.shape == decoder.last_weight.shape and gradient.abs().max() > 0


def test_blocks_add_depth_only():
    count = lambda blocks: sum(p.numel() for p in Encoder(4, 8, blocks).parameters())
    assert count(2) - count(1) == count(3) - count(2) > 0


def test_unknown_downsampling_is_refused():
    with pytest.raises(ValueError, match="2, 4 or 8, not 3"):
        Encoder(4, 8, 1, 3)
    with pytest.raises(TinygenError, match="downsampling must be 2, 4 or 8"):
        build("kl", {"downsampling": 16})


def test_kl_is_that_of_torch_distributions():
    posterior = DiagonalGaussian(randn(4, 6, 3, 3))
    q = Normal(posterior.mean, (0.5 * posterior.log_variance).exp())
    expected = kl_divergence(q, Normal(0.0, 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(posterior.kl(), expected)
    assert torch.equal(DiagonalGaussian(torch.zeros(2, 4, 3, 3)).kl(), torch.zeros(2))


def test_sampling_is_a_reparameterisation():
    """z = mean + std * noise: right moments, reproducible, gradients dz/dmean = 1 and dz/dlogvar = (z - mean) / 2."""
    moments = torch.tensor([0.7, -1.2]).view(1, 2, 1, 1).expand(1, 2, 200, 200).clone().requires_grad_()
    posterior = DiagonalGaussian(moments)
    z = posterior.sample(torch.Generator().manual_seed(0))
    assert z.mean().item() == pytest.approx(0.7, abs=0.02) and z.var().item() == pytest.approx(math.exp(-1.2), rel=0.03)
    assert torch.equal(z, posterior.sample(torch.Generator().manual_seed(0)))
    assert not torch.equal(z, posterior.sample(torch.Generator().manual_seed(1)))
    by_mean, by_log_variance = torch.autograd.grad(z.sum(), moments)[0].chunk(2, dim=1)
    torch.testing.assert_close(by_mean, torch.ones_like(by_mean))
    torch.testing.assert_close(by_log_variance, 0.5 * (z - posterior.mean).detach())


def test_extreme_log_variances_stay_finite():
    posterior = DiagonalGaussian(torch.tensor([0.0, 1e4, 0.0, -1e4]).view(2, 2, 1, 1))
    assert posterior.log_variance.flatten().tolist() == [10, -20]
    assert torch.isfinite(posterior.kl()).all() and torch.isfinite(posterior.sample()).all()


def test_kl_autoencoder_goes_there_and_back():
    torch.manual_seed(0)
    model = KLAutoencoder(4, channels=8, image_size=16).eval()
    x = randn(3, 3, 16, 16).clamp(-1, 1)
    z = model.to_latent(x)
    assert z.shape == (3, *model.latent_shape) == (3, 4, 4, 4)
    assert torch.equal(model.from_latent(z), model.reconstruct(x)) and model.from_latent(100 * z).abs().max() <= 1
    reconstruction, extra = model(x, torch.Generator().manual_seed(0))
    latent = model.encode(x).sample(torch.Generator().manual_seed(0))
    assert torch.equal(reconstruction, model.decoder(latent))
    torch.testing.assert_close(extra["kl"], model.encode(x).kl().mean())
