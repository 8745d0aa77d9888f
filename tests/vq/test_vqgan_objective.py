"""The VQGAN objective: adaptive weight by hand, ramp, who gets which gradient, usage over an epoch."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tinygen.autoencoder import KLAutoencoder
from tinygen.data import Batch, ImageSet
from tinygen.errors import TinygenError
from tinygen.features import Classifier
from tinygen.models import call
from tinygen.vq import VQAutoencoder, VQGANObjective, adaptive_weight


def model():
    torch.manual_seed(0)
    return VQAutoencoder(16, 4, channels=8, image_size=16)


def batch(n=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 3, 16, 16, generator=generator) * 2 - 1
    return Batch(images, torch.zeros(n, dtype=torch.long), torch.arange(n))


def at(fraction, step=0):
    return SimpleNamespace(step=step, total=10, fraction=fraction, generator=torch.Generator().manual_seed(1))


def objective(**options):
    torch.manual_seed(0)
    result = VQGANObjective(model(), **options)
    result.steps_per_epoch = 100
    return result


def test_adaptive_weight_of_a_linear_decoder_by_hand():
    """out = W h: the gradient of sum (out - x)^2 is 2 (out - x) h^T, that of -sum(c * out) is -c h^T."""
    generator = torch.Generator().manual_seed(0)
    W, h, x, c = (torch.randn(shape, generator=generator) for shape in ((3, 5), (5, 7), (3, 7), (3, 7)))
    W.requires_grad_()
    out = W @ h
    reconstruction, adversarial = (out - x).square().sum(), -(c * out).sum()
    ratio = (2 * (out - x) @ h.T).norm() / (c @ h.T).norm()
    weight = adaptive_weight(reconstruction, adversarial, W, maximum=1e6)
    torch.testing.assert_close(weight, ratio.detach(), rtol=1e-4, atol=0)
    assert not weight.requires_grad and weight.dtype == torch.float32
    tenth = adaptive_weight(reconstruction, 10 * adversarial, W, 1e6)
    torch.testing.assert_close(10 * tenth, weight, rtol=1e-4, atol=0)
    assert adaptive_weight(reconstruction, adversarial, W, maximum=ratio.item() / 2) == pytest.approx(ratio.item() / 2)
    assert adaptive_weight(reconstruction, 0 * adversarial, W, maximum=3.0) == 3.0          # no 0 / 0
    assert adaptive_weight(0 * reconstruction, adversarial, W, maximum=3.0) == 0.0
    (reconstruction + weight * adversarial).backward()                                       # the graph is still there
    assert W.grad is not None


def test_adaptive_weight_survives_gradients_that_half_precision_loses():
    """Activations in half precision: gradients of 1e-8, below its smallest number, would come out as 0."""
    W, h = torch.ones(1, 4, requires_grad=True), torch.full((4, 1), 0.5)
    out = (W @ h).half().float() * 2e-8                                  # the gradient of `out` passes through half
    assert torch.autograd.grad(out.sum(), W, retain_graph=True)[0].abs().max() == 0
    assert adaptive_weight(out.sum(), out.sum(), W, 10.0).item() == pytest.approx(1, abs=0.2)


def test_ramp_is_a_fraction_of_the_run():
    ramp = objective(adversarial_weight=1.0, adversarial_start=0.2, adversarial_full=0.6).ramp
    assert [ramp(f) for f in (0.0, 0.2, 0.6, 0.99)] == [0, 0, 1, 1]
    assert ramp(0.3) == pytest.approx(0.25) and ramp(0.4) == pytest.approx(0.5)
    step = objective(adversarial_weight=1.0, adversarial_start=0.5, adversarial_full=0.5).ramp
    assert step(0.49) == 0 and step(0.51) == 1


def features():
    torch.manual_seed(1)
    return Classifier("plain", {"class": 2}, width=4)


@pytest.mark.parametrize("critic", ["patches", "features"])
@pytest.mark.parametrize("fraction", [0.1, 0.9])
def test_each_player_gets_only_its_own_gradient(fraction, critic):
    """And the discriminator learns before the generator hears of it; the network that sees features learns nothing."""
    network = features()
    trained = objective(adversarial_weight=0.5, adversarial_start=0.5, adversarial_full=0.8, critic=critic, perceptual=network,
                        perceptual_weight=0.1)
    groups = trained.groups()
    ours, theirs = groups["autoencoder"], groups["discriminator"]
    assert not {id(p) for p in ours} & {id(p) for p in theirs}
    steps = trained.losses(batch(), at(fraction))
    name, loss, terms = next(steps)
    loss.backward()
    assert name == "autoencoder" and all(p.grad is None for p in theirs) and all(p.requires_grad for p in theirs)
    assert sum(p.grad is not None for p in ours) == len(ours)
    assert ("adversarial" in terms) == (fraction > 0.5)
    kept = [p.grad.clone() for p in ours]
    name, loss, terms = next(steps)
    loss.backward()
    assert name == "discriminator" and all(p.grad is not None for p in theirs)
    assert all(torch.equal(p.grad, grad) for p, grad in zip(ours, kept, strict=True))
    with pytest.raises(StopIteration):
        next(steps)
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())


def test_a_critic_of_features_hears_nothing_but_the_maps():
    """Two images that the frozen network cannot tell apart get the same logits; those of other images differ."""
    network = features()
    with torch.no_grad():
        network.trunk.stages[0][0].weight[:, 2].zero_()                         # blind for blue
    trained = objective(adversarial_weight=0.5, critic="features", perceptual=network, discriminator_channels=4)
    x = batch().images
    bluer = x + torch.tensor([0, 0, 0.3])[:, None, None]
    say = lambda images: trained.logits(network.maps(images))
    torch.testing.assert_close(say(x), say(bluer))
    assert len(say(x)) == 4                                                     # one map of logits for each of its four
    assert not torch.allclose(say(x)[0], say(x.flip(1))[0], atol=1e-3)
    trained.eval()                                                              # the codebook stays
    (_, _, ours), (_, theirs, _) = trained.losses(batch(), at(0.9))
    real, fake = say(x), say(trained.model(x)[0])                               # all maps weigh the same, whatever their size
    by_hand = [(F.relu(1 - a).mean() + F.relu(1 + b).mean(), -b.mean()) for a, b in zip(real, fake, strict=True)]
    torch.testing.assert_close(theirs, sum(pair[0] for pair in by_hand) / 4)
    torch.testing.assert_close(ours["adversarial"], sum(pair[1] for pair in by_hand) / 4)


@pytest.mark.parametrize("kind", ["vq", "kl"])
def test_with_decoder_only_the_latents_stay(kind):
    torch.manual_seed(0)
    first_stage = model() if kind == "vq" else KLAutoencoder(4, channels=8, image_size=16)
    if kind == "vq":
        first_stage.train()(batch().images)                                     # the codebook begins
    trained = VQGANObjective(first_stage, features(), perceptual_weight=0.1, decoder_only=True).train()
    trained.steps_per_epoch = 100
    before = {name: tensor.clone() for name, tensor in first_stage.state_dict().items()}
    optimizer = torch.optim.AdamW(trained.groups()["autoencoder"], lr=1e-2)
    for _, loss, _ in trained.losses(batch(), at(0.9)):
        loss.backward()
    optimizer.step()
    moved = {name.split(".")[0] for name, tensor in first_stage.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"decoder"} and first_stage.decoder.training and not first_stage.encoder.training


def test_total_is_the_weighted_sum_of_its_terms():
    trained = objective(perceptual=features(), pixel_weight=2.0, perceptual_weight=0.3, commitment_weight=0.7,
                        adversarial_weight=0.5, adversarial_start=0.0, adversarial_full=0.5, adaptive_maximum=1e4)
    _, loss, terms = next(trained.losses(batch(), at(0.25)))
    assert terms["ramp"] == 0.5 and terms["adaptive_weight"] > 0
    total = 2 * terms["mse"] + 0.3 * terms["perceptual"] + 0.7 * terms["commitment"] \
        + 0.5 * 0.5 * terms["adaptive_weight"] * terms["adversarial"]
    torch.testing.assert_close(loss, total)
    torch.testing.assert_close(terms["psnr"], 20 * torch.log10(2 / terms["mse"].detach().sqrt()))
    assert set(terms) == {"mse", "perceptual", "commitment", "adversarial", "adaptive_weight", "ramp", "psnr", "usage",
                          "perplexity"}


def test_pixels_can_be_compared_by_their_absolute_error():
    trained = objective(pixel_loss="l1", pixel_weight=2.0, commitment_weight=0.25)
    trained.eval()
    images = batch().images
    (_, loss, terms), = trained.losses(batch(), at(0.9))
    torch.testing.assert_close(terms["l1"], (trained.model(images)[0] - images).abs().mean())
    torch.testing.assert_close(loss, 2 * terms["l1"] + 0.25 * terms["commitment"])
    with pytest.raises(TinygenError, match="'mse' or 'l1'"):
        objective(pixel_loss="huber")


def test_adversarial_gradient_pulls_as_hard_as_the_reconstruction():
    """What the adaptive weight is for: at the last layer both gradients have the same norm."""
    trained = objective(adversarial_weight=1.0, adversarial_start=0.0, adversarial_full=0.1, adaptive_maximum=1e6)
    _, _, terms = next(trained.losses(batch(), at(0.9)))
    last = trained.model.decoder.last_weight
    by_pixels, = torch.autograd.grad(terms["mse"], last, retain_graph=True)
    by_critic, = torch.autograd.grad(terms["adaptive_weight"] * terms["adversarial"], last)
    torch.testing.assert_close(by_pixels.norm(), by_critic.norm(), rtol=1e-3, atol=0)


def test_without_adversary_it_is_a_plain_autoencoder():
    trained = objective(commitment_weight=0.25)
    assert trained.discriminator is None and list(trained.groups()) == ["autoencoder"]
    (name, loss, terms), = trained.losses(batch(), at(0.9))
    torch.testing.assert_close(loss, terms["mse"] + 0.25 * terms["commitment"])


def test_kl_term_is_in_nats_per_pixel_value():
    torch.manual_seed(0)
    first_stage = KLAutoencoder(4, channels=8, image_size=16)
    trained = VQGANObjective(first_stage, kl_weight=0.5)
    x = batch().images
    (_, loss, terms), = trained.losses(batch(), at(0.0))
    torch.testing.assert_close(terms["kl"], first_stage.encode(x).kl().mean())
    torch.testing.assert_close(loss, terms["mse"] + 0.5 * terms["kl"] / (3 * 16 * 16))
    reconstruction, _ = first_stage(x, torch.Generator().manual_seed(1))
    torch.testing.assert_close(terms["mse"], F.mse_loss(reconstruction, x))


def test_usage_is_counted_over_an_epoch_and_begins_anew_with_it():
    trained = objective()
    trained.steps_per_epoch = 2
    batches = [torch.tensor([[[0, 1]]]), torch.tensor([[[1, 2]]]), torch.tensor([[[3, 3]]])]
    scalars = [trained.count(codes, at(0, step)) for step, codes in enumerate(batches)]
    assert [round(s["usage"].item() * 16) for s in scalars] == [2, 3, 1]
    assert [s["perplexity"].item() for s in scalars] == pytest.approx([2, 2 ** 1.5, 1])


def test_preview_shows_originals_above_reconstructions():
    trained = objective()
    next(trained.losses(batch(), at(0)))
    trained.model.eval()
    images = trained.preview(trained.model, batch(12))
    assert images.shape == (20, 3, 16, 16) and torch.equal(images[:10], batch(12).images[:10])
    assert torch.equal(images[10:], trained.model.reconstruct(batch(12).images[:10]))


def test_a_few_steps_lower_the_error():
    images = (torch.rand(8, 3, 1, 1, generator=torch.Generator().manual_seed(0)) * 255).expand(8, 3, 16, 16)
    data = ImageSet("flat:train", images.to(torch.uint8).contiguous(), torch.zeros(8, dtype=torch.long), ("a",),
                    ("",) * 8, torch.zeros(8, 0, dtype=torch.long), {})
    trained = objective()
    batches = trained.batches(data, batch_size=8)
    assert trained.steps_per_epoch == 1
    optimizer = torch.optim.AdamW(trained.groups()["autoencoder"], lr=5e-3)
    errors = []
    for step in range(40):
        (_, loss, terms), = trained.losses(batches[step], at(step / 40, step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(terms["mse"].item())
    assert errors[-1] < 0.3 * errors[0]


def test_a_perceptual_weight_needs_a_network():
    with pytest.raises(TinygenError, match="perceptual_weight needs a perceptual network"):
        call(VQGANObjective, {"perceptual_weight": 1.0}, "recipe: objective", model=nn.Identity())
    with pytest.raises(TinygenError, match="a critic of features needs a perceptual network"):
        call(VQGANObjective, {"adversarial_weight": 1.0, "critic": "features"}, "recipe: objective", model=nn.Identity())
    with pytest.raises(TinygenError, match="'patches' or 'features'"):
        objective(critic="pixels")
