"""What keeps a discriminator smooth: gradient penalties and spectral normalisation."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


def input_gradient(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """d critic(x).sum() / dx, same shape as x, itself differentiable with respect to the critic's parameters; fp32.

    The critic's logit of an image must depend on that image only (no batch norm), so row i is the gradient of logit i.
    """
    x = x.detach().float().requires_grad_(True)
    with torch.autocast(x.device.type, enabled=False):
        logits = critic(x)
    return torch.autograd.grad(logits.sum(), x, create_graph=True)[0]


def r1_penalty(critic: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """R1: E |grad D(x)|^2 / 2 over real images, a scalar; times gamma (e.g. 0.1 to 10) it joins D's loss.

    real (B, ...). For a linear critic w . x it is |w|^2 / 2. Source: Mescheder et al. 2018, arXiv:1801.04406, eq. 9.
    """
    gradient = input_gradient(critic, real).flatten(1)                          # (B, D)
    return gradient.square().sum(dim=1).mean() / 2


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor,
                     generator: torch.Generator | None = None) -> Tensor:
    """WGAN-GP: E (|grad D(x)| - 1)^2 at x = u real + (1 - u) fake, u ~ U(0, 1) per image, a scalar (weight: 10).

    real, fake (B, ...). The root has an epsilon inside, so that a zero gradient gives no NaN.
    Source: Gulrajani et al. 2017, arXiv:1704.00028, eq. 3.
    """
    u = torch.rand(len(real), *[1] * (real.dim() - 1), generator=generator, device=real.device)
    gradient = input_gradient(critic, u * real.detach() + (1 - u) * fake.detach()).flatten(1)     # (B, D)
    norm = (gradient.square().sum(dim=1) + 1e-12).sqrt()
    return (norm - 1).square().mean()


def power_iteration(matrix: Tensor, steps: int = 50,
                    generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Largest singular value of a matrix (m, n), with its singular vectors: (sigma, u (m,), v (n,)).

    v <- W^T u / |W^T u|, u <- W v / |W v|, sigma = u . W v; the error shrinks by (sigma_2 / sigma_1)^2 a step.
    Source: Miyato et al. 2018, arXiv:1802.05957, algorithm 1.
    """
    u = torch.randn(matrix.shape[0], generator=generator, dtype=matrix.dtype, device=matrix.device)
    for _ in range(steps):
        v = F.normalize(matrix.T @ u, dim=0)
        u = F.normalize(matrix @ v, dim=0)
    return u @ (matrix @ v), u, v


def apply_spectral_norm(module: nn.Module) -> nn.Module:
    """Divide the weight of every convolution, linear layer and embedding in `module` by its largest singular value.

    In place, by one step of power iteration for each forward pass in training mode; returns the module. A kernel is
    read as the matrix (out, in * kh * kw), whose norm is *not* that of the convolution as an operator.
    Source: Miyato et al. 2018, arXiv:1802.05957.
    """
    for layer in list(module.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            spectral_norm(layer)
    return module
