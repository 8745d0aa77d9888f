"""Reconstruction metrics, precision and recall, adherence and repetition, on cases worked out by hand."""

import itertools
import math

import numpy as np
import pytest
import torch

from tinygen.data import ImageSet
from tinygen.errors import TinygenError
from tinygen.evaluate import (class_adherence, code_statistics, duplicate_rate, memorisation, nearest_neighbours,
                              precision_recall, prompt_adherence, psnr, ssim)
from tinygen.evaluate.adherence import label_head
from tinygen.evaluate.duplicates import pixels


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_psnr_by_hand():
    x = torch.zeros(3, 3, 4, 4)
    y = x.clone()
    y[0] += 0.2                      # MSE 0.04: 10 log10(4 / 0.04) = 20
    y[1, 0] += 2.0                   # MSE 4 / 3: 10 log10(3)
    assert psnr(x, y)[:2].tolist() == pytest.approx([20.0, 10 * math.log10(3)], abs=1e-5)
    assert psnr(x, y)[2] == torch.inf


def test_psnr_in_the_units_of_uint8():
    a, b = (rand(1, 3, 8, 8, seed=s).mul(255).round() for s in (0, 1))
    expected = 20 * math.log10(255) - 10 * math.log10((a - b).square().mean().item())
    assert psnr(a / 127.5 - 1, b / 127.5 - 1).item() == pytest.approx(expected, abs=1e-4)


def test_ssim_window_by_window():
    """Another route: weighted moments of every 11 x 11 window, one at a time."""
    x = rand(2, 3, 14, 13).double() * 2 - 1
    y = (x + 0.4 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)
    weights = np.array([[math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / 4.5) for j in range(11)] for i in range(11)])
    weights = (weights / weights.sum()).ravel()
    for image in range(2):
        similarities = []
        for channel, top, left in itertools.product(range(3), range(4), range(3)):
            a, b = ((t[image, channel, top:top + 11, left:left + 11].numpy().ravel() + 1) / 2 for t in (x, y))
            (va, vab), (_, vb) = np.cov(a, b, aweights=weights, ddof=0)
            ma, mb = np.average(a, weights=weights), np.average(b, weights=weights)
            luminance = (2 * ma * mb + 1e-4) / (ma ** 2 + mb ** 2 + 1e-4)
            similarities.append(luminance * (2 * vab + 9e-4) / (va + vb + 9e-4))
        assert ssim(x, y)[image].item() == pytest.approx(np.mean(similarities), abs=1e-12)
    torch.testing.assert_close(ssim(x, x), torch.ones(2, dtype=torch.float64))
    assert (ssim(x, y) < 0.95).all()


def test_codes_are_counted_over_the_whole_epoch():
    one = code_statistics([torch.tensor([[0, 1]]), torch.tensor([[2, 3]])], codebook_size=8)
    assert one == pytest.approx({"code_usage": 0.5, "code_perplexity": 4.0})
    skewed = code_statistics([torch.tensor([0, 0, 0, 1])], codebook_size=2)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert skewed == pytest.approx({"code_usage": 1.0, "code_perplexity": math.exp(entropy)})


def test_nearest_neighbours_against_a_full_table():
    x, y = rand(23, 5).double(), rand(31, 5, seed=1).double()
    table = torch.stack([(a - y).square().sum(1).sqrt() for a in x])
    distances, rows = nearest_neighbours(x, y, k=3, block=7)
    torch.testing.assert_close(distances, table.sort(1).values[:, :3])
    assert torch.equal(rows, table.argsort(1)[:, :3])
    itself = torch.stack([(a - x).square().sum(1).sqrt() for a in x]).fill_diagonal_(torch.inf)
    assert torch.equal(nearest_neighbours(x, x, exclude_self=True, block=7)[1][:, 0], itself.argmin(1))


def line(*points):
    return torch.tensor(points, dtype=torch.float64)[:, None]


