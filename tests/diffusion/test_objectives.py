"""Training times, weights by hand, and the loss: its minimum is where theory puts it."""

import itertools
import math

import pytest
import torch
from torch import nn

from tinygen.diffusion import (DENSITIES, PREDICTIONS, WEIGHTINGS, Denoiser, build_path, from_x0_eps, loss_weight,
                               sample_times)
from tinygen.errors import TinygenError

PATHS = {"vp": build_path("vp"), "vp zero": build_path("vp", zero_terminal_snr=True), "cosine": build_path("cosine"),
         "flow": build_path("flow"), "edm": build_path("edm")}
CPU, MEAN, STD = torch.device("cpu"), 0.4, 0.7                                  # the data below: N(MEAN, STD^2)
PAIRS = [(name, p) for name, p in itertools.product(PATHS, PREDICTIONS) if p != "eps" or name in ("vp", "edm")]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Oracle(nn.Module):
    """The best network there is for data N(MEAN, STD^2), with its guess of x0 off by `shift` posterior deviations."""

    def __init__(self, path, prediction, sigma_data):
        super().__init__()
        self.path, self.prediction, self.sigma_data, self.shift = path, prediction, sigma_data, 0.0

    def forward(self, x, noise_level):
        t = noise_level.double()[:, None, None, None]
        alpha, sigma = self.path.alpha(t), self.path.sigma(t)
        x_t = x.double() * ((alpha * self.sigma_data) ** 2 + sigma**2).sqrt()   # undo the scaling of the input
        variance = (alpha * STD) ** 2 + sigma**2
        x0 = MEAN + alpha * STD**2 / variance * (x_t - alpha * MEAN) + self.shift * STD * sigma / variance.sqrt()
        return from_x0_eps(x0, (x_t - alpha * x0) / sigma, alpha, sigma, self.prediction, self.sigma_data).to(x.dtype)


def denoiser(path, prediction, **options):
    return Denoiser(Oracle(path, prediction, 0.7), path, prediction, sigma_data=0.7, **options)


def data(n):
    return MEAN + STD * torch.randn(n, 2, 4, 4, generator=seeded(1), dtype=torch.float64)


@pytest.mark.parametrize("name, prediction", PAIRS)
def test_the_conditional_mean_is_the_minimum_of_every_loss(name, prediction):
    for weighting in WEIGHTINGS:
        model = denoiser(PATHS[name], prediction, weighting=weighting)
        losses = {}
        for shift in (-0.1, 0.0, 0.1):
            model.network.shift = shift
            losses[shift] = model.loss(data(256), seeded(2))[0].item()
        assert losses[0.0] < min(losses[-0.1], losses[0.1]) and math.isfinite(losses[0.1])


@pytest.mark.parametrize("name, prediction", PAIRS)
def test_the_error_left_is_the_posterior_variance(name, prediction):
    path = PATHS[name]
    _, detail = denoiser(path, prediction).loss(data(2000), seeded(3))
    t = detail["t"].double()
    alpha, sigma = path.alpha(t), path.sigma(t)
    expected = (STD * sigma) ** 2 / ((alpha * STD) ** 2 + sigma**2)             # Var[x0 | x_t]
    for part in torch.arange(2000).chunk(1) if name == "edm" else t.argsort().chunk(4):
        assert detail["x0_mse"][part].mean().item() == pytest.approx(expected[part].mean().item(), rel=0.03)


def test_the_scalar_is_the_weighted_mean_of_the_detail():
    model = denoiser(PATHS["vp"], "v", weighting="min-snr")
    loss, detail = model.loss(data(64), seeded(4))
    assert loss.item() == pytest.approx((detail["weight"] * detail["mse"]).mean().item())
    assert all(value.shape == (64,) and not value.requires_grad for value in detail.values())
    again, _ = model.loss(data(64), seeded(4))
    assert torch.equal(loss, again)


def test_min_snr_weights_by_hand():
    alpha, sigma = torch.tensor([0.6, 0.98]), torch.tensor([0.8, math.sqrt(1 - 0.98**2)])
    snr = [0.36 / 0.64, 0.9604 / 0.0396]                                        # 0.5625, 24.25
    by_hand = {"x0": [0.5625, 5.0], "eps": [1.0, 5.0 / snr[1]], "v": [0.5625 / 1.5625, 5.0 / (snr[1] + 1)]}
    for prediction, expected in by_hand.items():                                # arXiv:2303.09556, section 3.4
        weight = loss_weight("min-snr", prediction, alpha, sigma, gamma=5.0)
        assert weight.tolist() == pytest.approx(expected, rel=1e-4)


def test_edm_weight_is_one_on_the_network_and_karras_on_x0():
    sigma = torch.tensor([0.01, 0.5, 30.0])
    assert loss_weight("edm", "edm", torch.ones(3), sigma, 0.5).tolist() == pytest.approx([1, 1, 1], rel=1e-4)
    by_hand = [(s**2 + 0.25) / (s * 0.5) ** 2 for s in (0.01, 0.5, 30.0)]
    assert loss_weight("edm", "x0", torch.ones(3), sigma, 0.5).tolist() == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_densities_of_times(path):
    n = 20_000
    times = {density: sample_times(n, path, density, seeded(), CPU) for density in DENSITIES}
    for t in times.values():
        assert t.shape == (n,) and t.min() >= path.t_min and t.max() <= 1
    u = (times["uniform"] - path.t_min) / (1 - path.t_min)
    assert (u.sort().values - torch.linspace(0, 1, n)).abs().max() < 2 / n      # stratified
    assert (u[1:] * u[:-1]).mean().item() == pytest.approx(0.25, abs=0.01)      # shuffled
    assert times["logit-normal"].median().item() == pytest.approx(0.5, abs=0.02)
    inside = ((times["logit-normal"] > 0.2689) & (times["logit-normal"] < 0.7311)).float().mean()    # |logit| < 1
    assert inside.item() == pytest.approx(0.6827, abs=0.02)
    log_sigma = -path.log_snr(times["lognormal"].double()) / 2
    assert log_sigma.median().item() == pytest.approx(-1.2, abs=0.05)
    quarters = log_sigma.quantile(torch.tensor([0.25, 0.75], dtype=torch.float64))
    assert (quarters[1] - quarters[0]).item() == pytest.approx(2 * 0.6745 * 1.2, rel=0.04)


def test_x0_takes_a_number_or_a_time_for_every_row():
    model = denoiser(PATHS["flow"], "flow")
    x = data(3)
    rows = model.x0(x, torch.tensor([0.2, 0.5, 1.0]))
    torch.testing.assert_close(model.x0(x, 0.5)[1], rows[1])
    torch.testing.assert_close(model(x, 1.0)[2], rows[2])
    torch.testing.assert_close(rows[2], torch.full_like(rows[2], MEAN))         # pure noise: the mean of the data


def test_mistakes_are_told():
    with pytest.raises(TinygenError, match="did you mean 'min-snr'"):
        denoiser(PATHS["vp"], "v", weighting="minsnr")
    with pytest.raises(TinygenError, match="did you mean 'logit-normal'"):
        denoiser(PATHS["vp"], "v", density="logit_normal")
    with pytest.raises(TinygenError, match="known: edm, eps, flow, v, x0"):
        denoiser(PATHS["vp"], "noise")
    for name in ("flow", "cosine", "vp zero"):
        with pytest.raises(TinygenError, match="predict v, x0, flow or edm"):
            denoiser(PATHS[name], "eps")
