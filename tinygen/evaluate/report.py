"""One function and one protocol to evaluate every kind of model."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from ..data import ImageSet, load
from ..data.photos import measure_photos
from ..errors import TinygenError
from ..models import load_model
from .adherence import class_adherence, label_head, prompt_adherence
from .duplicates import duplicate_rate, memorisation, pixels
from .frechet import Gaussian, frechet_distance, kernel_distance
from .inception import inception_weights, standard_fid
from .judging import Judged, judge_images, judge_set, weights_sha256
from .making import Watch, generate_images, reconstruct_images, unwatched
from .precision_recall import precision_recall

NEAREST = 1000      # at most so many images look for their nearest neighbour in the training set


def evaluate(model: nn.Module, info: Mapping[str, Any], data_name: str, n: int, *, device: str | torch.device = "cpu",
             seed: int = 0, batch_size: int = 100, judge: nn.Module | str | None = None,
             perceptual: nn.Module | str | None = None, condition: str | None = None, repeats: int = 100,
             neighbours: int = 3, fid: bool = False, root: str | Path | None = None, watch: Watch = unwatched,
             **sampling) -> dict[str, Any]:
    """Measure `model` (with its facts `info`) on n images; real images, noise and a copier are measured beside it.

    A first stage reconstructs the first n images of `data_name` (of its test split, where none is named). A generator
    draws n images from `seed`: for balanced labels, or, with `condition` "prompt", for the captions of those images
    ("label" is the default of models that know labels); `sampling` goes to its `generate`. All images are rounded to
    uint8 first. The reference is the whole training split. The judge is a network that is part of no loss (`judge`: a
    Classifier or the name of one, zoo:<data>-judge if None; `perceptual` likewise, for reconstructions).
    `watch(what, done, total, images)` is called after every batch that is drawn, reconstructed or judged.
    Yardsticks: n test images, uniform noise, and a model that repeats `repeats` training images.
    `fid` adds "standard_fid" of the model and of the test images to the training split: see standard_fid.
    -> JSON-able: {"metrics": {name: number}, "yardsticks": {"test": {name: number}, "noise": ..., "repeat": ...}} and
    the protocol. TinygenError for n < 10, for a model of another kind, and for a judge of other data.
    """
    started = time.perf_counter()
    if n < 10:
        raise TinygenError(f"n is {n}: evaluate with at least 10 images, better 2000")
    if fid:
        inception_weights()                                 # before the work, lest it be lost for want of a file
    base, _, split = data_name.partition(":")
    train, test = load(f"{base}:train", root=root), load(f"{base}:{split or 'test'}", root=root)
    test = test.subset(range(min(n, len(test))))
    judge, judge_name = network(judge, f"zoo:{base}-judge", device)
    head = label_head(judge.heads, test)
    model = model.to(device).eval()

    generates = callable(getattr(model, "generate", None))
    if generates:
        images, asked = generate_images(model, test, n, seed, batch_size, condition, sampling, watch)
        metrics = {}
    elif callable(getattr(model, "reconstruct", None)):
        judge_of_pairs, _ = network(perceptual, f"zoo:{base}-perceptual", device)
        images, metrics = reconstruct_images(model, test, judge_of_pairs, batch_size, watch)
        asked = {"labels": test.labels}
    else:
        raise TinygenError("only first stages and generators can be evaluated: name one of those")

    draw = torch.Generator().manual_seed(seed)
    few = torch.randperm(len(train), generator=draw)[:repeats]
    noise = torch.randint(256, images.shape, dtype=torch.uint8, generator=draw)
    reference = judge_set(judge, train, root=root, watch=watch)
    seen, held = judge_images(judge, images), judge_images(judge, test.images)
    if "brightness" in test.factor_names:                   # photographs: what their captions say is measured, not judged
        for judged, pictures in ((seen, images), (held, test.images)):
            judged.predicted |= dict(zip(("brightness", "background"), measure_photos(pictures).unbind(1)))
    everyone = {"model": seen, "test": held, "noise": judge_images(judge, noise),
                "repeat": reference[few[torch.arange(len(images)) % len(few)]]}
    gaussian = Gaussian.fit(reference.features)
    numbers = {who: compare(judged, reference, gaussian, neighbours, seed) for who, judged in everyone.items()}

    numbers["model"] = metrics | numbers["model"] | adherence(seen, asked, head, test)
    numbers["test"] |= adherence(held, {"labels": test.labels, "factors": test.factors}, head, test)
    if fid:
        for who, pictures in (("model", images), ("test", test.images)):
            numbers[who]["standard_fid"] = standard_fid(train.images, pictures, device=device)
    if generates:
        numbers["model"]["duplicates"] = duplicate_rate(images)
        numbers["test"]["duplicates"] = duplicate_rate(test.images)
        first = slice(0, NEAREST)
        spaces = {"feature": tuple(judged.features.double() for judged in (seen[first], held[first], reference)),
                  "pixel": tuple(pixels(part) for part in (images[first], test.images[first], train.images))}
        for space, points in spaces.items():
            for who, found in memorisation(*points).items():
                numbers[who] |= {f"{space}_{name}": number for name, number in found.items()}
    return {"kind": info.get("kind"), "data": test.name, "n": len(images), "n_test": len(test), "seed": seed,
            "condition": next(iter(asked), None) if generates else None, "sampling": dict(sampling),
            "reference": f"{train.name}, all {len(train)} images", "judge": judge_name,
            "judge_sha256": weights_sha256(judge), "repeats": len(few), "neighbours": neighbours,
            "metrics": numbers.pop("model"), "yardsticks": numbers, "seconds": round(time.perf_counter() - started, 1)}


def network(given: nn.Module | str | None, default: str, device: str | torch.device) -> tuple[nn.Module, str]:
    """A network that was given as itself, by name, or not at all, in eval mode on `device`; and its name."""
    if isinstance(given, nn.Module):
        return given.to(device).eval(), "given"
    return load_model(given or default, device)[0].eval(), given or default


def compare(judged: Judged, reference: Judged, gaussian: Gaussian, neighbours: int, seed: int) -> dict[str, Any]:
    """How far a judged set is from the reference: FD to all of it; KD, precision and recall to as many images of it."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(reference), generator=draw)[:len(judged)]
    kd, error = kernel_distance(judged.features, reference.features, draw)
    precision, recall = precision_recall(reference.features[rows], judged.features[:len(rows)], neighbours)
    return {"fd": frechet_distance(Gaussian.fit(judged.features), gaussian), "kd": kd,
            "kd_error": None if error != error else error, "precision": precision, "recall": recall}