def test_precision_and_recall_on_a_line():
    """k = 1: reals 0, 1, 5, 7 have radii 1, 1, 2, 2, so they cover [-1, 2] and [3, 9], where 2 of 4 fakes lie.

    Fakes 0.5, 2.5, 6, 20 have radii 2, 2, 3.5, 14, so they cover [-1.5, 9.5] and more, where all reals lie.
    """
    assert precision_recall(line(0, 1, 5, 7), line(0.5, 2.5, 6, 20), k=1) == (0.5, 1.0)


def test_precision_and_recall_of_collapse_and_of_nonsense():
    real = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    again = torch.randn(400, 3, generator=torch.Generator().manual_seed(1))
    same, collapsed, far = (precision_recall(real, fake) for fake in (again, again * 0.1, again + 50))
    assert min(same) > 0.75 and collapsed[0] > 0.95 and collapsed[1] < 0.1 and far == (0.0, 0.0)
    wide = precision_recall(real, again * 5)
    assert wide[0] < 0.3 and wide[1] > 0.9
    with pytest.raises(TinygenError, match="more than k = 3"):
        precision_recall(real[:3], again)


def test_adherence():
    assert class_adherence(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 2, 3])) == 0.75
    names = {"object": ("star", "ring"), "colour": ("red", "blue"), "size": ("small", "large")}
    asked = torch.tensor([[0, 0, 1], [1, -1, 0], [1, 1, 1], [0, 1, 0]])
    predicted = {"colour": torch.tensor([0, 0, 0, 1]), "object": torch.tensor([0, 1, 1, 1])}
    rates = prompt_adherence(predicted, asked, names)
    assert rates == pytest.approx({"object": 3 / 4, "colour": 2 / 3, "all": 2 / 4})
    with pytest.raises(TinygenError, match="no head"):
        prompt_adherence({}, asked, names)


def test_the_head_of_the_labels_is_found():
    data = ImageSet("x", torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.zeros(1).long(), ("star", "ring"), ("",),
                    torch.zeros(1, 2).long(), {"colour": ("red", "blue"), "object": ("star", "ring")})
    assert label_head({"colour": 2, "object": 2}, data) == "object"
    assert label_head({"class": 2}, data) == "class"
    with pytest.raises(TinygenError, match="no head for the classes of x"):
        label_head({"colour": 2}, data)


def noise_images(n, seed=0):
    return torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_duplicates():
    x = noise_images(30)
    assert duplicate_rate(x, block=7) == 0.0
    repeated = x[torch.arange(30) % 4]
    assert duplicate_rate(repeated, block=7) == pytest.approx(26 / 30) == 1 - 4 / 30
    near = torch.cat([x, (x[:10].int() + 5).clamp(0, 255).to(torch.uint8)])     # RMS at most 5 / 127.5 = 0.039
    far = torch.cat([x, (x[:10].int() // 2 + 20).to(torch.uint8)])
    assert duplicate_rate(near, block=7) == pytest.approx(10 / 40) and duplicate_rate(far) == 0.0


def test_pixel_distance_is_the_rms_difference():
    images = torch.tensor([0, 51], dtype=torch.uint8)[:, None, None, None].expand(2, 3, 32, 32)
    a, b = pixels(images)
    assert (a - b).norm().item() == pytest.approx(51 / 127.5)


def test_memorisation_is_seen():
    train, test, fresh = (torch.randn(n, 8, generator=torch.Generator().manual_seed(n)) for n in (500, 300, 301))
    honest, copied = memorisation(fresh, test, train), memorisation(train[:301] + 1e-3 * fresh, test, train)
    assert honest["test"] == copied["test"] and honest["test"]["close_to_train"] == pytest.approx(0.01)
    assert honest["model"]["close_to_train"] < 0.05 and copied["model"]["close_to_train"] == 1.0
    assert honest["model"]["distance_to_train"] == pytest.approx(honest["test"]["distance_to_train"], rel=0.1)
    assert copied["model"]["distance_to_train"] < 0.01 * copied["test"]["distance_to_train"]
