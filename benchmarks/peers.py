"""Peers side by side: the same images, the same minutes, the same judge.

    pip install denoising-diffusion-pytorch vector-quantize-pytorch
    python benchmarks/peers.py [--minutes 15] [--n 500] [--only NAME ...] [--device cpu] [--out peers.json]
    python benchmarks/peers.py --speed [--rounds 5]

Samples: `ours` starts from nothing: recipe cifar10-perceptual for a fifteenth of the minutes, cifar10-vqgan for two fifths, cifar10-ldm
for the rest; from an hour on cifar10-vqgan for 23 %, cifar10-ldm for half, cifar10-ldm-tuned for the rest; `dcgan` is recipe cifar10-dcgan; `diffusers` and `lucidrains` are pixel-space DDPMs made of
these libraries. On a CPU VQGAN and all diffusion take batches of 32: in minutes, steps are scarce. Reconstructions: `vqgan` and
`taming` are recipes cifar10-vqgan and cifar10-taming (zoo:cifar10-perceptual not counted); `our-vq` and `peer-vq` our vector
quantiser and vector-quantize-pytorch's in the same autoencoder, by squared error.
Recipes are trained by tinygen; every other contestant gets AdamW with a peak rate of 1e-3 (2e-3 for autoencoders), a cosine
over its time and a moving average, in bfloat16 where the device has it. On a CPU everything runs in one thread and minutes are
those of the process, start-up and cached latents included; on a GPU the clock's. Runs of recipes are left in a folder beside
the JSON file.
--speed times training steps (of 64 images; ours at the gpu tier takes more), contestants in turn, and keeps the best of the rounds. FLOPs are PyTorch's count,
attention included; memory is 20 bytes a parameter and what autograd keeps of one forward pass.
"""

import argparse
import json
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from cost import kept_bytes
from roofline import one_step
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tinygen.data import Batches, load
from tinygen.evaluate import evaluate
from tinygen.train import EMA, Trainer, load_recipe
from tinygen.train.precision import choose_precision
from tinygen.vq import VQAutoencoder

WANTED = ("psnr", "code_usage", "fd", "kd", "precision", "recall", "class_adherence", "duplicates")


class PixelDDPM(nn.Module):
    """diffusers' UNet2DModel and DDPMScheduler, trained on the noise as in its example; classes, guidance and DDIM as ours."""

    num_classes, lr, batch, width = 10, 1e-3, 64, 32

    def __init__(self):
        super().__init__()
        from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
        widths = (self.width, 2 * self.width, 2 * self.width)
        self.net = UNet2DModel(32, 3, 3, layers_per_block=1, block_out_channels=widths, norm_num_groups=16,
                               down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
                               up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), num_class_embeds=11)
        self.noising = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2")
        self.sampling = DDIMScheduler(1000, beta_schedule="squaredcos_cap_v2", timestep_spacing="trailing")

    def loss(self, batch):
        noise, device = torch.randn_like(batch.images), batch.images.device
        t = torch.randint(1000, (len(noise),), device=device)
        labels = torch.where(torch.rand(len(noise), device=device) < 0.1, 10, batch.labels)
        return F.mse_loss(self.net(self.noising.add_noise(batch.images, noise, t), t, labels).sample, noise)

    @torch.no_grad()
    def generate(self, n, labels=None, generator=None, guidance_scale=2.0, steps=50):
        device = next(self.parameters()).device
        labels = labels.to(device)
        x = torch.randn(n, 3, 32, 32, generator=generator, device=generator.device).to(device)
        self.sampling.set_timesteps(steps)
        for t in self.sampling.timesteps:
            told = self.net(x, t, labels).sample
            if guidance_scale != 1:
                told = (1 - guidance_scale) * self.net(x, t, torch.full_like(labels, 10)).sample + guidance_scale * told
            x = self.sampling.step(told, t, x).prev_sample
        return x.clamp(-1, 1)


