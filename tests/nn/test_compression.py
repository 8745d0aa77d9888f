"""Smaller networks: eight bits by hand, masks, and channels that may go because nothing reads them."""

import pytest
import torch
from torch import nn

from tinygen.nn import (Int8Conv2d, Int8Linear, Int8Model, ResidualBlock, TransformerBlock, keep_pruned, prune_channels,
                        prune_magnitude, quantize_int8, quantize_layers)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stirred(module):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def test_int8_by_hand():
    """Row 1: scale 1/127, 0.5 is 63.5 steps and goes to the even 64. Row 2 is ten times row 1. Row 3 has no largest weight."""
    row = torch.tensor([1.0, -0.5, 0.003])
    quantized, scale = quantize_int8(torch.stack([row, 10 * row, 0 * row]))
    assert quantized.dtype == torch.int8 and quantized.tolist() == [[127, -64, 0], [127, -64, 0], [0, 0, 0]]
    torch.testing.assert_close(scale, torch.tensor([[1 / 127], [10 / 127], [1.0]]))


def test_int8_error_is_at_most_half_a_step_and_has_the_variance_of_a_uniform_one():
    weight = randn(8, 16, 50, 25)
    quantized, scale = quantize_int8(weight)
    assert scale.shape == (8, 1, 1, 1) and quantized.amax() == 127 and quantized.amin() >= -127
    error = (quantized * scale - weight) / scale
    assert error.abs().max() <= 0.5 + 1e-4
    assert error.square().mean().item() == pytest.approx(1 / 12, rel=0.02)


def test_quantised_layers_compute_with_the_rounded_weights():
    conv = stirred(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2))
    linear = stirred(nn.Linear(5, 7, bias=False))
    x, y = randn(2, 4, 9, 9), randn(3, 5)
    before = conv(x), linear(y)
    small = Int8Conv2d(conv)(x), Int8Linear(linear)(y)
    for exact, rounded, width in zip(before, small, (18, 5), strict=True):
        assert not torch.equal(exact, rounded)
        torch.testing.assert_close(exact, rounded, atol=0.02 * width ** 0.5, rtol=0)
    for layer in (conv, linear):
        quantized, scale = quantize_int8(layer.weight)
        with torch.no_grad():
            layer.weight.copy_(quantized * scale)
    torch.testing.assert_close(conv(x), small[0])
    torch.testing.assert_close(linear(y), small[1])
    with pytest.raises(ValueError, match="circular"):
        Int8Conv2d(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"))


def test_a_quantised_model_holds_int8_and_can_do_the_same():
    class Greeter(nn.Sequential):
        num_classes = 3

        def greet(self):
            return "hello"

    model = Int8Model(Greeter(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Sequential(nn.Linear(5, 5))))
    assert model.greet() == "hello" and model.num_classes == 3
    assert model(randn(1, 3, 7, 7)).shape == (1, 4, 5, 5)
    kinds = {name: value.dtype for name, value in model.state_dict().items()}
    assert {name for name, kind in kinds.items() if kind == torch.int8} == {"model.0.quantized", "model.2.0.quantized"}
    assert "model.0.weight" not in kinds and not any(p.requires_grad for p in model.parameters())
    with pytest.raises(AttributeError):
        model.sing()
    assert isinstance(quantize_layers(nn.Sequential(nn.Linear(2, 2)))[0], Int8Linear)


def test_magnitude_pruning_takes_the_smallest():
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.1, -3.0, 0.2, 4.0], [-0.3, 5.0, -0.05, 6.0]]))
    module = nn.Sequential(nn.LayerNorm(4), layer)
    masks = prune_magnitude(module, 0.5)
    assert layer.weight.tolist() == [[0, -3, 0, 4], [0, 5, 0, 6]] and set(masks) == {"1"}
    layer.weight.data += 1                                                   # an optimiser that does not know
    keep_pruned(module, masks)
    assert layer.weight.tolist() == [[0, -2, 0, 5], [0, 6, 0, 7]]
    for sparsity in (-0.1, 1.0):
        with pytest.raises(ValueError, match="sparsity"):
            prune_magnitude(module, sparsity)


@pytest.mark.parametrize("embedding", [0, 6])
def test_channels_that_nothing_reads_go_without_a_trace(embedding):
    block = stirred(ResidualBlock(8, 16, embedding))                          # 4 groups of 4 channels
    unread = torch.tensor([0, 3, 5, 6, 8, 9, 14, 15])                         # two in every group
    with torch.no_grad():
        block.conv2.weight[:, unread] = 0
        block.conv1.weight[unread] = block.conv1.weight[unread + torch.tensor([1, -1, -1, 1, 2, 2, -2, -2])]
        block.conv1.bias[unread] = block.conv1.bias[unread + torch.tensor([1, -1, -1, 1, 2, 2, -2, -2])]
    told = (randn(2, embedding, seed=1),) if embedding else ()                # the norm's statistics stay as they were
    x = randn(2, 8, 6, 6)
    before = block(x, *told)
    assert prune_channels(block, 0.5) is block
    assert block.conv1.weight.shape == (8, 8, 3, 3) and block.conv2.weight.shape == (16, 8, 3, 3)
    torch.testing.assert_close(block(x, *told), before, atol=1e-4, rtol=1e-4)


def test_hidden_units_that_say_nothing_go_without_a_trace():
    block = stirred(TransformerBlock(8, 2))                                   # 32 hidden units
    with torch.no_grad():
        block.mlp[2].weight[:, ::2] = 0
    x = randn(2, 5, 8)
    before = block(x)
    prune_channels(nn.Sequential(block), 0.5)
    assert block.mlp[0].out_features == block.mlp[2].in_features == 16
    torch.testing.assert_close(block(x), before)


def test_keeping_everything_changes_nothing_and_nothing_is_refused():
    block, x = stirred(ResidualBlock(8, 16)), randn(1, 8, 4, 4)
    before = block(x)
    torch.testing.assert_close(prune_channels(block, 1.0)(x), before)
    for keep in (0.0, 1.5):
        with pytest.raises(ValueError, match="keep"):
            prune_channels(block, keep)
