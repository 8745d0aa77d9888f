"""Step distillation: what a sampler reaches in many small steps becomes the target of one large step."""

import torch
from torch import Tensor

from .guidance import Denoise
from .paths import Path, expand
from .samplers import SAMPLERS


def trajectory(denoise: Denoise, path: Path, x: Tensor, times: Tensor, every: int, sampler: str = "dpmpp_2m") -> Tensor:
    """Where a sampler passes: x (B, ...) at times[0] and after each `every` steps, (B, K + 1, ...), K = steps / every.

    times (steps + 1,), decreasing, see `time_grid`; `every` divides steps. For samplers without fresh noise.
    """
    seen = [x]

    def keep(step: int, t: float, x: Tensor, x0: Tensor) -> None:
        if (step + 1) % every == 0:
            seen.append(x)

    SAMPLERS[sampler](denoise, path, x, times, callback=keep)
    return torch.stack(seen, dim=1)


def jump(x_t: Tensor, x0: Tensor, t: Tensor, s: Tensor, path: Path) -> Tensor:
    """One deterministic step from x_t (B, ...) at times t (B,) to times s (B,) < t, with the guess x0 (B, ...).

    alpha_s x0 + sigma_s (x_t - alpha_t x0) / sigma_t: the step of `ddim` with eta = 0, with a time of its own for
    every example. Song et al. 2021, arXiv:2010.02502, eq. 12.
    """
    alpha_t, sigma_t, alpha_s, sigma_s = (expand(f(time), x_t) for time in (t, s) for f in (path.alpha, path.sigma))
    return alpha_s * x0 + sigma_s / sigma_t * (x_t - alpha_t * x0)
