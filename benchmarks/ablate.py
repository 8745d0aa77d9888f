"""Ablations of latent diffusion on CIFAR-10: one choice at a time, the same images seen, the same judge.

    python benchmarks/ablate.py train [--images 40000] [--n 1000] [--only NAME ...] [--device cpu] [--out ablations.json]
    python benchmarks/ablate.py sample [--model zoo:cifar10-ldm] [--n 1000] [--only NAME ...]
    python benchmarks/ablate.py leak [--model zoo:cifar10-dcgan] [--n 1000]
    python benchmarks/ablate.py witness [--n 1000]

`train` changes recipe cifar10-ldm, on the first stage that was there first, zoo:cifar10-vqgan, and trains every variant from the same seed; `sample` draws from one trained model in
different ways. Results are added to the JSON file, so that an interrupted table can be finished; the table is printed.
Seconds are those of the process on a CPU: of training, or of drawing the images. The recipe itself is trained from three seeds:
their spread is the error of all rows. Other paths come with the prediction and the density of times that belong to them; the
last two variants train a first stage of their own, on the same number of images. `leak` looks in samples of a GAN for the marks of
the augmentation that its critic saw. `witness` measures reconstructions and samples by what no critic and no judge of theirs knows: a network that was
trained on `shapes` and never saw a photograph, and their power in four bands of frequency.
"""

import argparse
import json
import shutil
import tempfile
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch

from tinygen.data import load, to_float, to_uint8
from tinygen.evaluate import Gaussian, evaluate, frechet_distance, judge_images
from tinygen.evaluate.judging import weights_sha256
from tinygen.evaluate.making import generate_images
from tinygen.gan import diff_augment
from tinygen.latent import cache_latents
from tinygen.models import load_model
from tinygen.train import load_recipe, train
from tinygen.vq import VQAutoencoder

TRAINED = {
    "as the recipe": [],
    "as the recipe, seed 1": ["train.seed=1"],
    "as the recipe, seed 2": ["train.seed=2"],
    "eps on the linear VP path": ["model.path=vp", "model.prediction=eps", "model.density=uniform"],
    "v on the cosine path": ["model.path=cosine", "model.prediction=v", "model.density=uniform"],
    "uniform times": ["model.density=uniform"],
    "EDM": ["model.path=edm", "model.prediction=edm", "model.density=lognormal"],
    "DiT, 128 x 6": ["model.network=dit", "model.network_options=null"],
    "batch 128": ["train.batch_size=128"],
    "batch 32": ["train.batch_size=32"],
    "no moving average": ["train.ema=0"],
    "no flips": ["train.flip=false"],
    "KL first stage": ["first_stage=zoo:cifar10-kl"],
    "first stage without critic": ["first_stage=zoo:cifar10-vqvae"],
    "latents quantised before": [],
    "32 channels": ["model.network_options.channels=32"],
    "64 channels": ["model.network_options.channels=64"],
    "own first stage, f = 4": [],
    "own first stage, f = 2": ["model.network_options.attention_sizes=[8]"],
}
OWN_FIRST_STAGE = {"own first stage, f = 4": [], "own first stage, f = 2": ["model.downsampling=2"]}
SAMPLED = {f"{sampler}, {steps} steps": {"sampler": sampler, "steps": steps}
           for sampler, steps in (("dpmpp_2m", 8), ("dpmpp_2m", 16), ("dpmpp_2m", 20), ("dpmpp_2m", 32), ("dpmpp_2m", 250),
                                  ("heun", 8), ("euler", 16), ("ddim", 16), ("ddpm", 16), ("ddpm", 64))}
SAMPLED |= {f"guidance {scale}": {"guidance_scale": scale} for scale in (1.0, 1.5, 2.5, 3.0, 4.0)}
SAMPLED |= {f"guidance {scale} for t in {interval}": {"guidance_scale": scale, "guidance_interval": interval}
            for scale, interval in ((2.0, (0.2, 0.9)), (3.0, (0.2, 0.9)), (3.0, (0.3, 0.8)))}
