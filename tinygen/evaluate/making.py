"""The images that are evaluated: samples of a generator, reconstructions of a first stage; rounded to uint8."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..data import ImageSet, to_float, to_uint8
from ..errors import TinygenError
from ..features import PerceptualLoss
from .metrics import code_statistics, psnr, ssim

Watch = Callable[[str, int, int, Tensor | None], None]


def unwatched(what: str, done: int, total: int, images: Tensor | None = None) -> None:
    """Called after every batch where nobody watches: `done` of `total` images are drawn, reconstructed or judged.

    `images` are those just made, uint8 (B, 3, 32, 32) on the CPU, or None where they were only looked at.
    """


def knows(model: nn.Module) -> list[str]:
    """What a generator can be told: "label", "prompt", both or nothing."""
    return [name for name, there in (("label", getattr(model, "num_classes", 0)),
                                     ("prompt", getattr(model, "tokenizer", None) is not None)) if there]


@torch.no_grad()
def generate_images(model: nn.Module, test: ImageSet, n: int, seed: int, batch_size: int, condition: str | None = None,
                    sampling: Mapping[str, Any] | None = None, watch: Watch = unwatched) -> tuple[Tensor, dict[str, Tensor]]:
    """n samples uint8 (n, 3, 32, 32) on the CPU, and what was asked for.

    Asked are labels 0, 1, 2, ... in turn -> {"labels": (n,)}; or, with `condition` "prompt", the captions of `test` in
    turn -> {"factors": (n, F)} where there are any, else {"labels": (n,)}; nothing of a model that knows neither -> {}.
    The noise comes from one generator with `seed`, so the samples depend on `batch_size` as well.
    """
    known = knows(model)
    if condition not in (None, *known):
        raise TinygenError(f"condition {condition!r} is not what this model knows: {', '.join(known) or 'nothing'}")
    condition = condition or next(iter(known), None)
    rows = torch.arange(n) % len(test)
    labels = torch.arange(n) % len(test.class_names)
    asked = {} if condition is None else {"labels": labels} if condition == "label" else \
        {"factors": test.factors[rows]} if test.factor_names else {"labels": test.labels[rows]}
    generator = torch.Generator(next(model.parameters()).device).manual_seed(seed)
    images = []
    for start in range(0, n, batch_size):
        here = slice(start, min(start + batch_size, n))
        told = {"labels": labels[here]} if condition == "label" else \
            {"prompts": [test.captions[row] for row in rows[here].tolist()]} if condition == "prompt" else {}
        samples = model.generate(here.stop - start, generator=generator, **told, **(sampling or {}))
        images.append(to_uint8(samples).cpu())
        watch("sampling", here.stop, n, images[-1])
    return torch.cat(images), asked


@torch.no_grad()
def reconstruct_images(model: nn.Module, test: ImageSet, perceptual: nn.Module, batch_size: int,
                       watch: Watch = unwatched) -> tuple[Tensor, dict]:
    """Reconstructions of `test`, uint8 (N, 3, 32, 32) on the CPU, and how close they are to the originals.

    -> also {"psnr": dB, "ssim", "perceptual"}, means over images, and, of a model with codes, "code_usage" and
    "code_perplexity" over all of them. `perceptual` is a Classifier, other than the judge.
    """
    device = next(model.parameters()).device
    distance = PerceptualLoss(perceptual)
    images, scores, codes = [], {"psnr": [], "ssim": [], "perceptual": []}, []
    for part in test.images.split(batch_size):
        x = to_float(part.to(device))                                           # (B, 3, 32, 32)
        images.append(to_uint8(model.reconstruct(x)).cpu())
        y = to_float(images[-1].to(device))
        for name, score in (("psnr", psnr(x.cpu(), y.cpu())), ("ssim", ssim(x.cpu(), y.cpu())),      # MPS has no float64
                            ("perceptual", distance(x, y))):
            scores[name].append(score.cpu().double())
        if callable(getattr(model, "encode_codes", None)):
            codes.append(model.encode_codes(x).cpu())
        watch("reconstructing", min(len(images) * batch_size, len(test)), len(test), images[-1])
    metrics = {name: torch.cat(parts).mean().item() for name, parts in scores.items()}
    return torch.cat(images), metrics | (code_statistics(codes, model.codebook_size) if codes else {})
