"""Paths: ends, grid points, inverses, time grids."""

import math

import pytest
import torch

from tinygen.diffusion import PATHS, SPACINGS, VPPath, build_path, build_schedule, sigma_interval, time_grid
from tinygen.errors import TinygenError

ALL = {"vp": build_path("vp"), "vp zero": build_path("vp", schedule="cosine", steps=100, zero_terminal_snr=True),
       "cosine": build_path("cosine"), "flow": build_path("flow"), "edm": build_path("edm")}
every_path = pytest.mark.parametrize("path", ALL.values(), ids=ALL.keys())


@every_path
def test_data_at_0_noise_at_1_and_monotone_between(path):
    t = torch.linspace(0, 1, 401, dtype=torch.float64)
    assert path.alpha(t)[0] == 1 and path.sigma(t)[0] == 0
    assert path.alpha(t).diff().max() <= 0 and path.sigma(t).diff().min() >= 0
    assert path.log_snr(t).diff()[1:-1].max() < 0


@every_path
def test_float32_is_as_good_as_float64(path):
    t = torch.linspace(0, 1, 333, dtype=torch.float64)
    for f in (path.alpha, path.sigma):
        assert f(t.float()).dtype == torch.float32
        torch.testing.assert_close(f(t.float()).double(), f(t), rtol=2e-5, atol=1e-7)


@every_path
def test_t_from_log_snr_inverts_log_snr(path):
    t = torch.linspace(0.05, 0.95, 91, dtype=torch.float64)
    torch.testing.assert_close(path.t_from_log_snr(path.log_snr(t)), t, rtol=0, atol=1e-9)


@every_path
def test_add_noise_has_the_moments_it_should(path):
    x0, t = torch.full((4, 50_000), 2.0), torch.tensor([0.1, 0.4, 0.7, 1.0])
    x_t = path.add_noise(x0, torch.randn(x0.shape, generator=torch.Generator().manual_seed(0)), t)
    for row, one in zip(x_t, t.tolist(), strict=True):
        alpha, sigma = path.coefficients(one)
        assert row.mean().item() == pytest.approx(2 * alpha, abs=0.02 * max(sigma, 1e-6))
        assert row.std().item() == pytest.approx(sigma, rel=0.02)


@pytest.mark.parametrize("schedule", ["linear", "scaled-linear", "cosine"])
@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_vp_is_the_discrete_schedule_on_its_grid(schedule, zero_terminal_snr):
    path, abar = VPPath(schedule, 50, zero_terminal_snr), build_schedule(schedule, 50, zero_terminal_snr).alphas_cumprod
    t = torch.arange(1, 51, dtype=torch.float64) / 50
    torch.testing.assert_close(path.alpha(t), abar.sqrt(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(path.sigma(t), (1 - abar).sqrt(), rtol=1e-10, atol=1e-12)
    between = (t[:-1] + t[1:]) / 2
    torch.testing.assert_close(path.alpha(between) ** 2 + path.sigma(between) ** 2, torch.ones_like(between))


def test_terminal_signal_is_exactly_zero_where_promised():
    one = torch.ones(1)
    assert ALL["vp zero"].alpha(one) == ALL["cosine"].alpha(one) == ALL["flow"].alpha(one) == 0
    assert ALL["vp"].alpha(one) > 0


def test_cosine_path_is_the_fine_limit_of_the_cosine_schedule():
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    discrete = VPPath("cosine", 1000)
    torch.testing.assert_close(ALL["cosine"].alpha(t), discrete.alpha(t), rtol=0, atol=1e-5)
    torch.testing.assert_close(ALL["cosine"].sigma(t), discrete.sigma(t), rtol=0, atol=1e-5)


@every_path
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("t_start", [1.0, 0.6])
def test_time_grids_decrease_from_the_start_to_zero(path, spacing, t_start):
    times = time_grid(path, 20, spacing, t_start)
    assert times.shape == (21,) and times[0] == t_start and times[-1] == 0
    assert times.diff().max() < 0


def test_uniform_trailing_and_one_step():
    assert time_grid(ALL["flow"], 4).tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert time_grid(VPPath("linear", 10), 3, "trailing").tolist() == pytest.approx([1, 0.7, 0.3, 0])
    for spacing in SPACINGS:
        assert time_grid(ALL["edm"], 1, spacing).tolist() == [1, 0]


def test_karras_and_log_snr_grids_are_even_where_they_say():
    sigmas = ALL["edm"].sigma(time_grid(ALL["edm"], 10))[:-1]                   # karras is the path's own
    assert sigmas[[0, -1]].tolist() == pytest.approx([80, 0.002])
    torch.testing.assert_close((sigmas ** (1 / 7)).diff(), (sigmas ** (1 / 7)).diff()[:1].expand(9))
    log_snr = ALL["vp"].log_snr(time_grid(ALL["vp"], 10, "log-snr", sigma_min=0.02)[:-1])
    assert log_snr[-1].item() == pytest.approx(-2 * math.log(0.02))
    torch.testing.assert_close(log_snr.diff(), log_snr.diff()[:1].expand(9))


@every_path
def test_sigma_interval(path):
    lo, hi = sigma_interval(path, 0.2, 1.6)
    for t, sigma in ((lo, 0.2), (hi, 1.6)):
        alpha_t, sigma_t = path.coefficients(t)
        assert sigma_t / alpha_t == pytest.approx(sigma, rel=1e-9)


def test_mistakes_are_told():
    with pytest.raises(TinygenError, match="did you mean 'flow'"):
        build_path("flov")
    with pytest.raises(TinygenError, match="did you mean 'schedule'"):
        build_path("vp", shedule="linear")
    with pytest.raises(TinygenError, match="no option 'steps'"):
        build_path("flow", steps=10)
    with pytest.raises(TinygenError, match="did you mean 'karras'"):
        time_grid(ALL["vp"], 10, "karas")
    with pytest.raises(TinygenError, match="at least 1 step"):
        time_grid(ALL["vp"], 0)
    with pytest.raises(TinygenError, match="start time"):
        time_grid(ALL["vp"], 5, t_start=1.5)
    with pytest.raises(TinygenError, match="at most 100 steps"):
        time_grid(ALL["vp zero"], 101, "trailing")
    assert set(PATHS) == {"vp", "cosine", "flow", "edm"}