DEFAULT = {"sampler": "dpmpp_2m", "steps": 16, "guidance_scale": 2.0}
CACHE: dict = {}            # latents of the last first stage
WANTED = ("fd", "kd", "precision", "recall", "class_adherence", "duplicates")


def seconds_of(device: str) -> float:
    """Seconds of this process on a CPU, of the clock elsewhere."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.process_time() if device == "cpu" else time.perf_counter()


def fit(recipe, images: int, folder: Path, device: str):
    """Train a recipe on `images` images; -> the model and its facts."""
    quick = replace(recipe.train, steps=images // recipe.train.batch_size, preview_every=0, checkpoint_every=0)
    model = train(replace(recipe, train=quick), folder, device=device)
    return model, json.loads((folder / "model.json").read_text())["info"]


def trained(name: str, images: int, n: int, device: str) -> dict:
    """Train one variant of the recipe on `images` images, and measure n of its samples."""
    tier = "cpu" if device == "cpu" else "gpu"
    recipe = load_recipe("cifar10-ldm", tier, ["first_stage=zoo:cifar10-vqgan", *TRAINED[name]])
    if recipe.model["network"] == "dit":
        recipe = replace(recipe, model=recipe.model | {"network_options": {"channels": 128, "depth": 6, "heads": 4}})
    caching = 0.0

    def remembered(first_stage, images, flip):
        """One first stage serves many variants: its latents are computed once, and their time is not counted."""
        nonlocal caching
        begun, key = seconds_of(device), (weights_sha256(first_stage), len(images), flip, name == "latents quantised before")
        if key not in CACHE:
            CACHE.clear()
            CACHE[key] = cache_latents(first_stage, images, flip)
        caching += seconds_of(device) - begun
        return CACHE[key].clone()                              # the objective normalises in place

    before = mock.patch.object(VQAutoencoder, "to_latent", lambda self, x: self.quantizer(self.encoder(x)).z_q)
    folder, start = Path(tempfile.mkdtemp()), seconds_of(device)
    if name in OWN_FIRST_STAGE:
        fit(load_recipe("cifar10-vqgan", tier, OWN_FIRST_STAGE[name]), images, folder / "first", device)
        recipe = replace(recipe, first_stage=str(folder / "first"))
    with mock.patch("tinygen.latent.objective.cache_latents", remembered), before if name == "latents quantised before" else nullcontext():
        model, info = fit(recipe, images, folder / "run", device)
    seconds = seconds_of(device) - start - caching
    shutil.rmtree(folder)
    report = evaluate(model, info, "cifar10", n, device=device, **DEFAULT)
    return {"seconds": round(seconds), "images": images, "n": n} | {key: report["metrics"][key] for key in WANTED}


def sampled(name: str, options: dict, n: int, device: str) -> dict:
    """n samples of a trained model, drawn with `options`."""
    model, info = load_model(name, device)
    generate, seconds = model.generate, []

    def timed(*arguments, **given):
        start = seconds_of(device)
        images = generate(*arguments, **given)
        seconds.append(seconds_of(device) - start)
        return images

    model.generate = timed
    report = evaluate(model, info, "cifar10", n, device=device, **DEFAULT | options)
    return {"seconds": round(sum(seconds)), "n": n} | {key: report["metrics"][key] for key in WANTED}


def leak(name: str, n: int, device: str) -> None:
    """Marks of DiffAugment: flat grey border lines from shifts; the spread of brightness, saturation and contrast from colours."""
    test = to_float(load("cifar10:test", device=device).images[:n])
    random = torch.Generator(device).manual_seed(0)
    samples = load_model(name, device)[0].generate(n, torch.arange(n, device=device) % 10, random)
    print("| images | with a flat grey border line | brightness | saturation | contrast |\n|---|---|---|---|---|")
    for title, x in (("test images", test), ("test images, augmented", diff_augment(test, random)), ("samples", samples)):
        border = torch.stack([x[:, :, 0], x[:, :, -1], x[:, :, :, 0], x[:, :, :, -1]], 1)               # (n, 4, 3, side)
        grey = x.mean(1, keepdim=True)
        colours = x.mean((1, 2, 3)), (x - grey).abs().mean((1, 2, 3)), x.std((1, 2, 3))                 # (n,) each
        print(f"| {title} | {(border.abs().amax((2, 3)) < 0.1).any(1).float().mean():.3f} | "
              + " | ".join(f"{part.mean():.2f} ± {part.std():.2f}" for part in colours) + " |")


def witness(n: int, device: str) -> None:
    """FD of reconstructions and samples in the features of zoo:shapes-judge, and their power over that of test images (cycles a pixel)."""
    data = load("cifar10:test", device=device).subset(range(n))
    test, train_images = data.images, load("cifar10:train", device=device).images[:10_000]
    judge = load_model("zoo:shapes-judge", device)[0]
    reference = Gaussian.fit(judge_images(judge, train_images).features)
    power = lambda x: torch.fft.fft2(x - x.mean(0)).abs().square().mean((0, 1))
    frequency = torch.fft.fftfreq(32, device=device)
    frequency = (frequency[:, None].square() + frequency.square()).sqrt()                                # (32, 32)
    edges = (0.0, 0.125, 0.25, 0.375, 1.0)
    print("| images | FD by zoo:shapes-judge | power " + " | ".join(f"{a} to {b}" for a, b in zip(edges, edges[1:])) + " |\n" + "|---" * 6 + "|")
    for name in ("test images", "cifar10-vqvae", "cifar10-vqgan", "cifar10-vqgan-tuned", "cifar10-kl", "cifar10-dcgan", "cifar10-ldm", "cifar10-ldm-tuned"):
        images, model = test, None if name == "test images" else load_model(f"zoo:{name}", device)[0]
        if hasattr(model, "reconstruct"):
            with torch.no_grad():
                images = torch.cat([to_uint8(model.reconstruct(to_float(part))) for part in test.split(100)])
        elif model is not None:
            images = generate_images(model, data, n, 0, 100, sampling={"steps": 16} if "ldm" in name else {})[0].to(device)
        fd = frechet_distance(Gaussian.fit(judge_images(judge, images).features), reference)
        ratio = power(to_float(images)) / power(to_float(test))
        bands = [ratio[(frequency > a) & (frequency <= b)].mean().item() for a, b in zip(edges, edges[1:])]
        print(f"| {name} | {fd:.3f} | " + " | ".join(f"{band:.2f}" for band in bands) + " |", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", choices=("train", "sample", "leak", "witness"))
    options.add_argument("--images", type=int, default=40_000)
    options.add_argument("--n", type=int, default=1000)
    options.add_argument("--only", nargs="*")
    options.add_argument("--model", help="zoo:cifar10-ldm, or zoo:cifar10-dcgan for its leaks, if none is named")
    options.add_argument("--device", default="cpu")
    options.add_argument("--out", type=Path, default=Path("ablations.json"))
    given = options.parse_args()
    if given.what == "witness":
        witness(given.n, given.device)
        return
    if given.what == "leak":
        leak(given.model or "zoo:cifar10-dcgan", given.n, given.device)
        return
    results = json.loads(given.out.read_text()) if given.out.exists() else {}
    table = results.setdefault(given.what, {})
    variants = TRAINED if given.what == "train" else SAMPLED
    for name in given.only or variants:
        if name in table and table[name]["n"] == given.n and table[name].get("images") in (None, given.images):
            continue
        table[name] = trained(name, given.images, given.n, given.device) if given.what == "train" else \
            sampled(given.model or "zoo:cifar10-ldm", variants[name], given.n, given.device)
        given.out.write_text(json.dumps(results, indent=1))
        print(name, json.dumps(table[name]), flush=True)
    columns = ("fd", "class_adherence", "precision", "recall", "seconds")
    print("\n| variant | FD | class asked for | precision | recall | seconds |\n|---|---|---|---|---|---|")
    for name, row in sorted(table.items(), key=lambda item: item[1]["fd"]):
        print(f"| {name} | " + " | ".join(f"{row[key]:.3g}" for key in columns) + " |")


if __name__ == "__main__":
    main()
