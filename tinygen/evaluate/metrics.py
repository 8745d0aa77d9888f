"""How close reconstructions are to their originals, and how much of a codebook they need."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..vq.usage import count_codes, perplexity, usage


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of every pair: 10 log10(2^2 / mean squared error), as pixels span [-1, 1].

    Two batches (B, 3, H, W) in [-1, 1] -> (B,) in dB; infinite for identical images.
    """
    return 10 * torch.log10(4.0 / (x.double() - y.double()).square().mean(dim=(1, 2, 3)))


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) of every pair, in 11 x 11 Gaussian windows of sigma 1.5.

    (2 m_x m_y + c_1) (2 s_xy + c_2) / ((m_x^2 + m_y^2 + c_1) (s_x^2 + s_y^2 + c_2)) with the window's means m,
    variances s^2 and covariance s_xy, c_1 = 0.01^2, c_2 = 0.03^2, averaged over windows inside the image and channels.
    Two batches (B, C, H, W) in [-1, 1], taken to [0, 1] first -> (B,), at most 1.
    """
    x, y = ((t.double() + 1) / 2 for t in (x, y))
    bell = torch.exp(-(torch.arange(11, device=x.device).double() - 5).square() / (2 * 1.5 ** 2))
    rows, columns = (torch.stack([F.pad(bell / bell.sum(), (i, size - 11 - i)) for i in range(size - 10)])
                     for size in x.shape[2:])                                   # (H - 10, H), (W - 10, W)
    blur = lambda t: rows @ t @ columns.T                                       # (B, C, H - 10, W - 10)
    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = 0.01 ** 2, 0.03 ** 2
    similarity = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return similarity.mean(dim=(1, 2, 3))


def code_statistics(batches: Iterable[Tensor], codebook_size: int) -> dict[str, float]:
    """Use of a codebook over *all* batches (each int64, any shape): one batch is too small to meet every code.

    -> {"code_usage": share of the codes that occur, "code_perplexity": exp of the entropy in nats, 1 to codebook_size}.
    """
    counts = sum(count_codes(codes, codebook_size).double() for codes in batches)          # (codebook_size,)
    return {"code_usage": usage(counts).item(), "code_perplexity": perplexity(counts).item()}
