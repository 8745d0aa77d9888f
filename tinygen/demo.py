"""Train a VQGAN and a latent diffusion model from scratch, measure them, show what they made: `tinygen demo`, `tinygen speedrun`."""

import json
import platform
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from .data import load, to_float, to_uint8
from .evaluate import evaluate, print_report
from .models import load_model, read_facts
from .show import Page, codebook_map, labelled_grid, loss_curves, save_gif, save_png
from .show.grids import grid
from .train import choose_device, default_tier, load_recipe, train
from .vq import count_codes


@dataclass(frozen=True)
class Plan:
    """What is trained, for how long, and how it is measured. Times are minutes of training, without start-up."""

    data: str
    first_stage: str                                    # recipes
    diffusion: str
    first_stage_minutes: float
    diffusion_minutes: float
    n: int                                              # images that are measured
    steps: int                                          # of the sampler
    guidance: float
    prompts: tuple[str, ...] = ()
    images: int | None = None                           # train with the first so many only
    changes: tuple[str, ...] = ()                       # of the diffusion recipe, "key=value"
    decoder: str | None = None                          # recipe that trains the decoder on, with samples
    decoder_minutes: float = 0.0
    samples: int | None = None                          # latents drawn for it, before its minutes; as its recipe says


STAGES = {"first stage": "vqgan", "diffusion": "ldm", "decoder": "tuned"}             # and their folders
PROMPTS = (
    "a large red star on a blue striped background",
    "a small white heart on the left of a plain black background",
    "a medium yellow ring at the top of a purple dotted background",
    "a large green cloud on a pink gradient background",
    "a large orange arrow on a gray checkered background",
    "a medium cyan flower at the bottom of a plain white background",
    "a large purple crescent on a yellow dotted background",
    "a small blue diamond on the right of a green gradient background",
)
DEMO = Plan("shapes", "shapes-vqgan", "shapes-ldm", 1.0, 2.8, n=500, steps=12, guidance=3.0, prompts=PROMPTS,
            changes=("objective.label_dropout=0.25", "train.batch_size=64", "train.lr=3.0e-3"))
SPEEDRUN = Plan("cifar10", "cifar10-vqgan", "cifar10-ldm", 5.0, 8.0, n=10000, steps=24, guidance=2.0, decoder="cifar10-ldm-tuned", decoder_minutes=2.0,
                samples=5000)


def run(plan: Plan, out: Path, device: str | None = None, tier: str | None = None) -> dict:
    """Fill the folder `out` with the trained models, pictures, index.html and report.json; return the latter's content.

    The models are run folders like any other: `tinygen sample OUT/ldm ...` works on them afterwards. Those of an
    earlier run in the same folder are replaced. With a `decoder` in the plan OUT/tuned is what is measured as a generator.
    """
    for name in ("vqgan", "ldm", "tuned"):
        shutil.rmtree(out / name, ignore_errors=True)
    console, seconds = Console(), {}
    device = choose_device(device)
    tier = tier or default_tier(device.type)

    @contextmanager
    def stage(name: str, title: str):
        console.rule(f"{len(seconds) + 1} of {5 if plan.decoder else 4}  {title}")
        started = time.perf_counter()
        yield
        seconds[name] = round(time.perf_counter() - started, 1)

    with stage("data", "The pictures"):
        data, test = load(plan.data), load(f"{plan.data}:test")
        if plan.images:
            data = data.subset(range(plan.images))
        pictures = {"data": save_png(grid(data.images[:60], columns=15, scale=2), out / "data.png")}
        for caption in data.captions[:3]:
            console.print(f"   {caption}", style="dim")
    with stage("first stage", "VQGAN: learn to write a picture as 64 codes"):
        vqgan = train(load_recipe(plan.first_stage, tier), out / "vqgan", device=str(device),
                      minutes=plan.first_stage_minutes, data=data)
    with stage("diffusion", "Latent diffusion: learn to make such codes out of noise"):
        recipe = replace(load_recipe(plan.diffusion, tier, plan.changes), first_stage=str(out / "vqgan"))
        ldm = train(recipe, out / "ldm", device=str(device), minutes=plan.diffusion_minutes, data=data)
    last = "tuned" if plan.decoder else "ldm"
    if plan.decoder:
        with stage("decoder", "Its decoder: learn to paint what diffusion draws"):
            few = [f"objective.samples={plan.samples}"] if plan.samples else []
            recipe = replace(load_recipe(plan.decoder, tier, few), data=plan.data, start=str(out / "ldm"))
            ldm = train(recipe, out / "tuned", device=str(device), minutes=plan.decoder_minutes, data=data)
    with stage("look and measure", "Look and measure"):
        pictures |= draw(plan, vqgan, ldm, data, test, out, device)
        reports = {}
        for name, options in (("vqgan", {}), (last, {"steps": plan.steps, "guidance_scale": plan.guidance})):
            model, info = load_model(out / name, device)
            reports[name] = evaluate(model, info, plan.data, plan.n, device=device, **options) | {"training": training(info)}
            print_report(reports[name], console)
    report = {"plan": vars(plan), "tier": tier, "device": describe(device), "seconds": seconds, "models": reports}
    (out / "report.json").write_text(json.dumps(report, indent=1))
    total = sum(seconds.values())
    write_page(plan, out, pictures, reports, total)
    first, second = reports["vqgan"]["metrics"], reports[last]["metrics"]
    console.print(f"\nVQGAN: PSNR {first['psnr']:.1f} dB, FD {first['fd']:.2f}, {first['code_usage']:.0%} of the codes in use. "
                  f"Latent diffusion: FD {second['fd']:.2f}, {second['class_adherence']:.0%} of the samples recognised as "
                  f"their class, recall {second['recall']:.2f}, duplicates {second['duplicates']:.1%}.")
    learning = {name: training(read_facts(out / folder)["info"]) for name, folder in STAGES.items() if name in seconds}
    for name, part in seconds.items():
        learnt = learning.get(name)
        console.print(f"   {name}: {part:.0f} s" + (f", {learnt['seconds']:.0f} of them training, "
                      f"{learnt['images_per_second']:.0f} images/s" if learnt else ""), highlight=False)
    console.print(f"{total / 60:.1f} minutes in all. Open [bold]{out / 'index.html'}[/bold]; the pictures:")
    for path in pictures.values():
        console.print(f"   {path}")
    return report


