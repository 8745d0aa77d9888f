"""Style as statistics of feature maps: Gram matrices, AdaIN, and the codes of another picture."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..features import Classifier
from ..vq import VQAutoencoder


def gram(maps: Tensor) -> Tensor:
    """Feature maps (B, C, h, w) -> (B, C, C): mean products of channels over places (Gatys et al. 2016, arXiv:1508.06576)."""
    flat = maps.flatten(2)                                                      # (B, C, h w)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def adain(content: Tensor, style: Tensor) -> Tensor:
    """Each channel of content (B, C, h, w) with mean and standard deviation of style (B, C, h', w').

    Huang and Belongie 2017, arXiv:1703.06868.
    """
    mean = lambda x: x.mean((2, 3), keepdim=True)
    std = lambda x: x.std((2, 3), keepdim=True).clamp(min=1e-5)
    return std(style) * (content - mean(content)) / std(content) + mean(style)


def style_distance(network: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """How far apart the Gram matrices of x and y are, images of any size: (B,), the mean over the network's stages.

    Each stage counts relative to the size of y's matrix: 0 for equal ones, about 1 for unrelated ones.
    """
    pairs = [(gram(a), gram(b)) for a, b in zip(network.maps(x), network.maps(y), strict=True)]
    return torch.stack([(a - b).square().sum((1, 2)) / b.square().sum((1, 2)) for a, b in pairs]).mean(0)


def content_distance(network: Classifier, x: Tensor, y: Tensor, stage: int = 2) -> Tensor:
    """Relative squared difference of the maps of one stage, place by place: (B,), 0 for equal images (B, 3, S, S)."""
    a, b = network.maps(x)[stage], network.maps(y)[stage]
    return (a - b).square().sum((1, 2, 3)) / b.square().sum((1, 2, 3))


def stylise(network: Classifier, content: Tensor, style: Tensor, steps: int = 100, style_weight: float = 10.0,
            lr: float = 0.03) -> Tensor:
    """Gatys' method: from the picture `content` (B, 3, S, S), lower content_distance + style_weight * style_distance
    by Adam on the pixels -> images of that shape in [-1, 1]."""
    image = content.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], lr=lr)
    for _ in range(steps):
        loss = content_distance(network, image, content) + style_weight * style_distance(network, image, style)
        image.grad, = torch.autograd.grad(loss.sum(), image)
        optimizer.step()
        with torch.no_grad():
            image.clamp_(-1, 1)
    return image.detach()


@torch.no_grad()
def codes_of_another(stage: VQAutoencoder, content: Tensor, style: Tensor) -> Tensor:
    """Content (B, 3, S, S) decoded from its nearest codes among those that occur in `style` (1, 3, S', S')."""
    allowed = stage.encode_codes(style).unique()                                # (K',)
    latents = stage.quantizer.normalized(stage.to_latent(content).permute(0, 2, 3, 1))      # (B, h, w, D)
    codebook = stage.quantizer.normalized(stage.quantizer.codebook)[allowed]
    nearest = torch.cdist(latents.flatten(0, 2), codebook).argmin(1)
    return stage.decode_codes(allowed[nearest].view(latents.shape[:3]))
