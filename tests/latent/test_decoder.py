"""The decoder that meets samples: what the critic is shown, what moves, and that it cancels a fault of the denoiser."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from tinygen.autoencoder import KLAutoencoder
from tinygen.data import ImageSet, to_float
from tinygen.data.batches import seeded_generator
from tinygen.errors import TinygenError
from tinygen.features import Classifier
from tinygen.latent import DecoderObjective, LatentDiffusion, Tokenizer
from tinygen.vq import VQAutoencoder

CAPTIONS = ("a red star", "a blue square", "a red square")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def dataset(n=12):
    images = torch.randint(256, (n, 3, 16, 16), generator=seeded(), dtype=torch.uint8)
    captions = tuple(CAPTIONS[i % 3] for i in range(n))
    return ImageSet("noise:train", images, torch.arange(n) % 3, ("x", "y", "z"), captions, torch.zeros(n, 0, dtype=torch.long), {})


def pipeline(num_classes=3, words=None, first_stage=None):
    """A tiny pipeline on 4 x 4 latents, stirred, so that outputs that start at zero hide nothing."""
    torch.manual_seed(0)
    first_stage = first_stage or KLAutoencoder(2, channels=8, image_size=16)
    model = LatentDiffusion(first_stage, "unet", {"channels": 8, "channel_mults": [1], "blocks": 1}, num_classes,
                            words and Tokenizer.vocabulary(words), text_length=7, text_channels=8)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(0.3 * torch.randn(parameter.shape))
    model.latent_mean.copy_(torch.tensor([0.5, -0.2]).view(2, 1, 1))
    model.latent_std.copy_(torch.tensor([2.0, 0.7]).view(2, 1, 1))
    return model.eval()


def eyes():
    torch.manual_seed(5)
    return Classifier("plain", {"class": 2}, width=4).eval().requires_grad_(False)


def codes():
    """A first stage with codes, whose codebook has begun."""
    torch.manual_seed(3)
    first_stage = VQAutoencoder(8, 2, channels=8, image_size=16)
    first_stage.train()(to_float(dataset().images))
    return first_stage


def objective(model, **options):
    return DecoderObjective(model, eyes(), **{"samples": 12, "steps": 2, "discriminator_channels": 4} | options)


def at(fraction):
    return SimpleNamespace(fraction=fraction, step=90, total=100, generator=seeded(4))


def test_latents_without_their_pictures():
    model = pipeline()
    drawn = [model.generate(3, torch.arange(3), seeded(), steps=2, decode=decode) for decode in (True, False)]
    assert drawn[1].shape == (3, 2, 4, 4) and torch.equal(model.decode(drawn[1]), drawn[0])


@pytest.mark.parametrize("first_stage", [None, codes])
@pytest.mark.parametrize("num_classes, words", [(3, None), (0, CAPTIONS), (0, None)])
def test_the_critic_is_shown_what_the_model_draws(num_classes, words, first_stage):
    model, data = pipeline(num_classes=num_classes, words=words, first_stage=first_stage and first_stage()), dataset()
    trained = objective(model)
    batch = trained.batches(data, batch_size=4, seed=2)[0]
    told = {"labels": torch.arange(12) % 3} if num_classes else {"prompts": data.captions} if words else {}
    images = model.generate(12, generator=seeded_generator(2, 3, 0), steps=2, guidance_scale=2.0, **told)
    torch.testing.assert_close(trained.first_stage.decoder(trained.latents).clamp(-1, 1), images)
    rows = torch.randint(12, (4,), generator=seeded(4))                  # of the losses below: KL would draw noise before
    shown = trained.painted(torch.zeros(4, 3, 16, 16), at(0.9))
    torch.testing.assert_close(shown.clamp(-1, 1), images[rows])
    if first_stage:
        (_, _, terms), (_, theirs, _) = trained.train().losses(batch, at(0.9))
        see = trained.perceptual.classifier.maps
        pairs = list(zip(trained.logits(see(batch.images)), trained.logits(see(shown)), strict=True))
        torch.testing.assert_close(theirs, sum(F.relu(1 - a).mean() + F.relu(1 + b).mean() for a, b in pairs) / 4)
        torch.testing.assert_close(terms["adversarial"], -sum(b.mean() for _, b in pairs) / 4)
        torch.testing.assert_close(terms["mse"], F.mse_loss(trained.first_stage(batch.images)[0], batch.images))
    assert trained.preview(model, batch).shape == (4 + 4 + 10, 3, 16, 16)


def test_it_needs_samples():
    with pytest.raises(TinygenError, match="samples must be at least 1, not 0"):
        objective(pipeline(), samples=0)


def test_each_process_draws_its_own_samples():
    trained = objective(pipeline())
    drawn = []
    for rank in (0, 1, 0):
        trained.batches(dataset(), batch_size=4, seed=2, rank=rank, world_size=2)
        drawn.append(trained.latents)
    assert torch.equal(drawn[0], drawn[2]) and not torch.allclose(drawn[0], drawn[1])


def test_only_the_decoder_learns():
    trained = objective(pipeline(first_stage=codes()))
    batch = trained.batches(dataset(), batch_size=4, seed=0)[0]
    before = {name: tensor.clone() for name, tensor in trained.model.state_dict().items()}
    optimizer = torch.optim.AdamW(trained.train().groups()["autoencoder"], lr=1e-2)
    for name, loss, _ in trained.losses(batch, at(0.9)):
        if name == "autoencoder":
            loss.backward()
    optimizer.step()
    moved = [name for name, tensor in trained.model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert moved and all(name.startswith("first_stage.decoder.") for name in moved)
    assert not any(p.requires_grad for p in trained.model.denoiser.parameters())


def test_it_cancels_a_fault_of_the_denoiser():
    """Photographs are flat greys, the latents drawn are those of pictures that are too dark: the decoder learns to paint them brighter."""
    model, data = pipeline(), dataset(64)
    data.images.copy_((128 + 40 * torch.rand(64, 1, 1, 1, generator=seeded())).to(torch.uint8).expand(64, 3, 16, 16))
    images = to_float(data.images)
    trained = objective(model, adversarial_weight=1.0, pixel_weight=0.1, perceptual_weight=0.0, critic="patches")
    batches = trained.batches(data, batch_size=16, seed=0)
    with torch.no_grad():
        trained.latents = model.first_stage.to_latent(images - 0.6)
    groups = trained.train().groups()
    optimizers = {name: torch.optim.AdamW(parameters, lr=3e-3, betas=(0.5, 0.99)) for name, parameters in groups.items()}
    brightness = []
    for step in range(150):
        for name, loss, _ in trained.losses(batches[step], SimpleNamespace(fraction=0.9, step=step, total=150, generator=seeded(step))):
            optimizers[name].zero_grad()
            loss.backward()
            optimizers[name].step()
        with torch.no_grad():
            brightness.append((trained.first_stage.decoder(trained.latents).mean() - images.mean()).abs().item())
    assert max(brightness[-30:]) < 0.5 * brightness[0]
