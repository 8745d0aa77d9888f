"""What a training run leaves for people: run.json (who trained what, where, how it ended) and report.html.

The command `tinygen train` puts `Record` around the loop; `run_page` makes the page out of what lies in a run folder.
"""

import contextlib
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..errors import TinygenError
from ..models import write_atomically
from .curves import read_log, single_curves
from .page import Page

RUN, REPORT = "run.json", "report.html"
MOST = 6                                                # previews on the page


class Record:
    """Context around `trainer.run()`: notes settings, environment and how the run ended, then writes the report.

    trainer: a `tinygen.train.Trainer` before its run; tier and changes: how its recipe was asked for. A resumed run
    adds a session to the earlier ones. The report is written however the run ends: finished, Ctrl-C, or an error, which goes
    on its way. Of several processes only the main one writes. TinygenError where one cannot write.
    """

    def __init__(self, trainer, tier: str = "", changes: Sequence[str] = ()):
        self.trainer, self.main = trainer, trainer.accelerator.is_main_process
        self.facts: dict[str, Any] = {"recipe": asdict(trainer.recipe), "tier": tier, "changes": list(changes)}

    def __enter__(self) -> "Record":
        if self.main:
            trainer, out = self.trainer, self.trainer.out
            self.before = (out / RUN).read_bytes() if (out / RUN).exists() else None
            earlier = read_json(out / RUN).get("sessions", []) if trainer.resume else []
            parameters = sum(p.numel() for p in trainer.objective.model.parameters())
            self.session = {"started": time.strftime("%Y-%m-%d %H:%M:%S"), "ended": "",
                            "first_step": checkpoint(out).get("step", 0) if trainer.resume else 0,
                            "environment": environment(trainer)}
            self.facts |= {"minutes": trainer.minutes, "parameters": parameters, "sessions": [*earlier, self.session],
                           "data": {"name": trainer.data.name, "images": len(trainer.data),
                                    "sha256": trainer.data.sha256()}}
            self.write()
        return self

    def write(self) -> None:
        """run.json as things stand."""
        write_atomically(self.trainer.out / RUN, json.dumps(self.facts, indent=1).encode())

    def forget(self) -> None:
        """Put back the run.json of before, or none."""
        path = self.trainer.out / RUN
        path.unlink(missing_ok=True) if self.before is None else write_atomically(path, self.before)

    def __exit__(self, kind, error, traceback) -> None:
        if not self.main:
            return
        if error and self.trainer.resume and not self.trainer.step:         # refused: as if it had not been asked for
            return self.forget()
        self.session |= {"last_step": self.trainer.step, "ended": "finished" if error is None else "interrupted" if
                         isinstance(error, KeyboardInterrupt) else f"stopped: {error or kind.__name__}"}
        self.facts["total"] = self.trainer.total
        with contextlib.suppress(TinygenError) if error else contextlib.nullcontext():    # the first error is the news
            self.write()
            write_run_report(self.trainer.out)


