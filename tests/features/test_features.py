"""The two classifiers, what they are trained on, and the perceptual distance made from one of them."""

import pytest
import torch
import torch.nn.functional as F

from tinygen.data import Batch, ImageSet
from tinygen.errors import TinygenError
from tinygen.features import Classifier, ClassifierObjective, PerceptualLoss


def images(n=4, seed=0):
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def stripes(n=64):
    """Images of horizontal (label 0) or vertical (label 1) stripes, of two brightnesses (factor "light")."""
    g = torch.Generator().manual_seed(0)
    labels, light = torch.randint(2, (n,), generator=g), torch.randint(2, (n,), generator=g)
    wave = ((torch.arange(32) // 4 % 2) * 100).to(torch.uint8)
    horizontal, vertical = wave[:, None].expand(32, 32), wave[None].expand(32, 32)
    pictures = torch.stack([(vertical if label else horizontal) + 100 * bright
                            for label, bright in zip(labels.tolist(), light.tolist(), strict=True)])
    pictures = pictures[:, None].expand(n, 3, 32, 32).to(torch.uint8).contiguous()
    return ImageSet("stripes:train", pictures, labels, ("across", "down"), ("",) * n, light[:, None],
                    {"light": ("dark", "bright")})


@pytest.mark.parametrize("arch, sizes, channels", [("plain", [32, 16, 8, 4], [8, 16, 32, 32]),
                                                   ("residual", [16, 8, 4], [8, 16, 32])])
def test_shapes_of_maps_features_and_logits(arch, sizes, channels):
    model = Classifier(arch, {"object": 5, "colour": 3}, width=8).eval()
    x = images()
    maps = model.maps(x)
    assert [tuple(m.shape) for m in maps] == [(4, c, s, s) for c, s in zip(channels, sizes, strict=True)]
    assert all((m >= 0).all() for m in maps)
    features = model.features(x)
    assert features.shape == (4, model.feature_size)
    torch.testing.assert_close(features, maps[-1].flatten(2).sum(2) / maps[-1][0, 0].numel())
    logits, predicted = model(x), model.predict(x)
    assert logits.shape == (4, 8) and list(predicted) == ["object", "colour"]
    assert torch.equal(predicted["object"], logits[:, :5].max(1).indices)
    assert torch.equal(predicted["colour"], logits[:, 5:].max(1).indices)


@pytest.mark.parametrize("arch", ["plain", "residual"])
def test_parameters_within_budget(arch):
    assert 250_000 <= sum(p.numel() for p in Classifier(arch, {"class": 10}).parameters()) <= 650_000


@pytest.mark.parametrize("arch", ["plain", "residual"])
def test_in_eval_mode_an_image_is_judged_alone(arch):
    torch.manual_seed(0)
    model = Classifier(arch, {"class": 10}, width=8)
    model(images(16))                                   # moves the statistics of the batch norms
    model.eval()
    x = images(6, seed=1)
    torch.testing.assert_close(model.features(x)[2:3], model.features(x[2:3]), atol=1e-5, rtol=1e-4)


def test_unknown_architecture_is_refused_with_a_hint():
    with pytest.raises(TinygenError, match="did you mean 'residual'"):
        Classifier("resiudal", {"class": 10})


def test_position_map_breaks_the_symmetry_of_places():
    """With a constant image, and without padding's help in the middle, only the position map tells places apart."""
    torch.manual_seed(0)
    model = Classifier("residual", {"class": 2}, width=8).eval()
    x = torch.zeros(1, 3, 32, 32)
    before = model.maps(x)[0][0, :, 5:11, 5:11]
    assert (before - before[:, :1, :1]).abs().max() < 1e-6
    torch.nn.init.normal_(model.trunk.position)
    after = model.maps(x)[0][0, :, 5:11, 5:11]
    assert (after - after[:, :1, :1]).abs().max() > 1e-2


def test_loss_is_the_sum_of_two_cross_entropies():
    data = stripes()
    model = Classifier("plain", {"class": 2, "light": 2}, width=4).eval()
    objective = ClassifierObjective(model, label_smoothing=0.2)
    batch = objective.batches(data, batch_size=16, flip=False)[0]
    (group, loss, scalars), = objective.losses(batch, None)
    log_p = [F.log_softmax(part, dim=1) for part in model(batch.images).split([2, 2], dim=1)]
    truth = [data.labels[batch.index], data.factors[batch.index, 0]]
    by_hand = sum(-(0.8 * p.gather(1, t[:, None])[:, 0] + 0.2 * p.mean(1)).mean()
                  for p, t in zip(log_p, truth, strict=True))
    assert group == "classifier" and list(objective.groups()) == ["classifier"]
    torch.testing.assert_close(loss, by_hand)
    for head, p, t in zip(("class", "light"), log_p, truth, strict=True):
        assert scalars[f"accuracy_{head}"] == (p.argmax(1) == t).float().mean()


def test_heads_must_fit_the_data():
    with pytest.raises(TinygenError, match="'light' has 3 classes but stripes:train has 2"):
        ClassifierObjective(Classifier("plain", {"light": 3}, width=4)).batches(stripes(), batch_size=4)


@pytest.mark.parametrize("arch", ["plain", "residual"])
def test_learns_two_factors_in_a_few_steps(arch):
    torch.manual_seed(0)
    data = stripes()
    objective = ClassifierObjective(Classifier(arch, {"class": 2, "light": 2}, width=4))
    batches = objective.batches(data, batch_size=32, flip=True)
    optimiser = torch.optim.AdamW(objective.groups()["classifier"], lr=1e-2)
    for step in range(25):
        (_, loss, _), = objective.losses(batches[step], None)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    predicted = objective.model.eval().predict(data.images / 127.5 - 1)
    assert (predicted["class"] == data.labels).float().mean() > 0.95
    assert (predicted["light"] == data.factors[:, 0]).float().mean() > 0.95


def perceptual(seed=0):
    torch.manual_seed(seed)
    return PerceptualLoss(Classifier("plain", {"class": 2}, width=8))


def test_perceptual_distance_by_hand():
    """The squared distance of unit vectors is 2 - 2 cos: another route to the same number."""
    loss, x, y = perceptual(), images(3), images(3, seed=1)
    for module in loss.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.bias)            # no place where all activations are 0: its angle is not defined
    per_layer = [(2 - 2 * F.cosine_similarity(a, b, dim=1)).mean(dim=(1, 2))
                 for a, b in zip(loss.classifier.maps(x), loss.classifier.maps(y), strict=True)]
    torch.testing.assert_close(loss(x, y), sum(per_layer) / len(per_layer), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(loss(x, y), loss(y, x))


def test_perceptual_distance_grows_with_noise():
    loss, x, noise = perceptual(), images(8), torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    distances = [loss(x, x + sigma * noise).mean().item() for sigma in (0.0, 0.05, 0.2, 0.8)]
    assert distances[0] == 0.0 and distances == sorted(distances) and distances[-1] > 10 * distances[1]


@pytest.mark.parametrize("dead", [False, True])
def test_no_nan_for_identical_images(dead):
    """The root of 0 has an infinite slope: with dead maps (all 0) and identical images, all stays finite."""
    loss = perceptual()
    if dead:
        for module in loss.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.constant_(module.bias, -100.0)
    x = images(2)
    y = x.clone().requires_grad_()
    distance = loss(x, y)
    distance.sum().backward()
    assert torch.equal(distance, torch.zeros(2)) and torch.isfinite(y.grad).all()
    if dead:
        assert loss.classifier.maps(x)[-1].abs().max() == 0


def test_perceptual_network_is_frozen_but_passes_gradients():
    loss = perceptual().train()
    state = {name: value.clone() for name, value in loss.state_dict().items()}
    x, y = images(4), images(4, seed=1).requires_grad_()
    loss(x, y).mean().backward()
    assert y.grad.abs().max() > 0 and not any(p.requires_grad for p in loss.parameters())
    assert not any(module.training for module in loss.modules())
    assert all(torch.equal(value, state[name]) for name, value in loss.state_dict().items())


def test_gradient_descent_on_the_distance_finds_the_image():
    loss, x = perceptual(), images(2)
    y = images(2, seed=1).requires_grad_()
    start = loss(x, y).mean().item()
    optimiser = torch.optim.Adam([y], lr=0.05)
    for _ in range(40):
        optimiser.zero_grad()
        loss(x, y).mean().backward()
        optimiser.step()
    assert loss(x, y).mean().item() < 0.3 * start


def test_objective_takes_a_batch_without_touching_its_images():
    model = Classifier("plain", {"class": 2}, width=4)
    objective = ClassifierObjective(model)
    objective.batches(stripes(), batch_size=4)
    batch = Batch(images(2), torch.tensor([0, 1]), torch.tensor([3, 5]))
    copy = batch.images.clone()
    (_, loss, _), = objective.losses(batch, None)
    assert loss.requires_grad and torch.equal(batch.images, copy)
    assert objective.preview(model, batch) is None
