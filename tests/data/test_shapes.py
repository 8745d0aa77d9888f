"""Shapes: the same bytes everywhere, and pictures that show what their factors say."""

import math
import time

import numpy as np
import pytest
import torch

from tinygen.data import FACTOR_NAMES, caption_of, generate_shapes, raster, shapes
from tinygen.errors import TinygenError

SMALL = "02d8f5b1e9396f2a59877725cb1eaf445e8d4dd86922005b4483b31d13470245"
HELD_OUT = "20a7171b12c2c2977b0e6524bfd16619b71f2cdf7726e402a1e3556603fb605e"
LARGE = "3eaa64c14a6f376eee525e2886d166f065e3dafb91f9cecca05a14108c3bed24"
COLUMN = {name: k for k, name in enumerate(FACTOR_NAMES)}


@pytest.fixture(scope="module")
def whole():
    """The training set, and the seconds of processor time that it took: neighbours do not count."""
    start = time.process_time()
    data = generate_shapes(*shapes.SPLITS["train"], "train")
    return data, time.process_time() - start


@pytest.fixture(scope="module")
def train(whole):
    return whole[0].subset(range(4000))


def named(data, factor, name):
    return data.factors[:, COLUMN[factor]] == FACTOR_NAMES[factor].index(name)


def test_a_few_images_have_the_bytes_that_they_always_had():
    assert generate_shapes(64).sha256() == SMALL
    assert generate_shapes(64, seed=7, split="heldout").sha256() == HELD_OUT


def test_the_training_set_has_its_bytes_in_under_ten_seconds(whole):
    data, seconds = whole
    assert seconds < 10
    assert data.sha256() == LARGE


def test_a_short_set_is_the_beginning_of_a_long_one(train):
    short = generate_shapes(130)
    assert torch.equal(short.images, train.images[:130]) and torch.equal(short.factors, train.factors[:130])
    assert not torch.equal(generate_shapes(130, seed=2).images, short.images)


def test_held_out_pairs_are_in_no_other_split(train):
    def pairs(data):
        return {tuple(row) for row in data.factors[:, :2].tolist()}
    held_out = pairs(generate_shapes(300, 3, "heldout"))
    assert len(held_out) == len(shapes.HELD_OUT) >= 8
    assert {FACTOR_NAMES["object"][o] for o, _ in held_out} == set(FACTOR_NAMES["object"])  # every object once
    seen = pairs(train) | pairs(generate_shapes(300, 2, "test"))
    assert not seen & held_out and len(seen) == 12 * 10 - len(held_out)


def test_factors_labels_and_captions_belong_together(train):
    assert torch.equal(train.labels, train.factors[:, 0]) and train.class_names == FACTOR_NAMES["object"]
    assert train.captions[17] == caption_of(train.factors[17])
    for k, names in enumerate(FACTOR_NAMES.values()):
        share = torch.bincount(train.factors[:, k], minlength=len(names)) / len(train)
        assert share.min() > 0.4 / len(names)


def test_the_object_stands_where_the_caption_says(whole):
    """The middle of what differs from the background, for plain backgrounds."""
    train, _ = whole
    hollow = named(train, "object", "crescent")  # its middle lies outside
    plain = train.subset(named(train, "texture", "plain") & ~hollow)
    images = plain.images.float()
    corner = images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].median(dim=2).values[:, :, None, None]
    differs = ((images - corner).abs().amax(1) > 40).double()  # (N, 32, 32)
    mass = differs.sum((1, 2))
    along = torch.arange(32) - 15.5
    middle = torch.stack([(differs.sum(1) * along).sum(1), (differs.sum(2) * along).sum(1)], 1) / mass[:, None]  # x, y
    centred = named(plain, "position", "centre")
    assert (middle[centred].abs() < 4.5).all()
    kinds = plain.factors[:, [COLUMN["object"], COLUMN["size"]]] @ torch.tensor([100, 1])
    for kind in kinds.unique():  # a triangle's middle is not that of the circle around it: centred ones are the measure
        here = kinds == kind
        middle[here] -= middle[here & centred].mean(0)
    for name, x, y in (("left", -1, 0), ("right", 1, 0), ("top", 0, -1), ("bottom", 0, 1)):
        moved = middle[named(plain, "position", name)]
        assert (moved @ torch.tensor([x, y], dtype=moved.dtype) > 1.5).all()  # large ones: 3.75 pixels, shaken by 0.75
        assert (moved @ torch.tensor([y, x], dtype=moved.dtype)).abs().max() < 2.2  # the object is shaken a little
    areas = [mass[named(plain, "size", size) & named(plain, "object", "circle")] for size in FACTOR_NAMES["size"]]
    small, medium, large = (area.median() for area in areas)  # single ones vary: highlights melt into light backgrounds
    assert 1.3 * small < medium and 1.3 * medium < large


