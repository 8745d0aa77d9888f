"""What the commands share: common options, checks that come before long work, progress while it lasts."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..errors import TinygenError

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A run folder, or zoo:NAME.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed makes the same images.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps; the best there is by default.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Denoising steps (latent diffusion).")]
Sampler = Annotated[str | None, typer.Option(help="ddpm, ddim, euler, heun or dpmpp_2m (latent diffusion).")]
Guidance = Annotated[float | None, typer.Option(help="Guidance scale; 1 is none (latent diffusion, token prior).")]
Negative = Annotated[str | None, typer.Option(help="A text to keep away from (models that know text).")]
Label = Annotated[str | None, typer.Option(help="A class, by name or index; by default 0, 1, 2, ... in turn.")]
Prompt = Annotated[str | None, typer.Option(help="What to draw (models that know text).")]
Condition = Annotated[str | None, typer.Option(help="What to ask a model by that knows both: label or prompt.")]
Tier = Annotated[str | None, typer.Option(help="cpu or gpu; by default TINYGEN_TIER, else what fits the device.")]


def count(what: str) -> typer.models.OptionInfo:
    """The option --n."""
    return typer.Option("--n", min=1, help=what)


def check_file(path: Path, suffixes: tuple[str, ...]) -> None:
    """TinygenError unless `path` ends in one of `suffixes` and can be written; leaves no trace."""
    if path.suffix.lower() not in suffixes:
        raise TinygenError(f"--out {path}: the name must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise TinygenError(f"--out {path} is a folder; give the name of a file")
    check_folder(path.parent)


@contextmanager
def progress(unit: str = "img/s") -> Iterator[Callable[[str, float, int], None]]:
    """show(what, done, total) draws a bar with speed and time left on a terminal's stderr, and nothing elsewhere.

    A new `what` starts a new bar; all of them vanish at the end, so that what is printed is what was found.
    """
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.completed:.0f}/{task.total:.0f}"),
               TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    tasks = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        def show(what: str, done: float, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, rate="")
            bar = bars.tasks[tasks[what]]
            if done < bar.completed:                                        # the next of several pieces of one kind
                bars.reset(bar.id, total=total)
            bars.update(bar.id, completed=done, rate=f"{bar.speed:.3g} {unit}" if bar.speed else "")
        yield show


def check_folder(folder: Path) -> None:
    """TinygenError unless a file can be written in `folder`, or where it will be made; leaves no trace."""
    try:
        there = folder.absolute()
        while not there.exists():
            there = there.parent
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(4096))
    except OSError as error:
        hint = "choose another folder, or free some space"
        raise TinygenError(f"--out: cannot write in {folder} ({error.strerror}); {hint}") from error
