"""Generator and discriminators: DCGAN with class conditioning, and those of VQGAN, on patches or on features."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import TinygenError
from ..nn import group_norm
from .regularisers import apply_spectral_norm


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose gain and bias depend on the class; with no classes, the ordinary kind.

    (B, C, H, W), labels (B,) int64 -> (B, C, H, W). Source: de Vries et al. 2017, arXiv:1707.00683.
    """

    def __init__(self, channels: int, num_classes: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Embedding(max(1, num_classes), channels)
        self.bias = nn.Embedding(max(1, num_classes), channels)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.norm(x) * self.gain(labels)[:, :, None, None] + self.bias(labels)[:, :, None, None]


class Generator(nn.Module):
    """DCGAN generator: noise -> 4 x 4 -> transposed convolutions that double the side -> tanh.

    z (B, latent_channels) standard normal, labels (B,) int64 (needed where num_classes > 0) -> images (B, 3, S, S) in
    [-1, 1], S = image_size, a power of two of at least 8. Widths fall to `channels` at half the final side.
    Source: Radford et al. 2015, arXiv:1511.06434; conditional norm as in Miyato and Koyama 2018, arXiv:1802.05637.
    """

    def __init__(self, latent_channels: int = 128, channels: int = 64, num_classes: int = 0, image_size: int = 32):
        super().__init__()
        doublings = doublings_from_4(image_size)
        self.latent_channels, self.num_classes, self.image_size = latent_channels, num_classes, image_size
        widths = [channels * 2 ** i for i in reversed(range(doublings))]        # e.g. 256, 128, 64 for 32 pixels
        self.project = nn.Linear(latent_channels, widths[0] * 4 * 4)
        self.norms = nn.ModuleList(ConditionalBatchNorm(width, num_classes) for width in widths)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(width, out, 4, stride=2, padding=1)
                                 for width, out in zip(widths, widths[1:] + [3], strict=True))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.num_classes == 0:
            labels = torch.zeros(len(z), dtype=torch.int64, device=z.device)
        elif labels is None:
            raise TinygenError(f"this generator is class-conditional: give labels from 0 to {self.num_classes - 1}")
        h = self.project(z).unflatten(1, (-1, 4, 4))                            # (B, widths[0], 4, 4)
        for norm, up in zip(self.norms, self.ups, strict=True):
            h = up(F.relu(norm(h, labels)))                                     # side doubles
        return torch.tanh(h)                                                    # (B, 3, S, S)

    @torch.no_grad()
    def generate(self, n: int, labels: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draw n images (n, 3, S, S) in [-1, 1]; labels (n,) int64, drawn uniformly where they are needed and None;
        generator: on the model's device.

        Uses the running statistics of the norms, so an image does not depend on its neighbours in the batch.
        """
        device = self.project.weight.device
        z = torch.randn(n, self.latent_channels, generator=generator, device=device)
        if labels is None and self.num_classes:
            labels = torch.randint(self.num_classes, (n,), generator=generator, device=device)
        if labels is not None and len(labels) != n:
            raise TinygenError(f"{n} samples need {n} labels, got {len(labels)}")
        was_training = self.training
        self.eval()
        images = self(z, None if labels is None else labels.to(device))
        self.train(was_training)
        return images


class Discriminator(nn.Module):
    """DCGAN discriminator without batch norm, optionally class-conditional by projection: images -> one logit each.

    x (B, 3, S, S) in [-1, 1], labels (B,) int64 -> (B,). With phi(x) the last features (B, D), the logit is
    w . phi(x) + b + v_y . phi(x). `spectral_norm` divides every weight by its largest singular value.
    Source: arXiv:1511.06434; projection: Miyato and Koyama 2018, arXiv:1802.05637. Batch norm is left out because the
    gradient penalties need a logit that depends on its own image only (Gulrajani et al. 2017, arXiv:1704.00028).
    """

    def __init__(self, channels: int = 64, num_classes: int = 0, image_size: int = 32, spectral_norm: bool = False):
        super().__init__()
        self.num_classes = num_classes
        widths = [3] + [channels * 2 ** i for i in range(doublings_from_4(image_size))]
        features = widths[-1] * 4 * 4
        self.convs = nn.ModuleList(leaky_conv(width, out, 4, stride=2)
                                   for width, out in zip(widths, widths[1:], strict=False))
        self.logit = nn.Linear(features, 1)
        self.class_vectors = nn.Embedding(num_classes, features) if num_classes else None
        if num_classes:
            nn.init.normal_(self.class_vectors.weight, std=1 / math.sqrt(features))
        if spectral_norm:
            apply_spectral_norm(self)

    def features(self, x: Tensor) -> Tensor:
        """phi(x): (B, 3, S, S) -> (B, D), the last 4 x 4 map flattened."""
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)                                      # (B, width, side / 2, side / 2)
        return x.flatten(1)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        phi = self.features(x)                                                  # (B, D)
        logits = self.logit(phi).squeeze(1)
        if self.class_vectors is None:
            return logits
        if labels is None:
            raise TinygenError(f"this discriminator is class-conditional: give labels from 0 to {self.num_classes - 1}")
        return logits + (self.class_vectors(labels) * phi).sum(dim=1)           # (B,)


class PatchDiscriminator(nn.Module):
    """Markovian (patch) discriminator: one logit for every patch of `receptive_field` pixels a side.

    (B, in_channels, H, W) -> (B, 1, h, w). `layers` 4x4 convolutions of stride 2, then two of stride 1 whose kernel is
    `tail_kernel`: 4 is the usual stack, which sees 16 / 34 / 70 pixels for 1 / 2 / 3 layers; 3, the default, sees
    12 / 26 / 54, so that two layers stay below a 32-pixel image. norm: "none" or "group" (whose statistics are taken
    over the whole map: then a logit depends a little on everything, and the field is that of the convolutions).
    Source: Isola et al. 2017, arXiv:1611.07004; in VQGAN: Esser et al. 2021, arXiv:2012.09841.
    """

    def __init__(self, channels: int = 32, layers: int = 2, in_channels: int = 3, norm: str = "none",
                 tail_kernel: int = 3):
        super().__init__()
        if norm not in ("none", "group"):
            raise TinygenError(f"unknown norm {norm!r} of the patch discriminator: use 'none' or 'group'")
        if layers < 1:
            raise TinygenError(f"the patch discriminator needs at least 1 layer, got {layers}")
        widths = [in_channels] + [channels * min(2 ** i, 8) for i in range(layers + 1)]
        stack = []
        for i, (width, out) in enumerate(zip(widths, widths[1:], strict=False)):
            stack += [leaky_conv(width, out, 4, stride=2) if i < layers else leaky_conv(width, out, tail_kernel)]
            stack += [group_norm(out)] if norm == "group" and i > 0 else []
            stack += [nn.LeakyReLU(0.2)]
        self.stack = nn.Sequential(*stack, nn.Conv2d(widths[-1], 1, tail_kernel, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.stack(x)

    @property
    def receptive_field(self) -> int:
        """Side, in pixels, of the patch that one logit sees: from the last layer, r <- (r - 1) * stride + kernel."""
        field = 1
        for layer in reversed([m for m in self.stack if isinstance(m, nn.Conv2d)]):
            field = (field - 1) * layer.stride[0] + layer.kernel_size[0]
        return field


class FeatureDiscriminator(nn.Module):
    """Judges images by what a frozen network sees in them: one small head of convolutions for each of its feature maps.

    maps: L maps (B, C_l, s_l, s_l), fine to coarse -> L maps of logits (B, 1, s_l, s_l), the first of half the side. Only the heads
    are trained. `widths` are the C_l, `channels` is the width of the heads. A head sees 5 x 5 places of its map, 7 x 7 of the first.
    Source: Sauer et al. 2021, arXiv:2111.01007 (projected GANs), here without their random projections, with heads that look at patches.
    """

    def __init__(self, widths: Sequence[int], channels: int = 48):
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(leaky_conv(width, channels, 3, stride=1 if index else 2), nn.LeakyReLU(0.2),
                          leaky_conv(channels, channels, 3), nn.LeakyReLU(0.2), nn.Conv2d(channels, 1, 1))
            for index, width in enumerate(widths))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [head(m) for head, m in zip(self.heads, maps, strict=True)]


def leaky_conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution, padding 1, initialised for the LeakyReLU(0.2) after it (He et al. 2015, arXiv:1502.01852)."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=1)
    nn.init.kaiming_normal_(conv.weight, a=0.2, nonlinearity="leaky_relu")
    nn.init.zeros_(conv.bias)
    return conv


def doublings_from_4(image_size: int) -> int:
    """How often 4 must be doubled to give image_size; TinygenError unless that is a whole number of at least 1."""
    doublings = image_size.bit_length() - 3
    if image_size < 8 or 4 * 2 ** doublings != image_size:
        raise TinygenError(f"image_size must be a power of two of at least 8, got {image_size}")
    return doublings
