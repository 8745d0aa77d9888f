"""A small ControlNet (Zhang et al. 2023, arXiv:2302.05543): a picture of edges steers a frozen denoiser."""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import Batch, CachedBatches, to_float
from ..diffusion import UNet, guided, sample
from ..diffusion.unet import UNetLevel
from ..errors import TinygenError
from ..nn import zero_
from .adapters import Adapter
from .lora import LoRAObjective


def edge_map(images: Tensor, threshold: float = 0.5) -> Tensor:
    """(B, 3, S, S) in [-1, 1] -> (B, 1, S, S) of 0 and 1: where the colour jumps.

    1 where the central differences in x and in y of some channel have a length above `threshold`, in units of the image.
    """
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    dx, dy = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2], padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return ((dx.square() + dy.square()).amax(1, keepdim=True).sqrt() > threshold).float()


def agreement(found: Tensor, wanted: Tensor, reach: int = 1) -> Tensor:
    """How well two edge maps (B, 1, S, S) agree: (B,) from 0 to 1, the F1 score with a tolerance of `reach` pixels.

    Precision: the share of `found` that has a wanted pixel nearby; recall: the share of `wanted` with a found one.
    """
    near = lambda edges: F.max_pool2d(edges, 2 * reach + 1, stride=1, padding=reach)
    share = lambda edges, other: (edges * near(other)).sum((1, 2, 3)) / edges.sum((1, 2, 3)).clamp(min=1)
    precision, recall = share(found, wanted), share(wanted, found)
    return 2 * precision * recall / (precision + recall).clamp(min=1e-6)


class ControlledUNet(nn.Module):
    """A frozen U-Net whose skips and middle get something added, computed by a trainable copy of its first half.

    The copy sees x and the hint. What it says passes through zero convolutions, 1 x 1 with weights and biases zero at the
    start: the output is then that of the frozen network, exactly. `scale` multiplies what is added.
    """

    def __init__(self, network: UNet, hint_channels: int = 1, patch: int = 4):
        super().__init__()
        self.network, self.scale, self.patch = network, 1.0, patch
        self.stem, self.down, self.middle = (copy.deepcopy(part).requires_grad_(True)
                                             for part in (network.stem, network.down, network.middle))
        widths, width = [network.stem.out_channels], network.stem.out_channels
        for block in network.down:
            width = block.residual.conv2.out_channels if isinstance(block, UNetLevel) else block.conv.out_channels
            widths.append(width)
        c = widths[0]
        self.read_hint = nn.Sequential(nn.Conv2d(hint_channels * patch**2, c, 3, padding=1), nn.SiLU(),
                                       nn.Conv2d(c, c, 3, padding=1), nn.SiLU(), zero_(nn.Conv2d(c, c, 1)))
        self.zero = nn.ModuleList(zero_(nn.Conv2d(w, w, 1)) for w in [*widths, width])

    def trainable(self) -> dict[str, nn.Module]:
        """The parts that are not the frozen network's."""
        return {name: getattr(self, name) for name in ("stem", "down", "middle", "read_hint", "zero")}

    def residuals(self, x: Tensor, hint: Tensor, embedding: Tensor, context: Tensor | None,
                  context_mask: Tensor | None) -> list[Tensor]:
        """What is added to each skip, and last to the middle."""
        x = self.stem(x) + self.read_hint(F.pixel_unshuffle(hint, self.patch))              # (B, C, h, w)
        states = [x]
        for block in self.down:
            x = block(x, embedding, context, context_mask) if isinstance(block, UNetLevel) else block(x)
            states.append(x)
        states.append(self.middle(x, embedding, context, context_mask))
        return [self.scale * zero(state) for zero, state in zip(self.zero, states, strict=True)]

    def forward(self, x: Tensor, noise_level: Tensor, labels: Tensor | None = None, context: Tensor | None = None,
                context_mask: Tensor | None = None, hint: Tensor | None = None) -> Tensor:
        """As the frozen network; hint (B, hint_channels, patch h, patch w), None for its plain output."""
        if hint is None:
            return self.network(x, noise_level, labels, context, context_mask)
        net, x = self.network, x.contiguous(memory_format=torch.channels_last)
        embedding = net.embed(noise_level, labels, context, context_mask)
        *added, to_middle = self.residuals(x, hint, embedding, context, context_mask)
        x = net.stem(x)
        skips = [x]
        for block in net.down:
            x = block(x, embedding, context, context_mask) if isinstance(block, UNetLevel) else block(x)
            skips.append(x)
        skips = [skip + more for skip, more in zip(skips, added, strict=True)]
        x = net.middle(x, embedding, context, context_mask) + to_middle
        for block in net.up:
            if isinstance(block, UNetLevel):
                x = block(torch.cat([x, skips.pop()], dim=1), embedding, context, context_mask)
            else:
                x = block(x)
        return net.head(x).contiguous()


