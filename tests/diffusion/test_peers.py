"""Schedules, time grids and samplers agree with `diffusers`, given the same model outputs, noise and time steps."""

import diffusers
import pytest
import torch

from tinygen.diffusion import SAMPLERS, VPPath, build_path, build_schedule, to_x0
from tinygen.diffusion import time_grid as grid

DOUBLE = torch.float64
T = 1000
COMMON = {"num_train_timesteps": T, "timestep_spacing": "trailing"}
BETAS = {"linear": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
         "scaled-linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
         "cosine": {"beta_schedule": "squaredcos_cap_v2"}}
NAMES = {"eps": "epsilon", "v": "v_prediction"}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def network(x, t):
    """Some nonlinear function of x and of the time t in (0, 1], the same for both sides."""
    return torch.tanh(1.3 * x + 2 * t - 1) + 0.3 * torch.roll(x, 1, dims=-1)


def denoise(path, prediction):
    def x0(x, t):
        alpha, sigma = path.coefficients(t)
        return to_x0(network(x, t), x, torch.tensor(alpha, dtype=DOUBLE), torch.tensor(sigma, dtype=DOUBLE), prediction)
    return x0


def noise():
    return torch.randn(3, 4, 2, 2, generator=seeded(), dtype=DOUBLE)


def peer_run(scheduler, x, steps, **options):
    """diffusers' own loop; its integer time steps count from 0, so that t = (timestep + 1) / T."""
    scheduler.set_timesteps(steps)
    generator = {"generator": seeded(1)} if "generator" in options else {}
    options.pop("generator", None)
    for timestep in scheduler.timesteps:
        output = network(scheduler.scale_model_input(x, timestep), (timestep.double().item() + 1) / T)
        x = scheduler.step(output, timestep, x, **generator, **options).prev_sample.to(DOUBLE)
    return x


@pytest.mark.parametrize("name", BETAS)
@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_schedules(name, zero_terminal_snr):
    peer = diffusers.DDIMScheduler(num_train_timesteps=T, rescale_betas_zero_snr=zero_terminal_snr, **BETAS[name])
    ours = build_schedule(name, T, zero_terminal_snr)
    torch.testing.assert_close(ours.alphas_cumprod.float(), peer.alphas_cumprod, rtol=1e-3, atol=2e-6)


def test_karras_sigmas():
    peer = diffusers.EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, rho=7.0)
    peer.set_timesteps(18)
    path = build_path("edm")
    torch.testing.assert_close(path.sigma(grid(path, 18)).float(), peer.sigmas, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("steps", [7, 50])
def test_trailing_time_steps(steps):
    peer = diffusers.DDIMScheduler(**COMMON)
    peer.set_timesteps(steps)
    times = grid(VPPath("linear", T), steps, "trailing")
    assert (times[:-1] * T).round().long().sub(1).tolist() == peer.timesteps.tolist()


@pytest.mark.parametrize("prediction", NAMES)
@pytest.mark.parametrize("name", BETAS)
def test_ddpm_and_ddim(name, prediction):
    options = {"prediction_type": NAMES[prediction], "clip_sample": False, **COMMON, **BETAS[name]}
    path, x, times = VPPath(name, T), noise(), grid(VPPath(name, T), 20, "trailing")
    ours = SAMPLERS["ddpm"](denoise(path, prediction), path, x, times, generator=seeded(1))
    theirs = peer_run(diffusers.DDPMScheduler(variance_type="fixed_small", **options), x, 20, generator=True)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    for eta in (0.0, 0.6, 1.0):
        ours = SAMPLERS["ddim"](denoise(path, prediction), path, x, times, generator=seeded(1), eta=eta)
        theirs = peer_run(diffusers.DDIMScheduler(**options), x, 20, generator=True, eta=eta)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction", NAMES)
@pytest.mark.parametrize("name", ["linear", "scaled-linear"])
def test_dpmpp_2m(name, prediction):
    path = VPPath(name, T)
    for steps in (8, 20):
        peer = diffusers.DPMSolverMultistepScheduler(prediction_type=NAMES[prediction], final_sigmas_type="zero",
                                                     algorithm_type="dpmsolver++", **COMMON, **BETAS[name])
        ours = SAMPLERS["dpmpp_2m"](denoise(path, prediction), path, noise(), grid(path, steps, "trailing"))
        torch.testing.assert_close(ours, peer_run(peer, noise(), steps), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction", NAMES)
@pytest.mark.parametrize("name", ["linear", "scaled-linear"])
def test_euler(name, prediction):
    """k-diffusion's Euler works on x / alpha, where alpha is the path's."""
    path = VPPath(name, T)
    peer = diffusers.EulerDiscreteScheduler(prediction_type=NAMES[prediction], **COMMON, **BETAS[name])
    ours = SAMPLERS["euler"](denoise(path, prediction), path, noise(), grid(path, 20, "trailing"))
    theirs = peer_run(peer, noise() / path.coefficients(1.0)[0], 20)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["linear", "scaled-linear"])
def test_heun(name):
    """On the path alpha = 1 with the sigmas of diffusers: Karras' Heun step is ours."""
    peer = diffusers.HeunDiscreteScheduler(**COMMON, **BETAS[name])
    peer.set_timesteps(15)
    sigmas = torch.cat([peer.sigmas[:1], peer.sigmas[1:-1:2], peer.sigmas[-1:]]).double()   # inner ones come twice
    steps = dict(zip(sigmas.tolist(), ((peer.timesteps[::2].double() + 1) / T).tolist(), strict=False))
    path = build_path("edm", sigma_max=200.0)
    times = path.t_from_log_snr(-2 * sigmas.log())
    assert times[-1] == 0 and len(times) == 16

    def x0(x, t):
        sigma = path.coefficients(t)[1]
        nearest = min(steps, key=lambda known: abs(known - sigma))
        return x - sigma * network(x / (sigma**2 + 1) ** 0.5, steps[nearest])

    x = noise() * sigmas[0]
    torch.testing.assert_close(SAMPLERS["heun"](x0, path, x, times), peer_run(peer, x, 15), rtol=2e-4, atol=2e-4)


def test_flow_matching_euler():
    path, x = build_path("flow"), noise()
    peer = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=T)
    peer.set_timesteps(sigmas=[1.0, 0.8, 0.6, 0.4, 0.2])
    theirs = x
    for t, timestep in zip((1.0, 0.8, 0.6, 0.4, 0.2), peer.timesteps, strict=True):
        theirs = peer.step(network(theirs, t), timestep, theirs).prev_sample.to(DOUBLE)
    ours = SAMPLERS["euler"](denoise(path, "flow"), path, x, grid(path, 5))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
