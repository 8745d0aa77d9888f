"""The convolutional encoder and decoder that every first stage shares (Rombach et al. 2022, arXiv:2112.10752, in small)."""

import torch.nn.functional as F
from torch import Tensor, nn

from ..nn import Downsample, ResidualBlock, Upsample, group_norm


def stages(downsampling: int) -> int:
    """log2 of the downsampling factor, which has to be 2, 4 or 8."""
    if downsampling not in (2, 4, 8):
        raise ValueError(f"downsampling must be 2, 4 or 8, not {downsampling}")
    return downsampling.bit_length() - 1


class Encoder(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> (B, out_channels, H/f, W/f), with f = `downsampling`.

    The stem folds 2x2 pixels into channels at once: no convolution runs at full resolution, where a small model would
    spend most of its time. Width doubles with each further halving, up to `channels` * 2.
    """

    def __init__(self, out_channels: int, channels: int = 64, blocks: int = 1, downsampling: int = 4):
        super().__init__()
        layers: list[nn.Module] = [Downsample(3, channels)]
        width = channels
        for stage in range(stages(downsampling)):
            if stage:
                layers.append(Downsample(width, width := 2 * channels))
            layers += [ResidualBlock(width, width) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, group_norm(width), nn.SiLU(), nn.Conv2d(width, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Decoder(nn.Module):
    """(B, in_channels, h, w) -> (B, 3, h f, w f), with f = `downsampling`: the encoder in reverse, ending in a pixel shuffle."""

    def __init__(self, in_channels: int, channels: int = 64, blocks: int = 1, downsampling: int = 4):
        super().__init__()
        depth = stages(downsampling)
        width = channels if depth == 1 else 2 * channels
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 3, padding=1)]
        for stage in reversed(range(depth)):
            layers += [ResidualBlock(width, width) for _ in range(blocks)]
            if stage:
                layers.append(Upsample(width, width := channels if stage == 1 else 2 * channels))
        self.layers = nn.Sequential(*layers, group_norm(width), nn.SiLU())
        self.to_pixels = nn.Conv2d(width, 12, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        return F.pixel_shuffle(self.to_pixels(self.layers(z)), 2)               # (B, 3, 2h', 2w')

    @property
    def last_weight(self) -> nn.Parameter:
        """The weight of the last layer, where VQGAN's adaptive weight compares gradients."""
        return self.to_pixels.weight
