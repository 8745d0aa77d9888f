"""Adversarial losses against closed forms, the optimal discriminator, and autograd."""

import math

import pytest
import torch

from tinygen.errors import TinygenError
from tinygen.gan import discriminator_loss, generator_loss

KINDS = ("saturating", "non-saturating", "hinge", "wasserstein")


@pytest.mark.parametrize("kind, of_generator, of_discriminator", [
    ("saturating", -math.log(2), 2 * math.log(2)), ("non-saturating", math.log(2), 2 * math.log(2)),
    ("hinge", 0.0, 2.0), ("wasserstein", 0.0, 0.0)])
def test_values_where_the_discriminator_does_not_know(kind, of_generator, of_discriminator):
    zero = torch.zeros(4)
    assert generator_loss(kind, zero).item() == pytest.approx(of_generator, abs=1e-6)
    assert discriminator_loss(kind, zero, zero).item() == pytest.approx(of_discriminator, abs=1e-6)


def test_values_against_the_formulas_in_terms_of_probabilities():
    real, fake = torch.tensor([0.3, 2.0, -1.5]), torch.tensor([-0.7, 1.2])
    p, q = 1 / (1 + torch.exp(-real)), 1 / (1 + torch.exp(-fake))               # D(x), D(G(z))
    cross_entropy = -p.log().mean() - (1 - q).log().mean()
    for kind in ("saturating", "non-saturating"):
        torch.testing.assert_close(discriminator_loss(kind, real, fake), cross_entropy)
    torch.testing.assert_close(generator_loss("saturating", fake), (1 - q).log().mean())
    torch.testing.assert_close(generator_loss("non-saturating", fake), -q.log().mean())
    assert discriminator_loss("hinge", real, fake).item() == pytest.approx((0.7 + 0 + 2.5) / 3 + (0.3 + 2.2) / 2)
    assert discriminator_loss("wasserstein", real, fake).item() == pytest.approx(0.25 - 0.8 / 3, abs=1e-6)
    assert generator_loss("hinge", fake).item() == generator_loss("wasserstein", fake).item() == pytest.approx(-0.25)


def test_the_optimal_discriminator_is_p_over_p_plus_q_and_its_value_is_2_jsd_minus_log_4():
    p, q = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64), torch.tensor([0.1, 0.4, 0.5], dtype=torch.float64)
    real, fake = (torch.arange(3).repeat_interleave((10 * w).round().long()) for w in (p, q))   # p and q as samples
    logits = torch.zeros(3, requires_grad=True)                                 # one free logit per outcome
    for _ in range(400):
        loss = discriminator_loss("non-saturating", logits[real], logits[fake])
        gradient, = torch.autograd.grad(loss, logits)
        logits = (logits - 4 * gradient).detach().requires_grad_(True)
    torch.testing.assert_close(logits.sigmoid().double(), p / (p + q), atol=1e-4, rtol=0)
    mean = (p + q) / 2
    jsd = ((p * (p / mean).log()).sum() + (q * (q / mean).log()).sum()) / 2
    assert -loss.item() == pytest.approx((2 * jsd - math.log(4)).item(), abs=1e-5)


def test_non_saturating_pulls_where_saturating_has_given_up():
    def slope(kind, logit):
        fake = torch.tensor([logit], requires_grad=True)
        return torch.autograd.grad(generator_loss(kind, fake), fake)[0].item()
    for logit in (-8.0, -2.0, 3.0):                                             # -D and -(1 - D), by hand
        d = 1 / (1 + math.exp(-logit))
        assert slope("saturating", logit) == pytest.approx(-d, rel=1e-4)
        assert slope("non-saturating", logit) == pytest.approx(-(1 - d), rel=1e-4)
    assert abs(slope("non-saturating", -8.0)) > 1000 * abs(slope("saturating", -8.0))


def test_hinge_has_no_gradient_beyond_the_margin():
    real = torch.tensor([-3.0, 0.5, 1.5, 4.0], requires_grad=True)
    fake = torch.tensor([-2.0, -0.5, 0.5, 3.0], requires_grad=True)
    of_real, of_fake = torch.autograd.grad(discriminator_loss("hinge", real, fake), (real, fake))
    assert of_real.tolist() == [-0.25, -0.25, 0.0, 0.0]
    assert of_fake.tolist() == [0.0, 0.25, 0.25, 0.25]


@pytest.mark.parametrize("kind", KINDS)
def test_large_logits_and_half_precision_stay_finite(kind):
    logits = torch.tensor([-300.0, 300.0], dtype=torch.float16)
    assert generator_loss(kind, logits).dtype == torch.float32
    assert torch.isfinite(generator_loss(kind, logits)) and torch.isfinite(discriminator_loss(kind, logits, logits))


@pytest.mark.parametrize("call", [lambda kind: generator_loss(kind, torch.zeros(1)),
                                  lambda kind: discriminator_loss(kind, torch.zeros(1), torch.zeros(1))])
def test_an_unknown_loss_is_refused_with_the_nearest(call):
    with pytest.raises(TinygenError, match="did you mean 'wasserstein'"):
        call("waserstein")
