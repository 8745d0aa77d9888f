"""Classifiers whose inner activations measure images, for perceptual losses and for Frechet distances."""

import torch
from torch import Tensor, nn

from ..errors import TinygenError, nearest


def conv_norm_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    """3x3 convolution, batch norm (Ioffe and Szegedy 2015, arXiv:1502.03167), ReLU: (B, in, H, W) -> (B, out, H, W)."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
                         nn.BatchNorm2d(out_channels), nn.ReLU())


class PlainTrunk(nn.Module):
    """A stack of convolutions between max-pools (Simonyan and Zisserman 2015, arXiv:1409.1556), for perceptual losses.

    (B, 3, 32, 32) -> maps (B, width, 32, 32), (B, 2 width, 16, 16), (B, 4 width, 8, 8), (B, 4 width, 4, 4).
    """

    def __init__(self, width: int):
        super().__init__()
        self.stages = nn.ModuleList([
            conv_norm_relu(3, width),
            nn.Sequential(nn.MaxPool2d(2), conv_norm_relu(width, 2 * width)),
            nn.Sequential(nn.MaxPool2d(2), conv_norm_relu(2 * width, 4 * width)),
            nn.Sequential(nn.MaxPool2d(2), conv_norm_relu(4 * width, 4 * width), conv_norm_relu(4 * width, 4 * width)),
        ])
        self.channels = 4 * width

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class Residual(nn.Module):
    """Conv-norm-ReLU-conv-norm beside a skip (He et al. 2016, arXiv:1512.03385); stride 2 halves height and width.

    (B, in, H, W) -> (B, out, H / stride, W / stride). The last norm starts at zero: the block starts as its skip.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False), nn.BatchNorm2d(out_channels))
        nn.init.zeros_(self.branch[-1].weight)
        self.skip = nn.Identity() if stride == 1 else nn.Sequential(
            nn.AvgPool2d(stride), nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.skip(x) + self.branch(x))


class ResidualTrunk(nn.Module):
    """A strided residual network that starts at half resolution, for judging only.

    (B, 3, 32, 32) -> maps (B, width, 16, 16), (B, 2 width, 8, 8), (B, 4 width, 4, 4). A learned position map, added
    after the stem, lets it tell "top left" from "bottom right" although it averages over places at the end.
    """

    def __init__(self, width: int):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(width))
        self.position = nn.Parameter(torch.zeros(1, width, 16, 16))
        self.stages = nn.ModuleList([Residual(width, width), Residual(width, 2 * width, stride=2),
                                     Residual(2 * width, 4 * width, stride=2)])
        self.channels = 4 * width

    def forward(self, x: Tensor) -> list[Tensor]:
        x = torch.relu(self.stem(x) + self.position)                            # (B, width, 16, 16)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


TRUNKS = {"plain": PlainTrunk, "residual": ResidualTrunk}


class Classifier(nn.Module):
    """A trunk of convolutions, the mean over places, and one linear layer shared by all heads.

    `arch` is "plain" (perceptual losses) or "residual" (judging only), `heads` maps the name of a factor to its number
    of classes, for example {"class": 10}. Images are (B, 3, 32, 32) in [-1, 1]; `feature_size` is D = 4 * width.
    Raises TinygenError for an unknown `arch`.
    """

    def __init__(self, arch: str, heads: dict[str, int], width: int = 32):
        super().__init__()
        if arch not in TRUNKS:
            raise TinygenError(f"unknown classifier architecture {arch!r}" + nearest(arch, TRUNKS))
        self.arch, self.heads = arch, dict(heads)
        self.trunk = TRUNKS[arch](width)
        self.feature_size = self.trunk.channels
        self.logits = nn.Linear(self.feature_size, sum(self.heads.values()))

    def maps(self, x: Tensor) -> list[Tensor]:
        """(B, 3, 32, 32) in [-1, 1] -> activations after every stage, fine to coarse: a list of (B, C, h, w), >= 0."""
        return self.trunk(x)

    def features(self, x: Tensor) -> Tensor:
        """(B, 3, 32, 32) in [-1, 1] -> (B, D): the coarsest map averaged over places."""
        return self.maps(x)[-1].mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 32, 32) in [-1, 1] -> logits (B, sum of heads), the heads side by side in their order."""
        return self.logits(self.features(x))

    def split(self, logits: Tensor) -> dict[str, Tensor]:
        """Logits (B, sum of heads) -> {head: (B, classes of that head)}."""
        return dict(zip(self.heads, logits.split(list(self.heads.values()), dim=1), strict=True))

    @torch.no_grad()
    def predict(self, x: Tensor) -> dict[str, Tensor]:
        """(B, 3, 32, 32) in [-1, 1] -> {head: most likely class (B,) int64}."""
        return {head: logits.argmax(dim=1) for head, logits in self.split(self(x)).items()}
