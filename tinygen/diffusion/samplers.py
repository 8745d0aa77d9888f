"""Samplers: one function each, all of the same shape.

    sampler(denoise, path, x, times, generator=None, callback=None) -> x at times[-1]

denoise(x_t, t) guesses x0; x (B, ...) is noisy at times[0]; times (N + 1,) float64 decrease, see `paths.time_grid`.
After each step callback(step, t, x, x0_hat) sees the new x and its time t (0 after the last step), and may return
another x, which is how inpainting keeps what is known.
The exact solution obeys dx = x0_hat d(alpha) + eps_hat d(sigma), with eps_hat = (x - alpha x0_hat) / sigma.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..errors import TinygenError, nearest

from .guidance import Denoise
from .objectives import randn
from .paths import Path, time_grid
from .schedules import posterior

Callback = Callable[[int, float, Tensor, Tensor], Tensor | None]


def steps_of(path: Path, times: Tensor) -> Iterator[tuple[int, float, float, float, float, float, float]]:
    """(step, t, s, alpha_t, sigma_t, alpha_s, sigma_s) for every step from t to s < t."""
    levels = list(zip(times.tolist(), path.alpha(times).tolist(), path.sigma(times).tolist(), strict=True))
    for step, ((t, alpha_t, sigma_t), (s, alpha_s, sigma_s)) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
        yield step, t, s, alpha_t, sigma_t, alpha_s, sigma_s


def _seen(callback: Callback | None, step: int, s: float, x: Tensor, x0: Tensor) -> Tensor:
    changed = None if callback is None else callback(step, s, x, x0)
    return x if changed is None else changed


def ddpm(denoise: Denoise, path: Path, x: Tensor, times: Tensor, generator: torch.Generator | None = None,
         callback: Callback | None = None) -> Tensor:
    """Ancestral sampling: draw from q(x_s | x_t, x0_hat) (Ho et al. 2020, arXiv:2006.11239, algorithm 2)."""
    for step, t, s, alpha_t, sigma_t, alpha_s, sigma_s in steps_of(path, times):
        x0 = denoise(x, t)
        c_0, c_t, variance = posterior(alpha_t, sigma_t, alpha_s, sigma_s)
        x = c_0 * x0 + c_t * x
        if variance > 0:
            x = x + math.sqrt(variance) * randn(x.shape, generator, x.device, x.dtype)
        x = _seen(callback, step, s, x, x0)
    return x


def ddim(denoise: Denoise, path: Path, x: Tensor, times: Tensor, generator: torch.Generator | None = None,
         callback: Callback | None = None, eta: float = 0.0) -> Tensor:
    """Keep both guesses, move to the next time; eta = 1 is `ddpm` (Song et al. 2021, arXiv:2010.02502, eq. 12, 16)."""
    for step, t, s, alpha_t, sigma_t, alpha_s, sigma_s in steps_of(path, times):
        x0 = denoise(x, t)
        eps = (x - alpha_t * x0) / sigma_t
        fresh = eta * math.sqrt(posterior(alpha_t, sigma_t, alpha_s, sigma_s)[2])          # std of the new noise
        x = alpha_s * x0 + math.sqrt(max(sigma_s**2 - fresh**2, 0.0)) * eps
        if fresh > 0:
            x = x + fresh * randn(x.shape, generator, x.device, x.dtype)
        x = _seen(callback, step, s, x, x0)
    return x


def euler(denoise: Denoise, path: Path, x: Tensor, times: Tensor, generator: torch.Generator | None = None,
          callback: Callback | None = None) -> Tensor:
    """Euler's method on dx = x0_hat d(alpha) + eps_hat d(sigma), order 1 (Karras et al. 2022, arXiv:2206.00364).

    Algebraically this is the step of `ddim` with eta = 0; so are Euler in sigma / alpha for x / alpha (k-diffusion),
    and Euler in t on the flow path. It is here to be read beside `heun`.
    """
    for step, t, s, alpha_t, sigma_t, alpha_s, sigma_s in steps_of(path, times):
        x0 = denoise(x, t)
        x = x + (alpha_s - alpha_t) * x0 + (sigma_s - sigma_t) / sigma_t * (x - alpha_t * x0)
        x = _seen(callback, step, s, x, x0)
    return x


def heun(denoise: Denoise, path: Path, x: Tensor, times: Tensor, generator: torch.Generator | None = None,
         callback: Callback | None = None) -> Tensor:
    """Euler, then again with the mean of the slopes at both ends: order 2, two calls of denoise a step.

    Karras et al. 2022, arXiv:2206.00364, algorithm 1, exactly so where alpha = 1. A step that ends at sigma = 0, where
    there is no eps_hat, is Euler's.
    """
    for step, t, s, alpha_t, sigma_t, alpha_s, sigma_s in steps_of(path, times):
        x0 = denoise(x, t)
        eps = (x - alpha_t * x0) / sigma_t
        guess = x + (alpha_s - alpha_t) * x0 + (sigma_s - sigma_t) * eps
        if sigma_s > 0:
            x0_s = denoise(guess, s)
            eps_s = (guess - alpha_s * x0_s) / sigma_s
            guess = x + (alpha_s - alpha_t) * (x0 + x0_s) / 2 + (sigma_s - sigma_t) * (eps + eps_s) / 2
        x = _seen(callback, step, s, guess, x0)
    return x


def dpmpp_2m(denoise: Denoise, path: Path, x: Tensor, times: Tensor, generator: torch.Generator | None = None,
             callback: Callback | None = None) -> Tensor:
    """DPM-Solver++(2M): x0_hat as a straight line in log-SNR through the last two guesses; order 2, one call a step.

    Lu et al. 2022, arXiv:2211.01095, algorithm 2. The first step and one that ends at sigma = 0 are of order 1.
    """
    old, old_h = None, math.inf
    for step, t, s, alpha_t, sigma_t, alpha_s, sigma_s in steps_of(path, times):
        x0 = denoise(x, t)
        h = math.inf if sigma_s == 0 or alpha_t == 0 else math.log(alpha_s / sigma_s) - math.log(alpha_t / sigma_t)
        ahead = 0.0 if old is None or math.isinf(h) else h / (2 * old_h)        # 1 / (2 r), with r = h_old / h
        slope = x0 if ahead == 0 else (1 + ahead) * x0 - ahead * old
        x = sigma_s / sigma_t * x - alpha_s * math.expm1(-h) * slope
        old, old_h = x0, h
        x = _seen(callback, step, s, x, x0)
    return x


SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "ddpm": ddpm, "ddim": ddim, "euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}


@torch.no_grad()
def sample(denoise: Denoise, path: Path, shape: tuple[int, ...], steps: int = 50, sampler: str = "dpmpp_2m",
           generator: torch.Generator | None = None, x_init: Tensor | None = None, t_start: float = 1.0,
           spacing: str | None = None, callback: Callback | None = None, device: torch.device | str = "cpu",
           **options: float) -> Tensor:
    """Samples of the given shape (B, ...): noise at t_start, then `steps` steps of the sampler down to t = 0.

    x_init (B, ...): clean data to start from (image to image: noised to t_start, the strength of the change).
    spacing: see `paths.time_grid`; options go to the sampler (eta of ddim). All randomness comes from `generator`.
    TinygenError for an unknown sampler, spacing or option.
    """
    if sampler not in SAMPLERS:
        raise TinygenError(f"unknown sampler {sampler!r}{nearest(sampler, SAMPLERS)}")
    if options and not (sampler == "ddim" and set(options) == {"eta"}):
        raise TinygenError(f"take {', '.join(options)} away: the sampler {sampler!r} has no such option (ddim has eta)")
    times = time_grid(path, steps, spacing, t_start)
    alpha, sigma = path.coefficients(t_start)
    x = sigma * randn(tuple(shape), generator, torch.device(device))
    if x_init is not None:
        x = x + alpha * x_init.to(x)
    return SAMPLERS[sampler](denoise, path, x, times, generator=generator, callback=callback, **options)
