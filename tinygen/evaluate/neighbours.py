"""Nearest neighbours in a space of features or pixels, in blocks that fit in memory."""

import torch
from torch import Tensor


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|^2 of rows (N, D) and (M, D) -> (N, M), never negative."""
    return (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp_min_(0)


def nearest_neighbours(x: Tensor, y: Tensor, k: int = 1, exclude_self: bool = False,
                       block: int = 1000) -> tuple[Tensor, Tensor]:
    """The k rows of `y` nearest to every row of `x`: (N, D), (M, D) -> distances (N, k) ascending, rows of y (N, k).

    `exclude_self` is for y = x: a row is not its own neighbour. Computed in x's type: float64 tells close pairs apart.
    """
    distances, rows = [], []
    for start in range(0, len(x), block):
        d = squared_distances(x[start:start + block], y)                        # (block, M)
        if exclude_self:
            own = torch.arange(len(d), device=d.device)
            d[own, own + start] = torch.inf
        nearest = d.topk(k, dim=1, largest=False)
        distances.append(nearest.values.sqrt())
        rows.append(nearest.indices)
    return torch.cat(distances), torch.cat(rows)
