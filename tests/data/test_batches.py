"""Batches: a pure function of the step, fair shares, and augmentation that moves pixels as it says."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from tinygen.data import Batches, CachedBatches, augment, generate_shapes, seeded_generator, to_float, to_uint8
from tinygen.errors import TinygenError

N, SIZE = 50, 8


@pytest.fixture(scope="module")
def data():
    return generate_shapes(N)


def test_an_epoch_is_a_permutation_without_its_rest(data):
    batches = Batches(data, SIZE, seed=3)
    assert batches.steps_per_epoch == N // SIZE
    epochs = [torch.cat([batches[step].index for step in range(6 * e, 6 * e + 6)]) for e in range(3)]
    for rows in epochs:
        assert len(rows) == 48 and len(rows.unique()) == 48
    assert not torch.equal(epochs[0], epochs[1])


def test_a_step_does_not_depend_on_the_steps_before(data):
    walked = {step: batch for step, batch in zip(range(20), Batches(data, SIZE, seed=1, shift=2))}
    for step in (19, 0, 13):
        jumped = Batches(data, SIZE, seed=1, shift=2)[step]
        assert torch.equal(jumped.index, walked[step].index) and torch.equal(jumped.images, walked[step].images)
        assert torch.equal(jumped.labels, data.labels[jumped.index])
    other = Batches(data, SIZE, seed=2, shift=2)[13]
    assert not torch.equal(other.index, walked[13].index)


def test_ranks_share_the_batch_of_a_single_process(data):
    whole = Batches(data, SIZE, flip=False)
    ranks = [Batches(data, SIZE, flip=False, rank=r, world_size=4) for r in range(4)]
    for step in (0, 7):
        parts = [rank[step].index for rank in ranks]
        assert all(len(part) == 2 for part in parts)
        assert sorted(torch.cat(parts).tolist()) == sorted(whole[step].index.tolist())


def test_plain_batches_are_the_images(data):
    batch = Batches(data, SIZE, flip=False)[4]
    assert batch.images.dtype == torch.float32
    assert torch.equal(to_uint8(batch.images), data.images[batch.index])


def test_flips_are_mirror_images_of_about_half(data):
    mirrored = 0
    for _, batch in zip(range(25), Batches(data, SIZE)):
        for image, row in zip(to_uint8(batch.images), batch.index):
            original = data.images[row]
            assert torch.equal(image, original) or torch.equal(image, original.flip(-1))
            mirrored += not torch.equal(image, original)
    assert 70 <= mirrored <= 130  # of 200: within 4 sigma


def test_shifts_are_crops_of_the_padded_image():
    images = torch.randint(256, (64, 3, 10, 12), dtype=torch.uint8, generator=seeded_generator(0))
    moved = augment(images, seeded_generator(1), flip=True, shift=2)
    padded = F.pad(images.float(), (2, 2, 2, 2), mode="replicate").to(torch.uint8)
    seen = set()
    for image, source in zip(moved, padded):
        crops = {(y, x, m): (source.flip(-1) if m else source)[:, y:y + 10, x:x + 12]
                 for y, x, m in itertools.product(range(5), range(5), range(2))}
        matches = [key for key, crop in crops.items() if torch.equal(crop, image)]
        assert len(matches) == 1
        seen.update(matches)
    assert {y for y, _, _ in seen} == {x for _, x, _ in seen} == set(range(5)) and {m for _, _, m in seen} == {0, 1}


def test_the_augmentation_differs_between_steps_and_ranks(data):
    all_rows = data.images[:16]
    views = [augment(all_rows, seeded_generator(0, 1, step, rank), True, 3) for step in (0, 1) for rank in (0, 1)]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(views, 2))


def test_cached_batches_give_a_variant_of_every_row(data):
    cache = torch.arange(2 * N).view(2, N, 1).expand(2, N, 4)  # row r of variant v holds v * N + r
    batches = CachedBatches(data, cache, SIZE, seed=5)
    same_rows = Batches(data, SIZE, seed=5)
    variants = []
    for step in range(25):
        batch = batches[step]
        assert torch.equal(batch.index, same_rows[step].index) and torch.equal(batch.labels, data.labels[batch.index])
        assert batch.images.dtype == torch.int64 and torch.equal(batch.images[:, 0] % N, batch.index)
        variants.append(batch.images[:, 0] // N)
    assert 70 <= torch.cat(variants).sum() <= 130
    assert all((CachedBatches(data, cache, SIZE, flip=False)[step].images < N).all() for step in range(6))


def test_cached_images_and_images_are_the_same_batches(data):
    cache = to_float(data.images)[None]
    cached, plain = CachedBatches(data, cache, SIZE, flip=False)[9], Batches(data, SIZE, flip=False)[9]
    assert torch.equal(cached.images, plain.images) and torch.equal(cached.index, plain.index)


@pytest.mark.parametrize("options, word", [({"batch_size": N + 1}, "batch_size 51"),
                                           ({"batch_size": 0}, "batch_size 0"),
                                           ({"batch_size": 9, "world_size": 2}, "2 processes"),
                                           ({"batch_size": 8, "shift": 32}, "shift 32")])
def test_what_cannot_be_is_said(data, options, word):
    with pytest.raises(TinygenError, match=word):
        Batches(data, **options)


def test_a_cache_must_fit_its_data(data):
    with pytest.raises(TinygenError, match="is not"):
        CachedBatches(data, torch.zeros(2, N - 1, 4), SIZE)
    with pytest.raises(TinygenError, match="shift"):
        CachedBatches(data, torch.zeros(2, N, 4), SIZE, shift=1)
