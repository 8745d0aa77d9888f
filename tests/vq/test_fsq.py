"""FSQ as a number system and as a rounding; usage and perplexity by hand."""

import math

import pytest
import torch

from tinygen.vq import FSQ, count_codes, perplexity, usage


def latents(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rows(z):
    """(B, D, h, w) -> (B h w, D), in the order of the codes."""
    return z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])


LEVELS = [(2,), (3,), (2, 3), (4, 5), (8, 8, 8), (7, 5, 5, 5), (2, 2, 2)]


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_fsq_codes_and_latents_are_one_to_one(levels):
    """Every code becomes a point of the grid, all points differ, and the point becomes the code again."""
    fsq = FSQ(levels)
    codes = torch.arange(math.prod(levels)).view(1, -1, 1)
    points = fsq.codes_to_latents(codes)                                 # (1, D, K, 1)
    assert fsq.codebook_size == math.prod(levels) and fsq.code_channels == len(levels)
    assert len(rows(points).unique(dim=0)) == fsq.codebook_size and points.abs().max() <= 1
    half = torch.tensor([level // 2 for level in levels])
    integers = rows(points) * half
    torch.testing.assert_close(integers, integers.round())
    for channel, level in enumerate(levels):
        low = -(level // 2)
        assert sorted(set(integers[:, channel].round().int().tolist())) == list(range(low, low + level))
    z = torch.atanh((integers + torch.tensor([0.5 * (level % 2 == 0) for level in levels]))
                    / ((torch.tensor(levels) - 1) * 1.001 / 2))          # undo `bound` by hand
    z = z - torch.tensor([math.atanh(0.5 / ((level - 1) * 1.001 / 2)) if level % 2 == 0 else 0.0 for level in levels])
    z_q, again, losses = fsq(z.T.reshape(1, len(levels), -1, 1))
    assert torch.equal(again, codes) and losses == {}
    torch.testing.assert_close(z_q, points)


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_fsq_stays_on_the_grid_however_large_the_latent(levels):
    fsq = FSQ(list(levels))
    for scale in (0.3, 3.0, 1e4):
        z = scale * latents(2, len(levels), 16, 16)
        z_q, codes, _ = fsq(z)
        assert codes.min() >= 0 and codes.max() < fsq.codebook_size
        torch.testing.assert_close(z_q, fsq.codes_to_latents(codes))
        nearest = torch.cdist(rows(fsq.bound(z.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)),
                              rows(fsq.codes_to_latents(torch.arange(fsq.codebook_size).view(1, -1, 1)))
                              * torch.tensor(levels).div(2, rounding_mode="floor")).min(1).values
        assert nearest.max() <= 0.5 * math.sqrt(len(levels)) + 2e-3      # rounding, to the nearest in every channel


@pytest.mark.parametrize("levels", [(5,), (8,)])
def test_fsq_gradient_is_that_of_the_bound(levels):
    fsq, z = FSQ(levels), latents(1, 1, 4, 4).requires_grad_()
    fsq(z).z_q.sum().backward()
    step, half = 1e-2, levels[0] // 2
    with torch.no_grad():
        up, down = fsq.bound((z + step)[0, 0, ..., None]), fsq.bound((z - step)[0, 0, ..., None])
        slope = (up - down)[..., 0] / (2 * step * half)
    torch.testing.assert_close(z.grad[0, 0], slope, atol=2e-3, rtol=1e-2)
    zero = torch.zeros(1, 1, 1, 1)
    assert fsq(zero).z_q.item() == 0.0


def test_fsq_refuses_a_single_level():
    with pytest.raises(ValueError, match="at least 2"):
        FSQ((8, 1))


def test_usage_and_perplexity_by_hand():
    codes = torch.tensor([[0, 0], [1, 3]])
    counts = count_codes(codes, 5)
    assert counts.tolist() == [2, 1, 0, 1, 0] and counts.dtype == torch.float32
    assert usage(counts).item() == pytest.approx(3 / 5)
    assert perplexity(counts).item() == pytest.approx(2 ** (0.5 * 1 + 2 * 0.25 * 2))      # 1.5 bits
    assert perplexity(torch.full((7,), 3.0)).item() == pytest.approx(7)
    assert perplexity(torch.eye(7)[2]).item() == pytest.approx(1)
    big = torch.randint(300, (5000,), generator=torch.Generator().manual_seed(0))
    assert torch.equal(count_codes(big, 300).long(), torch.bincount(big, minlength=300))
