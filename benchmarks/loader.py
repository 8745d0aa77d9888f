"""Batches of `tinygen.data` against a torchvision DataLoader doing the same augmentation.

    python benchmarks/loader.py [--n 10000] [--batch 128] [--device cpu]

Both give shuffled float batches (B, 3, 32, 32) in [-1, 1] on the device: mirrored with probability 1/2 and moved by up
to 4 pixels, the edge repeated. The DataLoader does it as is usual: PIL images, RandomCrop with padding,
RandomHorizontalFlip, ToTensor, Normalize; timed from its second batch on, so that the start of workers does not count.
"""

import argparse
import os
import time

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from tinygen.data import Batches, ImageSet, generate_shapes


class Pictures(Dataset):
    """The image set as torchvision's CIFAR10 serves it: one PIL image at a time through a transform."""

    def __init__(self, data: ImageSet):
        self.images, self.labels = data.images.permute(0, 2, 3, 1).contiguous().numpy(), data.labels.tolist()
        self.transform = transforms.Compose([
            transforms.RandomCrop(32, padding=4, padding_mode="edge"), transforms.RandomHorizontalFlip(),
            transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int):
        return self.transform(Image.fromarray(self.images[row])), self.labels[row]


def wait(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def dataloader_rate(data: ImageSet, batch: int, workers: int, device: str) -> float:
    """Images a second."""
    loader = DataLoader(Pictures(data), batch, shuffle=True, drop_last=True, num_workers=workers,
                        pin_memory=device == "cuda")
    batches = iter(loader)
    next(batches)
    count, start = 0, wait(device)
    for images, labels in batches:
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        count += len(images)
    return count / (wait(device) - start)


def batches_rate(data: ImageSet, batch: int, device: str) -> float:
    """Images a second, over five epochs."""
    batches = Batches(data.to(device), batch, flip=True, shift=4)
    steps = 5 * batches.steps_per_epoch
    for step in range(3):
        batches[step]
    start = wait(device)
    for step in range(3, 3 + steps):
        batches[step]
    return steps * batch / (wait(device) - start)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=10_000, help="images")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    data = generate_shapes(options.n)
    ours = batches_rate(data, options.batch, options.device)
    threads = f"{torch.get_num_threads()} torch threads on {os.cpu_count()} cores"
    print(f"N = {options.n}, batch {options.batch}, {options.device}, {threads}")
    print(f"tinygen.data.Batches            {ours:10,.0f} images/s")
    for workers in (0, 2):
        theirs = dataloader_rate(data, options.batch, workers, options.device)
        print(f"torchvision, {workers} workers          {theirs:10,.0f} images/s   ratio {ours / theirs:6.1f}")


if __name__ == "__main__":
    main()
