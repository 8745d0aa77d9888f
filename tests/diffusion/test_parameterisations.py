"""Conversions between predictions: round trips, and each against its definition."""

import itertools

import pytest
import torch

from tinygen.diffusion import PREDICTIONS, build_path, combination, convert, from_x0_eps, to_eps, to_x0
from tinygen.errors import TinygenError

PATHS = {"vp": build_path("vp"), "cosine": build_path("cosine"), "flow": build_path("flow"),
         "edm": build_path("edm", sigma_max=5.0)}


def example(path, dtype, sigma_data=0.5):
    generator = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(64, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    t = torch.linspace(0.35, 0.9, 64, dtype=torch.float64)[:, None]
    alpha, sigma = path.alpha(t), path.sigma(t)
    return [v.to(dtype) for v in (sigma_data * x0, eps, alpha, sigma, alpha * sigma_data * x0 + sigma * eps)]


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_every_prediction_becomes_every_other_and_comes_back(path, dtype, tolerance):
    x0, eps, alpha, sigma, x_t = example(path, dtype)
    for source, target in itertools.product(PREDICTIONS, repeat=2):
        p = from_x0_eps(x0, eps, alpha, sigma, source, 0.5)
        q = convert(p, x_t, alpha, sigma, source, target, 0.5)
        scale = max(1.0, (1 / alpha).max().item(), (sigma / alpha).max().item(), (alpha / sigma).max().item())
        torch.testing.assert_close(q, from_x0_eps(x0, eps, alpha, sigma, target, 0.5), rtol=0, atol=tolerance * scale)
        back = convert(q, x_t, alpha, sigma, target, source, 0.5)
        torch.testing.assert_close(back, p, rtol=0, atol=tolerance * scale**2)


def test_predictions_are_what_their_papers_say():
    x0, eps, alpha, sigma, x_t = example(PATHS["vp"], torch.float64)
    assert torch.equal(from_x0_eps(x0, eps, alpha, sigma, "v"), alpha * eps - sigma * x0)
    torch.testing.assert_close(to_x0(alpha * eps - sigma * x0, x_t, alpha, sigma, "v"),
                               alpha * x_t - sigma * (alpha * eps - sigma * x0))          # Salimans and Ho, appendix D
    torch.testing.assert_close(to_x0(eps, x_t, alpha, sigma, "eps"), (x_t - sigma * eps) / alpha)
    assert torch.equal(from_x0_eps(x0, eps, alpha, sigma, "flow"), eps - x0)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_edm_is_karras_preconditioning_of_x_over_alpha(path):
    x0, eps, alpha, sigma, x_t = example(path, torch.float64)
    f, x, s, sd = torch.sin(7 * x_t), x_t / alpha, sigma / alpha, 0.5
    c_skip, c_out = sd**2 / (s**2 + sd**2), s * sd / (s**2 + sd**2).sqrt()                # table 1
    torch.testing.assert_close(to_x0(f, x_t, alpha, sigma, "edm", sd), c_skip * x + c_out * f)


def test_edm_is_minus_v_on_a_variance_preserving_path_with_unit_data():
    _, _, alpha, sigma, _ = example(PATHS["vp"], torch.float64)
    for edm, v in zip(combination("edm", alpha, sigma, 1.0), combination("v", alpha, sigma), strict=True):
        torch.testing.assert_close(edm, -v)


@pytest.mark.parametrize("prediction", ["x0", "v", "flow", "edm"])
def test_pure_noise_and_pure_data_are_no_problem(prediction):
    x0, eps = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    zero, one = torch.zeros(5, 1), torch.ones(5, 1)
    p = from_x0_eps(x0, eps, zero, one, prediction)
    torch.testing.assert_close(to_x0(p, eps, zero, one, prediction), x0)                  # t = 1: x_t = eps
    if prediction != "edm":                                                     # F says nothing where x_t is x0
        p = from_x0_eps(x0, eps, one, zero, prediction)
    torch.testing.assert_close(to_x0(p, x0, one, zero, prediction), x0)                   # t = 0: x_t = x0


def test_to_eps_completes_x_t():
    x0, eps, alpha, sigma, x_t = example(PATHS["flow"], torch.float64)
    output = torch.cos(3 * x_t)
    for prediction in PREDICTIONS:
        x0, eps = (to(output, x_t, alpha, sigma, prediction) for to in (to_x0, to_eps))
        torch.testing.assert_close(alpha * x0 + sigma * eps, x_t)


def test_unknown_prediction_gets_a_suggestion():
    with pytest.raises(TinygenError, match="did you mean 'eps'"):
        combination("epsi", torch.ones(1), torch.ones(1))
