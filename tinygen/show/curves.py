"""Loss curves from the log of a run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..errors import TinygenError
from .grids import figure_to_array

COUNTS = {"step", "images", "seconds"}
NOT_TERMS = COUNTS | {"lr", "images_per_second"}


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


def logged_names(rows: Sequence[Mapping[str, float]]) -> list[str]:
    """What can be drawn over the images seen: every number of the log but the counts, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name, value in row.items()
                              if name not in COUNTS and isinstance(value, int | float)))


def draw_term(axis, rows: Sequence[Mapping[str, float]], name: str) -> np.ndarray:
    """Plot one number of the log over thousands of images; -> the points (rows, 2): images, value."""
    points = np.array([(row["images"], row[name]) for row in rows if name in row], dtype=float)       # (rows, 2)
    axis.plot(points[:, 0] / 1000, points[:, 1], color="#2563eb", linewidth=1.3, marker="." if len(points) == 1 else "")
    axis.set_title(name, fontsize=9)
    axis.set_xlabel("thousand images", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.25)
    return points


def loss_curves(log: str | Path | Sequence[Mapping[str, float]], names: Sequence[str] | None = None, title: str = "",
                columns: int = 3) -> np.ndarray:
    """One small plot per term over the images seen -> uint8 (height, width, 3).

    `log` is a file, a run folder, or its lines; `names` picks numbers (default: all but counts, rates and seconds).
    TinygenError for an empty log or an unknown name.
    """
    rows = read_log(log) if isinstance(log, str | Path) else list(log)
    found = logged_names(rows)
    names = [name for name in found if name not in NOT_TERMS] if names is None else list(names)
    missing = [name for name in names if name not in found]
    if missing or not names:
        raise TinygenError(f"the log has no {missing[0] if missing else 'terms'} (known: {', '.join(found) or 'none'})")
    columns = min(columns, len(names))
    height = -(-len(names) // columns)
    wide, high, above = 3.4 * columns, 2.3 * height + (0.3 if title else 0), 0.6 if title else 0.3            # inches
    figure = Figure(figsize=(wide, high), dpi=100, layout="none", facecolor="white")
    figure.subplots_adjust(left=0.55 / wide, right=1 - 0.1 / wide, bottom=0.45 / high, top=1 - above / high,
                           wspace=0.21, hspace=0.48)                            # a layout engine takes twice as long
    axes = figure.subplots(height, columns, squeeze=False).flatten()
    for axis in axes[len(names):]:
        axis.axis("off")
    for axis, name in zip(axes, names, strict=False):
        draw_term(axis, rows, name)
    if title:
        figure.suptitle(title, fontsize=11, weight="bold")
    return figure_to_array(figure)


def single_curves(rows: Sequence[Mapping[str, float]], marks: Sequence[float] = ()) -> dict[str, np.ndarray]:
    """A plot of its own for every number of a log's lines -> {what it shows, in words: uint8 (height, width, 3)}.

    `marks` are image counts at which a dashed line stands (where a run was resumed, say).
    """
    plots = {}
    for name in logged_names(rows):
        figure = Figure(figsize=(3.2, 2.1), dpi=200, facecolor="white")
        axis = figure.add_axes((0.17, 0.2, 0.8, 0.68))
        points = draw_term(axis, rows, name)
        for mark in marks:
            axis.axvline(mark / 1000, color="#9aa3b5", linewidth=0.8, linestyle="--")
        first, last = (f"{value:.3g}" for value in points[[0, -1], 1])
        words = f"{name}: from {first} to {last}, over {points[-1, 0] / 1000:.4g} thousand images"
        plots[words] = figure_to_array(figure)
    return plots
