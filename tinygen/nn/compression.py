"""Smaller networks: weights in eight bits, weights set to zero, channels taken out."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import TransformerBlock
from .blocks import ResidualBlock

LEVELS = 127      # symmetric: -127 ... 127; -128 stays unused, so that a weight and its negative are treated alike


def quantize_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (out, ...) -> int8 of the same shape and float32 scales (out, 1, ...), one per output channel.

    q = round(w / scale) with scale = max |w| / 127 over the channel, 1 where all of it is zero; w is about scale q, wrong
    by at most scale / 2. Krishnamoorthi 2018, arXiv:1806.08342, section 2.2.
    """
    largest = weight.detach().float().abs().flatten(1).amax(1).reshape(-1, *[1] * (weight.ndim - 1))
    scale = torch.where(largest > 0, largest / LEVELS, 1.0)                     # (out, 1, ...)
    return torch.round(weight.detach().float() / scale).to(torch.int8), scale


class _Int8(nn.Module):
    """A layer's weights in int8 with a scale per output channel; they become float32 again each time it runs."""

    def __init__(self, layer: nn.Linear | nn.Conv2d):
        super().__init__()
        quantized, scale = quantize_int8(layer.weight)
        self.register_buffer("quantized", quantized)
        self.register_buffer("scale", scale)
        self.bias = layer.bias

    @property
    def weight(self) -> Tensor:
        """(out, ...) float: what the layer computes with."""
        return self.quantized * self.scale


class Int8Linear(_Int8):
    """`nn.Linear` with int8 weights: (..., in) -> (..., out)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class Int8Conv2d(_Int8):
    """`nn.Conv2d` with int8 weights: (B, in, H, W) -> (B, out, H', W')."""

    def __init__(self, layer: nn.Conv2d):
        if layer.padding_mode != "zeros":
            raise ValueError(f"padding {layer.padding_mode!r} is not supported")
        super().__init__(layer)
        self.options = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "groups": layer.groups}

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, **self.options)


def quantize_layers(module: nn.Module) -> nn.Module:
    """Replace every linear and convolutional layer inside `module`, in place, by one with int8 weights; -> module."""
    for name, child in module.named_children():
        kind = {nn.Linear: Int8Linear, nn.Conv2d: Int8Conv2d}.get(type(child))
        if kind:
            setattr(module, name, kind(child))
        else:
            quantize_layers(child)
    return module


class Int8Model(nn.Module):
    """A model with int8 weights, which are int8 on disk too; it can do what `model` can. Norms, biases, embeddings and
    codebooks keep their precision."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = quantize_layers(model).requires_grad_(False)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        return self.model(*inputs, **options)


def prune_magnitude(module: nn.Module, sparsity: float) -> dict[str, Tensor]:
    """Set the smallest share `sparsity` of the weights of every linear and convolutional layer to zero, in place.

    -> {name of the layer: bool tensor, True where a weight is kept}, for `keep_pruned`. ValueError outside [0, 1).
    Han et al. 2015, arXiv:1506.02626.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must be at least 0 and below 1, not {sparsity}")
    masks = {}
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            size = layer.weight.detach().abs()
            count = int(sparsity * size.numel())
            order = size.flatten().argsort()
            mask = torch.ones(size.numel(), dtype=torch.bool, device=size.device)
            mask[order[:count]] = False
            masks[name] = mask.view(size.shape)
    keep_pruned(module, masks)
    return masks


@torch.no_grad()
def keep_pruned(module: nn.Module, masks: dict[str, Tensor]) -> None:
    """Set what was pruned to zero again, as after a step of fine-tuning."""
    for name, mask in masks.items():
        module.get_submodule(name).weight.mul_(mask)


@torch.no_grad()
def prune_channels(module: nn.Module, keep: float) -> nn.Module:
    """Take channels out of the middle of every residual block, hidden units out of every transformer block; in place.

    In each group of the second norm the share `keep` of channels stays (at least one): those with the largest product of
    the norm's gain and the size of the weights that read them. (The size of the weights that write them says little: the
    norm divides by that of the group.) Of hidden units the products of both norms decide. What is left is a smaller dense network: inputs
    and outputs of the blocks keep their widths. Li et al. 2017, arXiv:1608.08710. -> module
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be above 0 and at most 1, not {keep}")
    for block in list(module.modules()):
        if isinstance(block, ResidualBlock):
            _narrow_residual(block, keep)
        elif isinstance(block, TransformerBlock):
            first, last = block.mlp[0], block.mlp[2]
            score = first.weight.norm(dim=1) * last.weight.norm(dim=0)          # (hidden,)
            kept = score.topk(max(1, round(keep * len(score)))).indices.sort().values
            _take(first, kept, 0)
            _take(last, kept, 1)
    return module


def _narrow_residual(block: ResidualBlock, keep: float) -> None:
    groups = block.norm2.num_groups
    score = block.norm2.weight.abs() * block.conv2.weight.flatten(2).norm(dim=2).norm(dim=0)            # (C,)
    each = len(score) // groups
    kept = score.view(groups, each).topk(max(1, round(keep * each)), dim=1).indices.sort(dim=1).values
    kept = (kept + each * torch.arange(groups, device=kept.device)[:, None]).flatten()
    width = len(score)
    _take(block.conv1, kept, 0)
    _take(block.conv2, kept, 1)
    block.norm2.weight, block.norm2.bias = (nn.Parameter(p[kept].clone()) for p in (block.norm2.weight, block.norm2.bias))
    block.norm2.num_channels = len(kept)
    if block.modulation is not None:
        _take(block.modulation, torch.cat([kept, width + kept]), 0)             # scales, then shifts


def _take(layer: nn.Linear | nn.Conv2d, kept: Tensor, axis: int) -> None:
    """Keep these outputs (axis 0) or inputs (axis 1) of a layer."""
    layout = torch.channels_last if layer.weight.ndim == 4 else torch.contiguous_format
    layer.weight = nn.Parameter(layer.weight.index_select(axis, kept).clone(memory_format=layout))
    if axis == 0 and layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias[kept].clone())
    names = ("out_features", "in_features") if isinstance(layer, nn.Linear) else ("out_channels", "in_channels")
    setattr(layer, names[axis], len(kept))
