"""Facts measured from photographs, and the sentences made of them."""

import pytest
import torch

from tinygen.data.cifar10 import photo_caption
from tinygen.data.photos import BACKGROUNDS, BRIGHTNESS, measure_photos

COLOURS = {"black": (10, 10, 12), "gray": (120, 125, 120), "white": (240, 240, 238), "brown": (120, 80, 40), "yellow": (220, 210, 40),
           "green": (40, 160, 60), "blue": (60, 120, 210), "pink": (230, 80, 160)}


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_the_border_names_the_background(name):
    image = torch.tensor(COLOURS[name], dtype=torch.uint8)[:, None, None].expand(3, 32, 32).clone()
    image[:, 8:24, 8:24] = torch.tensor([30, 200, 250], dtype=torch.uint8)[:, None, None]       # another colour inside
    noise = torch.randint(-6, 7, (16, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    images = (image + noise).clamp(0, 255).to(torch.uint8)
    assert (measure_photos(images)[:, 1] == BACKGROUNDS.index(name)).all()


def test_every_colour_has_a_place_to_be_measured():
    assert set(COLOURS) == set(BACKGROUNDS)


def test_the_mean_says_how_bright():
    images = torch.tensor([20, 85, 95, 150, 160, 250], dtype=torch.uint8)[:, None, None, None].expand(6, 3, 32, 32)
    names = [BRIGHTNESS[k] for k in measure_photos(images)[:, 0].tolist()]
    assert names == ["dark", "dark", "plain", "plain", "bright", "bright"]


def test_the_sentence():
    dark, plain, bright = range(3)
    assert photo_caption(3, dark, BACKGROUNDS.index("green")) == "a dark photo of a cat on a green background"
    assert photo_caption(0, plain, BACKGROUNDS.index("blue")) == "a photo of an airplane on a blue background"
    assert photo_caption(9, bright, BACKGROUNDS.index("white")) == "a bright photo of a truck on a white background"