class ControlNet(Adapter):
    """Edges steer a pipeline whose denoising network is a U-Net. base, base_sha256: see Adapter."""

    def __init__(self, base: str, base_sha256: str | None = None):
        super().__init__(base, base_sha256)
        (pipeline,), facts = self._base, self.base_facts
        if not isinstance(pipeline.denoiser.network, UNet):
            raise TinygenError(f"the network of {base} is no U-Net, which has skips to add to; name another base")
        patch = facts["image_size"] // pipeline.first_stage.latent_shape[1]
        controlled = ControlledUNet(pipeline.denoiser.network, patch=patch)
        pipeline.denoiser.network = controlled
        self.parts = nn.ModuleDict(controlled.trainable())

    def set_scale(self, scale: float) -> None:
        """0: the frozen model; 1: as trained."""
        self._base[0].denoiser.network.scale = scale

    @torch.no_grad()
    def generate(self, n: int, labels: Tensor | None = None, generator: torch.Generator | None = None, *,
                 hints: Tensor | None = None, prompts: Sequence[str] | None = None, negative_prompt: str = "",
                 steps: int = 24, sampler: str = "dpmpp_2m", guidance_scale: float = 2.0, callback=None) -> Tensor:
        """n images (n, 3, S, S) in [-1, 1] whose edges follow hints (n, 1, S, S) of 0 and 1; None: the base alone.

        Guidance asks twice, with and without labels and prompts; the hint is told both times.
        """
        pipeline, device = self.pipeline, next(self.parameters()).device
        told = pipeline.condition(n, labels, prompts)
        null = pipeline.condition(n, None, [negative_prompt] * n if pipeline.tokenizer or negative_prompt else None)
        if hints is not None:
            told, null = told | {"hint": hints.to(device)}, null | {"hint": hints.to(device)}
        if labels is None and prompts is None and not negative_prompt:
            guidance_scale = 1.0
        denoise = guided(pipeline.denoiser.x0, told, null, guidance_scale)
        shape = (n, *pipeline.first_stage.latent_shape)
        return pipeline.decode(sample(denoise, pipeline.denoiser.path, shape, steps, sampler, generator,
                                      callback=callback, device=device))


class ControlNetObjective(LoRAObjective):
    """The denoiser's loss, the network being shown the edges of each picture. label_dropout, caption_dropout: see
    LatentDiffusionObjective; both are high, so that the edges have something to say."""

    def __init__(self, model: ControlNet, label_dropout: float = 0.5, caption_dropout: float = 0.5):
        super().__init__(model, label_dropout, caption_dropout)

    def batches(self, data, *, flip: bool = False, **options) -> CachedBatches:
        """Latents and captions of `data`; the pictures are kept for their edges, so there are no mirror images."""
        if flip:
            raise TinygenError("edges and latents must show the same picture: set train.flip=false")
        self.images = data.images
        return super().batches(data, flip=False, **options)

    def tell(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Labels and captions, left out at random, and the edges, always."""
        return super().tell(batch, generator) | {"hint": edge_map(to_float(self.images[batch.index]))}

    def preview(self, model: ControlNet, batch: Batch) -> Tensor:
        """Ten edge maps, and below each a sample that follows it."""
        hints = edge_map(to_float(self.images[batch.index[:10]]))
        made = model.generate(len(hints), generator=torch.Generator(hints.device).manual_seed(0), hints=hints, steps=16)
        return torch.cat([2 * hints.expand(-1, 3, -1, -1) - 1, made])
