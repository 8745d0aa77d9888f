"""Image sets: the conversions at the edge, rows, and their hash."""

import hashlib

import numpy as np
import pytest
import torch

from tinygen.data import describe, generate_shapes, load, to_float, to_uint8
from tinygen.errors import TinygenError


def test_every_byte_survives_the_way_to_float_and_back():
    every = torch.arange(256, dtype=torch.uint8)
    values = to_float(every)
    assert values.dtype == torch.float32 and values.min() == -1 and values.max() == 1
    torch.testing.assert_close(values.double(), torch.linspace(-1, 1, 256, dtype=torch.float64), atol=1e-6, rtol=0)
    assert torch.equal(to_uint8(values), every)


def test_to_uint8_rounds_and_clamps():
    levels = torch.tensor([-7.0, -1 + 0.9 / 255, -1 + 1.1 / 255, 1.5])  # a level is 2 / 255 wide
    assert to_uint8(levels).tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize("rows", [[5, 0, 5], torch.tensor([5, 0, 5]), range(2, 6), slice(1, 9, 3),
                                  torch.arange(12) > 8])
def test_subset_takes_the_same_rows_of_everything(rows):
    data = generate_shapes(12)
    part = data.subset(rows)
    wanted = list(range(12))[rows] if isinstance(rows, slice) else torch.arange(12)[torch.as_tensor(rows)].tolist()
    assert len(part) == len(part.captions) == len(wanted)
    for i, row in enumerate(wanted):
        assert torch.equal(part.images[i], data.images[row]) and part.captions[i] == data.captions[row]
        assert part.labels[i] == data.labels[row] and torch.equal(part.factors[i], data.factors[row])


def test_the_hash_is_that_of_rows_of_pixels():
    data = generate_shapes(3)
    rows = np.stack([image.permute(1, 2, 0).numpy() for image in data.images])
    assert data.sha256() == hashlib.sha256(rows.tobytes()).hexdigest()
    data.images[1, 2, 3, 4] ^= 1
    assert data.sha256() != hashlib.sha256(rows.tobytes()).hexdigest()


def test_describe_tells_what_load_gives():
    about = describe("shapes:heldout")
    assert (about["name"], about["n"], about["shape"]) == ("shapes:heldout", 2000, [3, 32, 32])
    assert sum(about["images_per_class"]) == 2000 and about["factors"]["object"] == about["classes"]
    data = load("shapes:heldout")
    assert about["sha256"] == data.sha256() and about["captions"] == list(data.captions[:5])


@pytest.mark.parametrize("name, hint", [("shape", "'shapes'"), ("shapes:tset", "'test'"),
                                        ("cifar10:heldout", "known: test, train")])
def test_unknown_names_get_a_suggestion(name, hint):
    with pytest.raises(TinygenError, match=hint):
        load(name)
