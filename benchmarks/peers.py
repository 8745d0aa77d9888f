"""Peers side by side: the same images, the same minutes, the same judge.

    pip install denoising-diffusion-pytorch vector-quantize-pytorch
    OMP_NUM_THREADS=1 python benchmarks/peers.py [--minutes 24] [--n 1000] [--only NAME ...] [--device cpu] [--out peers.json]

Samples: `ours` is recipe cifar10-vqgan for a quarter of the minutes and recipe cifar10-ldm in its latents for the rest, `dcgan`
recipe cifar10-dcgan, `diffusers` and `lucidrains` the pixel-space DDPMs of these libraries. Reconstructions: `vqgan` and
`taming` are recipes cifar10-vqgan and cifar10-taming; `our-vq` and `peer-vq` our vector quantiser and vector-quantize-pytorch's
in the same autoencoder, by squared error. Recipes are trained by tinygen; every other contestant gets AdamW with the learning
rate of its own examples, a cosine over its time, a moving average, and the precision that tinygen takes on this device.
Minutes are those of the process on a CPU (a recipe's number of steps is set by the clock, so it may end a little above or
below), the clock's on a GPU. The perceptual network of the first stages is zoo:cifar10-perceptual, whose training is not
counted. Memory is that of a training step at the contestant's batch: 20 bytes a parameter and what autograd keeps.
"""

import argparse
import json
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from cost import kept_bytes
from roofline import one_step, step_flops
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tinygen.data import Batches, load
from tinygen.evaluate import evaluate
from tinygen.train import EMA, load_recipe, train
from tinygen.train.precision import choose_precision
from tinygen.vq import VQAutoencoder

WANTED = ("psnr", "code_usage", "fd", "kd", "precision", "recall", "class_adherence", "duplicates")


class PixelDDPM(nn.Module):
    """diffusers' UNet2DModel and DDPMScheduler, trained on the noise as in its example, sampled by DDIM."""

    num_classes, lr, batch = 10, 1e-3, 64

    def __init__(self):
        super().__init__()
        from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
        self.net = UNet2DModel(32, 3, 3, layers_per_block=1, block_out_channels=(32, 64, 64), norm_num_groups=16,
                               down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
                               up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), num_class_embeds=10)
        self.noising = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2")
        self.sampling = DDIMScheduler(1000, beta_schedule="squaredcos_cap_v2")

    def loss(self, batch):
        noise = torch.randn_like(batch.images)
        t = torch.randint(1000, (len(noise),), device=noise.device)
        return F.mse_loss(self.net(self.noising.add_noise(batch.images, noise, t), t, batch.labels).sample, noise)

    @torch.no_grad()
    def generate(self, n, labels=None, generator=None, **_):
        x = torch.randn(n, 3, 32, 32, generator=generator).to(labels.device)
        self.sampling.set_timesteps(50)
        for t in self.sampling.timesteps:
            x = self.sampling.step(self.net(x, t, labels).sample, t, x).prev_sample
        return x.clamp(-1, 1)


class LucidrainsDDPM(nn.Module):
    """denoising-diffusion-pytorch as in its README, unconditional, sampled by its DDIM."""

    num_classes, lr, batch = 0, 1e-3, 64

    def __init__(self):
        super().__init__()
        from denoising_diffusion_pytorch import GaussianDiffusion, Unet
        self.diffusion = GaussianDiffusion(Unet(dim=32, dim_mults=(1, 2, 4)), image_size=32, timesteps=1000,
                                           sampling_timesteps=50)

    def loss(self, batch):
        return self.diffusion((batch.images + 1) / 2)

    def generate(self, n, labels=None, generator=None, **_):
        return self.diffusion.sample(batch_size=n) * 2 - 1


class Reconstructor(VQAutoencoder):
    """Our autoencoder with our quantiser, or with vector-quantize-pytorch's in its place; mean squared error only."""

    lr, batch = 2e-3, 64

    def __init__(self, peer: bool):
        super().__init__(codebook_size=512, code_channels=4, channels=32, blocks=1)
        self.peer = None
        if peer:
            from vector_quantize_pytorch import VectorQuantize
            self.peer = VectorQuantize(dim=4, codebook_size=512, decay=0.97, commitment_weight=1.0, kmeans_init=True,
                                       threshold_ema_dead_code=1, accept_image_fmap=True)

    def quantise(self, x):
        """(B, 3, S, S) -> quantised latents, codes, loss."""
        z = self.encoder(x).float()
        with torch.autocast(x.device.type, enabled=False):
            if self.peer is not None:
                return self.peer(z)
            z_q, codes, losses = self.quantizer(z)
            return z_q, codes, losses["commitment"]

    def loss(self, batch):
        z_q, _, commitment = self.quantise(batch.images)
        return F.mse_loss(self.decoder(z_q), batch.images) + 0.25 * commitment.sum()

    def encode_codes(self, x):
        return self.quantise(x)[1]

    def reconstruct(self, x):
        return self.decoder(self.quantise(x)[0]).clamp(-1, 1)


