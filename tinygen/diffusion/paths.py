"""Paths from data (t = 0) to noise (t = 1): x_t = alpha(t) x0 + sigma(t) eps, with eps ~ N(0, I) and continuous t."""

import inspect
import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ..errors import TinygenError, nearest

from .schedules import build_schedule


def expand(values: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, ..., 1), with as many dimensions as `like`."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


class Path(ABC):
    """What every path can do; `alpha`, `sigma`, `log_snr` map a tensor of times in [0, 1] to one of the same shape.

    t_min: the smallest time worth training on. spacing: the time grid that suits the path when it is sampled.
    """

    t_min: float = 1e-3
    spacing: str = "uniform"

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """What is left of the signal: 1 at t = 0."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """The standard deviation of the noise: 0 at t = 0."""

    @abstractmethod
    def t_from_log_snr(self, log_snr: Tensor) -> Tensor:
        """The inverse of `log_snr`, clamped to [0, 1]."""

    def log_snr(self, t: Tensor) -> Tensor:
        """log(alpha^2 / sigma^2), infinite where one of them vanishes."""
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    def coefficients(self, t: float) -> tuple[float, float]:
        """(alpha, sigma) at one time, in double precision."""
        t = torch.tensor(t, dtype=torch.float64)
        return self.alpha(t).item(), self.sigma(t).item()

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t (B, ...) for x0 (B, ...), eps (B, ...) and t (B,) in [0, 1]."""
        return expand(self.alpha(t), x0) * x0 + expand(self.sigma(t), x0) * eps


class VPPath(Path):
    """The variance-preserving path through a discrete schedule: exactly sqrt(alphas_cumprod[i]) at t = (i + 1) / T.

    alpha = cos(phi), sigma = sin(phi); between grid points the angle phi is interpolated linearly, and phi(0) = 0.
    Ho et al. 2020, arXiv:2006.11239; continuous time: Song et al. 2021, arXiv:2011.13456.
    """

    def __init__(self, schedule: str = "linear", steps: int = 1000, zero_terminal_snr: bool = False):
        self.schedule, self.steps, self.t_min = build_schedule(schedule, steps, zero_terminal_snr), steps, 1 / steps
        abar = self.schedule.alphas_cumprod
        angle = torch.atan2((1 - abar).sqrt(), abar.sqrt())
        angle = torch.where(abar == 0, math.pi / 2, angle)                      # (T,), increasing
        self.angle = torch.cat([angle.new_zeros(1), angle])                     # (T + 1,) float64, phi(i / T)
        self._tables: dict[tuple, tuple[Tensor, Tensor]] = {}                   # (device, dtype) -> phi, pi / 2 - phi

    def _table(self, like: Tensor, complement: bool) -> Tensor:
        key = (like.device, like.dtype)
        if key not in self._tables:                                             # rounded last: small angles stay exact
            self._tables[key] = (self.angle.to(*key), (math.pi / 2 - self.angle).to(*key))
        return self._tables[key][complement]

    def _interpolate(self, t: Tensor, complement: bool) -> Tensor:
        table = self._table(t, complement)
        position = t.clamp(0, 1) * self.steps
        i = position.floor().long().clamp(max=self.steps - 1)
        return torch.lerp(table[i], table[i + 1], position - i)

    def alpha(self, t: Tensor) -> Tensor:
        return self._interpolate(t, complement=True).sin()

    def sigma(self, t: Tensor) -> Tensor:
        return self._interpolate(t, complement=False).sin()

    def t_from_log_snr(self, log_snr: Tensor) -> Tensor:
        angle, table = torch.atan(torch.exp(-log_snr / 2)), self._table(log_snr, complement=False)
        i = torch.searchsorted(table, angle).clamp(1, self.steps)
        return ((i - 1 + (angle - table[i - 1]) / (table[i] - table[i - 1])) / self.steps).clamp(0, 1)


class CosinePath(Path):
    """The cosine schedule in closed form: alpha = cos(theta(t)) / cos(theta(0)), theta = (t + s) / (1 + s) pi / 2.

    s = offset; alpha(1) = 0. Nichol and Dhariwal 2021, arXiv:2102.09672, eq. 17, without the clipping of betas.
    """

    def __init__(self, offset: float = 0.008):
        self.unit = math.pi / 2 / (1 + offset)                                  # theta(t) = unit (t + offset)
        self.start = self.unit * offset                                         # theta(0)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.sin(self.unit * (1 - t)) / math.cos(self.start)            # sin(pi / 2 - theta) = cos(theta)

    def sigma(self, t: Tensor) -> Tensor:
        # sin^2 theta(t) - sin^2 theta(0), as a product that stays exact near t = 0
        product = torch.sin(self.unit * t) * torch.sin(self.unit * t + 2 * self.start)
        return product.clamp(min=0).sqrt() / math.cos(self.start)

    def t_from_log_snr(self, log_snr: Tensor) -> Tensor:
        alpha = torch.sigmoid(log_snr).sqrt()
        return (1 - torch.asin((alpha * math.cos(self.start)).clamp(max=1)) / self.unit).clamp(0, 1)


