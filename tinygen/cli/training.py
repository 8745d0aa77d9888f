"""Training: a recipe, or the demonstration of it all."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ..errors import TinygenError
from .common import Device, Tier, check_folder


def train(recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="The name of a recipe, or a .yaml file.")],
          out: Annotated[Path, typer.Option(help="The run folder: model, checkpoint, previews, log, report.html.")],
          tier: Tier = None,
          resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
          changes: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=(
              "Change the recipe, for example train.steps=100; can be given several times."))] = None,
          minutes: Annotated[float | None, typer.Option(
              help="A time budget in place of the recipe's steps; a resumed run keeps its own.")] = None,
          device: Device = None) -> None:
    """Train a model after a recipe."""
    if minutes is not None and not 0 < minutes < float("inf"):
        raise TinygenError(f"--minutes must be above 0, not {minutes}")
    check_folder(out)
    from ..show.run_report import REPORT, Record
    from ..train import Trainer, choose_device, default_tier, load_recipe

    tier_there = tier or default_tier(choose_device(device).type)
    chosen = load_recipe(recipe, tier_there, changes or ())
    try:
        trainer = Trainer(chosen, out, device=device, minutes=minutes, resume=resume)
        with Record(trainer, tier_there, changes or ()):
            trainer.run()
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(how_to_resume(recipe, out, tier, changes, device)) from interrupt
    if trainer.accelerator.is_main_process:
        print(f"{chosen.name}: {trainer.total} steps in {trainer.seconds:.0f} s; the model is in {out}")
        print(f"How it went: {out / REPORT}")
        if hint := what_next(chosen.kind, chosen.data, shlex.quote(str(out))):
            print(f"Next: {hint}")


def how_to_resume(recipe: str, out: Path, tier: str | None, changes: list[str] | None, device: str | None) -> str:
    """What to say after Ctrl-C."""
    from ..train.checkpoint import find_checkpoint

    if find_checkpoint(out) is None:
        return "interrupted before the first step was over; there is no checkpoint yet, run the same command again"
    options = {"--tier": [tier] if tier else [], "--set": changes or [], "--device": [device] if device else []}
    words = ["tinygen", "train", recipe, "--out", str(out)]
    for key, values in options.items():
        words += [word for value in values for word in (key, value)]
    return f"interrupted; the checkpoint is saved, go on with: {shlex.join([*words, '--resume'])}"


def what_next(kind: str, data: str, out: str) -> str:
    """A command to look at a new model with; nothing for a classifier or a CLIP."""
    if kind in ("vq", "kl"):
        return f"tinygen reconstruct {out} --data {data.partition(':')[0]}:test --n 32 --out reconstructions.png"
    return "" if kind in ("classifier", "clip") else f"tinygen sample {out} --n 40 --out samples.png"


def report(run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, also of a run that still goes on.")]
           ) -> None:
    """Write the report of a run again: curves, previews, settings, environment, in one HTML file."""
    from ..show.run_report import write_run_report

    print(write_run_report(run))


def demo(out: Annotated[Path, typer.Option(help="Where models and pictures go.")] = Path("demo")) -> None:
    """Train a VQGAN and a latent diffusion model in about five minutes, and look at what they make."""
    check_folder(out)
    from ..demo import DEMO, run

    run(DEMO, out)


def speedrun(out: Annotated[Path, typer.Option(help="Where models, pictures and the report go.")] = Path("speedrun"),
             device: Device = None, tier: Tier = None,
             dry_run: Annotated[bool, typer.Option("--dry-run", help="The same path with seconds of training.")] = False
             ) -> None:
    """CIFAR-10 in one go: VQGAN (5 minutes), latent diffusion (8), its decoder (2), evaluation with 10,000 images, report."""
    check_folder(out)
    from dataclasses import replace

    from ..demo import SPEEDRUN, run

    short = {"first_stage_minutes": 0.05, "diffusion_minutes": 0.05, "decoder_minutes": 0.05, "samples": 40, "n": 20, "steps": 4,
             "images": 1000}
    run(replace(SPEEDRUN, **(short if dry_run else {})), out, device, tier)
