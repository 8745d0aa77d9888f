"""`tinygen demo`: train a VQGAN and a latent diffusion model from scratch, measure them, and show what they made."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from .data import load, to_float, to_uint8
from .evaluate import evaluate, print_report
from .models import load_model
from .show import Page, codebook_map, labelled_grid, loss_curves, save_gif, save_png
from .show.grids import grid
from .train import choose_device, default_tier, load_recipe, train
from .vq import count_codes

VQGAN_MINUTES, DIFFUSION_MINUTES = 1.0, 2.8              # of a budget of five; the rest is for measuring and drawing
GUIDANCE = 3.0
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


def run_demo(out: Path, minutes: float | None = None, n: int = 500) -> None:
    """Fill the folder `out` with two trained models, pictures and index.html; `minutes` of training instead of 3.8.

    Reconstructions and samples are measured with `n` images each.

    The models are run folders like any other: `tinygen sample OUT/ldm ...` works on them afterwards. Those of an
    earlier demo in the same folder are replaced.
    """
    for name in ("vqgan", "ldm"):
        shutil.rmtree(out / name, ignore_errors=True)
    console, started = Console(), time.perf_counter()
    share = (minutes or VQGAN_MINUTES + DIFFUSION_MINUTES) / (VQGAN_MINUTES + DIFFUSION_MINUTES)
    device = choose_device()
    tier = default_tier(device.type)

    console.rule("1 of 4  The pictures: drawn by code, 20,000 of them")
    data, test = load("shapes"), load("shapes:test")
    pictures = {"data": save_png(grid(data.images[:60], columns=15, scale=2), out / "data.png")}
    for caption in data.captions[:3]:
        console.print(f"   {caption}", style="dim")

    console.rule("2 of 4  VQGAN: learn to write a picture as 64 codes")
    vqgan = train(load_recipe("shapes-vqgan", tier), out / "vqgan", device=device.type, minutes=share * VQGAN_MINUTES)

    console.rule("3 of 4  Latent diffusion: learn to make such codes out of noise")
    recipe = replace(load_recipe("shapes-ldm", tier), first_stage=str(out / "vqgan"))
    ldm = train(recipe, out / "ldm", device=device.type, minutes=share * DIFFUSION_MINUTES)

    console.rule("4 of 4  Look and measure")
    pictures |= draw(vqgan, ldm, data, test, out, device)
    reports = {}
    for name, options in (("vqgan", {}), ("ldm", {"steps": 12, "guidance_scale": GUIDANCE})):
        model, info = load_model(out / name, device)
        reports[name] = evaluate(model, info, "shapes", n, device=device, **options)
        print_report(reports[name], console)
    seconds = time.perf_counter() - started
    write_page(out, pictures, reports, seconds)
    first, second = reports["vqgan"]["metrics"], reports["ldm"]["metrics"]
    console.print(f"\nVQGAN: PSNR {first['psnr']:.1f} dB, {first['code_usage']:.0%} of the codes in use. "
                  f"Latent diffusion: {second['class_adherence']:.0%} of the samples recognised as their class, "
                  f"recall {second['recall']:.2f}, duplicates {second['duplicates']:.1%}.")
    console.print(f"{seconds / 60:.1f} minutes in all. Open [bold]{out / 'index.html'}[/bold]; the pictures:")
    for path in pictures.values():
        console.print(f"   {path}")


@torch.no_grad()
def draw(vqgan, ldm, data, test, out: Path, device: torch.device) -> dict[str, Path]:
    """All pictures but the data's, by name."""
    vqgan, ldm = vqgan.to(device).eval(), ldm.to(device).eval()
    x = to_float(test.images[:15].to(device))
    pairs = torch.cat([x, vqgan.reconstruct(x)])
    codes = torch.cat([vqgan.encode_codes(to_float(part.to(device))) for part in test.images.split(250)])
    counts = count_codes(codes, vqgan.codebook_size)

    classes = len(data.class_names)
    labels = torch.arange(classes).repeat_interleave(8).to(device)
    generator = torch.Generator(device).manual_seed(1)
    by_class = ldm.generate(len(labels), labels, generator, guidance_scale=GUIDANCE)
    prompts = [prompt for prompt in PROMPTS for _ in range(6)]
    by_prompt = ldm.generate(len(prompts), generator=generator, prompts=prompts, guidance_scale=GUIDANCE)
    frames = []

    def watch(step, t, latents, x0):
        pair = torch.stack([ldm.decode(latents), ldm.decode(x0)], 1)                         # (n, 2, 3, S, S)
        frames.append(grid(to_uint8(pair.transpose(0, 1).flatten(0, 1)).cpu(), columns=classes, scale=2))

    ldm.generate(classes, torch.arange(classes, device=device), generator, steps=24, sampler="ddim", callback=watch,
                 guidance_scale=GUIDANCE)
    terms = ["mse", "perceptual", "adversarial", "discriminator", "usage", "adaptive_weight"]
    curves = (loss_curves(out / "vqgan", terms, "VQGAN"),
              loss_curves(out / "ldm", ["denoising", "gradient_denoiser"], "Latent diffusion"))
    titles = ("original", "64 codes")
    still = {
        "reconstructions": labelled_grid(pairs.cpu(), 15, row_titles=titles),
        "codebook": codebook_map(counts, vqgan.decode_codes, vqgan.latent_shape[1:]),
        "classes": labelled_grid(by_class.cpu(), 8, row_titles=data.class_names),
        "prompts": labelled_grid(by_prompt.cpu(), 6, row_titles=PROMPTS),
        "curves": np.concatenate(same_width(*curves)),
    }
    moving = {"denoising": save_gif(frames, out / "denoising.gif")}
    return {name: save_png(picture, out / f"{name}.png") for name, picture in still.items()} | moving


def same_width(*pictures: np.ndarray) -> list[np.ndarray]:
    """Pad uint8 (height, width, 3) pictures with white on the right, to the width of the widest."""
    width = max(picture.shape[1] for picture in pictures)
    return [np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in pictures]


def write_page(out: Path, pictures: dict[str, Path], reports: dict, seconds: float) -> None:
    """index.html, with everything in it."""
    page = Page("Two generative models, trained on your machine",
                f"A VQGAN and a latent diffusion model, both from scratch, in {seconds / 60:.1f} minutes.")
    for name, title, text in (
            ("data", "What they learned from",
             "20,000 little scenes, drawn by code. Each has a caption that says what is in it."),
            ("reconstructions", "First stage: 64 codes a picture",
             "The VQGAN writes every picture as an 8 by 8 map of codes, and reads it back."),
            ("codebook", "The codebook", "How often each code is used, and what the decoder draws for it."),
            ("classes", "Samples, class by class", "Latent diffusion starts from noise and is told the object only."),
            ("prompts", "Samples, sentence by sentence",
             "The same network, told in words: the first samples drawn, not the best. Colour, place and background come "
             "first; after so short a training it still takes the object from the class, hardly from words."),
            ("denoising", "From noise to picture",
             "Above, the latents as they are, decoded; below, the network's guess of where they lead."),
            ("curves", "How training went", "The terms of the losses over the images seen.")):
        page.section(title, text).image(pictures[name].read_bytes())
    for name, title in (("vqgan", "Measured: reconstructions"), ("ldm", "Measured: samples")):
        page.section(title).report(reports[name], "FD and KD are in our own judge's features, they are not FID and KID.")
    page.save(out / "index.html")
