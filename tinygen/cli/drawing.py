"""From the options of a command to what `generate` is told, and to images. Imports torch: import it in a command."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..data import to_float, to_uint8
from ..diffusion import SAMPLERS
from ..errors import TinygenError, nearest
from .common import progress

BATCH = 100
OPTIONS = {"gan": (), "prior": ("guidance",), "distilled": (), "int8": (),
           "latent-diffusion": ("steps", "sampler", "guidance", "negative")}
NAMES = {"guidance": "guidance_scale", "negative": "negative_prompt"}     # of options that `generate` calls otherwise


def sampling_options(model: nn.Module, info: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given (are not None) under the names that `generate` knows them by.

    TinygenError for a kind of model that cannot sample, an option that it does not have, or a value out of range.
    """
    kind, given = info["kind"], {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in OPTIONS.get(kind, ()):
            raise TinygenError(f"a model of kind {kind!r} has no --{name}: leave it out")
    if "sampler" in given and given["sampler"] not in SAMPLERS:
        raise TinygenError(f"unknown sampler {given['sampler']!r}{nearest(given['sampler'], SAMPLERS)}")
    if not 0 <= given.get("guidance", 1.0) < math.inf:
        raise TinygenError(f"--guidance must be 0 or more (1 is none), not {given['guidance']}")
    if "negative" in given:
        check_text(model, "--negative", given["negative"])
    return {NAMES.get(name, name): value for name, value in given.items()}


def check_text(model: nn.Module, option: str, text: str) -> None:
    """TinygenError where the model knows no text, or not these words."""
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        raise TinygenError(f"this model knows no text: leave {option} out" +
                           (", or ask for a class with --label" if getattr(model, "num_classes", 0) else ""))
    tokenizer.encode(text)


def conditions(model: nn.Module, info: Mapping[str, Any], n: int, label: str | None, prompt: str | None,
               options: Mapping[str, Any]) -> dict[str, Any]:
    """{"prompts": n times the prompt}, {"labels": (n,) int64}, or {} for a model that is told nothing.

    Without label and prompt, a model that knows classes draws 0, 1, 2, ... in turn. TinygenError for what it does not
    know.
    """
    if info["kind"] not in OPTIONS:
        raise TinygenError(f"a model of kind {info['kind']!r} does not draw images: name a {', '.join(OPTIONS)} model")
    classes = getattr(model, "num_classes", 0)
    if prompt is not None:
        check_text(model, "--prompt", prompt)
        return {"prompts": [prompt] * n}
    if label is not None:
        return {"labels": torch.full((n,), label_index(label, classes, list(info.get("class_names", ()))))}
    if classes:
        return {"labels": torch.arange(n) % classes}
    if "guidance_scale" in options and "negative_prompt" not in options:
        cure = "give a --prompt" if getattr(model, "tokenizer", None) else "this model knows no classes, leave it out"
        raise TinygenError(f"--guidance needs something to be guided by: {cure}")
    return {}


def label_index(label: str, classes: int, names: list[str]) -> int:
    """The class that a name (in any case) or an index stands for; TinygenError where there is none."""
    if not classes:
        raise TinygenError("this model knows no classes: leave --label out")
    known = [name.lower() for name in names]
    if label.lower() in known:
        return known.index(label.lower())
    if label.isdecimal() and int(label) < classes:
        return int(label)
    hint = nearest(label.lower(), known) if known else ""
    raise TinygenError(f"unknown label {label!r}: give a class name or an index from 0 to {classes - 1}{hint}")


def steps_of(model: nn.Module, options: Mapping[str, Any]) -> int:
    """How many denoising steps a batch takes; 0 for a model that does not tell of them."""
    known = inspect.signature(model.generate).parameters
    named = options.get("steps") or getattr(model, "steps", 0) or (known["steps"].default if "steps" in known else 0)
    return named if hasattr(model, "decode") else 0


@torch.no_grad()
def draw(model: nn.Module, n: int, told: Mapping[str, Any], options: Mapping[str, Any], seed: int,
         every_step: bool) -> list[Tensor]:
    """Samples, uint8 (n, 3, S, S) on the CPU, as a list of one; with `every_step`, one entry a denoising step.

    Those show the guess of x0 after each step, decoded; the last one holds the finished samples. All noise comes from
    one generator on the model's device, with `seed`.
    """
    generator = torch.Generator(next(model.parameters()).device).manual_seed(seed)
    guesses: list[Tensor] = []                                              # of the batch at hand, one a step
    steps, batches, here = steps_of(model, options), [], slice(0, 0)

    def seen(step: int, t: float, latents: Tensor, x0: Tensor) -> None:
        show("sampling", here.start + (here.stop - here.start) * (step + 1) / steps, n)
        if every_step:
            guesses.append(to_uint8(model.decode(x0)).cpu())

    if steps:
        options = {**options, "callback": seen}
    with progress() as show:
        for start in range(0, n, BATCH):
            here = slice(start, min(start + BATCH, n))
            show("sampling", start, n)
            told_here = {key: value[here] for key, value in told.items()}
            samples = model.generate(here.stop - start, generator=generator, **told_here, **options)
            batches.append([*guesses[:-1], to_uint8(samples).cpu()])
            guesses.clear()
    return [torch.cat(parts) for parts in zip(*batches, strict=True)]


@torch.no_grad()
def reconstructions(model: nn.Module, images: Tensor) -> tuple[Tensor, float]:
    """uint8 (N, 3, S, S) through a first stage -> the same of its output, on the CPU, and their mean PSNR in dB."""
    from ..evaluate import psnr

    device = next(model.parameters()).device
    parts, decibels = [], []
    with progress() as show:
        for part in images.split(BATCH):
            show("reconstructing", BATCH * len(parts), len(images))
            x = to_float(part.to(device))
            parts.append(to_uint8(model.reconstruct(x)).cpu())
            decibels.append(psnr(x.cpu(), to_float(parts[-1])))
    return torch.cat(parts), torch.cat(decibels).mean().item()
