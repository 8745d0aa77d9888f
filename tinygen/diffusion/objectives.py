"""Training: at which times, with which weight, and the `Denoiser` that joins a network, a path and a prediction."""

import torch
from torch import Tensor, nn

from ..errors import TinygenError, nearest

from .parameterisations import check_prediction, from_x0_eps, input_std, to_x0, x0_error_scale
from .paths import Path, build_path, expand

DENSITIES = ("uniform", "logit-normal", "lognormal")
WEIGHTINGS = ("simple", "min-snr", "edm")


def randn(shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device,
          dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers from `generator`, drawn on its own device and moved to `device`."""
    source = device if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=source, dtype=dtype).to(device)


def sample_times(n: int, path: Path, density: str, generator: torch.Generator | None, device: torch.device,
                 mean: float | None = None, std: float | None = None) -> Tensor:
    """(n,) training times in [path.t_min, 1].

    uniform: stratified, one time in every n-th part of the range, shuffled (Kingma et al. 2021, arXiv:2107.00630).
    logit-normal: logit(t) ~ N(mean = 0, std^2 = 1) (Esser et al. 2024, arXiv:2403.03206). lognormal:
    ln(sigma / alpha) ~ N(mean = -1.2, std = 1.2) (Karras et al. 2022, arXiv:2206.00364). TinygenError for others.
    """
    if density not in DENSITIES:
        raise TinygenError(f"unknown density of times {density!r}{nearest(density, DENSITIES)}")
    if density == "uniform":
        source = device if generator is None else generator.device
        u = torch.rand(n, generator=generator, device=source)
        u = ((torch.randperm(n, generator=generator, device=source) + u) / n).to(device)
        return path.t_min + (1 - path.t_min) * u
    z = randn((n,), generator, device)
    if density == "logit-normal":
        t = torch.sigmoid((0.0 if mean is None else mean) + (1.0 if std is None else std) * z)
    else:
        t = path.t_from_log_snr(-2 * ((-1.2 if mean is None else mean) + (1.2 if std is None else std) * z))
    return t.clamp(path.t_min, 1)


def loss_weight(weighting: str, prediction: str, alpha: Tensor, sigma: Tensor, sigma_data: float = 1.0,
                gamma: float = 5.0) -> Tensor:
    """The factor on the squared error of the prediction, shaped like alpha; sigma must be positive.

    simple: 1. min-snr: min(SNR, gamma) on the error of x0, Hang et al. 2023, arXiv:2303.09556.
    edm: (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 on the error of x0 (arXiv:2206.00364), which is 1 on that of F.
    """
    if weighting not in WEIGHTINGS:
        raise TinygenError(f"unknown loss weighting {weighting!r}{nearest(weighting, WEIGHTINGS)}")
    if weighting == "simple":
        return torch.ones_like(alpha)
    if weighting == "min-snr":
        on_x0 = (alpha / sigma).square().clamp(max=gamma)
    else:
        on_x0 = (input_std(alpha, sigma, sigma_data) / (sigma * sigma_data)).square()
    return on_x0 * x0_error_scale(prediction, alpha, sigma, sigma_data).square()


class Denoiser(nn.Module):
    """A network seen as a guess of the clean data: `x0(x_t, t, **condition)`; and its training loss.

    network(x (B, C, H, W), noise_level (B,) = t in [0, 1], **condition) -> (B, C, H, W), where the condition has any of
    labels (B,) int64, context (B, L, D), context_mask (B, L) bool. The network sees x_t divided by its standard
    deviation. path: a Path or the name of one; sigma_data: the standard deviation of the data; density, weighting,
    gamma, density_mean, density_std: see `sample_times` and `loss_weight`. Karras et al. 2022, arXiv:2206.00364.
    TinygenError for unknown names, and for eps on a path with alpha(1) = 0.
    """

    def __init__(self, network: nn.Module, path: Path | str = "vp", prediction: str = "v", sigma_data: float = 1.0,
                 density: str = "uniform", weighting: str = "simple", gamma: float = 5.0,
                 density_mean: float | None = None, density_std: float | None = None):
        super().__init__()
        self.network, self.path = network, build_path(path) if isinstance(path, str) else path
        self.prediction, self.sigma_data = check_prediction(prediction), sigma_data
        self.density, self.weighting, self.gamma = density, weighting, gamma
        self.density_mean, self.density_std = density_mean, density_std
        if prediction == "eps" and self.path.coefficients(1.0)[0] == 0:
            raise TinygenError("eps says nothing about x0 where alpha(1) = 0: predict v, x0, flow or edm on this path")
        one = torch.ones(1)                                                     # unknown names fail here, not later
        sample_times(1, self.path, density, torch.Generator(), one.device)
        loss_weight(weighting, prediction, one, one)

    def _predict(self, x_t: Tensor, t: Tensor, condition: dict) -> tuple[Tensor, Tensor, Tensor]:
        alpha, sigma = expand(self.path.alpha(t), x_t), expand(self.path.sigma(t), x_t)     # (B, 1, 1, 1)
        output = self.network(x_t / input_std(alpha, sigma, self.sigma_data), t, **condition)
        return output.to(x_t.dtype), alpha, sigma

    def x0(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """The guess of the clean data at x_t (B, C, H, W) and t, (B,) or one number, in [0, 1] -> (B, C, H, W)."""
        t = t.to(x_t) if isinstance(t, Tensor) else x_t.new_full((), t)
        output, alpha, sigma = self._predict(x_t, t.expand(len(x_t)), condition)
        return to_x0(output, x_t, alpha, sigma, self.prediction, self.sigma_data)

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """The same as `x0`."""
        return self.x0(x_t, t, **condition)

    def loss(self, x0: Tensor, generator: torch.Generator | None = None,
             **condition: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted mean squared error of the prediction, at random times, for clean data x0 (B, C, H, W).

        -> (scalar, {"t", "weight", "mse", "x0_mse"}: (B,) each, detached).
        """
        t = sample_times(len(x0), self.path, self.density, generator, x0.device, self.density_mean, self.density_std)
        eps = randn(x0.shape, generator, x0.device, x0.dtype)
        x_t = self.path.add_noise(x0, eps, t.to(x0.dtype))
        output, alpha, sigma = self._predict(x_t, t.to(x0.dtype), condition)
        target = from_x0_eps(x0, eps, alpha, sigma, self.prediction, self.sigma_data)
        mse = (output - target).square().flatten(1).mean(dim=1)                 # (B,)
        weight = loss_weight(self.weighting, self.prediction, alpha, sigma, self.sigma_data, self.gamma).flatten()
        scale = x0_error_scale(self.prediction, alpha, sigma, self.sigma_data).flatten()
        detail = {"t": t, "weight": weight, "mse": mse.detach(), "x0_mse": (mse * scale.square()).detach()}
        return (weight * mse).mean(), detail
