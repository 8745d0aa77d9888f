"""How much of a codebook is in use, over as many batches as one likes (a whole epoch, not one batch)."""

import torch
from torch import Tensor


def count_codes(codes: Tensor, codebook_size: int) -> Tensor:
    """Codes of any shape, int64 -> (K,) float32 counts (without a host sync, which bincount needs)."""
    flat = codes.flatten()
    ones = torch.ones_like(flat, dtype=torch.float32)
    return torch.zeros(codebook_size, device=flat.device).index_add_(0, flat, ones)


def usage(counts: Tensor) -> Tensor:
    """Share of the codes that occur at least once: (K,) -> scalar in [0, 1]."""
    return (counts > 0).float().mean()


def perplexity(counts: Tensor) -> Tensor:
    """exp of the entropy of the code distribution: (K,) -> scalar in [1, K], K where all codes are equally frequent."""
    p = counts / counts.sum().clamp_min(1)
    return torch.special.entr(p).sum().exp()