class FlowPath(Path):
    """The straight line alpha = 1 - t, sigma = t.

    Rectified flow, flow matching: Liu et al. 2023, arXiv:2209.03003; Lipman et al. 2023, arXiv:2210.02747.
    """

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def t_from_log_snr(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-log_snr / 2)                                      # sigma / alpha = t / (1 - t)


class EDMPath(Path):
    """The variance-exploding path alpha = 1, sigma = sigma_max t^rho (Karras et al. 2022, arXiv:2206.00364).

    With this clock an even grid in t is Karras' grid in sigma; t_min is the time at which sigma = sigma_min.
    """

    spacing = "karras"

    def __init__(self, sigma_max: float = 80.0, sigma_min: float = 0.002, rho: float = 7.0):
        self.sigma_max, self.rho = sigma_max, rho
        self.t_min = (sigma_min / sigma_max) ** (1 / rho)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_max * t**self.rho

    def t_from_log_snr(self, log_snr: Tensor) -> Tensor:
        return torch.exp((-log_snr / 2 - math.log(self.sigma_max)) / self.rho).clamp(0, 1)


PATHS: dict[str, type[Path]] = {"vp": VPPath, "cosine": CosinePath, "flow": FlowPath, "edm": EDMPath}


def build_path(name: str, **options) -> Path:
    """The path called `name`, as in build_path("vp", schedule="cosine"); TinygenError for an unknown name or option."""
    if name not in PATHS:
        raise TinygenError(f"unknown path {name!r}{nearest(name, PATHS)}")
    known = inspect.signature(PATHS[name]).parameters
    for key in options:
        if key not in known:
            raise TinygenError(f"the path {name!r} has no option {key!r}{nearest(key, known)}")
    return PATHS[name](**options)


SPACINGS = ("uniform", "trailing", "karras", "log-snr")


def time_grid(path: Path, steps: int, spacing: str | None = None, t_start: float = 1.0, sigma_min: float = 0.002,
              sigma_max: float = 160.0, rho: float = 7.0) -> Tensor:
    """(steps + 1,) float64: decreasing times from t_start to exactly 0, one sampling step between neighbours.

    uniform: even in t. trailing: the same, on the grid points i / T of a discrete path (arXiv:2305.08891).
    karras: even in (sigma / alpha)^(1 / rho) down to sigma_min, then 0 (arXiv:2206.00364, eq. 5).
    log-snr: even in log-SNR, then 0 (Lu et al. 2022, arXiv:2206.00927). Both cap sigma / alpha, which may be infinite
    at t = 1, at sigma_max. `spacing` None takes the path's own.
    TinygenError for an unknown spacing, steps < 1 or t_start outside (0, 1].
    """
    spacing = spacing or path.spacing
    if spacing not in SPACINGS:
        raise TinygenError(f"unknown time spacing {spacing!r}{nearest(spacing, SPACINGS)}")
    if steps < 1 or not 0 < t_start <= 1:
        raise TinygenError(f"sampling needs at least 1 step and a start time in (0, 1], not {steps} and {t_start}")
    even = torch.linspace(1, 0, steps + 1, dtype=torch.float64)                 # (steps + 1,)
    if spacing == "uniform":
        return t_start * even
    if spacing == "trailing":
        resolution = getattr(path, "steps", 1000)
        if steps > round(t_start * resolution):
            raise TinygenError(f"a trailing grid has at most {round(t_start * resolution)} steps here, not {steps}")
        return torch.round(t_start * even * resolution) / resolution
    even = torch.linspace(0, 1, steps, dtype=torch.float64)                     # (steps,), from the largest sigma down
    start = torch.exp(-path.log_snr(torch.tensor(t_start, dtype=torch.float64)) / 2).clamp(max=sigma_max).item()
    if spacing == "karras":
        sigmas = (start ** (1 / rho) + even * (min(sigma_min, start) ** (1 / rho) - start ** (1 / rho))) ** rho
    else:
        sigmas = torch.exp(math.log(start) + even * (math.log(min(sigma_min, start)) - math.log(start)))
    times = torch.cat([path.t_from_log_snr(-2 * sigmas.log()), sigmas.new_zeros(1)])
    times[0] = t_start
    return times
