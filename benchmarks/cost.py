"""A cost model of the diffusion stage: time and memory against parameters, resolution and batch, measured and fitted.

    python benchmarks/cost.py [--device cpu]

Time of a step = overhead + batch x FLOPs of an image / rate: two constants of the device, fitted by least squares in
relative error. Memory = 20 bytes a parameter (weight, gradient, two moments of AdamW, moving average; float32) + what
backward keeps, counted tensor by tensor while one step runs. On a GPU the measured peak stands beside it.
On a CPU, seconds are those of the process: a busy machine does not decide.
"""

import argparse
import time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from tinygen.diffusion import Denoiser, UNet, build_path

SETTINGS = [(channels, size, batch) for channels in (32, 64) for size in (8, 16) for batch in (8, 64)]
HELD_OUT = [(48, 8, 32), (48, 16, 16)]                                          # predicted, never fitted


def kept_bytes(run, weights: set[int]) -> int:
    """Bytes of the distinct tensors, but for the `weights` (addresses), that autograd keeps for backward of `run()`."""
    kept = {}

    def pack(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        run()
    return sum(size for address, size in kept.items() if address not in weights)


def measure(channels: int, size: int, batch: int, device: str, repeats: int = 5) -> dict[str, float]:
    """Parameters, FLOPs of a step, seconds of a step (median), bytes of the model and of what backward keeps."""
    torch.manual_seed(0)
    network = UNet(8, channels, blocks=1, attention_sizes=(size // 2,), num_classes=10, image_size=size)
    denoiser = Denoiser(network, build_path("flow"), "flow").to(device).train()
    optimizer = torch.optim.AdamW(denoiser.parameters(), 1e-3, fused=True)
    x, labels = torch.randn(batch, 8, size, size, device=device), torch.zeros(batch, dtype=torch.long, device=device)
    loss = lambda: denoiser.loss(x, labels=labels)[0]                           # noqa: E731

    def step() -> None:
        loss().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    clock = time.process_time if device == "cpu" else time.perf_counter
    seconds = []
    for _ in range(repeats):
        start = clock()
        step()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(clock() - start)
    with FlopCounterMode(display=False) as counter:
        loss().backward()
    parameters = sum(p.numel() for p in denoiser.parameters())
    weights = {p.untyped_storage().data_ptr() for p in denoiser.parameters()}
    peak = None
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        step()
        peak = torch.cuda.max_memory_allocated()
    return {"parameters": parameters, "flops": counter.get_total_flops(), "seconds": float(np.median(seconds)),
            "model": 20 * parameters, "kept": kept_bytes(loss, weights), "peak": peak}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--device", default="cpu")
    device = options.parse_args().device
    torch.set_num_threads(1)
    found = {setting: measure(*setting, device) for setting in SETTINGS + HELD_OUT}
    rows = [found[setting] for setting in SETTINGS]
    design = np.array([[1.0, row["flops"]] for row in rows]) / np.array([[row["seconds"]] for row in rows])
    overhead, per_flop = np.linalg.lstsq(design, np.ones(len(rows)), rcond=None)[0]
    print(f"a step takes {1000 * overhead:.1f} ms + FLOPs / {1e-9 / per_flop:.1f} GFLOP/s\n")
    print("| channels | latents | batch | parameters | GFLOP a step | ms measured | ms by the model | MB of the model | "
          "MB kept for backward |" + (" MB at the peak |" if device != "cpu" else ""))
    print("|---" * (9 + (device != "cpu")) + "|")
    for (channels, size, batch), row in found.items():
        predicted = overhead + per_flop * row["flops"]
        star = " (held out)" if (channels, size, batch) in HELD_OUT else ""
        print(f"| {channels}{star} | {size}x{size} | {batch} | {row['parameters']:,} | {row['flops'] / 1e9:.2f} | "
              f"{1000 * row['seconds']:.0f} | {1000 * predicted:.0f} | {row['model'] / 1e6:.1f} | {row['kept'] / 1e6:.1f} |"
              + (f" {row['peak'] / 1e6:.1f} |" if row["peak"] else ""))


if __name__ == "__main__":
    main()
