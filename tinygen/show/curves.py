"""Loss curves from the log of a run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..errors import TinygenError
from .grids import figure_to_array

NOT_TERMS = {"step", "images", "seconds", "lr", "images_per_second"}


def read_log(path: str | Path) -> list[dict[str, float]]:
    """The lines of a log.jsonl (or of the one in a run folder) in order; a last line that was cut off is left out.

    TinygenError where there is none, or where it is damaged elsewhere.
    """
    path = Path(path) / "log.jsonl" if Path(path).is_dir() else Path(path)
    if not path.is_file():
        raise TinygenError(f"{path} is not there: give the folder of a run, or its log.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise TinygenError(f"{path} is damaged in line {number}: delete that line") from error
    return rows


def loss_curves(log: str | Path | Sequence[Mapping[str, float]], names: Sequence[str] | None = None, title: str = "",
                columns: int = 3) -> np.ndarray:
    """One small plot per term over the images seen -> uint8 (height, width, 3).

    `log` is a file, a run folder, or its lines; `names` picks terms (default: all but step counts, rates and seconds).
    TinygenError for an empty log or an unknown name.
    """
    rows = read_log(log) if isinstance(log, str | Path) else list(log)
    found = list(dict.fromkeys(name for row in rows for name, value in row.items()
                               if name not in NOT_TERMS and isinstance(value, int | float)))
    names = found if names is None else list(names)
    missing = [name for name in names if name not in found]
    if missing or not names:
        raise TinygenError(f"the log has no {missing[0] if missing else 'terms'} (known: {', '.join(found) or 'none'})")
    columns = min(columns, len(names))
    height = -(-len(names) // columns)
    inches = (3.4 * columns, 2.3 * height + (0.3 if title else 0))
    figure = Figure(figsize=inches, dpi=100, layout="constrained", facecolor="white")
    axes = figure.subplots(height, columns, squeeze=False).flatten()
    for axis in axes[len(names):]:
        axis.axis("off")
    for axis, name in zip(axes, names, strict=False):
        points = np.array([(row["images"], row[name]) for row in rows if name in row], dtype=float)   # (rows, 2)
        axis.plot(points[:, 0] / 1000, points[:, 1], color="#2563eb", linewidth=1.3)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("thousand images", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
    if title:
        figure.suptitle(title, fontsize=11, weight="bold")
    return figure_to_array(figure)