def adherence(judged: Judged, asked: Mapping[str, Tensor], head: str, data: ImageSet) -> dict[str, float]:
    """Share of images that show their label, and the factors of their prompt, where there are any."""
    rates = {"class_adherence": class_adherence(judged.predicted[head], asked["labels"])} if "labels" in asked else {}
    if "factors" in asked and data.factor_names:
        found = prompt_adherence(judged.predicted, asked["factors"], data.factor_names)
        rates |= {f"prompt_adherence_{name}": rate for name, rate in found.items()}
    return rates


def print_report(report: Mapping[str, Any], console: Console | None = None) -> None:
    """The report as a table: one row a metric that the model has, beside its yardsticks; N, reference and judge in the title."""
    console = console or Console()
    console.print(f"{report['kind']} on {report['data']}: N = {report['n']}, reference {report['reference']}, "
                  f"judge {report['judge']} ({report['judge_sha256'][:8]}), seed {report['seed']}", highlight=False)
    yardsticks = report["yardsticks"]
    columns = {"this model": report["metrics"], f"{report['n_test']} test images": yardsticks["test"],
               "uniform noise": yardsticks["noise"], f"{report['repeats']} images repeated": yardsticks["repeat"]}
    table = Table("metric")
    for title in columns:
        table.add_column(title, justify="right")
    for name in (name for name, value in report["metrics"].items() if value is not None):
        cells = (numbers.get(name) for numbers in columns.values())
        table.add_row(name, *("" if cell is None else f"{cell:.4g}" for cell in cells))
    console.print(table)
    console.print("FD and KD are in our own judge's features: they are not FID and KID. Lower is better. FD falls as N "
                  "grows, so compare at equal N only.", highlight=False)
