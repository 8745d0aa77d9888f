"""Distances between two sets of feature vectors: Frechet (FD) and kernel (KD). In our own features: never "FID"."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import TinygenError


@dataclass
class Gaussian:
    """Mean (D,) and covariance (D, D), float64."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def fit(cls, features: Tensor) -> "Gaussian":
        """Features (N, D) -> their mean and unbiased covariance. TinygenError for fewer than two rows."""
        if len(features) < 2:
            raise TinygenError(f"a covariance needs at least 2 images, not {len(features)}: evaluate with a larger n")
        x = features.double()
        mean = x.mean(dim=0)
        return cls(mean, (x - mean).T @ (x - mean) / (len(x) - 1))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Squared Frechet (2-Wasserstein) distance between Gaussians (Dowson and Landau 1982; for images arXiv:1706.08500).

    |m_a - m_b|^2 + tr A + tr B - 2 tr (A B)^(1/2), in float64. The last trace is the sum of the roots of the
    eigenvalues of A B, which are those of the symmetric A^(1/2) B A^(1/2): no root of an unsymmetric matrix is needed.
    """
    values, vectors = torch.linalg.eigh(a.covariance)                           # (D,), (D, D)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T                     # A^(1/2)
    product = root @ b.covariance @ root
    trace = torch.linalg.eigvalsh((product + product.T) / 2).clamp_min(0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * trace
    return distance.clamp_min(0).item()


def kernel_mmd2(x: Tensor, y: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel k(a, b) = (a.b / D + 1)^3 (arXiv:1801.01401).

    Features (N, D) and (M, D) -> mean of k over pairs within x, plus within y, minus twice across; 0 in the mean
    for two samples of one distribution, so it may come out negative.
    """
    x, y = x.double(), y.double()
    kernel = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3
    within = lambda k: (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))
    return (within(kernel(x, x)) + within(kernel(y, y)) - 2 * kernel(x, y).mean()).item()


def kernel_distance(x: Tensor, y: Tensor, generator: torch.Generator, block: int = 1000) -> tuple[float, float]:
    """`kernel_mmd2` averaged over disjoint blocks of shuffled rows: its mean does not depend on N, unlike FD's.

    Features (N, D) and (M, D) -> (mean, standard error of that mean; nan for a single block). The blocks share no
    images, so the error is honest. `block` rows each, or all rows where there are fewer; `generator` is on the CPU.
    """
    block = min(block, len(x), len(y))
    if block < 2:
        raise TinygenError("a kernel distance needs at least 2 images on each side: evaluate with a larger n")
    x, y = (t[torch.randperm(len(t), generator=generator).to(t.device)] for t in (x, y))
    values = torch.tensor([kernel_mmd2(a, b) for a, b in zip(x.split(block), y.split(block), strict=False)
                           if len(a) == len(b) == block], dtype=torch.float64)
    return values.mean().item(), (values.std() / len(values) ** 0.5).item() if len(values) > 1 else float("nan")
