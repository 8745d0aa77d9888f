"""What each piece of engineering brings: training steps of a recipe with one thing taken away, or added.

    python benchmarks/engineering.py [--recipe cifar10-ldm] [--tier cpu] [--device cpu] [--threads 2] [--steps 30]
                                      [--rounds 3]
    python benchmarks/engineering.py --sample zoo:cifar10-ldm [--device cpu] [--threads 2] [--n 200] [--rounds 3]

Milliseconds are medians over the steps after the first five, the least of the rounds, by the clock: run it on an idle machine.
The spread is that of the recipe's own rounds: smaller differences say nothing. All but the last variant run uncompiled. Start-up (of the first round) is what
passes before the second step begins: data, first stage, latents, compilation. On a GPU the share of the matrix peak
is the FLOPs that PyTorch counts over the time, against --peak TFLOP/s (989: an H100 or H200 in dense bf16).
--sample times drawing n images instead (16 steps of dpmpp_2m, guidance 2, batches of 100); start-up is that of the first batch.
"""

import argparse
import statistics
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import tinygen.nn.attention
from tinygen.data import Batches, load
from tinygen.models import load_model
from tinygen.train import load_recipe
from tinygen.train.loop import Trainer
from tinygen.train.precision import choose_precision


class Uncached(Batches):
    """Images through the first stage in every step, in place of latents computed once."""

    def __init__(self, data, model, **options):
        super().__init__(data, **options)
        self.model = model

    @torch.no_grad()
    def pick(self, index, generator):
        return self.model.encode(super().pick(index, generator))


@contextmanager
def nothing(trainer):
    """The trainer as it is."""
    yield


@contextmanager
def contiguous(trainer):
    """Weights laid out channels first; the network lays its pictures out channels last as before."""
    trainer.objective.to(memory_format=torch.contiguous_format)
    yield


@contextmanager
def plain_optimizer(trainer):
    """AdamW, one parameter after the other."""
    for optimizer in trainer.optimizers.values():
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = False, False
        if hasattr(optimizer, "_step_supports_amp_scaling"):                    # fp16: let the scaler unscale
            del optimizer._step_supports_amp_scaling
    yield


@contextmanager
def uncached(trainer):
    """No cached latents."""
    config = trainer.config
    trainer.batches = Uncached(trainer.data, trainer.objective.model, batch_size=config.batch_size, flip=config.flip)
    yield


@contextmanager
def synchronising(trainer):
    """Every term of the loss is read by the host in every step."""
    step = trainer.train_step

    def train_step(progress):
        return {key: torch.tensor(float(value)) for key, value in step(progress).items()}

    trainer.train_step = train_step
    yield


@contextmanager
def half_attention(trainer):
    """Attention in the precision of everything else."""
    def attend(q, k, v, mask=None, causal=False):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)

    with mock.patch.object(tinygen.nn.attention, "attend", attend):
        yield


VARIANTS = {                                                                    # name: (changes of the recipe, what is patched)
    "as the recipe": ((), nothing),
    "float32": (("train.precision=fp32",), nothing),
    "attention in half precision": ((), half_attention),
    "weights channels first": ((), contiguous),
    "AdamW not fused": ((), plain_optimizer),
    "latents not cached": ((), uncached),
    "a host sync a term": ((), synchronising),
    "no moving average": (("train.ema=0",), nothing),
    "half the batch": (("train.batch_size={half}",), nothing),
    "compiled": (("train.compile=true",), nothing),
}


