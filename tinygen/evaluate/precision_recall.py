"""Precision (are samples like data?) and recall (is all of the data covered?), told apart."""

import torch
from torch import Tensor

from ..errors import TinygenError
from .neighbours import nearest_neighbours, squared_distances


def covered(points: Tensor, support: Tensor, k: int = 3, block: int = 1000) -> Tensor:
    """Which points lie in the manifold of `support`: in the ball of some support point, out to its k-th neighbour.

    (N, D), (M, D) -> (N,) bool. TinygenError where M <= k.
    """
    if len(support) <= k:
        raise TinygenError(f"precision and recall need more than k = {k} images on each side: evaluate with a larger n")
    points, support = points.double(), support.double()
    radii = nearest_neighbours(support, support, k, exclude_self=True)[0][:, -1]               # (M,)
    return torch.cat([(squared_distances(part, support).sqrt() <= radii).any(dim=1) for part in points.split(block)])


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019, arXiv:1904.06991) with k nearest neighbours.

    Features (N, D), (M, D) -> (share of fakes within the manifold of the reals, share of reals within that of the
    fakes). Both depend on N: give both sets the same number of rows, and print it.
    """
    return covered(fake, real, k).double().mean().item(), covered(real, fake, k).double().mean().item()