def environment(trainer) -> dict[str, str]:
    """Versions and hardware, in words."""
    device, accelerator = trainer.device, trainer.accelerator
    cuda = device.type == "cuda"
    precision = {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
    return {"tinygen": __version__, "python": platform.python_version(), "torch": torch.__version__,
            **({"CUDA": str(torch.version.cuda)} if cuda else {}),
            "system": f"{platform.system()} {platform.machine()}", "processor": processor(),
            "device": torch.cuda.get_device_name(device) if cuda else device.type,
            "precision": precision, "threads": f"{torch.get_num_threads()} of {os.cpu_count()} processors",
            "processes": str(accelerator.num_processes)}


def processor() -> str:
    """The CPU's name where the system tells it, else its kind."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's mapping; an empty one where there is none or it is damaged."""
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def checkpoint(folder: Path) -> dict[str, Any]:
    """What the newest checkpoint says of itself: recipe, step, total, seconds."""
    found = (read_json(folder / name / "facts.json") for name in ("checkpoint", ".checkpoint.old"))
    return next(filter(None, found), {})


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"train": {"lr": 1}} -> {"train.lr": 1}; empty settings are left out."""
    result = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{key}.")
        elif value not in (None, "", [], ()):
            result[f"{prefix}{key}"] = value
    return result


def duration(seconds: float) -> str:
    """3725 -> "1 h 2 min"; short ones in seconds."""
    hours, minutes = int(seconds // 3600), int(seconds % 3600 // 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60:.0f} s" if minutes else f"{seconds:.1f} s"


def evenly(things: Sequence, most: int) -> list:
    """At most so many of the things, evenly spaced, the first and the last among them."""
    if len(things) <= most:
        return list(things)
    return [things[round(i * (len(things) - 1) / (most - 1))] for i in range(most)]


def run_page(folder: str | Path) -> Page:
    """The page of a run: how it went, curves, previews, settings, environment.

    Works for a finished, an interrupted or a living run; of one that was not recorded (see `Record`) it shows what
    checkpoint, log and model tell. TinygenError for a folder without a run.
    """
    folder = Path(folder)
    facts, saved, model = read_json(folder / RUN), checkpoint(folder), read_json(folder / "model.json")
    rows = read_log(folder) if (folder / "log.jsonl").is_file() else []
    if not (facts or saved or rows):
        raise TinygenError(f"{folder} holds no run: give the folder of a `tinygen train`")
    info, recipe = model.get("info", {}), facts.get("recipe") or saved.get("recipe") or {}
    total = facts.get("total") or saved.get("total") or info.get("steps")
    step = max([row["step"] for row in rows] + [saved.get("step", 0)])
    sessions = facts.get("sessions", [])
    ended = sessions[-1]["ended"] if sessions else "finished" if model else ""
    state = ended or "still training, or killed: --resume goes on from the last checkpoint"
    last = rows[-1] if rows else {}
    name = recipe.get("name") or info.get("recipe") or folder.name

    page = Page(f"Training of {name}", recipe.get("about") or info.get("about", ""))
    size = (folder / "model.safetensors").stat().st_size if model else 0
    data = facts.get("data") or {"name": info.get("data", recipe.get("data")), "sha256": info.get("data_sha256")}
    told = {"how it ended": state, "steps": f"{step:,}" + (f" of {total:,}" if total else ""),
            "images seen": f"{last['images']:,}" if last else None,
            "time of training": duration(last["seconds"]) if last else None,
            "images per second": f"{last['images'] / max(last['seconds'], 1e-9):.0f}" if last else None,
            "parameters": f"{facts['parameters']:,}" if "parameters" in facts else None,
            "model": f"{size / 1e6:.1f} MB, SHA-256 {model.get('sha256', '')[:16]}" if size else None,
            "data": ", ".join(str(part) for part in (data.get("name"), f"{data['images']:,} images" if "images" in data
                                                     else None) if part),
            "data, SHA-256": data.get("sha256")}
    page.section("How it went").table([{"what": key, "value": value} for key, value in told.items() if value],
                                      words=True)
    page.section("Curves")
    if rows:
        page.text("Every logged number over the images seen: means since the line before." +
                  (" Dashed: resumed here." if len(sessions) > 1 else ""))
        batch = last["images"] / last["step"]
        page.row(single_curves(rows, [session["first_step"] * batch for session in sessions[1:]]))
    else:
        page.text("Nothing was logged yet.")
    draw_previews(page, folder, step, total)
    page.section("Settings", "The recipe as it was trained" + (f", tier {facts['tier']}" if facts.get("tier") else "") +
                 (f", for {facts['minutes']:g} minutes" if facts.get("minutes") else "") +
                 (f". Changed by hand: {', '.join(facts['changes'])}." if facts.get("changes") else "."))
    page.table([{"setting": key, "value": str(value)} for key, value in flat(recipe).items() if key != "about"],
               words=True)
    describe_sessions(page, sessions)
    return page


def draw_previews(page: Page, folder: Path, step: int, total: int | None) -> None:
    """Previews over time, evenly spaced; nothing where the recipe makes none."""
    found = sorted((folder / "previews").glob("*.png"))
    there = [path for path in found if path.stem.isdecimal() and int(path.stem) <= step]
    if there:
        page.section("Pictures", "What the model makes of the same inputs, as training goes on.")
    for path in evenly(there, MOST):
        page.image(path.read_bytes(), f"step {int(path.stem):,}" + (f" of {total:,}" if total else ""))


def describe_sessions(page: Page, sessions: Sequence[Mapping[str, Any]]) -> None:
    """Where and when it ran: one column a session."""
    page.section("Environment")
    if not sessions:
        page.text("Not recorded: `tinygen train` notes it, a Trainer in a notebook does not.")
        return
    keys = dict.fromkeys(key for session in sessions for key in session["environment"])
    columns = {f"session {i}": session for i, session in enumerate(sessions, 1)}
    rows = [{"what": what} | {title: session.get(key) for title, session in columns.items()} for what, key in
            (("started", "started"), ("from step", "first_step"), ("to step", "last_step"), ("ended", "ended"))]
    rows += [{"what": key} | {title: session["environment"].get(key) for title, session in columns.items()}
             for key in keys]
    page.table(rows, words=True)


def write_run_report(folder: str | Path) -> Path:
    """Write `run_page` to report.html in the run folder; -> its path."""
    return run_page(folder).save(Path(folder) / REPORT)
