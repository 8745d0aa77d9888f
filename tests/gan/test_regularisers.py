"""Penalties and spectral norm against linear critics, finite differences and the singular value decomposition."""

import pytest
import torch
from torch import nn

from tinygen.gan import Discriminator, apply_spectral_norm, gradient_penalty, power_iteration, r1_penalty

SHAPE = (5, 3, 4, 4)


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def linear(w):
    return lambda x: (x * w).flatten(1).sum(dim=1)


def test_r1_of_a_linear_critic_is_half_its_squared_norm():
    w = noise(*SHAPE[1:]).requires_grad_(True)
    penalty = r1_penalty(linear(w), noise(*SHAPE, seed=1))
    assert penalty.item() == pytest.approx(w.square().sum().item() / 2, rel=1e-5)
    torch.testing.assert_close(torch.autograd.grad(penalty, w)[0], w.detach())  # d/dw |w|^2 / 2: double backward


def test_r1_of_a_quadratic_critic_by_hand():
    x = noise(*SHAPE)
    assert r1_penalty(lambda x: x.square().flatten(1).sum(1), x).item() == pytest.approx(
        2 * x.square().flatten(1).sum(1).mean().item(), rel=1e-5)               # |2 x|^2 / 2


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_gradient_penalty_of_a_linear_critic(scale):
    direction = noise(*SHAPE[1:])
    w = (scale * direction / direction.norm()).requires_grad_(True)
    real, fake = noise(*SHAPE, seed=1), noise(*SHAPE, seed=2)
    penalty = gradient_penalty(linear(w), real, fake, torch.Generator().manual_seed(0))
    assert penalty.item() == pytest.approx((scale - 1) ** 2, abs=1e-5)
    assert torch.isfinite(torch.autograd.grad(penalty, w)[0]).all()


def test_gradient_penalty_looks_between_real_and_fake():
    seen = []
    def critic(x):
        seen.append(x.detach())
        return x.flatten(1).sum(1)
    gradient_penalty(critic, torch.ones(64, 2), torch.zeros(64, 2), torch.Generator().manual_seed(0))
    u = seen[0]
    assert ((u > 0) & (u < 1)).all() and torch.equal(u[:, 0], u[:, 1])          # one coefficient per image
    assert u.min() < 0.1 and u.max() > 0.9
    gradient_penalty(critic, torch.ones(64, 2), torch.zeros(64, 2), torch.Generator().manual_seed(0))
    assert torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_second_derivatives_of_a_real_discriminator_against_finite_differences(spectral_norm):
    torch.manual_seed(0)
    critic = Discriminator(channels=4, image_size=8, spectral_norm=spectral_norm).eval()
    x, bias = noise(3, 3, 8, 8), critic.logit.parametrizations.weight.original if spectral_norm else critic.logit.weight
    penalty = r1_penalty(critic, x)
    gradient, = torch.autograd.grad(penalty, bias)
    step = 0.1 * gradient / gradient.norm()
    with torch.no_grad():
        bias += step
    up = r1_penalty(critic, x)
    with torch.no_grad():
        bias -= 2 * step
    down = r1_penalty(critic, x)
    assert ((up - down) / 0.2).item() == pytest.approx(gradient.norm().item(), rel=0.03)


def test_a_penalty_leaves_no_gradient_on_the_images():
    real = noise(*SHAPE).requires_grad_(True)
    r1_penalty(linear(torch.ones(SHAPE[1:]).requires_grad_(True)), real).backward()
    assert real.grad is None


def test_power_iteration_agrees_with_the_svd():
    matrix = noise(12, 30, dtype=torch.float64)
    sigma, u, v = power_iteration(matrix, 400, torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(matrix)
    torch.testing.assert_close(sigma, values[0])
    product = torch.outer(left[:, 0], right[0])                                 # free of the sign
    torch.testing.assert_close(torch.outer(u, v), product, atol=1e-6, rtol=0)
    rough = power_iteration(matrix, 1, torch.Generator().manual_seed(0))[0]
    assert rough < sigma and values[0] - rough > 1e-3                           # one step is not there yet


def test_spectral_norm_bounds_every_weight_and_makes_a_linear_stack_lipschitz():
    torch.manual_seed(0)
    act = nn.LeakyReLU(0.2)
    net = apply_spectral_norm(nn.Sequential(nn.Linear(20, 30), act, nn.Linear(30, 8), act, nn.Linear(8, 1)))
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.parametrizations.weight.original.mul_(50)                     # must not matter
    for _ in range(100):
        net(torch.zeros(1, 20))                                                 # a step of power iteration each
    net.eval()
    for layer in (net[0], net[2], net[4]):
        assert torch.linalg.svdvals(layer.weight)[0].item() == pytest.approx(1.0, abs=1e-3)
    a, b = noise(200, 20), noise(200, 20, seed=1)
    slope = (net(a) - net(b)).abs().squeeze(1) / (a - b).norm(dim=1)
    assert slope.max() <= 1.001


def test_spectral_norm_reaches_convolutions_and_class_vectors():
    torch.manual_seed(0)
    critic = Discriminator(channels=4, num_classes=6, image_size=8, spectral_norm=True)
    for _ in range(60):
        critic(noise(2, 3, 8, 8), torch.tensor([0, 5]))
    critic.eval()
    for weight in (*[conv.weight for conv in critic.convs], critic.logit.weight, critic.class_vectors.weight):
        assert torch.linalg.svdvals(weight.flatten(1))[0].item() == pytest.approx(1.0, abs=1e-2)
