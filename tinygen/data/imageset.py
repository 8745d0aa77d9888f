"""An image set: every image in one uint8 tensor, with labels, captions and factors beside it."""

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """uint8 [0, 255] -> float32 [-1, 1], any shape: x / 127.5 - 1."""
    return images.to(torch.float32).mul_(1 / 127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Float [-1, 1] -> uint8 [0, 255], any shape: clamped, then rounded to the nearest; undoes `to_float` exactly."""
    return ((images.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


@dataclass
class ImageSet:
    """N colour images and what is known of them; all tensors are on one device.

    `factors[i, k]` is an index into the names of the k-th entry of `factor_names`; a set without factors has none.
    """

    name: str                                 # "shapes:train"
    images: Tensor                            # uint8 (N, 3, 32, 32)
    labels: Tensor                            # int64 (N,), indices into class_names
    class_names: tuple[str, ...]
    captions: tuple[str, ...]                 # N of them
    factors: Tensor                           # int64 (N, F)
    factor_names: dict[str, tuple[str, ...]]  # F entries, in column order

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: str | torch.device) -> "ImageSet":
        """The same set with its tensors on `device`."""
        images, labels, factors = (t.to(device) for t in (self.images, self.labels, self.factors))
        return replace(self, images=images, labels=labels, factors=factors)

    def subset(self, indices) -> "ImageSet":
        """The rows `indices` (a list, a range, a slice, or an int64 or bool tensor), in that order."""
        rows = torch.arange(len(self))[indices if isinstance(indices, slice) else torch.as_tensor(indices).cpu()]
        here = rows.to(self.images.device)
        return replace(self, images=self.images[here], labels=self.labels[here], factors=self.factors[here],
                       captions=tuple(self.captions[i] for i in rows.tolist()))

    def sha256(self) -> str:
        """SHA-256 (hexadecimal) of the images as (N, 32, 32, 3) bytes in C order: it names the data."""
        return hashlib.sha256(self.images.cpu().permute(0, 2, 3, 1).contiguous().numpy().data).hexdigest()
