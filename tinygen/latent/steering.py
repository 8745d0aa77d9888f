"""VQGAN+CLIP (Crowson et al. 2022, arXiv:2204.08583): codes of a picture, moved until CLIP finds that they fit a sentence."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..diffusion.objectives import randn
from ..vq import VQAutoencoder
from .clip import CLIP


def angle_loss(u: Tensor, v: Tensor) -> Tensor:
    """Unit vectors (..., D) -> the square of the angle between them (...,), in radians: 0 to pi^2.

    As 4 arcsin^2(|u - v| / 2), whose slope is finite where the two agree; that of arccos(u . v)^2 is 0 / 0 there.
    """
    return 4 * ((u - v).norm(dim=-1) / 2).clamp(max=1).arcsin().square()


def views(images: Tensor, count: int, noise: float, shift: int, generator: torch.Generator | None = None) -> Tensor:
    """`count` noisy, slightly moved copies of images (B, 3, S, S) -> (count * B, 3, S, S), copy by copy.

    A gradient that helps all of them is not a trick in single pixels.
    """
    size, padded = images.shape[-1], F.pad(images, (shift,) * 4, mode="replicate")
    copies, source = [], generator.device if generator else images.device
    for _ in range(count):
        dx, dy = torch.randint(2 * shift + 1, (2,), generator=generator, device=source).tolist()
        part = padded[..., dy:dy + size, dx:dx + size]
        copies.append(part + noise * randn(part.shape, generator, part.device))
    return torch.cat(copies)


def steer_codes(stage: VQAutoencoder, clip: CLIP, texts: Sequence[str], start: Tensor, steps: int = 150, lr: float = 0.15,
                count: int = 4, noise: float = 0.2, shift: int = 2,
                generator: torch.Generator | None = None) -> tuple[Tensor, list[float]]:
    """Move latents (B, D, h, w) from `start` so that the decoded picture b fits texts[b] -> (latents, mean cosines).

    What is decoded are always the nearest codes; the gradient passes the quantiser straight through. Neither network
    changes. lr: of Adam, in units of the codebook's standard deviation.
    """
    wanted = clip.encode_texts(texts).detach()                                  # (B, E)
    spread = stage.quantizer.codebook.std().item()
    latents = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([latents], lr=lr * spread)
    history = []
    for _ in range(steps):
        images = stage.from_latent(latents)                                     # (B, 3, S, S)
        seen = clip.encode_images(views(images, count, noise, shift, generator))
        loss = angle_loss(seen, wanted.repeat(count, 1)).mean()
        latents.grad, = torch.autograd.grad(loss, latents)
        optimizer.step()
        history.append((seen * wanted.repeat(count, 1)).sum(1).mean().item())
    return latents.detach(), history
