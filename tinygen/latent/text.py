"""Words for the denoiser: a word-level tokeniser and a small transformer encoder, trained jointly with it."""

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ..errors import TinygenError, nearest
from ..nn import TransformerBlock

PAD, START = 0, 1                                                                # two tokens that are not words


def split_words(text: str) -> list[str]:
    """Lower-case words of `text`, punctuation left out."""
    return re.findall(r"[a-z0-9']+", text.lower())


class Tokenizer:
    """Word-level tokeniser: token 0 is padding, 1 the start, then one token a word in the order of `words`.

    An empty text is the start token alone: the null condition of guidance. TinygenError for a word that is not in the vocabulary
    and for a text of more than `length` - 1 words.
    """

    def __init__(self, words: Sequence[str], length: int = 16):
        self.words, self.length = tuple(words), length
        self.index = {word: token for token, word in enumerate(self.words, start=2)}

    @staticmethod
    def vocabulary(captions: Iterable[str]) -> list[str]:
        """All words of `captions`, sorted."""
        return sorted({word for caption in set(captions) for word in split_words(caption)})

    def __len__(self) -> int:
        return len(self.words) + 2

    def encode(self, text: str) -> list[int]:
        """One text -> `length` tokens."""
        words = split_words(text)
        for word in words:
            if word not in self.index:
                raise TinygenError(f"the prompt {text!r} has the unknown word {word!r}{nearest(word, self.words)}")
        if len(words) >= self.length:
            raise TinygenError(f"the prompt {text!r} has {len(words)} words, at most {self.length - 1} are possible")
        return ([START] + [self.index[word] for word in words] + [PAD] * self.length)[:self.length]

    def __call__(self, texts: Iterable[str]) -> Tensor:
        """Texts -> tokens (B, length) int64."""
        return torch.tensor([self.encode(text) for text in texts])


class TextEncoder(nn.Module):
    """tokens (B, L) int64 -> context (B, L, channels) and its mask (B, L), True where there is a token.

    A small transformer encoder, in the place of Stable Diffusion's frozen CLIP (Rombach et al. 2022, arXiv:2112.10752).
    """

    def __init__(self, vocabulary_size: int, length: int, channels: int, depth: int = 2, heads: int = 4):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary_size, channels)
        self.positions = nn.Parameter(0.02 * torch.randn(length, channels))
        self.blocks = nn.ModuleList(TransformerBlock(channels, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(channels)
        nn.init.normal_(self.tokens.weight, std=0.5)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        mask = tokens != PAD                                                    # (B, L)
        x = self.tokens(tokens) + self.positions                                # (B, L, C)
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x), mask