def measure(options, name: str) -> dict[str, float]:
    """Milliseconds a step, images/s, seconds before the second step, GFLOP/s."""
    changes, patch = VARIANTS[name]
    batch = load_recipe(options.recipe, options.tier).train.batch_size
    changes = tuple(change.format(half=batch // 2) for change in changes)
    recipe = load_recipe(options.recipe, options.tier, ("train.compile=false", *changes) if name != "compiled" else changes)
    sync = torch.cuda.synchronize if options.device != "cpu" else lambda: None
    torch.compiler.reset()
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        trainer = Trainer(recipe, Path(out), device=options.device, data=load(recipe.data).subset(range(options.images)), quiet=True)
        with patch(trainer):
            trainer.objective.train()
            trainer.total, times = 1000, []
            for step in range(options.steps + 5):
                begun = time.perf_counter()
                trainer.train_step(trainer.progress(900))                       # late: every term of the loss is in force
                sync()
                times.append(time.perf_counter() - begun)
                if step == 0:
                    startup = time.perf_counter() - start
            flops = 0
            if name != "compiled":
                with FlopCounterMode(display=False) as counter:
                    trainer.train_step(trainer.progress(900))
                flops = counter.get_total_flops()
    each = statistics.median(times[5:])
    size = recipe.train.batch_size
    return {"ms": 1000 * each, "images/s": size / each, "start-up s": startup, "gflop/s": flops / each / 1e9}


def draw(options, half: bool, compiled: bool) -> tuple[float, float, torch.Tensor]:
    """Seconds of the first batch, images/s of the others (the best of the rounds), and the images, from one seed."""
    model, _ = load_model(options.sample, options.device)
    torch.compiler.reset()
    if compiled:
        model.denoiser.network.compile()
    sync = torch.cuda.synchronize if options.device != "cpu" else lambda: None
    labels = (torch.arange(100) % model.num_classes).to(options.device)

    def batch(seed: int) -> torch.Tensor:
        with torch.autocast(torch.device(options.device).type, torch.bfloat16, enabled=half):
            images = model.generate(100, labels, torch.Generator(options.device).manual_seed(seed), steps=16)
        sync()
        return images.float()

    start = time.perf_counter()
    batch(0)
    first, times = time.perf_counter() - start, []
    for _ in range(options.rounds):
        start = time.perf_counter()
        images = torch.cat([batch(seed) for seed in range(options.n // 100)])
        times.append(time.perf_counter() - start)
    return first, len(images) / min(times), images


def sampling(options) -> None:
    """The table of --sample."""
    print("| variant | images/s | against float32 | first batch s | largest difference of a value from float32 |\n|---|---|---|---|---|")
    base = None
    for half, compiled in ((False, False), (True, False), (False, True), (True, True)):
        first, rate, images = draw(options, half, compiled)
        base = base or (rate, images)
        name = ("bfloat16" if half else "float32") + (", compiled" if compiled else "")
        apart = (images - base[1]).abs()
        print(f"| {name} | {rate:.1f} | {rate / base[0]:.2f} | {first:.1f} | {apart.max():.2g} (mean {apart.mean():.1g}) |", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--recipe", default="cifar10-ldm")
    options.add_argument("--tier", default="cpu")
    options.add_argument("--device", default="cpu")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--steps", type=int, default=30)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--images", type=int, default=2000)
    options.add_argument("--peak", type=float, default=989.0, help="TFLOP/s of the GPU")
    options.add_argument("--only", nargs="*", help=", ".join(VARIANTS))
    options.add_argument("--sample", help="a latent diffusion model: a run folder, or zoo:NAME")
    options.add_argument("--n", type=int, default=200, help="a multiple of 100")
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    if options.sample:
        return sampling(options)
    print(f"{options.recipe}, tier {options.tier}, {options.device}, {options.threads} threads, "
          f"{choose_precision(torch.device(options.device))}\n")
    print("| variant | ms a step | images/s | against the recipe | start-up s | GFLOP/s |\n|---|---|---|---|---|---|")
    names = options.only or list(VARIANTS)
    rounds = [{name: measure(options, name) for name in names} for _ in range(options.rounds)]
    best = {name: min((found[name] for found in rounds), key=lambda row: row["ms"]) for name in names}
    base = best[names[0]]["images/s"]
    if "compiled" in best:                                                      # compiled code cannot be counted, but it is the same
        best["compiled"]["gflop/s"] = best[names[0]]["gflop/s"] * best["compiled"]["images/s"] / base
    for name, row in best.items():
        rate = f"{row['gflop/s']:.1f}" if row["gflop/s"] else ""
        if rate and options.device != "cpu":
            rate += f" ({row['gflop/s'] / options.peak / 10:.1f} % of the peak)"
        print(f"| {name} | {row['ms']:.1f} | {row['images/s']:.0f} | {row['images/s'] / base:.2f} | "
              f"{rounds[0][name]['start-up s']:.1f} | {rate} |")
    print(f"\nspread: {', '.join(format(found[names[0]]['ms'], '.1f') for found in rounds)} ms for {names[0]}")


if __name__ == "__main__":
    main()