class LucidrainsDDPM(nn.Module):
    """denoising-diffusion-pytorch, narrower than in its README; it knows no classes; sampled by its DDIM."""

    num_classes, lr, batch, width = 0, 1e-3, 64, 32

    def __init__(self):
        super().__init__()
        from denoising_diffusion_pytorch import GaussianDiffusion, Unet
        self.diffusion = GaussianDiffusion(Unet(dim=self.width, dim_mults=(1, 2, 4)), image_size=32, timesteps=1000,
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


def clock(device: str, wait: bool = True) -> float:
    """Seconds: of this process on a CPU, of the wall on a GPU, whose work is waited for."""
    if device == "cpu":
        return time.process_time()
    if wait:
        torch.cuda.synchronize()
    return time.perf_counter()


def counted(step, weights, batch: int) -> dict[str, float]:
    """GFLOP an image of `step()` (forward and backward), and MB that a training step needs."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):               # other kernels count as nothing
        step()
    parameters = sum(p.numel() for p in weights if p.requires_grad)
    kept = kept_bytes(step, {p.untyped_storage().data_ptr() for p in weights})
    return {"parameters": parameters, "gflop_per_image": counter.get_total_flops() / batch / 1e9,
            "step_mb": (20 * parameters + kept) / 1e6}


def loss_of(model: nn.Module, batch, device: str) -> torch.Tensor:
    """The loss of a contestant that is no recipe."""
    with torch.autocast(device, torch.bfloat16, enabled=choose_precision(torch.device(device)) == "bf16"):
        return model.loss(batch)


def fit(model: nn.Module, data, minutes: float, device: str) -> tuple[nn.Module, dict]:
    """Train a contestant that is no recipe; -> the averaged model, and what its training was."""
    start = clock(device)
    model, batches = model.to(device), Batches(data, model.batch)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, model.lr, weight_decay=0.0, fused=True)
    ema, step = EMA(model.train(), 0.999), 0
    while (share := (clock(device, wait=False) - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = model.lr * min(1.0, share / 0.05) * 0.5 * (1 + math.cos(math.pi * share))
        loss = loss_of(model, batches[step], device)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.update(step)
        step += 1
        if step % 200 == 0:
            print(f"  {share:4.0%}  step {step}  loss {loss.item():.4f}", flush=True)
    return ema.model.eval(), {"minutes": (clock(device) - start) / 60, "images": step * model.batch}


def run_recipe(name: str, minutes: float, device: str, folder: Path, overrides: tuple[str, ...] = (), **changes) -> tuple[nn.Module, dict]:
    """Train a recipe of ours into `folder`, start-up included; -> the averaged model, and what its training was."""
    start = clock(device)
    recipe = replace(load_recipe(name, "cpu" if device == "cpu" else "gpu", overrides), **changes)
    recipe = replace(recipe, train=replace(recipe.train, preview_every=0, checkpoint_every=0))
    with mock.patch.object(time, "perf_counter", time.process_time if device == "cpu" else time.perf_counter):
        trainer = Trainer(recipe, folder, device=device, minutes=minutes)
        trainer.minutes = minutes - (clock(device) - start) / 60
        model = trainer.run()
    return model, {"minutes": (clock(device) - start) / 60, "images": trainer.total * recipe.train.batch_size}


def ours(minutes: float, device: str, folder: Path) -> tuple[nn.Module, dict]:
    """From nothing: the network of the perceptual loss, a VQGAN, latent diffusion in its latents; in an hour or more its decoder on its samples."""
    parts, spent, at = {}, 0.0, lambda name: str(folder / f"cifar10-{name}")
    small = ("train.batch_size=32",) if device == "cpu" else ()
    stages = [("cifar10-perceptual", 1 / 15, (), {}),
              ("cifar10-vqgan", 7 / 15 if minutes < 60 else 0.3, small, {"perceptual": at("perceptual")}),
              ("cifar10-ldm", 1.0 if minutes < 60 else 0.8, small, {"first_stage": at("vqgan")})]
    if minutes >= 60:
        stages.append(("cifar10-ldm-tuned", 1.0, (), {"start": at("ldm"), "perceptual": at("perceptual")}))
    for name, until, overrides, changes in stages:
        model, parts[name] = run_recipe(name, until * minutes - spent, device, folder / name, overrides, **changes)
        spent += parts[name]["minutes"]
    return model, {"minutes": spent, "images": parts["cifar10-ldm"]["images"], "parts": parts}


def speed(peers: dict, device: str, rounds: int) -> dict[str, dict[str, float]]:
    """Training steps of recipe cifar10-ldm (in its trainer, latents cached) and of the peers, in turn."""
    steps, rows, sizes = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        recipe = load_recipe("cifar10-ldm", "cpu" if device == "cpu" else "gpu")
        data = load("cifar10", device=device).subset(range(2000))
        trainer = Trainer(recipe, Path(folder) / "run", device=device, data=data, quiet=True)
        trainer.objective.train()
        steps["ours"], sizes["ours"] = lambda: trainer.train_step(trainer.progress(0)), recipe.train.batch_size
        objective, run = one_step(recipe, recipe.train.batch_size)

        def half_run():
            with torch.autocast("cpu", torch.bfloat16, enabled=choose_precision(torch.device(device)) == "bf16"):    # it is counted there
                run()

        rows["ours"] = counted(half_run, list(objective.parameters()), recipe.train.batch_size)
        for name, make in peers.items():
            model = make().to(device).train()
            batch = Batches(data, model.batch)[0]
            optimizer, ema = torch.optim.AdamW(model.parameters(), model.lr, fused=True), EMA(model, 0.999)

            def step(model=model, batch=batch, optimizer=optimizer, ema=ema):
                loss_of(model, batch, device).backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                ema.update(0)

            steps[name], sizes[name] = step, model.batch
            rows[name] = counted(lambda: loss_of(model, batch, device).backward(), list(model.parameters()), model.batch)  # noqa: B023
        seconds = {name: [] for name in steps}
        for _ in range(rounds + 1):
            for name, step in steps.items():
                start = clock(device)
                step()
                seconds[name].append(clock(device) - start)
    for name, row in rows.items():
        row["images_per_second"] = sizes[name] / min(seconds[name][1:])
        row["gflop_per_second"] = row["images_per_second"] * row["gflop_per_image"]
    return rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=15)
    options.add_argument("--n", type=int, default=500)
    options.add_argument("--only", nargs="*", help="ours, dcgan, diffusers, lucidrains, vqgan, taming, our-vq, peer-vq")
    options.add_argument("--device", default="cpu")
    options.add_argument("--out", type=Path, default=Path("peers.json"))
    options.add_argument("--guidance", type=float, nargs="*", default=[3.0, 2.0, 1.0], help="scales, of ours and of diffusers")
    options.add_argument("--speed", action="store_true")
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    minutes, device = given.minutes, given.device
    if device == "cpu":
        torch.set_num_threads(1)
    else:
        PixelDDPM.width = LucidrainsDDPM.width = 128                            # the recipes' gpu tiers are larger, too
    pixels = {"diffusers": PixelDDPM, "lucidrains": LucidrainsDDPM}
    results = json.loads(given.out.read_text()) if given.out.exists() else {}

    def keep(name: str, row: dict) -> None:
        results[name] = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()}
        print(name, json.dumps(results[name]), flush=True)
        given.out.write_text(json.dumps(results, indent=1))

    if given.speed:
        for name, row in speed(pixels, device, given.rounds).items():
            keep(f"{name}, speed", row)
        return
    if device == "cpu":
        PixelDDPM.batch = LucidrainsDDPM.batch = 32                             # in minutes, steps are scarce
    data, folder = load("cifar10", device=device), given.out.with_name(f"{given.out.stem}-runs") / f"{minutes:g}-minutes"
    contestants = {"ours": lambda: ours(minutes, device, folder)}
    contestants |= {name: lambda name=name: run_recipe(f"cifar10-{name}", minutes, device, folder / name)
                    for name in ("dcgan", "vqgan", "taming")}
    contestants |= {name: lambda make=make: fit(make(), data, minutes, device) for name, make in (
        pixels | {"our-vq": lambda: Reconstructor(False), "peer-vq": lambda: Reconstructor(True)}).items()}
    for name in given.only or contestants:
        print(f"{name}: {minutes:g} minutes", flush=True)
        torch.manual_seed(0)
        model, facts = contestants[name]()
        ways = {"": {}}
        if name == "ours":
            ways = {f", guidance {scale:g}": {"steps": 16, "guidance_scale": scale} for scale in given.guidance}
        elif name == "diffusers":
            ways = {f", guidance {scale:g}": {"guidance_scale": scale} for scale in given.guidance}
        for way, sampling in ways.items():
            metrics = evaluate(model, {"kind": name}, "cifar10", given.n, device=device, **sampling)["metrics"]
            keep(f"{name}, {minutes:g} minutes{way}", facts | {"n": given.n} | {key: metrics[key] for key in WANTED if key in metrics})


if __name__ == "__main__":
    main()
