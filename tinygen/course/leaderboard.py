"""The capstone's leaderboard: what is handed in is measured here; nothing that a student claims is believed.

    leaderboard/leaderboard.csv     a row an entry: who, what was measured, by which protocol
    leaderboard/samples/NAME.npz    the images that were measured, so that later entries can be compared with them
"""

import csv
import hashlib
import io
import math
import re
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..data import load, to_float
from ..data.catalog import DATA_SETS
from ..errors import TinygenError
from ..evaluate import evaluate, nearest_neighbours
from ..evaluate.duplicates import THRESHOLD, pixels
from ..models import read_facts, zoo_names
from ..show import to_hwc
from .entry import draw_samples, read_samples
from .files import write_bytes, write_text

METRICS = ("fd", "kd", "precision", "recall", "class_adherence", "duplicates", "repeats_data")
COLUMNS = ("name", "kind", "data", "n", "seed", *METRICS, "claim", "sha256")
KINDS = ("baseline", "model", "samples")
MOST_REPEATS = 0.05                                     # share of images that may lie within THRESHOLD of a real one
MOST_SHARED = 0.5                                       # and of an image of somebody else's entry


class Recorded(nn.Module):
    """A generator that hands out images which were drawn before, uint8 (N, 3, 32, 32), in their order."""

    def __init__(self, images: Tensor, num_classes: int = 0):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.images, self.num_classes, self.given = images, num_classes, 0

    def generate(self, n: int, labels: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """The next n images, float (n, 3, 32, 32) in [-1, 1]."""
        self.given += n
        return to_float(self.images[self.given - n:self.given])


class Leaderboard:
    """The board in a folder; all its rows have one image set and one N, those of the first."""

    def __init__(self, folder: Path):
        self.folder, self.file = folder, folder / "leaderboard.csv"

    def rows(self) -> list[dict]:
        """The entries, best FD first; TinygenError where the file is not one that `add` wrote."""
        if not self.file.exists():
            return []
        with self.file.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise TinygenError(f"{self.file} does not have the columns {', '.join(COLUMNS)}: restore it")
        for line, row in enumerate(rows, 2):
            try:
                row |= {key: int(row[key]) for key in ("n", "seed")}
                row |= {key: float(row[key]) if row[key] else None for key in (*METRICS, "claim")}
                if row["kind"] not in KINDS or not math.isfinite(row["fd"]):
                    raise ValueError
            except (TypeError, ValueError) as error:
                raise TinygenError(f"{self.file}, line {line}: not what `leaderboard add` writes; restore it") from error
        return sorted(rows, key=lambda row: row["fd"])

    def add(self, name: str, submission: str, data: str | None = None, n: int | None = None, seed: int = 0,
            claim: float | None = None, baseline: bool = False, replace: bool = False) -> dict:
        """Measure `submission` (a file of samples, or a model's folder) and enter it under `name`; -> its row.

        data, n: the protocol; later entries have the board's. seed: of a model's samples and of the measure. claim: the
        student's own FD, kept beside the measured one. baseline: zoo:NAME is allowed. TinygenError with one line for
        whatever is wrong with an entry; the board is as before then.
        """
        rows = self.rows()
        data, n = self.protocol(rows, data, n)
        if not re.fullmatch(r"\w[\w.@-]*", name):
            raise TinygenError(f"a name has letters, digits and . _ @ - only, not {name!r}")
        if any(row["name"] == name for row in rows) and not replace:
            raise TinygenError(f"{name} is on the board already: --replace takes the new entry")
        others = [row for row in rows if row["name"] != name]
        kind, images, labelled = self.images(submission, data, n, seed, baseline)
        digest = images_sha256(images)
        self.check_others(images, digest, others)
        sets = {split: load(f"{data}:{split}") for split in DATA_SETS[data]}
        repeats = repeated(images, torch.cat([part.images for part in sets.values()]))
        if repeats > MOST_REPEATS:
            raise TinygenError(f"{repeats:.0%} of the images repeat images of {data}: copied or memorised, not generated")
        classes = len(sets["train"].class_names) if labelled else 0
        report = evaluate(Recorded(images, classes), {"kind": kind}, data, n, seed=seed)
        row = {"name": name, "kind": kind, "data": data, "n": n, "seed": seed, "claim": claim, "sha256": digest}
        row |= {key: report["metrics"].get(key) for key in METRICS} | {"repeats_data": repeats}
        self.keep(name, images)
        self.write([*others, row])
        return row

    @staticmethod
    def protocol(rows: list[dict], data: str | None, n: int | None) -> tuple[str, int]:
        """The board's image set and N; TinygenError where others are asked for."""
        board = (rows[0]["data"], rows[0]["n"]) if rows else (data or "shapes", n or 1000)
        if board != (data or board[0], n or board[1]):
            raise TinygenError(f"this board measures {board[1]} images of {board[0]}: numbers of another protocol "
                               "cannot be compared; start another board with --board")
        if board[0] not in DATA_SETS:
            raise TinygenError(f"there is no image set {board[0]!r}: {', '.join(DATA_SETS)}")
        return board

    @staticmethod
    def images(submission: str, data: str, n: int, seed: int, baseline: bool) -> tuple[str, Tensor, bool]:
        """What the entry is, its images, and whether they are drawn for the classes in turn."""
        path = Path(submission)
        if not submission.startswith("zoo:") and not path.is_dir():
            if not path.is_file():
                raise TinygenError(f"there is no {submission}: give a file of samples (.npz) or a model's folder")
            return "baseline" if baseline else "samples", *read_samples(path, n, len(load(data).class_names))
        facts = read_facts(submission)
        trained_on = str(facts["info"].get("data")).partition(":")[0]
        if trained_on != data:
            raise TinygenError(f"{submission} was trained on {trained_on}; this board measures {data}")
        copies = [zoo for zoo in zoo_names() if read_facts(f"zoo:{zoo}")["sha256"] == facts["sha256"]]
        if copies and not baseline:
            raise TinygenError(f"{submission} has the weights of zoo:{copies[0]}: hand in a model of your own")
        with tempfile.TemporaryDirectory() as place:
            samples = Path(place, "samples.npz")
            draw_samples(submission, n, seed, samples)
            drawn = read_samples(samples, n, len(load(data).class_names))
        return "baseline" if baseline else "model", *drawn

    def check_others(self, images: Tensor, digest: str, others: list[dict]) -> None:
        """TinygenError where these are, or largely are, the images of an earlier entry."""
        for row in others:
            same = row["sha256"] == digest
            kept = self.folder / "samples" / f"{row['name']}.npz"
            if not same and kept.exists():
                earlier = torch.from_numpy(np.load(kept, allow_pickle=False)["images"]).permute(0, 3, 1, 2)
                same = repeated(images, earlier) > MOST_SHARED
            if same:
                raise TinygenError(f"these are the images of {row['name']}, which are on the board already")

    def keep(self, name: str, images: Tensor) -> None:
        """Put the measured images beside the board."""
        (self.folder / "samples").mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, images=to_hwc(images))
        write_bytes(self.folder / "samples" / f"{name}.npz", buffer.getvalue())

    def write(self, rows: list[dict]) -> None:
        """The file, whole or not at all."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in sorted(rows, key=lambda row: row["fd"]):
            writer.writerow({key: f"{value:.5g}" if isinstance(value, float) else value for key, value in row.items()})
        write_text(self.file, text.getvalue())


def table(rows: list[dict]) -> str:
    """A line an entry, as text of fixed width; what is measured is said in the first line."""
    if not rows:
        return "nobody is on the board yet"
    names = {"class_adherence": "classes", "repeats_data": "copied"}
    wide = max(12, *(len(row["name"]) for row in rows))
    lines = [f"N = {rows[0]['n']} images of {rows[0]['data']}; FD, KD in our own judge's features (not FID, KID); "
             "lower is better"]
    lines += [" ".join([f"{'name':{wide}}", f"{'kind':8}", *(f"{names.get(key, key):>10}" for key in METRICS), f"{'claim':>8}"])]
    for row in rows:
        numbers = [f"{'' if row[key] is None else f'{row[key]:.3f}':>10}" for key in METRICS]
        claim = "" if row["claim"] is None else f"{row['claim']:.2f}"
        lines.append(" ".join([f"{row['name']:{wide}}", f"{row['kind']:8}", *numbers, f"{claim:>8}"]))
    return "\n".join(lines)


def images_sha256(images: Tensor) -> str:
    """Of the set: the order of the images does not matter."""
    each = sorted(hashlib.sha256(image.numpy().tobytes()).digest() for image in images.contiguous())
    return hashlib.sha256(b"".join(each)).hexdigest()


def repeated(images: Tensor, others: Tensor) -> float:
    """Share of `images` that lie within THRESHOLD (RMS in [-1, 1]) of one of `others`, or of its mirror image.

    Both uint8 (N, 3, H, W), (M, 3, H, W). Brightness is left out: the mean of every image and channel is taken off.
    """
    flat = [pixels(part) for part in (images, others, others.flip(3))]
    plain = [(x.unflatten(1, (3, -1)) - x.unflatten(1, (3, -1)).mean(dim=2, keepdim=True)).flatten(1) for x in flat]
    nearest = [nearest_neighbours(plain[0], part)[0][:, 0] for part in plain[1:]]
    return (torch.minimum(*nearest) < THRESHOLD).double().mean().item()
