"""LoRA: low-rank changes of a frozen network (Hu et al. 2021, arXiv:2106.09685)."""

import torch
from torch import Tensor, nn

from ..data import CachedBatches
from ..nn import zero_
from .adapters import Adapter
from .objective import LatentDiffusionObjective, cache_latents
from .pipeline import LatentDiffusion


class LowRank(nn.Module):
    """layer(x) + scale * up(down(x)): a linear layer or convolution with a change of rank at most `rank` of its matrix.

    `down` (rank, in) is random and `up` (out, rank) is zero at the start, so that nothing changes. A k x k convolution is
    seen as a matrix (out, in k k).
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, rank: int = 4, scale: float = 1.0):
        super().__init__()
        self.layer, self.scale = layer, scale
        if isinstance(layer, nn.Conv2d):
            down = nn.Conv2d(layer.in_channels, rank, layer.kernel_size, layer.stride, layer.padding, bias=False)
            up = nn.Conv2d(rank, layer.out_channels, 1, bias=False)
        else:
            down, up = nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features, bias=False)
        nn.init.normal_(down.weight, std=layer.weight[0].numel() ** -0.5)        # down(x) is as large as x
        self.branch = nn.Sequential(down, zero_(up)).to(layer.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.scale * self.branch(x)

    def change(self) -> Tensor:
        """What is added to the layer's weight, in its shape."""
        down, up = (part.weight.flatten(1) for part in self.branch)              # (rank, in k k), (out, rank)
        return self.scale * (up @ down).view_as(self.layer.weight)


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, module)


def add_low_rank(network: nn.Module, rank: int = 4, scale: float = 1.0) -> dict[str, LowRank]:
    """Put a LowRank in the place of every linear layer and convolution of `network`; -> them by name."""
    layers = {name: module for name, module in network.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))}
    changed = {name: LowRank(layer, rank, scale) for name, layer in layers.items()}
    for name, module in changed.items():
        _replace(network, name, module)
    return changed


@torch.no_grad()
def merge_low_rank(network: nn.Module) -> nn.Module:
    """Undo `add_low_rank`, with the changes added to the layers' own weights: as fast as before. -> the same network."""
    for name, module in list(network.named_modules()):
        if isinstance(module, LowRank):
            module.layer.weight += module.change()
            _replace(network, name, module.layer)
    return network


class LoRA(Adapter):
    """Low-rank changes of every layer of a pipeline's denoising network. base, base_sha256: see Adapter."""

    def __init__(self, base: str, rank: int = 4, scale: float = 1.0, base_sha256: str | None = None):
        super().__init__(base, base_sha256)
        self.layers = add_low_rank(self._base[0].denoiser.network, rank, scale)
        self.branches = nn.ModuleDict({name.replace(".", "-"): layer.branch for name, layer in self.layers.items()})

    def set_scale(self, scale: float) -> None:
        """0: the base alone; 1: as trained; between and beyond: a weaker or stronger change."""
        for layer in self.layers.values():
            layer.scale = scale

    def generate(self, n: int, labels: Tensor | None = None, generator: torch.Generator | None = None, **options) -> Tensor:
        """n images (n, 3, S, S) in [-1, 1], by the changed pipeline; options as in LatentDiffusion.generate."""
        return self.pipeline.generate(n, labels, generator, **options)


class LoRAObjective(LatentDiffusionObjective):
    """The denoiser's loss on few pictures, in the latents of the base and with its statistics."""

    @property
    def pipeline(self) -> LatentDiffusion:
        """The base, with the changes in place."""
        return self.model.pipeline

    def batches(self, data, *, flip: bool = False, **options) -> CachedBatches:
        """Latents and captions of `data`; nothing of the base is computed anew."""
        latents = cache_latents(self.pipeline.first_stage, data.images, flip)                # (V, N, C, h, w)
        self.read_captions(data)
        return CachedBatches(data, (latents - self.pipeline.latent_mean) / self.pipeline.latent_std, flip=flip, **options)
