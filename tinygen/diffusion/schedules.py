"""Discrete variance-preserving schedules: how much noise each of T steps adds. All in float64: it is T numbers."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import TinygenError, nearest


@dataclass(frozen=True)
class Schedule:
    """q(x_i | x_{i-1}) = N(sqrt(1 - betas[i]) x_{i-1}, betas[i] I): a Markov chain from data to noise.

    Hence q(x_i | x_0) = N(sqrt(alphas_cumprod[i]) x_0, (1 - alphas_cumprod[i]) I). betas (T,), alphas_cumprod (T,):
    float64; index 0 is the first noisy step. Source: Ho et al. 2020, arXiv:2006.11239.
    """

    betas: Tensor
    alphas_cumprod: Tensor

    @property
    def snr(self) -> Tensor:
        """(T,): the signal-to-noise ratio alphas_cumprod / (1 - alphas_cumprod)."""
        return self.alphas_cumprod / (1 - self.alphas_cumprod)

    def posterior(self) -> tuple[Tensor, Tensor, Tensor]:
        """(c_0, c_t, variance), each (T,), of q(x_{i-1} | x_i, x_0) = N(c_0 x_0 + c_t x_i, variance I); eq. 7 there."""
        before = torch.cat([self.alphas_cumprod.new_ones(1), self.alphas_cumprod[:-1]])   # alphas_cumprod[i-1]
        c_0 = before.sqrt() * self.betas / (1 - self.alphas_cumprod)
        c_t = (1 - self.betas).sqrt() * (1 - before) / (1 - self.alphas_cumprod)
        return c_0, c_t, self.betas * (1 - before) / (1 - self.alphas_cumprod)


def posterior(alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float) -> tuple[float, float, float]:
    """(c_0, c_t, variance) of q(x_s | x_t, x_0) = N(c_0 x_0 + c_t x_t, variance I), for any two times s < t of a path.

    alpha_t and sigma_s may be 0; alpha_s and sigma_t are positive. Kingma et al. 2021, arXiv:2107.00630, appendix A.
    """
    alpha_ts = alpha_t / alpha_s                                # x_t = alpha_ts x_s + noise of variance var_ts
    var_ts = max(sigma_t**2 - (alpha_ts * sigma_s) ** 2, 0.0)
    return alpha_s * var_ts / sigma_t**2, alpha_ts * (sigma_s / sigma_t) ** 2, var_ts * (sigma_s / sigma_t) ** 2


def linear_betas(steps: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> Tensor:
    """(steps,): betas on a straight line (arXiv:2006.11239); the ends are for 1000 steps, scaled by 1000 / steps."""
    return (torch.linspace(beta_start, beta_end, steps, dtype=torch.float64) * (1000 / steps)).clamp(max=0.999)


def scaled_linear_betas(steps: int, beta_start: float = 0.00085, beta_end: float = 0.012) -> Tensor:
    """(steps,): their square roots on a straight line (Rombach et al. 2022, arXiv:2112.10752), scaled likewise."""
    roots = torch.linspace(beta_start**0.5, beta_end**0.5, steps, dtype=torch.float64)
    return (roots**2 * (1000 / steps)).clamp(max=0.999)


def cosine_betas(steps: int, offset: float = 0.008, max_beta: float = 0.999) -> Tensor:
    """(steps,): alphas_cumprod follows a squared cosine (Nichol and Dhariwal 2021, arXiv:2102.09672, eq. 17)."""
    i = torch.arange(steps + 1, dtype=torch.float64)
    alphas_cumprod = torch.cos((i / steps + offset) / (1 + offset) * math.pi / 2) ** 2
    return (1 - alphas_cumprod[1:] / alphas_cumprod[:-1]).clamp(max=max_beta)


def rescale_zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """(T,) -> (T,): shifted and stretched so that the last entry is exactly 0 (Lin et al. 2024, arXiv:2305.08891)."""
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2


SCHEDULES: dict[str, Callable[..., Tensor]] = {
    "linear": linear_betas, "scaled-linear": scaled_linear_betas, "cosine": cosine_betas}


def build_schedule(name: str, steps: int = 1000, zero_terminal_snr: bool = False) -> Schedule:
    """The schedule called `name` with T = steps; TinygenError for an unknown name or fewer than 2 steps."""
    if name not in SCHEDULES:
        raise TinygenError(f"unknown noise schedule {name!r}{nearest(name, SCHEDULES)}")
    if steps < 2:
        raise TinygenError(f"a noise schedule needs at least 2 steps, not {steps}")
    betas = SCHEDULES[name](steps)
    alphas_cumprod = torch.cumprod(1 - betas, dim=0)
    if zero_terminal_snr:
        alphas_cumprod = rescale_zero_terminal_snr(alphas_cumprod)
        betas = 1 - alphas_cumprod / torch.cat([alphas_cumprod.new_ones(1), alphas_cumprod[:-1]])
    return Schedule(betas, alphas_cumprod)