def training(info: dict) -> dict[str, float]:
    """How long the training of a model took, without start-up, and how fast it was."""
    return {"seconds": info["seconds"], "images_seen": info["images_seen"],
            "images_per_second": info["images_seen"] / max(info["seconds"], 1e-9)}


def describe(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {platform.machine()}, {torch.get_num_threads()} threads"


@torch.no_grad()
def draw(plan: Plan, vqgan, ldm, data, test, out: Path, device: torch.device) -> dict[str, Path]:
    """All pictures but the data's, by name."""
    vqgan, ldm = vqgan.to(device).eval(), ldm.to(device).eval()
    x = to_float(test.images[:15].to(device))
    pairs = torch.cat([x, vqgan.reconstruct(x)])
    codes = torch.cat([vqgan.encode_codes(to_float(part.to(device))) for part in test.images.split(250)])
    counts = count_codes(codes, vqgan.codebook_size)

    classes = len(data.class_names)
    labels = torch.arange(classes).repeat_interleave(8).to(device)
    generator, asking = torch.Generator(device).manual_seed(1), {"guidance_scale": plan.guidance, "steps": plan.steps}
    by_class = ldm.generate(len(labels), labels, generator, **asking)
    sentences = {}
    if plan.prompts:
        asked = [prompt for prompt in plan.prompts for _ in range(6)]
        by_prompt = ldm.generate(len(asked), generator=generator, prompts=asked, **asking)
        sentences["prompts"] = labelled_grid(by_prompt.cpu(), 6, row_titles=plan.prompts)
    frames = []

    def watch(step, t, latents, x0):
        pair = torch.stack([ldm.decode(latents), ldm.decode(x0)], 1)                         # (n, 2, 3, S, S)
        frames.append(grid(to_uint8(pair.transpose(0, 1).flatten(0, 1)).cpu(), columns=classes, scale=2))

    ldm.generate(classes, torch.arange(classes, device=device), generator, steps=24, sampler="ddim", callback=watch,
                 guidance_scale=plan.guidance)
    terms = ["mse", "perceptual", "adversarial", "discriminator", "usage", "adaptive_weight"]
    curves = (loss_curves(out / "vqgan", terms, "VQGAN"),
              loss_curves(out / "ldm", ["denoising", "gradient_denoiser"], "Latent diffusion"))
    titles = ("original", "64 codes")
    still = {
        "reconstructions": labelled_grid(pairs.cpu(), 15, row_titles=titles),
        "codebook": codebook_map(counts, vqgan.decode_codes, vqgan.latent_shape[1:]),
        "classes": labelled_grid(by_class.cpu(), 8, row_titles=data.class_names),
        **sentences,
        "curves": np.concatenate(same_width(*curves)),
    }
    moving = {"denoising": save_gif(frames, out / "denoising.gif")}
    return {name: save_png(picture, out / f"{name}.png") for name, picture in still.items()} | moving


def same_width(*pictures: np.ndarray) -> list[np.ndarray]:
    """Pad uint8 (height, width, 3) pictures with white on the right, to the width of the widest."""
    width = max(picture.shape[1] for picture in pictures)
    return [np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in pictures]


def write_page(plan: Plan, out: Path, pictures: dict[str, Path], reports: dict, seconds: float) -> None:
    """index.html, with everything in it."""
    page = Page("Two generative models, trained on your machine",
                f"A VQGAN and a latent diffusion model, both from scratch, in {seconds / 60:.1f} minutes.")
    for name, title, text in (
            ("data", "What they learned from",
             f"The first 60 images of {plan.data}. Each has a caption that says what is in it."),
            ("reconstructions", "First stage: 64 codes a picture",
             "The VQGAN writes every picture as an 8 by 8 map of codes, and reads it back."),
            ("codebook", "The codebook", "How often each code is used, and what the decoder draws for it."),
            ("classes", "Samples, class by class", "Latent diffusion starts from noise and is told the object only."
             + " Its decoder was trained on with samples; the reconstructions above are those of the VQGAN." * bool(plan.decoder)),
            ("prompts", "Samples, sentence by sentence",
             "The same network, told in words: the first samples drawn, not the best."),
            ("denoising", "From noise to picture",
             "Above, the latents as they are, decoded; below, the network's guess of where they lead."),
            ("curves", "How training went", "The terms of the losses over the images seen.")):
        if name in pictures:
            page.section(title, text).image(pictures[name].read_bytes())
    for report, title in zip(reports.values(), ("Measured: reconstructions", "Measured: samples"), strict=True):
        page.section(title).report(report, "FD and KD are in our own judge's features, they are not FID and KID.")
    page.save(out / "index.html")