def clock(device: str) -> float:
    """Seconds: of this process on a CPU, of the wall on a GPU."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def fit(model: nn.Module, data, minutes: float, device: str) -> tuple[nn.Module, dict]:
    """Train a contestant that is no recipe; -> the averaged model, and what its training was."""
    model, batches = model.to(device), Batches(data, model.batch)
    half = choose_precision(torch.device(device)) == "bf16"

    def loss(step):
        with torch.autocast(device, torch.bfloat16, enabled=half):
            return model.loss(batches[step])

    with FlopCounterMode(display=False) as counter:
        loss(0).backward()
    parameters = [p for p in model.parameters() if p.requires_grad]
    trained = sum(p.numel() for p in parameters)
    kept = kept_bytes(lambda: loss(0), {p.untyped_storage().data_ptr() for p in model.parameters()})
    optimizer = torch.optim.AdamW(parameters, model.lr, fused=True)
    optimizer.zero_grad()
    ema, step, start = EMA(model.train(), 0.999), 0, clock(device)
    while (share := (clock(device) - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = model.lr * min(1.0, share / 0.05) * 0.5 * (1 + math.cos(math.pi * share))
        value = loss(step)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.update(step)
        step += 1
        if step % 200 == 0:
            print(f"  {share:4.0%}  step {step}  loss {float(value):.4f}", flush=True)
    spent = clock(device) - start
    return ema.model.eval(), {"parameters": trained, "minutes": spent / 60, "images": step * model.batch,
                              "images_per_second": step * model.batch / spent, "step_mb": (20 * trained + kept) / 1e6,
                              "gflop_per_image": counter.get_total_flops() / model.batch / 1e9}


def run_recipe(name: str, minutes: float, device: str, folder: Path, **changes) -> tuple[nn.Module, dict]:
    """Train a recipe of ours into `folder`; -> the averaged model, and what its training was."""
    recipe = replace(load_recipe(name, "cpu" if device == "cpu" else "gpu"), **changes)
    recipe = replace(recipe, train=replace(recipe.train, preview_every=0, checkpoint_every=0))
    flops, parameters = step_flops(recipe)
    objective, run = one_step(recipe, recipe.train.batch_size)
    with torch.autocast("cpu", torch.bfloat16, enabled=choose_precision(torch.device(device)) == "bf16"):
        kept = kept_bytes(run, {p.untyped_storage().data_ptr() for p in objective.parameters()})
    start = clock(device)
    model = train(recipe, folder, device=device, minutes=minutes)
    spent, info = clock(device) - start, json.loads((folder / "model.json").read_text())["info"]
    return model, {"parameters": parameters, "minutes": spent / 60, "images": info["images_seen"],
                   "images_per_second": info["images_seen"] / info["seconds"], "step_mb": (20 * parameters + kept) / 1e6,
                   "gflop_per_image": flops / 1e9}


def ours(minutes: float, device: str, folder: Path) -> tuple[nn.Module, dict]:
    """A VQGAN for a quarter of the minutes, and latent diffusion in its latents for the rest."""
    _, first = run_recipe("cifar10-vqgan", minutes / 4, device, folder / "first")
    model, second = run_recipe("cifar10-ldm", minutes - first["minutes"], device, folder / "second",
                               first_stage=str(folder / "first"))
    return model, second | {"minutes": first["minutes"] + second["minutes"], "first_stage_minutes": first["minutes"]}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=24)
    options.add_argument("--n", type=int, default=1000)
    options.add_argument("--only", nargs="*", help="ours, dcgan, diffusers, lucidrains, vqgan, taming, our-vq, peer-vq")
    options.add_argument("--device", default="cpu")
    options.add_argument("--out", type=Path, default=Path("peers.json"))
    given = options.parse_args()
    torch.manual_seed(0)
    minutes, device = given.minutes, given.device
    data = load("cifar10", device=device)
    folder = Path(tempfile.mkdtemp())
    contestants = {"ours": lambda: ours(minutes, device, folder / "ours")}
    contestants |= {name: lambda name=name: run_recipe(f"cifar10-{name}", minutes, device, folder / name)
                    for name in ("dcgan", "vqgan", "taming")}
    contestants |= {name: lambda make=make: fit(make(), data, minutes, device)
                    for name, make in (("diffusers", PixelDDPM), ("lucidrains", LucidrainsDDPM),
                                       ("our-vq", lambda: Reconstructor(False)), ("peer-vq", lambda: Reconstructor(True)))}
    results = json.loads(given.out.read_text()) if given.out.exists() else {}
    for name in given.only or contestants:
        print(f"{name}: {minutes:g} minutes", flush=True)
        model, facts = contestants[name]()
        sampling = {"steps": 16, "guidance_scale": 2.0} if name == "ours" else {}
        metrics = evaluate(model, {"kind": name}, "cifar10", given.n, device=device, **sampling)["metrics"]
        facts["gflop_per_second"] = facts["images_per_second"] * facts["gflop_per_image"]
        row = facts | {"n": given.n} | {key: metrics[key] for key in WANTED if key in metrics}
        results[f"{name}, {minutes:g} minutes"] = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()}
        print(json.dumps(results[f"{name}, {minutes:g} minutes"]), flush=True)
        given.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
