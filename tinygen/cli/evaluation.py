"""How good is a model?"""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import TinygenError
from .common import Condition, Device, Guidance, Model, Negative, Sampler, Seed, Steps, check_file, count, progress


def evaluate(model: Model, data: Annotated[str, typer.Option(help="An image set, such as cifar10 or shapes:heldout.")],
             n: Annotated[int, count("How many images, at least 10.")],
             as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
             sheet: Annotated[Path | None, typer.Option(help="FILE.png: look at the first 100 images, too.")] = None,
             fid: Annotated[bool, typer.Option("--fid", help="The standard FID, too: needs the network, once.")] = False,
             condition: Condition = None,
             steps: Steps = None, sampler: Sampler = None, guidance: Guidance = None, negative: Negative = None,
             seed: Seed = 0, device: Device = None) -> None:
    """Measure reconstructions or samples: distances to the data, precision, recall, adherence, repetition."""
    if sheet is not None:
        check_file(sheet, (".png",))
    import torch

    from ..data.catalog import split_name
    from ..evaluate import evaluate as measure
    from ..evaluate import print_report
    from ..models import load_model
    from ..train import choose_device
    from .drawing import OPTIONS, sampling_options
    from .files import SHEET, write_png

    base, _ = split_name(data)
    device = choose_device(device)
    network, info = load_model(model, device)
    own = str(info.get("data", base)).partition(":")[0]
    if info["kind"] in OPTIONS and own != base:
        raise TinygenError(f"{model} draws images of {own}: evaluate it with --data {own}")
    if condition is not None and info["kind"] not in OPTIONS:
        raise TinygenError(f"a model of kind {info['kind']!r} has no --condition: leave it out")
    given = {"steps": steps, "sampler": sampler, "guidance": guidance, "negative": negative}
    options = sampling_options(network, info, given)
    made = []
    with progress() as show:
        def watch(what, done, total, images) -> None:
            show(what, done, total)
            if images is not None and sum(map(len, made)) < SHEET:
                made.append(images)

        report = measure(network, info, data, n, device=device, seed=seed, condition=condition, fid=fid, watch=watch,
                         **options)
    if sheet is not None:
        by_class = report["condition"] == "label"
        write_png(sheet, torch.cat(made)[:SHEET], info.get("class_names", ()) if by_class else ())
    if as_json:
        print(json.dumps(report, indent=1))
    else:
        print_report(report)
