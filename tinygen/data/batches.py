"""Shuffled, augmented batches from a set that lives on the device: no worker processes, no copies to the device."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tinygen.data.imageset import ImageSet, to_float
from tinygen.errors import TinygenError


def seeded_generator(*key: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A `torch.Generator` seeded from integers >= 0 such as (seed, step, rank); near keys give unrelated streams."""
    words = np.random.SeedSequence(key).generate_state(2)
    return torch.Generator(device).manual_seed(int(words[0]) << 31 ^ int(words[1]))


@dataclass
class Batch:
    """One rank's share of a batch."""

    images: Tensor  # float (B, 3, 32, 32) in [-1, 1], or rows of a cache
    labels: Tensor  # int64 (B,)
    index: Tensor   # int64 (B,), rows of the ImageSet


class Batches:
    """Batch number `step` (>= 0) is a pure function of (seed, step, rank): a resumed run needs the step only.

    An epoch is N // batch_size steps over one permutation (what is left of it is dropped); the permutation comes from
    (seed, epoch), the augmentation from (seed, step, rank), both drawn on the CPU so that all devices see the same.
    `batch_size` counts all ranks. `flip` mirrors half of the images left to right; `shift` moves each by up to that
    many pixels both ways, repeating its edge. TinygenError if a batch does not fit the set or the ranks.
    A flip turns left into right: leave it off where captions say where things are (`shapes` with text).
    """

    def __init__(self, data: ImageSet, batch_size: int, *, seed: int = 0, flip: bool = True, shift: int = 0,
                 rank: int = 0, world_size: int = 1):
        if not 1 <= batch_size <= len(data):
            raise TinygenError(f"batch_size {batch_size} does not fit {data.name}: choose 1 to {len(data)}")
        if batch_size % world_size:
            raise TinygenError(f"batch_size {batch_size} cannot be shared by {world_size} processes: "
                               f"choose a multiple of {world_size}")
        if not 0 <= shift < data.images.shape[-1]:
            raise TinygenError(f"shift {shift} is out of range: choose 0 to {data.images.shape[-1] - 1} pixels")
        self.data, self.batch_size, self.seed, self.flip, self.shift = data, batch_size, seed, flip, shift
        self.rank, self.world_size = rank, world_size
        self.steps_per_epoch = len(data) // batch_size
        self._epoch, self._order = -1, None  # the permutation of the epoch last asked for

    def __getitem__(self, step: int) -> Batch:
        if step < 0:
            raise IndexError(f"step {step} is negative")
        index = self.rows(step)
        return Batch(self.pick(index, seeded_generator(self.seed, 1, step, self.rank)), self.data.labels[index], index)

    def __iter__(self) -> Iterator[Batch]:
        """Batches 0, 1, 2, ... without end."""
        step = 0
        while True:
            yield self[step]
            step += 1

    def rows(self, step: int) -> Tensor:
        """This rank's rows of batch `step`: int64 (batch_size / world_size,) on the data's device."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            order = torch.randperm(len(self.data), generator=seeded_generator(self.seed, 0, epoch))
            self._epoch, self._order = epoch, moved(order, self.data.labels.device)
        start = position * self.batch_size
        return self._order[start + self.rank:start + self.batch_size:self.world_size]

    def pick(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """The augmented images of some rows: float (B, 3, H, W) in [-1, 1]."""
        images = self.data.images.index_select(0, index)  # uint8 (B, 3, H, W)
        return to_float(augment(images, generator, self.flip, self.shift))


class CachedBatches(Batches):
    """`Batches` over something computed once from every image, such as latents or codes.

    `cache` is (V, N, ...): V variants (plain, then flipped) of the N rows of `data`. With `flip` each row is taken
    from a variant drawn at random, else from the first. `images` of a batch is (B, ...) in the type of the cache.
    """

    def __init__(self, data: ImageSet, cache: Tensor, batch_size: int, *, seed: int = 0, flip: bool = True,
                 shift: int = 0, rank: int = 0, world_size: int = 1):
        super().__init__(data, batch_size, seed=seed, flip=flip, rank=rank, world_size=world_size)
        if cache.dim() < 2 or cache.shape[1] != len(data):
            raise TinygenError(f"a cache of shape {tuple(cache.shape)} is not (V, {len(data)}, ...): "
                               f"compute it again from {data.name}")
        if shift:
            raise TinygenError("cached batches cannot be shifted: set shift to 0, or train on images")
        self.cache = cache

    def pick(self, index: Tensor, generator: torch.Generator) -> Tensor:
        if not self.flip or len(self.cache) == 1:
            return self.cache[0, index.to(self.cache.device)]
        variant = moved(torch.randint(len(self.cache), index.shape, generator=generator), self.cache.device)
        return self.cache[variant, index.to(self.cache.device)]


def moved(t: Tensor, device: torch.device) -> Tensor:
    """`t` from the CPU on `device`; a GPU is not waited for."""
    return t.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else t.to(device)


def augment(images: Tensor, generator: torch.Generator, flip: bool, shift: int) -> Tensor:
    """Mirror each image with probability 1/2 if `flip`, and move it by -shift..shift pixels in x and in y.

    images: any type (B, C, H, W), on any device; `generator` is on the CPU. What moves in repeats the nearest edge.
    """
    b, c, h, w = images.shape
    device = images.device
    if not flip and not shift:
        return images
    x = torch.arange(w, device=device).expand(b, w)  # the column that each new column shows
    y = torch.arange(h, device=device).expand(b, h)
    if flip:
        mirrored = torch.rand(b, 1, generator=generator) < 0.5
        x = torch.where(moved(mirrored, device), w - 1 - x, x)
    if shift:
        dx, dy = moved(torch.randint(-shift, shift + 1, (2, b, 1), generator=generator), device)
        x, y = (x + dx).clamp(0, w - 1), (y + dy).clamp(0, h - 1)
    source = (y[:, :, None] * w + x[:, None, :]).view(b, 1, h * w)  # int64 (B, 1, H * W)
    return images.flatten(2).gather(2, source.expand(b, c, h * w)).view(b, c, h, w)
