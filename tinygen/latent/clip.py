"""A small CLIP (Radford et al. 2021, arXiv:2103.00020): pictures and sentences as unit vectors of one space."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import Batch, Batches
from ..nn import Downsample, ResidualBlock, group_norm
from .text import TextEncoder, Tokenizer

MAX_LOG_SCALE = math.log(100.0)                                                  # temperature at least 0.01


class ImageTower(nn.Module):
    """Residual blocks at a half, a quarter and an eighth of the size, then the mean: (B, 3, S, S) -> (B, 4 channels).

    A learned position map, added after the stem, tells "left" from "right" although places are averaged at the end.
    """

    def __init__(self, channels: int, image_size: int):
        super().__init__()
        c, size = channels, image_size // 2
        self.stem = nn.Conv2d(3, c, 4, stride=2, padding=1)
        self.position = nn.Parameter(0.02 * torch.randn(1, c, size, size))
        self.stages = nn.Sequential(ResidualBlock(c, c), Downsample(c, 2 * c), ResidualBlock(2 * c, 2 * c),
                                    Downsample(2 * c, 4 * c), ResidualBlock(4 * c, 4 * c), group_norm(4 * c), nn.SiLU())
        self.to(memory_format=torch.channels_last)                               # convolutions are faster so

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.contiguous(memory_format=torch.channels_last)) + self.position   # (B, C, S/2, S/2)
        return self.stages(x).mean((2, 3))


class CLIP(nn.Module):
    """An image tower and a text tower that agree: cosine similarity says how well a sentence fits a picture.

    words: vocabulary of the captions; text_length, text_channels, text_depth: see TextEncoder; channels: width of the
    image tower; embedding_channels: D, the dimension of the shared space. The temperature is learned, and at least 0.01.
    """

    def __init__(self, words: Sequence[str], text_length: int = 18, text_channels: int = 64, text_depth: int = 1,
                 channels: int = 20, embedding_channels: int = 64, image_size: int = 32):
        super().__init__()
        self.tokenizer = Tokenizer(words, text_length)
        self.text_encoder = TextEncoder(len(self.tokenizer), text_length, text_channels, text_depth)
        self.image_tower = ImageTower(channels, image_size)
        self.text_projection = nn.Linear(text_channels, embedding_channels, bias=False)
        self.image_projection = nn.Linear(4 * channels, embedding_channels, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))          # minus the log of the temperature

    @staticmethod
    def complete(config: dict[str, Any], data) -> dict[str, Any]:
        """A recipe's model arguments with what only the data can tell: `words: captions` becomes the vocabulary."""
        if config.get("words", "captions") == "captions":
            config = config | {"words": Tokenizer.vocabulary(data.captions)}
        return config

    @property
    def scale(self) -> Tensor:
        """The factor on cosines, 1 / temperature: a scalar of at most 100."""
        return self.log_scale.clamp(max=MAX_LOG_SCALE).exp()

    def encode_images(self, x: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [-1, 1] -> unit vectors (B, D); differentiable in x."""
        return F.normalize(self.image_projection(self.image_tower(x)), dim=1)

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L) of the model's tokeniser -> unit vectors (B, D)."""
        context, mask = self.text_encoder(tokens)                                # (B, L, C), (B, L)
        mean = (context * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)    # there is always the start token
        return F.normalize(self.text_projection(mean), dim=1)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """B sentences -> unit vectors (B, D). TinygenError for a word that no caption has."""
        return self.encode_tokens(self.tokenizer(texts).to(self.log_scale.device))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Logits (B, B'): row i says how well the B' sentences fit picture i, cosine times `scale`."""
        return self.scale * self.encode_images(x) @ self.encode_tokens(tokens).T


def info_nce(logits: Tensor, same: Tensor | None = None) -> Tensor:
    """The symmetric InfoNCE loss of logits (B, B) between B pictures and their B sentences, in nats: a scalar.

    The mean of two cross entropies: each picture picks its sentence, each sentence its picture (van den Oord et al. 2018,
    arXiv:1807.03748). same (B, B) bool: which sentences are equal; they share the target. None: the diagonal.
    """
    target = torch.eye(len(logits), device=logits.device) if same is None else same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


class ClipObjective(nn.Module):
    """InfoNCE of pictures and captions. noise: pictures are noised, each with its own standard deviation below this one.

    (Noise in training keeps the gradient with respect to the picture from being that of tricks in single pixels.)
    """

    def __init__(self, model: CLIP, noise: float = 0.0):
        super().__init__()
        self.model, self.noise = model, noise

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """One optimiser for both towers and the temperature."""
        return {"clip": list(self.model.parameters())}

    def batches(self, data, **options) -> Batches:
        """Batches of `data`; its captions become tokens. Captions that say "left" forbid mirroring (`flip`)."""
        self.tokens = self.model.tokenizer(data.captions).to(data.images.device)         # (N, L)
        return Batches(data, **options)

    def losses(self, batch: Batch, progress) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """One loss, and how often the best caption of the batch is the right one."""
        tokens, images, generator = self.tokens[batch.index], batch.images, progress.generator
        if self.noise:
            draw = {"generator": generator, "device": images.device}
            deviation = self.noise * torch.rand(len(images), 1, 1, 1, **draw)
            images = images + deviation * torch.randn(images.shape, **draw)
        same = (tokens[:, None] == tokens).all(2)                                # (B, B)
        logits = self.model(images, tokens).float()
        loss = info_nce(logits, same)
        right = same.gather(1, logits.argmax(1, keepdim=True)).float().mean()
        yield "clip", loss, {"info_nce": loss, "accuracy": right, "temperature": 1 / self.model.scale}

    def preview(self, model, batch) -> None:
        """It makes no pictures."""
        return None
