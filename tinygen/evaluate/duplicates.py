"""Does a generator repeat itself, or its training set?"""

import torch
from torch import Tensor

from .neighbours import nearest_neighbours, squared_distances

THRESHOLD = 0.05    # root mean square difference of two images in [-1, 1]: about 6 of 255 grey levels, hard to see


def pixels(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) -> float32 (N, 3 H W), scaled so that distance is the RMS difference in [-1, 1]."""
    flat = images.flatten(1).float() / 127.5
    return flat / flat.shape[1] ** 0.5


def duplicate_rate(images: Tensor, threshold: float = THRESHOLD, block: int = 500) -> float:
    """Share of images that repeat an earlier one, up to an RMS difference of `threshold`: uint8 (N, 3, H, W) -> [0, 1).

    A model that repeats k images has rate 1 - k / N.
    """
    x = pixels(images)
    x = x - x.mean(dim=0)
    repeated = 0
    for start in range(0, len(x), block):
        near = squared_distances(x[start:start + block], x[:start + block]) < threshold ** 2    # (block, earlier)
        repeated += near.tril(diagonal=start - 1).any(dim=1).sum().item()
    return repeated / len(x)


def memorisation(samples: Tensor, test: Tensor, train: Tensor) -> dict[str, dict[str, float]]:
    """Distance to the nearest training image, of samples and of test images, in any one space: (N, D), (M, D), (T, D).

    -> {"model": ..., "test": ...}, each with the median "distance_to_train" and "close_to_train", the share that is
    nearer to the training set than the nearest 1 % of the test images are (so about 0.01 for the test images
    themselves). A model that memorises has a small distance, and a share far above 0.01.
    """
    sets = {"model": samples, "test": test}
    distances = {who: nearest_neighbours(points, train)[0][:, 0] for who, points in sets.items()}
    limit = torch.quantile(distances["test"], 0.01)
    return {who: {"distance_to_train": found.median().item(), "close_to_train": (found < limit).double().mean().item()}
            for who, found in distances.items()}
