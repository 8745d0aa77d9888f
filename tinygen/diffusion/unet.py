"""A small U-Net denoiser for latents (8x8, 16x16) or pixels (32x32)."""

import torch
from torch import Tensor, nn

from ..errors import TinygenError
from ..nn import Downsample, ResidualBlock, TransformerBlock, Upsample, group_norm, sinusoidal_embedding, zero_


class ConditionEmbedding(nn.Module):
    """noise_level (B,) in [0, 1], labels (B,) int64 (num_classes or None: no class), context -> (B, embedding_channels).

    The context (B, L, context_channels), averaged over the tokens of its mask, is added as in SDXL's pooled text
    embedding (Podell et al. 2023, arXiv:2307.01952): what the whole text says reaches every block, as the class does.
    """

    def __init__(self, channels: int, embedding_channels: int, num_classes: int = 0, context_channels: int = 0):
        super().__init__()
        self.channels, self.num_classes = channels, num_classes
        self.noise = nn.Sequential(nn.Linear(channels, embedding_channels), nn.SiLU(),
                                   nn.Linear(embedding_channels, embedding_channels))
        self.label = nn.Embedding(num_classes + 1, embedding_channels) if num_classes else None  # N(0, 1)
        self.text = nn.Linear(context_channels, embedding_channels, bias=False) if context_channels else None

    def forward(self, noise_level: Tensor, labels: Tensor | None = None, context: Tensor | None = None,
                context_mask: Tensor | None = None) -> Tensor:
        embedding = self.noise(sinusoidal_embedding(1000 * noise_level, self.channels))
        if self.label is not None:
            if labels is None:
                labels = torch.full_like(noise_level, self.num_classes, dtype=torch.long)
            embedding = embedding + self.label(labels)
        if self.text is not None and context is not None:
            mask = context.new_ones(context.shape[:2]) if context_mask is None else context_mask.to(context)
            mean = (context * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)   # (B, context_channels)
            embedding = embedding + self.text(mean)
        return embedding


class UNetLevel(nn.Module):
    """Residual block, then, at the sizes that have attention, a transformer block on the pixels as tokens."""

    def __init__(self, in_channels: int, out_channels: int, embedding_channels: int, attention: bool, heads: int,
                 context_channels: int, dropout: float):
        super().__init__()
        self.residual = ResidualBlock(in_channels, out_channels, embedding_channels, dropout)
        self.attention = TransformerBlock(out_channels, heads, context_channels or None, dropout=dropout, expansion=2) \
            if attention else None

    def forward(self, x: Tensor, embedding: Tensor, context: Tensor | None, context_mask: Tensor | None) -> Tensor:
        x = self.residual(x, embedding)                                         # (B, C, H, W)
        if self.attention is None:
            return x
        tokens = x.flatten(2).transpose(1, 2)                                   # (B, H W, C)
        tokens = self.attention(tokens, context=context, context_mask=context_mask)
        return tokens.transpose(1, 2).unflatten(2, x.shape[2:])


class UNet(nn.Module):
    """Denoising U-Net: residual blocks down and up with skips, attention and cross-attention at some sizes.

    x (B, in_channels, H, W) with H = W = image_size, noise_level (B,) in [0, 1], labels (B,) int64 (num_classes: none),
    context (B, L, context_channels), context_mask (B, L) bool, True for the tokens to look at (where none is,
    the context has no effect) -> (B, in_channels, H, W), 0 before training.
    channel_mults: width of every size, in multiples of `channels`; attention_sizes: heights that get attention.
    TinygenError for sizes that do not divide, or context without attention.
    Ronneberger et al. 2015, arXiv:1505.04597; Ho et al. 2020, arXiv:2006.11239; cross-attention: arXiv:2112.10752.
    """

    def __init__(self, in_channels: int, channels: int = 64, channel_mults: tuple[int, ...] = (1, 2), blocks: int = 2,
                 attention_sizes: tuple[int, ...] = (4,), num_classes: int = 0, context_channels: int = 0,
                 heads: int = 4, dropout: float = 0.0, image_size: int = 8):
        super().__init__()
        if image_size % 2 ** (len(channel_mults) - 1):
            raise TinygenError(f"a U-Net with {len(channel_mults)} sizes cannot halve {image_size} pixels "
                               f"{len(channel_mults) - 1} times: use fewer channel_mults")
        if context_channels and not {image_size >> i for i in range(len(channel_mults))} & set(attention_sizes):
            smallest = image_size >> (len(channel_mults) - 1)
            raise TinygenError(f"context is read by attention only: put {smallest} in attention_sizes")
        embedding = 4 * channels
        self.embed = ConditionEmbedding(channels, embedding, num_classes, context_channels)
        self.stem = nn.Conv2d(in_channels, channels, 3, padding=1)

        def level(width_in: int, width_out: int, size: int) -> UNetLevel:
            return UNetLevel(width_in, width_out, embedding, size in attention_sizes, heads, context_channels, dropout)

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        width, size, skips = channels, image_size, [channels]
        for i, mult in enumerate(channel_mults):
            if i > 0:
                self.down.append(Downsample(width, width))
                size //= 2
                skips.append(width)
            for _ in range(blocks):
                self.down.append(level(width, mult * channels, size))
                width = mult * channels
                skips.append(width)
        self.middle = level(width, width, size)
        for i, mult in reversed(list(enumerate(channel_mults))):
            for _ in range(blocks + 1):
                self.up.append(level(width + skips.pop(), mult * channels, size))
                width = mult * channels
            if i > 0:
                self.up.append(Upsample(width, width))
                size *= 2
        self.head = nn.Sequential(group_norm(width), nn.SiLU(), zero_(nn.Conv2d(width, in_channels, 3, padding=1)))
        self.to(memory_format=torch.channels_last)                              # convolutions are faster so

    def forward(self, x: Tensor, noise_level: Tensor, labels: Tensor | None = None, context: Tensor | None = None,
                context_mask: Tensor | None = None) -> Tensor:
        embedding = self.embed(noise_level, labels, context, context_mask)      # (B, 4 channels)
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        skips = [x]
        for block in self.down:
            x = block(x, embedding, context, context_mask) if isinstance(block, UNetLevel) else block(x)
            skips.append(x)
        x = self.middle(x, embedding, context, context_mask)
        for block in self.up:
            if isinstance(block, UNetLevel):
                x = block(torch.cat([x, skips.pop()], dim=1), embedding, context, context_mask)
            else:
                x = block(x)
        return self.head(x).contiguous()
