"""What a run tells: log.jsonl, TensorBoard, a progress bar; and the watch over losses that are no longer numbers."""

import json
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress as Bar, TextColumn, TimeRemainingColumn
from torch import Tensor

from ..errors import TinygenError


class Log:
    """Collects the scalars of every step on the device and writes their means when flushed (one host sync a flush).

    `log.jsonl` holds one line a flush: step, images, seconds, lr, images_per_second and the terms of the loss.
    """

    def __init__(self, out: Path, name: str, total: int, batch_size: int, *, first_step: int = 0, seconds: float = 0.0,
                 quiet: bool = False, write: bool = True):
        self.out, self.name, self.total, self.batch_size = out, name, total, batch_size
        self.quiet, self.write = quiet, write
        self.pending: list[tuple[int, dict[str, Tensor]]] = []
        self.offset, self.start = seconds, time.perf_counter()
        self.step, self.last_step, self.last_time = first_step, first_step, self.start
        self.good_step = first_step

    def __enter__(self) -> "Log":
        if self.write:
            try:
                self.out.mkdir(parents=True, exist_ok=True)
                self.file = open(self._trimmed(), "a", encoding="utf-8")
            except OSError as error:
                raise TinygenError(f"cannot write to {self.out}: {error.strerror}; choose another --out") from error
            from torch.utils.tensorboard import SummaryWriter                   # takes a second to import
            self.board = SummaryWriter(str(self.out / "tensorboard"), purge_step=self.step)
        console = Console(stderr=True)
        watched = console.is_terminal or console.is_jupyter                     # else: a file or another program reads
        self.bar = Bar(TextColumn("{task.description}"), BarColumn(20),
                       TextColumn("{task.completed:.0f}/{task.total:.0f}"), TimeRemainingColumn(),
                       TextColumn("{task.fields[terms]}"), console=console, disable=self.quiet or not watched)
        self.bar.start()
        self.task = self.bar.add_task(self.name, total=self.total, completed=self.step, terms="")
        return self

    def __exit__(self, *_) -> None:
        self.bar.stop()
        if self.write:
            self.file.close()
            self.board.close()

    def _trimmed(self) -> Path:
        """log.jsonl without lines later than the step we start from."""
        path = self.out / "log.jsonl"
        if path.exists():
            whole = [line for line in path.read_text().splitlines() if line.endswith("}")]     # the last may be cut
            lines = [line for line in whole if json.loads(line)["step"] <= self.step]
            path.write_text("".join(line + "\n" for line in lines))
        return path

    def add(self, step: int, scalars: dict[str, Tensor]) -> None:
        """Remember the scalars of the `step`-th step (from 1) without reading them."""
        self.step = step
        self.pending.append((step, scalars))

    def flush(self, lr: float) -> float:
        """Write the means since the last flush, return the seconds spent so far; TinygenError if one is not finite."""
        now = time.perf_counter()
        seconds = self.offset + now - self.start
        if not self.pending:
            return seconds
        values = [(step, name, value) for step, scalars in self.pending for name, value in scalars.items()]
        numbers = torch.stack([value.float().reshape(()).to(values[0][2].device) for _, _, value in values]).tolist()
        sums: dict[str, list[float]] = {}
        for (step, name, _), number in zip(values, numbers):
            if number != number or number in (float("inf"), float("-inf")):
                checkpoint = self.out / "checkpoint"
                hint = f"the last good checkpoint is {checkpoint}" if checkpoint.exists() else \
                    "no checkpoint had been written yet"
                raise TinygenError(f"step {step}: {name} is {number}; {hint}; try a smaller train.lr or train.clip")
            sums.setdefault(name, []).append(number)
        means = {name: sum(entries) / len(entries) for name, entries in sums.items()}
        rate = (self.step - self.last_step) * self.batch_size / max(now - self.last_time, 1e-9)
        if self.write:
            line = {"step": self.step, "images": self.step * self.batch_size, "seconds": round(seconds, 2), "lr": lr,
                    "images_per_second": round(rate, 1)} | {name: float(f"{mean:.6g}") for name, mean in means.items()}
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()
            for name, mean in (means | {"images_per_second": rate, "lr": lr}).items():
                self.board.add_scalar(name, mean, self.step)
        shown = [f"{name} {mean:.3g}" for name, mean in means.items() if not name.startswith(("gradient_", "logits_"))]
        self.bar.update(self.task, completed=self.step, total=self.total, terms=" ".join([f"{rate:.0f} img/s", *shown[:5]]))
        self.pending, self.last_step, self.last_time = [], self.step, now
        return seconds

    def image(self, images: Tensor) -> None:
        """Show `images` (N, 3, S, S) in [-1, 1] as a grid in TensorBoard."""
        from torchvision.utils import make_grid
        self.board.add_image("preview", make_grid(images.float().cpu().clamp(-1, 1) / 2 + 0.5, nrow=10), self.step)
