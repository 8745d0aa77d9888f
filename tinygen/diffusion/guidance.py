"""Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598). Scale 1 means none, as in most tools."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import TinygenError

from .paths import Path, expand

Denoise = Callable[[Tensor, float], Tensor]      # (x_t (B, ...), t in [0, 1]) -> guess of x0 (B, ...)


def guided(x0: Callable[..., Tensor], condition: dict[str, Tensor], unconditional: dict[str, Tensor],
           scale: float = 1.0, interval: tuple[float, float] = (0.0, 1.0), rescale: float = 0.0) -> Denoise:
    """A function (x_t, t) -> unconditional guess + scale (conditional guess - unconditional guess), for the samplers.

    x0: a Denoiser's `x0`. condition, unconditional: what to pass to it (labels, context, context_mask; B rows each);
    `unconditional` may hold a negative prompt instead. Both halves run in one call of the network; outside the
    interval t_lo <= t <= t_hi (Kynkaanniemi et al. 2024, arXiv:2404.07724; `sigma_interval` gives one from sigmas),
    and at scale 1, the unconditional half is not run. rescale in [0, 1] pulls the standard deviation of every guess
    back to the conditional one's (Lin et al. 2024, arXiv:2305.08891, section 3.4).
    TinygenError if the two have different keys or shapes.
    """
    if condition.keys() != unconditional.keys():
        raise TinygenError("give guidance the same conditions twice, "
                           f"not {sorted(condition)} and {sorted(unconditional)}")
    for key, value in condition.items():
        if value.shape != unconditional[key].shape:
            raise TinygenError(f"give {key!r} the same shape with and without condition: "
                               f"{tuple(value.shape)} is not {tuple(unconditional[key].shape)}")
    both = {key: torch.cat([value, unconditional[key]]) for key, value in condition.items()}

    def denoise(x_t: Tensor, t: float) -> Tensor:
        if scale == 1 or not interval[0] <= t <= interval[1]:
            return x0(x_t, t, **condition)
        with_condition, without = x0(torch.cat([x_t, x_t]), t, **both).chunk(2)
        guess = torch.lerp(without, with_condition, scale)
        if rescale:
            factor = _std(with_condition) / _std(guess)                         # (B, 1, 1, 1)
            guess = guess * (rescale * factor + (1 - rescale))
        return guess

    return denoise


def _std(x: Tensor) -> Tensor:
    return x.std(dim=tuple(range(1, x.ndim)), keepdim=True).clamp(min=1e-8)


def sigma_interval(path: Path, sigma_lo: float, sigma_hi: float) -> tuple[float, float]:
    """The interval of times in which sigma_lo <= sigma / alpha <= sigma_hi: papers give guidance intervals in sigma."""
    times = path.t_from_log_snr(-2 * torch.tensor([sigma_lo, sigma_hi], dtype=torch.float64).log())
    return times[0].item(), times[1].item()


def drop_condition(condition: dict[str, Tensor], null: dict[str, Tensor], probability: float,
                   generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """In training: replace the condition of some examples, each with `probability`, by the null condition.

    condition: (B, ...) each; null: the same keys, (...) or (1, ...) or (B, ...) each.
    All keys of an example go together.
    """
    first = next(iter(condition.values()))
    source = first.device if generator is None else generator.device
    drop = (torch.rand(len(first), generator=generator, device=source) < probability).to(first.device)   # (B,)
    return {key: torch.where(expand(drop, value), null[key], value) for key, value in condition.items()}