def test_the_object_has_the_colour_that_the_caption_says(train):
    """The pixel in the middle of a solid object is nearest to its named colour, and far from the background's."""
    names = ("circle", "square", "heart", "diamond", "cross")
    solid = torch.stack([named(train, "object", name) for name in names]).any(0)
    data = train.subset(solid)
    reach = torch.tensor(shapes.REACH)[data.factors[:, COLUMN["size"]]] / raster.SUB
    direction = torch.tensor(shapes.DIRECTION)[data.factors[:, COLUMN["position"]]]
    middle = (15.5 + direction * reach[:, None]).round().long()  # (N, 2): x, y
    pixels = data.images[torch.arange(len(data)), :, middle[:, 1], middle[:, 0]].double()  # (N, 3)
    palette = torch.tensor(list(shapes.OBJECT_RGB.values())).double()
    nearest = torch.cdist(pixels, palette).argmin(1)
    assert (nearest == data.factors[:, COLUMN["colour"]]).double().mean() > 0.97
    grounds = torch.tensor(list(shapes.GROUND_RGB.values())).double()[data.factors[:, COLUMN["background"]]]
    assert ((pixels - grounds).norm(dim=1) > 60).double().mean() > 0.99


def test_textures_are_soft_and_only_where_they_should_be(train):
    """Lightness along the border of the image, away from objects that are in the centre and not large."""
    away = named(train, "position", "centre") & ~named(train, "size", "large")
    for texture, low, high in (("plain", 0, 1), ("gradient", 8, 25), ("striped", 8, 16), ("checkered", 4, 16),
                               ("dotted", 4, 16)):
        border = train.images[away & named(train, "texture", texture)][:, :, :3].double().mean(1).flatten(1)
        whole = train.images[away & named(train, "texture", texture)][:, :, [0, -1]].double().mean(1).flatten(1)
        spread = torch.maximum(border.std(1), whole.std(1))
        assert low <= spread.min() and spread.max() <= high, texture


@pytest.mark.parametrize("name, area", [  # of the object in units of UNIT, by hand
    ("circle", math.pi * 960 ** 2), ("square", 1660 ** 2), ("triangle", 1740 * 1000), ("diamond", 740 * 2240),
    ("ring", math.pi * (1000 ** 2 - 520 ** 2)), ("cross", 2 * 680 * 1960 - 680 ** 2),
    ("arrow", 1000 * 900 + 680 * 1040)])
@pytest.mark.parametrize("angle", [-3, 0, 2])
def test_silhouettes_have_the_area_of_their_figure(name, area, angle):
    radius = 40
    coverage, blur = raster.sprite_bank((name,), [0], [radius], [angle])
    expected = area * (radius / raster.UNIT) ** 2
    assert abs(int((coverage[0].astype(int)).sum()) / raster.SUB ** 2 / expected - 1) < 0.03
    assert abs(int(blur[0].astype(int).sum()) / 255 / expected - 1) < 0.03


def test_the_star_is_the_polygon_of_its_corners():
    """Even-odd crossing against winding numbers summed from angles, at random points."""
    points = np.random.default_rng(0).integers(-1100, 1100, (500, 2))
    x, y = points.T
    turns = np.zeros(500)
    for a, b in zip(raster.STAR, raster.STAR[1:] + raster.STAR[:1]):
        to_a, to_b = (np.arctan2(corner[1] - y, corner[0] - x) for corner in (a, b))
        turns += (to_b - to_a + np.pi) % (2 * np.pi) - np.pi
    assert np.array_equal(raster.polygon(x, y, raster.STAR), np.abs(turns) > np.pi)


def test_boxes_are_summed_where_they_stand():
    values = np.zeros((128, 128), int)
    values[40:90, 30:70] = np.random.default_rng(1).integers(0, 9, (50, 40))
    for width in (4, 12):
        low = width - width // 2
        sums = raster.boxed(values, width)
        for row, column in ((40, 30), (64, 50), (91, 71), (20, 20)):
            top, left = row - low, column - low
            assert sums[row, column] == values[top:top + width, left:left + width].sum()


def test_an_unknown_split_is_refused():
    with pytest.raises(TinygenError, match="'train'"):
        generate_shapes(4, split="trian")
