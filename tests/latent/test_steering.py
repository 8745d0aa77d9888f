"""Codes steered by CLIP, style as statistics, inversion, and one new word."""

import copy

import pytest
import torch

from tinygen.diffusion import FlowPath, ddim, time_grid
from tinygen.errors import TinygenError
from tinygen.latent import (adain, add_word, angle_loss, codes_of_another, content_distance, gram, invert, learn_word,
                            steer_codes, style_distance, stylise, views)
from tinygen.models import load_model


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_angles():
    u = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    v = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    torch.testing.assert_close(angle_loss(u, v), torch.tensor([0.0, (torch.pi / 2) ** 2, torch.pi**2]))


def test_views_are_copies_in_order():
    x = torch.randn(2, 3, 8, 8, generator=seeded())
    assert torch.equal(views(x, 3, 0.0, 0), x.repeat(3, 1, 1, 1))
    assert views(x, 2, 0.1, 2, seeded()).shape == (4, 3, 8, 8)


def test_steering_raises_the_cosine_and_changes_no_network():
    stage, clip = load_model("zoo:shapes-vqgan")[0], load_model("zoo:shapes-clip")[0]
    weights = copy.deepcopy(stage.state_dict())
    _, history = steer_codes(stage, clip, ["a large red star"], torch.randn(1, *stage.latent_shape, generator=seeded()), steps=12,
                             lr=0.3, generator=seeded())
    assert history[-1] > history[0] and all(torch.equal(v, stage.state_dict()[k]) for k, v in weights.items())


def test_statistics_by_hand():
    maps = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])                  # two channels, two places
    assert gram(maps).tolist() == [[[2.5, 1.5], [1.5, 4.5]]]
    out = adain(maps, torch.tensor([[[[0.0, 4.0]], [[5.0, 7.0]]]]))
    torch.testing.assert_close(out, torch.tensor([[[[0.0, 4.0]], [[7.0, 5.0]]]]))


def test_style_comes_nearer():
    eye = load_model("zoo:cifar10-perceptual")[0].requires_grad_(False)
    content, style = torch.rand(2, 1, 3, 32, 32, generator=seeded()) * torch.tensor([1.0, 0.3]).view(2, 1, 1, 1, 1)
    assert style_distance(eye, style, style).item() == content_distance(eye, style, style).item() == 0
    made = stylise(eye, content, style, steps=8)
    assert style_distance(eye, made, style) < style_distance(eye, content, style) and made.abs().max() <= 1


def test_only_codes_of_the_other_picture_are_used():
    stage = load_model("zoo:shapes-vqgan")[0]
    content, style = torch.rand(2, 1, 3, 32, 32, generator=seeded()) * 2 - 1
    with torch.no_grad():
        assert torch.equal(codes_of_another(stage, content, content), stage.decode_codes(stage.encode_codes(content)))
        one = torch.full((1, 3, 32, 32), 0.5)
        allowed = stage.encode_codes(one).unique()
        assert codes_of_another(stage, style, one).unique().numel() > 0 and len(allowed) < 512


def test_inversion_comes_back():
    flow, z = FlowPath(), torch.randn(5, 1, dtype=torch.float64, generator=seeded())
    guess = lambda x, t: (1 - t) * 0.3 / ((1 - t) ** 2 * 0.3 + t**2) * x
    times = time_grid(flow, 12)
    error = lambda n: (ddim(guess, flow, invert(guess, flow, z, times, n), times) - z).abs().max().item()
    assert error(60) < 1e-8 < error(4) < error(1)
    with pytest.raises(TinygenError, match="at least one iteration"):
        invert(guess, flow, z, times, 0)


def test_a_word_is_learned_and_nothing_else():
    base = load_model("zoo:shapes-ldm")[0]
    model = copy.deepcopy(base)
    token = add_word(model, "mascot", like="star")
    old, table = base.text_encoder.tokens.weight, model.text_encoder.tokens.weight
    assert token == len(old) and torch.equal(table[token], old[base.tokenizer.index["star"]])
    images = torch.rand(3, 3, 32, 32, generator=seeded()) * 2 - 1
    losses = learn_word(model, "mascot", images, ["a large mascot"] * 3, steps=2, batch_size=2, generator=seeded())
    table = model.text_encoder.tokens.weight
    assert len(losses) == 2 and torch.equal(table[:-1], old) and not torch.equal(table[-1], old[base.tokenizer.index["star"]])
    assert all(torch.equal(a, b) for a, b in zip(model.denoiser.parameters(), base.denoiser.parameters()))
    for word in ("star", "two words"):
        with pytest.raises(TinygenError, match="no new word"):
            add_word(model, word)
