"""Shared blocks: attention by hand, masks, causality, identities at the start, embeddings."""

import math

import pytest
import torch
import torch.nn.functional as F

from tinygen.nn import (Attention, Downsample, ResidualBlock, TransformerBlock, Upsample, attend, group_norm,
                        sinusoidal_embedding, sinusoidal_positions_2d, zero_)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stirred(module):
    """Every parameter random: outputs that start at zero no longer hide what is inside."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


@pytest.mark.parametrize("causal", [False, True])
def test_attention_by_hand(causal):
    attention, x = stirred(Attention(6, 2, causal=causal)), randn(2, 5, 6)
    q, (k, v) = attention.to_q(x), attention.to_kv(x).chunk(2, dim=-1)
    heads = []
    for head in range(2):
        part = slice(3 * head, 3 * head + 3)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(3)
        if causal:
            scores = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -math.inf)
        heads.append(scores.softmax(-1) @ v[..., part])
    torch.testing.assert_close(attention(x), attention.out(torch.cat(heads, dim=-1)))


def test_masked_keys_do_not_matter():
    attention, x, context = stirred(Attention(6, 2, context_channels=4)), randn(2, 5, 6), randn(2, 7, 4, seed=1)
    mask = torch.tensor([[True] * 4 + [False] * 3, [True] * 7])
    other = torch.where(mask[..., None], context, randn(2, 7, 4, seed=2))
    assert torch.equal(attention(x, context, mask), attention(x, other, mask))
    torch.testing.assert_close(attention(x, context, mask)[:1], attention(x[:1], context[:1, :4]))
    assert not torch.allclose(attention(x, context), attention(x, other))


def test_attend_is_softmax_attention_and_stays_in_float32_on_a_cpu():
    q, k, v = randn(2, 3, 5, 4), randn(2, 3, 7, 4, seed=1), randn(2, 3, 7, 4, seed=2)
    mask = torch.tensor([[1, 1, 0, 1, 1, 0, 1], [1, 0, 0, 0, 0, 0, 1]]).bool()[:, None, None, :]
    scores = (q @ k.mT / 2).masked_fill(~mask, -torch.inf)
    expected = scores.softmax(-1) @ v
    torch.testing.assert_close(attend(q, k, v, mask), expected)
    with torch.autocast("cpu", torch.bfloat16):                  # half the bits would be right to two digits only
        torch.testing.assert_close(attend(q, k, v, mask), expected)
    causal = (q @ k[:, :, :5].mT / 2).masked_fill(~torch.ones(5, 5).tril().bool(), -torch.inf).softmax(-1) @ v[:, :, :5]
    torch.testing.assert_close(attend(q, k[:, :, :5], v[:, :, :5], causal=True), causal)


def test_causal_attention_does_not_look_ahead():
    block, x = stirred(TransformerBlock(8, 2, causal=True)), randn(1, 6, 8)
    later = x.clone()
    later[:, 4:] += 1
    torch.testing.assert_close(block(x)[:, :4], block(later)[:, :4])
    assert not torch.allclose(block(x)[:, 4:], block(later)[:, 4:])


def test_transformer_block_is_the_pre_norm_formula():
    block, x, context = stirred(TransformerBlock(8, 2, context_channels=3)), randn(2, 5, 8), randn(2, 4, 3, seed=1)
    h = x + block.attention(block.norm1(x))
    h = h + block.cross(block.norm_cross(h), context)
    h = h + block.mlp(block.norm2(h))
    torch.testing.assert_close(block(x, context=context), h)


def test_blocks_start_as_the_identity():
    x, embedding = randn(2, 8, 4, 4), randn(2, 5, seed=1)
    assert torch.equal(ResidualBlock(8, 8)(x), x)
    assert torch.equal(ResidualBlock(8, 8, embedding_channels=5)(x, embedding), x)
    tokens = randn(2, 6, 8)
    assert torch.equal(TransformerBlock(8, 2, context_channels=3)(tokens, context=randn(2, 4, 3)), tokens)
    assert ResidualBlock(8, 12)(x).shape == (2, 12, 4, 4)
    assert all(p.abs().max() == 0 for p in zero_(torch.nn.Linear(3, 3)).parameters())


def test_residual_block_is_modulated_by_scale_and_shift():
    block, x, embedding = stirred(ResidualBlock(8, 8, embedding_channels=5)), randn(2, 8, 4, 4), randn(2, 5, seed=1)
    scale, shift = block.modulation(F.silu(embedding)).unsqueeze(-1).unsqueeze(-1).split(8, dim=1)
    h = block.norm2(block.conv1(F.silu(block.norm1(x)))) * (1 + scale) + shift
    torch.testing.assert_close(block(x, embedding), x + block.conv2(F.silu(h)))


def test_down_and_up():
    x = randn(2, 3, 8, 8)
    down, up = Downsample(3, 5), Upsample(3, 5)
    assert down(x).shape == (2, 5, 4, 4) and up(x).shape == (2, 5, 16, 16)
    weight = down.conv.weight.view(5, 3, 2, 2)                     # folding, then 1x1, is a 2x2 convolution of stride 2
    torch.testing.assert_close(down(x), F.conv2d(x, weight, down.conv.bias, stride=2), atol=1e-5, rtol=1e-4)
    weight = up.conv.weight.view(5, 2, 2, 3).permute(3, 0, 1, 2)         # 1x1, then unfolding, is its transpose
    expected = F.conv_transpose2d(x, weight, stride=2) + up.conv.bias.view(5, 2, 2).repeat(1, 8, 8)
    torch.testing.assert_close(up(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("channels, groups", [(2, 1), (8, 2), (48, 12), (64, 16), (144, 16), (20, 5), (28, 7)])
def test_group_norm_divides_its_channels(channels, groups):
    norm = group_norm(channels)
    assert norm.num_groups == groups and channels % groups == 0


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match="multiple of heads"):
        Attention(8, 3)


def test_sinusoidal_embedding_by_hand():
    values = torch.tensor([0.0, 3.0, 999.0])
    embedding = sinusoidal_embedding(values, 6, max_period=100.0)
    for row, value in zip(embedding.tolist(), values.tolist(), strict=True):
        angles = [value / 100 ** (i / 3) for i in range(3)]
        assert row == pytest.approx([math.cos(a) for a in angles] + [math.sin(a) for a in angles], abs=1e-4)


def test_positions_tell_all_places_apart():
    positions = sinusoidal_positions_2d(5, 3, 16)
    assert positions.shape == (15, 16) and torch.pdist(positions).min() > 0.1
    assert torch.equal(positions[0, :8], positions[2, :8])               # the same row
    assert torch.equal(positions[0, 8:], positions[3, 8:])               # the same column
