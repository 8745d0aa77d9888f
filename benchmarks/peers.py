"""Peers side by side: the same images, the same seconds, the same optimiser, the same judge.

    pip install denoising-diffusion-pytorch vector-quantize-pytorch
    python benchmarks/peers.py [--minutes 10] [--n 1000] [--only NAME ...] [--device cpu] [--data cifar10] [--out peers.json]

Samples: our U-Net in the latents of zoo:cifar10-vqgan (whose own training is not counted: see its card), against
diffusers' and lucidrains' pixel-space DDPM. Reconstructions: our vector quantiser against vector-quantize-pytorch in
the same autoencoder, MSE only. Every contestant gets AdamW, a cosine over its time and a moving average; time is that
of the process on a CPU (so that a busy machine does not decide), the clock's on a GPU. Learning rates are those that the
peers' own examples use, ours those of our recipes.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tinygen.data import Batches, CachedBatches, load
from tinygen.evaluate import evaluate
from tinygen.latent import LatentDiffusion, cache_latents
from tinygen.models import load_model
from tinygen.train import EMA, load_recipe
from tinygen.vq import VQAutoencoder


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


class OurLatentDiffusion(LatentDiffusion):
    """The model of recipe cifar10-ldm."""

    lr, batch = 1e-3, 64

    def __init__(self, first_stage):
        recipe = load_recipe("cifar10-ldm", "cpu")
        super().__init__(first_stage, **recipe.model)

    def loss(self, batch):
        dropped = torch.rand(len(batch.labels), device=batch.labels.device) < 0.1
        return self.denoiser.loss(batch.images, labels=torch.where(dropped, self.num_classes, batch.labels))[0]


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
        z = self.encoder(x)
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


def fit(model: nn.Module, batches, seconds: float, device: str) -> tuple[nn.Module, int]:
    """Train for `seconds`; -> the averaged model and the images seen."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], model.lr, fused=True)
    ema, step, start = EMA(model.train(), 0.999), 0, clock(device)
    while (share := (clock(device) - start) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = model.lr * min(1.0, share / 0.05) * 0.5 * (1 + math.cos(math.pi * share))
        loss = model.loss(batches[step])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.update(step)
        step += 1
        if step % 200 == 0:
            print(f"  {share:4.0%}  step {step}  loss {float(loss):.4f}", flush=True)
    return ema.model.eval(), step * model.batch


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=10)
    options.add_argument("--n", type=int, default=1000)
    options.add_argument("--only", nargs="*", help="ours, diffusers, lucidrains, our-vq, peer-vq")
    options.add_argument("--device", default="cpu")
    options.add_argument("--data", default="cifar10")
    options.add_argument("--out", type=Path, default=Path("peers.json"))
    given = options.parse_args()
    torch.manual_seed(0)
    data, device = load(given.data, device=given.device), given.device
    contestants = {"ours": lambda: OurLatentDiffusion(load_model("zoo:cifar10-vqgan", device)[0]), "diffusers": PixelDDPM,
                   "lucidrains": LucidrainsDDPM, "our-vq": lambda: Reconstructor(False), "peer-vq": lambda: Reconstructor(True)}
    results = json.loads(given.out.read_text()) if given.out.exists() else {}
    for name in given.only or contestants:
        model = contestants[name]().to(device)
        batches = Batches(data, model.batch)
        if name == "ours":
            latents = cache_latents(model.first_stage, data.images, flip=True)
            model.latent_mean.copy_(latents.mean((0, 1, 3, 4))[:, None, None])
            model.latent_std.copy_(latents.std((0, 1, 3, 4))[:, None, None])
            batches = CachedBatches(data, (latents - model.latent_mean) / model.latent_std, model.batch)
        with FlopCounterMode(display=False) as counter:
            model.loss(batches[0]).backward()
        flops = counter.get_total_flops() / model.batch
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        print(f"{name}: {trained:,} parameters, {given.minutes} minutes", flush=True)
        average, seen = fit(model, batches, 60 * given.minutes, device)
        sampling = {"steps": 16, "guidance_scale": 2.0} if name == "ours" else {}
        report = evaluate(average, {"kind": name}, given.data, given.n, device=device, **sampling)
        rate = seen / 60 / given.minutes
        wanted = ("psnr", "code_usage", "fd", "kd", "precision", "recall", "class_adherence", "duplicates")
        results[name] = {"parameters": trained, "minutes": given.minutes, "images_seen": seen, "n": given.n,
                         "images_per_second": round(rate, 1), "gflop_per_image": round(flops / 1e9, 3),
                         "gflop_per_second": round(rate * flops / 1e9, 1),
                         **{key: report["metrics"][key] for key in wanted if key in report["metrics"]}}
        print(json.dumps(results[name]), flush=True)
        given.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
