"""What there is: data sets and trained models."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from .common import check_file


def data(name: Annotated[str, typer.Argument(metavar="NAME", help="shapes or cifar10; :train, :test may follow.")],
         out: Annotated[Path | None, typer.Option(help="FILE.png: look at the first 100 images.")] = None,
         as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False) -> None:
    """Get an image set (CIFAR-10 is fetched, once) and say what is in it."""
    if out is not None:
        check_file(out, (".png",))
    from ..data import describe

    facts = describe(name)
    if out is not None:
        from ..data import load
        from .files import SHEET, write_png

        write_png(out, load(name).images[:SHEET])
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    counts = ", ".join(f"{label} {n}" for label, n in zip(facts["classes"], facts["images_per_class"], strict=True))
    print(f"{facts['name']}: {facts['n']} images, {facts['dtype']}, {' x '.join(map(str, facts['shape']))}")
    print(f"classes: {counts}")
    for factor, values in facts["factors"].items():
        print(f"{factor}: {', '.join(values)}")
    for caption in facts["captions"]:
        print(f'caption: "{caption}"')
    print(f"source: {facts['source']}\nsha256: {facts['sha256']}")


def zoo() -> None:
    """List the trained models that come with tinygen: names, one a line; then a table of details."""
    from rich.console import Console
    from rich.table import Table

    from ..models import ZOO, read_facts, zoo_names

    names = zoo_names()
    for name in names:
        print(name)
    if not names:
        print("the zoo is empty: train a model with `tinygen train RECIPE --out DIR`", file=sys.stderr)
        return
    table = Table("name", "kind", "data", "what it is")
    for column in ("steps", "MB"):
        table.add_column(column, justify="right")
    for name in names:
        facts = read_facts(f"zoo:{name}")
        info, weights = facts["info"], ZOO / name / "model.safetensors"
        details = (str(info.get(key, "")) for key in ("data", "about", "steps"))
        table.add_row(name, facts["kind"], *details, f"{weights.stat().st_size / 1e6:.1f}")
    print()
    Console(markup=False).print(table)
