"""DDIM inversion: from a picture's latents back to the noise that a deterministic sampler would make it of."""

import torch
from torch import Tensor

from ..diffusion import Denoise, Path
from ..diffusion.samplers import steps_of
from ..errors import TinygenError


@torch.no_grad()
def invert(denoise: Denoise, path: Path, x: Tensor, times: Tensor, iterations: int = 1) -> Tensor:
    """Clean x (B, ...) -> the noise at times[0] from which `ddim` with eta = 0 on the same `times` comes back to x.

    Each step of `ddim` from s down to t is undone by solving x_s = x_t + (alpha_s - alpha_t) x0_hat(x_s, s)
    + (sigma_s - sigma_t) eps_hat(x_s, s) for x_s, by fixed-point iteration from x_s = x_t. One iteration is the usual
    inversion (Song et al. 2021, arXiv:2010.02502, section 4.3; Mokady et al. 2022, arXiv:2211.09794); more make it exact
    where they converge (Pan et al. 2023, arXiv:2309.04907). TinygenError for fewer than one.
    """
    if iterations < 1:
        raise TinygenError(f"inversion needs at least one iteration a step, not {iterations}")
    for _, s, _, alpha_s, sigma_s, alpha_t, sigma_t in reversed(list(steps_of(path, times))):
        guess = x
        for _ in range(iterations):
            x0 = denoise(guess, s)
            eps = (guess - alpha_s * x0) / sigma_s
            guess = x + (alpha_s - alpha_t) * x0 + (sigma_s - sigma_t) * eps
        x = guess
    return x
