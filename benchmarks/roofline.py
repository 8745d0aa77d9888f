"""The least a recipe costs: FLOPs of its training steps, counted, and the seconds that they take at a device's peak.

    python benchmarks/roofline.py [--tflops 989] [--terabytes 4.8]
    python benchmarks/roofline.py --runs speedrun/vqgan speedrun/ldm --tier gpu        # what these runs reached of it

The defaults are an H200: dense bf16 matrix rate, memory bandwidth (Nvidia's data sheet). FLOPs are counted by PyTorch's
FlopCounterMode over one real late step of the objective (forward, backward, adaptive weight, critic but not R1; a multiply-add
is two), as if all steps were such. Bytes are AdamW's: 28 a parameter and step (reads weight, gradient and two moments, writes
weight and moments, float32). Activations are not counted, so the truth is above the larger of the two bounds.
Memory of a step at the recipe's batch: 20 bytes a parameter (weight, gradient, two moments, moving average) and what autograd
keeps of the images, in bfloat16 where autocast takes it; buffers of kernels and the cached data come on top.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from cost import kept_bytes
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tinygen.data import ImageSet
from tinygen.data.cifar10 import CLASSES
from tinygen.train import Progress, load_recipe
from tinygen.train.setup import set_up

RECIPES = ("cifar10-vqgan", "cifar10-vqgan-tuned", "cifar10-kl", "cifar10-ldm", "cifar10-ldm-tuned", "cifar10-ldm-text",
           "cifar10-prior", "cifar10-dcgan")


def one_step(recipe, batch: int = 8) -> tuple[torch.nn.Module, Callable[[], None]]:
    """The objective of a recipe on the CPU, and a function that does forward and backward of a late training step."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (batch, 3, 32, 32), dtype=torch.uint8, generator=draw)
    data = ImageSet("cifar10:train", images, torch.arange(batch) % 10, CLASSES, ("a photo of a cat",) * batch,
                    torch.empty(batch, 0, dtype=torch.int64), {})
    objective = set_up(recipe, torch.device("cpu"), data).objective.train()
    if recipe.trains == "decoder":
        objective.samples = batch                               # what drawing them costs is not counted
    part = objective.batches(data, batch_size=batch, seed=0)[0]

    def run() -> None:
        for _, loss, _ in objective.losses(part, Progress(90, 100, draw)):
            loss.backward()

    return objective, run


def step_costs(recipe, batch: int = 8) -> tuple[float, int, float]:
    """FLOPs of a late training step for one image, the number of trained parameters, and bytes at the recipe's batch."""
    objective, run = one_step(recipe, batch)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):       # other kernels count as nothing
        run()
    parameters = sum(p.numel() for group in objective.groups().values() for p in group if p.requires_grad)
    kept = []
    for size in (batch, 2 * batch):                             # autocast also keeps half-precision weights, whatever the batch
        objective, run = one_step(recipe, size)
        with torch.autocast("cpu", torch.bfloat16):
            kept.append(kept_bytes(run, {p.untyped_storage().data_ptr() for p in objective.parameters()}))
    memory = 20 * parameters + kept[0] + (kept[1] - kept[0]) * (recipe.train.batch_size - batch) / batch
    return counter.get_total_flops() / batch, parameters, memory


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tflops", type=float, default=989.0)
    options.add_argument("--terabytes", type=float, default=4.8, help="a second")
    options.add_argument("--runs", nargs="*", type=Path, default=[], help="folders of trained recipes: measured against the peak")
    options.add_argument("--tier", default="gpu", help="of the runs")
    given = options.parse_args()
    for folder in given.runs:
        info = json.loads((folder / "model.json").read_text())["info"]
        images = info["images_seen"] / info["seconds"]
        rate = images * step_costs(load_recipe(info["recipe"], given.tier))[0] / 1e12
        print(f"{folder}: {images:,.0f} images/s, {rate:.3g} TFLOP/s, {rate / given.tflops:.1%} of {given.tflops:g} TFLOP/s")
    if given.runs:
        return
    print("| recipe | tier | parameters | GFLOP an image | images | PFLOP | seconds at peak | of AdamW's bytes | "
          "GB a step |\n|---|---|---|---|---|---|---|---|---|")
    for name in RECIPES:
        for tier in ("cpu", "gpu"):
            recipe = load_recipe(name, tier)
            flops, parameters, memory = step_costs(recipe)
            images = recipe.train.steps * recipe.train.batch_size
            traffic = 28 * parameters * recipe.train.steps / (given.terabytes * 1e12)
            print(f"| {name} | {tier} | {parameters:,} | {flops / 1e9:.3g} | {images:,} | {flops * images / 1e15:.3g} | "
                  f"{flops * images / (given.tflops * 1e12):.3g} | {traffic:.3g} | {memory / 1e9:.2g} |", flush=True)


if __name__ == "__main__":
    main()
