"""The VQ autoencoder: shapes, the ways between images, latents and codes, gradients to the encoder."""

import pytest
import torch

from tinygen.vq import VQAutoencoder

VARIANTS = {"learned": {"codebook_size": 16, "code_channels": 4},
            "normalised": {"codebook_size": 16, "code_channels": 4, "l2_normalize": True},
            "by gradient": {"codebook_size": 16, "code_channels": 4, "decay": None},
            "fsq": {"levels": (4, 3)}}


def images(n=3, size=16):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def trained(**options):
    torch.manual_seed(0)
    model = VQAutoencoder(channels=8, image_size=16, **options)
    model(images(), torch.Generator().manual_seed(0))                    # initialises the codebook
    return model.eval()


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("downsampling", [2, 4])
def test_images_latents_and_codes(options, downsampling):
    model, x = trained(downsampling=downsampling, **options), images()
    channels, size, _ = model.latent_shape
    assert size == 16 // downsampling and channels == (2 if "levels" in options else 4)
    assert model.codebook_size == (12 if "levels" in options else 16)
    z, codes = model.to_latent(x), model.encode_codes(x)
    assert z.shape == (3, *model.latent_shape)
    assert codes.shape == (3, size, size) and 0 <= codes.min() <= codes.max() < model.codebook_size
    reconstruction = model.reconstruct(x)
    assert reconstruction.shape == x.shape and reconstruction.abs().max() <= 1
    torch.testing.assert_close(model.decode_codes(codes), reconstruction, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.from_latent(z), reconstruction)
    raw, extra = model(x)
    torch.testing.assert_close(raw.clamp(-1, 1), reconstruction)
    assert torch.equal(extra["codes"], codes)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_an_error_in_the_image_reaches_the_encoder(options):
    model = trained(**options).train()
    reconstruction, _ = model(images(), torch.Generator().manual_seed(0))
    (reconstruction - images()).square().mean().backward()
    assert all(p.grad.abs().max() > 0 for p in (model.encoder.layers[0].conv.weight, model.decoder.last_weight))


def test_latents_decode_by_their_nearest_code():
    """Diffusion hands back latents that lie beside the codes: they are quantised first."""
    model = trained(codebook_size=16, code_channels=4)
    codes = model.encode_codes(images())
    points = model.quantizer.codes_to_latents(codes)
    gap = torch.pdist(model.quantizer.codebook).min()
    nudge = torch.zeros_like(points)
    nudge[:, 0] = 0.4 * gap
    torch.testing.assert_close(model.from_latent(points + nudge), model.decode_codes(codes), atol=1e-5, rtol=1e-4)
