"""The tokeniser and the text encoder."""

import torch

from tinygen.latent import TextEncoder, Tokenizer

WORDS = Tokenizer.vocabulary(("a red star", "a small blue star", "a blue square", "a red square on blue"))


def test_tokenizer():
    tokenizer = Tokenizer(["blue", "red", "star"], length=5)
    assert tokenizer.encode("Red, STAR!") == [1, 3, 4, 0, 0] and tokenizer.encode("") == [1, 0, 0, 0, 0]
    assert len(tokenizer) == 5 and tokenizer(["", "blue blue blue blue"]).tolist() == [[1, 0, 0, 0, 0], [1, 2, 2, 2, 2]]
    assert WORDS == ["a", "blue", "on", "red", "small", "square", "star"]


def test_text_encoder_reads_order():
    torch.manual_seed(0)
    encoder, tokenizer = TextEncoder(len(WORDS) + 2, 7, 8), Tokenizer(WORDS, 7)
    for block in encoder.blocks:
        torch.nn.init.normal_(block.attention.out.weight)
    context, _ = encoder(tokenizer(["red blue", "blue red"]))
    assert context.shape == (2, 7, 8) and not torch.allclose(context[0, 0], context[1, 0], atol=1e-4)
