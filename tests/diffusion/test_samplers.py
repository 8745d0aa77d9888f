"""Samplers on mixtures of Gaussians, for which the best guess of x0 is known: exact answers, orders, distributions."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from tinygen.diffusion import SAMPLERS, SCHEDULES, VPPath, build_path, ddim, ddpm, euler, heun, sample, time_grid
from tinygen.diffusion.samplers import randn
from tinygen.errors import TinygenError


class Mixture:
    """sum_k weights[k] N(means[k], stds[k]^2 I) in D dimensions; means (K, D), stds (K,), weights (K,), float64."""

    def __init__(self, means, stds, weights):
        self.means, self.stds, self.weights = (torch.tensor(v, dtype=torch.float64) for v in (means, stds, weights))

    def x0(self, x, alpha, sigma):
        """E[x0 | alpha x0 + sigma eps = x] for x (B, D): the mean of every part, weighted by its responsibility."""
        variance = (alpha * self.stds) ** 2 + sigma**2                          # (K,) of x_t, given the part
        off = x[:, None] - alpha * self.means                                   # (B, K, D)
        log_density = -off.square().sum(-1) / (2 * variance) - x.shape[1] / 2 * variance.log() + self.weights.log()
        part = self.means + (alpha * self.stds**2 / variance)[:, None] * off    # (B, K, D)
        return (log_density.softmax(dim=1)[..., None] * part).sum(dim=1)

    def denoise(self, path):
        """The function (x_t, t) -> E[x0 | x_t] that samplers ask for."""
        return lambda x, t: self.x0(x.double(), *path.coefficients(t)).to(x.dtype)

    def cdf(self, x):
        """P(x0 <= x) in one dimension, x (N,)."""
        z = (x[:, None] - self.means[:, 0]) / self.stds
        return (self.weights * (1 + torch.erf(z / math.sqrt(2))) / 2).sum(dim=1)


PLANE = Mixture([[-1.0, 0.3], [0.8, 0.9], [0.4, -1.1]], [0.3, 0.5, 0.2], [0.3, 0.5, 0.2])
LINE = Mixture([[-1.0], [0.7]], [0.15, 0.4], [0.35, 0.65])
PATHS = {"vp": build_path("vp"), "vp zero": build_path("vp", zero_terminal_snr=True), "cosine": build_path("cosine"),
         "flow": build_path("flow"), "edm": build_path("edm", sigma_max=20.0)}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def exact(path, x, t_start, t_end):
    """The probability-flow ODE dx/dt = alpha' x0 + sigma' eps by a method of order 8; derivatives by autograd."""

    def slope(t, flat):
        x = torch.from_numpy(flat).reshape(-1, 2)
        t = torch.tensor(t, dtype=torch.float64, requires_grad=True)
        alpha, sigma = path.alpha(t), path.sigma(t)
        d_alpha = torch.autograd.grad(alpha, t)[0].item() if alpha.requires_grad else 0.0
        d_sigma = torch.autograd.grad(sigma, t)[0].item()
        alpha, sigma = alpha.item(), sigma.item()
        x0 = PLANE.x0(x, alpha, sigma)
        return (d_alpha * x0 + d_sigma * (x - alpha * x0) / sigma).reshape(-1).numpy()

    solution = solve_ivp(slope, (t_start, t_end), x.reshape(-1).numpy(), "DOP853", rtol=1e-9, atol=1e-10)
    return torch.from_numpy(solution.y[:, -1]).reshape(-1, 2)


@pytest.mark.parametrize("name", ["cosine", "flow", "edm"])
def test_order_of_convergence(name):
    path = PATHS[name]
    t_start, t_end = 0.98, path.t_from_log_snr(torch.tensor(4.0, dtype=torch.float64)).item()   # sigma = 0.135 alpha
    x = path.coefficients(t_start)[1] * torch.randn(16, 2, generator=seeded(), dtype=torch.float64)
    truth = exact(path, x, t_start, t_end)
    counts, orders = [64, 128, 256], {}
    for sampler in ("ddim", "euler", "heun", "dpmpp_2m"):
        errors = []
        for n in counts:
            times = torch.linspace(t_start, t_end, n + 1, dtype=torch.float64)
            end = SAMPLERS[sampler](PLANE.denoise(path), path, x, times)
            errors.append((end - truth).square().mean().sqrt().item())
        orders[sampler] = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
        assert errors[-1] < (6e-3 if sampler in ("ddim", "euler") else 6e-5)
    assert orders["ddim"] == pytest.approx(1, abs=0.1) and orders["euler"] == pytest.approx(1, abs=0.1)
    assert orders["heun"] == pytest.approx(2, abs=0.1) and orders["dpmpp_2m"] == pytest.approx(2, abs=0.3)


@every_path
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_have_the_distribution(path, sampler):
    n = 8_000
    steps = {"ddpm": 100, "ddim": 80, "euler": 80, "heun": 30, "dpmpp_2m": 60}[sampler]
    x = sample(LINE.denoise(path), path, (n, 1), steps, sampler, seeded(1)).double().flatten().sort().values
    distance = (LINE.cdf(x) - (torch.arange(n) + 0.5) / n).abs().max().item()
    assert distance < 0.025                                                     # luck alone: over 0.018 once in 100


def test_a_single_gaussian_is_scaled_exactly():
    """For N(0, s^2), the flow keeps x / std(x_t); Heun with many steps lands on it."""
    blob, path = Mixture([[0.0]], [0.5], [1.0]), PATHS["flow"]
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    end = heun(blob.denoise(path), path, x, time_grid(path, 150))
    torch.testing.assert_close(end, 0.5 * x, rtol=0, atol=2e-4)


@every_path
def test_euler_is_ddim(path):
    x = path.coefficients(1.0)[1] * torch.randn(8, 2, generator=seeded(), dtype=torch.float64)
    times = time_grid(path, 12)
    torch.testing.assert_close(euler(PLANE.denoise(path), path, x, times), ddim(PLANE.denoise(path), path, x, times))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ddim_at_eta_1_has_the_posterior_mean_and_variance(schedule):
    path = VPPath(schedule, 50)
    c_0, c_t, variance = path.schedule.posterior()                              # from the betas
    x = torch.randn(64, 3, generator=seeded(), dtype=torch.float64)
    x0 = torch.tanh(x)
    for i in range(1, 50):
        times = torch.tensor([(i + 1) / 50, i / 50], dtype=torch.float64)
        z = torch.randn(x.shape, generator=seeded(i), dtype=torch.float64)
        for sampler, options in ((ddpm, {}), (ddim, {"eta": 1.0})):
            end = sampler(lambda x, t: x0, path, x, times, generator=seeded(i), **options)
            torch.testing.assert_close(end, c_0[i] * x0 + c_t[i] * x + variance[i].sqrt() * z, rtol=0, atol=1e-10)


@every_path
def test_ddim_at_eta_1_is_ddpm_whatever_the_grid(path):
    x = path.coefficients(1.0)[1] * torch.randn(8, 2, generator=seeded(), dtype=torch.float64)
    times = time_grid(path, 7, "log-snr")
    ends = [sampler(PLANE.denoise(path), path, x, times, generator=seeded(5), **options)
            for sampler, options in ((ddpm, {}), (ddim, {"eta": 1.0}))]
    torch.testing.assert_close(*ends)
    assert not torch.allclose(ends[1], ddim(PLANE.denoise(path), path, x, times, generator=seeded(5), eta=0.5))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_randomness_comes_from_the_generator_only(sampler):
    path, before = PATHS["vp"], torch.get_rng_state()
    first, second, third = (sample(PLANE.denoise(path), path, (4, 2), 6, sampler, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first, second) and not torch.equal(first, third)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_callback_sees_every_step_and_may_replace_x(sampler):
    path, seen = PATHS["flow"], []

    def watch(step, t, x, x0):
        seen.append((step, t, x.shape, x0.shape))
        return torch.full_like(x, 7.0) if t == 0 else None

    end = sample(PLANE.denoise(path), path, (3, 2), 4, sampler, seeded(), callback=watch)
    assert seen == [(i, t, (3, 2), (3, 2)) for i, t in enumerate([0.75, 0.5, 0.25, 0.0])]
    assert torch.equal(end, torch.full((3, 2), 7.0))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_a_callback_puts_back_is_what_the_next_step_starts_from(sampler):
    path, inputs = PATHS["vp"], []

    def denoise(x, t):
        inputs.append((t, x))
        return PLANE.denoise(path)(x, t)

    sample(denoise, path, (3, 2), 3, sampler, seeded(), callback=lambda step, t, x, x0: torch.full_like(x, step + 10.0))
    starts = inputs[::2] if sampler == "heun" else inputs                       # heun calls twice a step
    assert [t for t, _ in starts] == pytest.approx([1, 2 / 3, 1 / 3])
    assert [x.unique().tolist() for _, x in starts[1:]] == [[10.0], [11.0]]


@every_path
def test_image_to_image_starts_from_the_given_picture(path):
    picture = torch.tensor([[0.4, -1.1]]).expand(4000, 2)                       # the centre of the third part
    inputs = []

    def denoise(x, t):
        inputs.append((t, x))
        return PLANE.denoise(path)(x, t)

    t_start = path.t_from_log_snr(torch.tensor(3.0, dtype=torch.float64)).item()
    end = sample(denoise, path, picture.shape, 8, "dpmpp_2m", seeded(), x_init=picture, t_start=t_start)
    (t, x), (alpha, sigma) = inputs[0], path.coefficients(t_start)
    assert t == t_start and len(inputs) == 8
    assert (x - alpha * picture).std().item() == pytest.approx(sigma, rel=0.03)
    near = (end - picture).norm(dim=1) < 0.8
    assert near.float().mean() > 0.97                                           # little noise: stays in its part


@pytest.mark.parametrize("sampler, calls", [("ddpm", 10), ("ddim", 10), ("euler", 10), ("heun", 19), ("dpmpp_2m", 10)])
def test_calls_of_the_network(sampler, calls):
    path, times = PATHS["vp"], []

    def denoise(x, t):
        times.append(t)
        return PLANE.denoise(path)(x, t)

    x = sample(denoise, path, (2, 2), 10, sampler, seeded())
    assert len(times) == calls and min(times) > 0 and x.isfinite().all() and x.dtype == torch.float32


def test_the_last_step_to_zero_gives_the_guess_itself():
    for name, path in PATHS.items():
        x = torch.randn(4, 2, generator=seeded(), dtype=torch.float64)
        guess = PLANE.denoise(path)(x, 0.3)
        for sampler in SAMPLERS.values():
            times = torch.tensor([0.3, 0.0], dtype=torch.float64)
            end = sampler(PLANE.denoise(path), path, x, times, generator=seeded())
            torch.testing.assert_close(end, guess, msg=f"{name}, {sampler.__name__}")


def test_randn_follows_generator_and_dtype():
    a = randn((3,), seeded(4), torch.device("cpu"), torch.float64)
    assert a.dtype == torch.float64 and torch.equal(a, torch.randn(3, generator=seeded(4), dtype=torch.float64))


def test_mistakes_are_told():
    path = PATHS["vp"]
    with pytest.raises(TinygenError, match="did you mean 'dpmpp_2m'"):
        sample(PLANE.denoise(path), path, (1, 2), 5, "dpmpp2m")
    with pytest.raises(TinygenError, match="take eta away"):
        sample(PLANE.denoise(path), path, (1, 2), 5, "heun", eta=1.0)
    with pytest.raises(TinygenError, match="did you mean 'uniform'"):
        sample(PLANE.denoise(path), path, (1, 2), 5, spacing="unifrom")
