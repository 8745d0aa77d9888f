"""Textual inversion (Gal et al. 2022, arXiv:2208.01618): one new word whose vector is learned, everything else frozen."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import TinygenError
from .pipeline import LatentDiffusion
from .text import Tokenizer, split_words


def add_word(model: LatentDiffusion, word: str, like: str | None = None) -> int:
    """Give a pipeline's vocabulary one more word -> its token. Its vector starts as that of `like`, else as the mean.

    TinygenError for what is no single new word, for an unknown `like`, and for a pipeline without text.
    """
    if model.tokenizer is None:
        raise TinygenError("this model knows no text, so it cannot learn a word")
    old, weight = model.tokenizer, model.text_encoder.tokens.weight.detach()
    if split_words(word) != [word] or word in old.index:
        raise TinygenError(f"{word!r} is no new word: choose one word, in lower case, that the captions do not have")
    start = weight[2:].mean(0) if like is None else weight[old.encode(like)[1]]
    model.tokenizer = Tokenizer([*old.words, word], old.length)
    model.text_encoder.tokens = nn.Embedding.from_pretrained(torch.cat([weight, start[None]]), freeze=True)
    return model.tokenizer.index[word]


def learn_word(model: LatentDiffusion, word: str, images: Tensor, sentences: Sequence[str], steps: int = 200,
               batch_size: int = 16, lr: float = 0.03, generator: torch.Generator | None = None) -> list[float]:
    """Fit the vector of `word`, see `add_word`, to images (N, 3, S, S) described by N sentences -> the loss of every step.

    Minimises the denoiser's loss over that one vector; it is written into the text encoder at the end.
    """
    token, encoder = model.tokenizer.index[word], model.text_encoder
    table = encoder.tokens.weight.detach()
    row = torch.tensor([token], device=table.device)
    vector = table[row].clone().requires_grad_()                                # (1, C)
    with torch.no_grad():
        latents = model.encode(images)
    tokens = model.tokenizer(sentences).to(table.device)                        # (N, L)
    optimizer = torch.optim.Adam([vector], lr=lr)
    losses = []
    for step in range(steps):
        source = generator.device if generator else table.device
        rows = torch.randint(len(latents), (batch_size,), generator=generator, device=source).to(table.device)
        weights = {"tokens.weight": table.index_copy(0, row, vector)}
        context, mask = functional_call(encoder, weights, (tokens[rows],))
        told = {"context": context, "context_mask": mask}
        if model.num_classes:
            told["labels"] = torch.full_like(rows, model.num_classes)           # no class: the word must say it
        loss, _ = model.denoiser.loss(latents[rows], generator, **told)
        vector.grad, = torch.autograd.grad(loss, vector)                        # nothing else is even differentiated
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        encoder.tokens.weight[token] = vector[0]
    return losses
