"""Schedules against closed forms, and the posterior against Gaussian conditioning done another way."""

import math

import pytest
import torch

from tinygen.diffusion import SCHEDULES, build_schedule, posterior, rescale_zero_terminal_snr
from tinygen.errors import TinygenError


def test_linear_and_scaled_linear_ends_at_a_thousand_steps():
    assert build_schedule("linear").betas[[0, -1]].tolist() == pytest.approx([1e-4, 0.02], rel=1e-12)
    betas = build_schedule("scaled-linear").betas
    assert betas[[0, -1]].tolist() == pytest.approx([0.00085, 0.012], rel=1e-12)
    assert betas.sqrt().diff().std() < 1e-15 < betas.diff().std()               # the roots are evenly spaced


def test_cosine_alphas_cumprod_follow_the_squared_cosine():
    abar = build_schedule("cosine", 100).alphas_cumprod
    f = [math.cos((i / 100 + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(101)]
    assert abar[:98].tolist() == pytest.approx([value / f[0] for value in f[1:99]], rel=1e-10)
    assert build_schedule("cosine", 100).betas[-1] == 0.999                    # clipped, else it were 1


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_betas_and_alphas_cumprod_belong_together(name, zero_terminal_snr):
    schedule = build_schedule(name, 200, zero_terminal_snr)
    product = 1.0
    for beta, abar in zip(schedule.betas.tolist(), schedule.alphas_cumprod.tolist(), strict=True):
        assert 0 < beta <= 1
        product *= 1 - beta
        assert product == pytest.approx(abar, rel=1e-9, abs=1e-15)
    assert schedule.snr.diff().max() < 0


@pytest.mark.parametrize("name", SCHEDULES)
def test_few_steps_reach_about_as_much_noise_as_many(name):
    assert build_schedule(name, 100).alphas_cumprod[-1] < 0.01


def test_zero_terminal_snr_is_exactly_zero_and_keeps_the_first_step():
    before = build_schedule("scaled-linear").alphas_cumprod
    after = rescale_zero_terminal_snr(before)
    assert after[-1] == 0 and after[-2] > 0
    assert after[0].item() == pytest.approx(before[0].item(), rel=1e-12)
    ratio = (before.sqrt() - before[-1].sqrt()) / after.sqrt()                 # shifted and stretched
    assert ratio[:-1].std() < 1e-12


def test_posterior_is_gaussian_conditioning_along_the_chain():
    schedule = build_schedule("linear", 20)
    c_0, c_t, variance = schedule.posterior()
    mean, var = 1.0, 0.0                                                       # of x_{i-1} given x_0 = 1, by recursion
    for i, beta in enumerate(schedule.betas.tolist()):
        gain = math.sqrt(1 - beta)
        mean_t, var_t, covariance = gain * mean, gain**2 * var + beta, gain * var
        slope = covariance / var_t                                # E[x_{i-1} | x_i] = mean + slope (x_i - mean_t)
        assert c_t[i].item() == pytest.approx(slope, abs=1e-12)
        assert c_0[i].item() == pytest.approx(mean - slope * mean_t, abs=1e-12)
        assert variance[i].item() == pytest.approx(var - slope * covariance, abs=1e-12)
        mean, var = mean_t, var_t


def test_posterior_between_distant_times_agrees_with_sampling():
    alpha_t, sigma_t, alpha_s, sigma_s = 0.3, 0.9, 0.8, 0.5                    # not even variance preserving
    z = torch.randn(2, 400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x0, alpha_ts = 0.7, alpha_t / alpha_s
    x_s = alpha_s * x0 + sigma_s * z[0]
    x_t = alpha_ts * x_s + math.sqrt(sigma_t**2 - (alpha_ts * sigma_s) ** 2) * z[1]
    slope = torch.cov(torch.stack([x_s, x_t]))[0, 1] / x_t.var()               # regression of x_s on x_t
    c_0, c_t, variance = posterior(alpha_t, sigma_t, alpha_s, sigma_s)
    assert c_t == pytest.approx(slope.item(), abs=0.003)
    assert c_0 * x0 == pytest.approx((x_s.mean() - slope * x_t.mean()).item(), abs=0.003)
    assert variance == pytest.approx((x_s - slope * x_t).var().item(), abs=0.003)


def test_posterior_at_the_ends():
    assert posterior(0.0, 1.0, 0.6, 0.8) == pytest.approx((0.6, 0.0, 0.64))    # pure noise tells nothing
    assert posterior(0.6, 0.8, 1.0, 0.0) == pytest.approx((1.0, 0.0, 0.0))     # x_s is x_0


def test_unknown_schedule_gets_a_suggestion():
    with pytest.raises(TinygenError, match="did you mean 'cosine'"):
        build_schedule("cosin")
    with pytest.raises(TinygenError, match="at least 2 steps"):
        build_schedule("linear", 1)
