"""Differentiable augmentation, for small data sets (Zhao et al. 2020, arXiv:2006.10738)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def diff_augment(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Change colours and shift, every image by its own random amounts; differentiable in x. (B, 3, H, W) -> the same.

    Apply it to all that the discriminator sees, real *and* generated, in its own step and in the generator's: then the
    generator does not learn to draw augmented images. x in [-1, 1]; the result may leave that range.
    """
    return translate(change_colours(x, generator), generator)


def change_colours(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Brightness + U(-1/2, 1/2), saturation times U(0, 2), contrast times U(1/2, 3/2). (B, 3, H, W) -> the same."""
    brightness, saturation, contrast = torch.rand(3, len(x), 1, 1, 1, generator=generator, device=x.device)
    x = x + (brightness - 0.5)
    grey = x.mean(dim=1, keepdim=True)                                          # (B, 1, H, W)
    x = grey + (x - grey) * 2 * saturation
    level = x.mean(dim=(1, 2, 3), keepdim=True)                                 # (B, 1, 1, 1)
    return level + (x - level) * (contrast + 0.5)


def translate(x: Tensor, generator: torch.Generator | None = None, share: float = 0.125) -> Tensor:
    """Shift images by up to `share` of the side each way; what comes in is zero (grey). (B, C, H, W) -> the same."""
    batch, channels, height, width = x.shape
    down, right = int(height * share + 0.5), int(width * share + 0.5)
    top = torch.randint(2 * down + 1, (batch, 1, 1, 1), generator=generator, device=x.device)
    left = torch.randint(2 * right + 1, (batch, 1, 1, 1), generator=generator, device=x.device)
    rows = top + torch.arange(height, device=x.device)[:, None]                 # (B, 1, H, 1)
    columns = left + torch.arange(width, device=x.device)                       # (B, 1, 1, W)
    x = F.pad(x, (right, right, down, down))                                    # (B, C, H + 2 down, W + 2 right)
    x = x.gather(2, rows.expand(-1, channels, -1, x.shape[3]))
    return x.gather(3, columns.expand(-1, channels, height, -1))
