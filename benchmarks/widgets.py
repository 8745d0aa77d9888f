"""How long each widget takes to answer: the median over several moves of a control, from the value to the picture.

    OMP_NUM_THREADS=1 python benchmarks/widgets.py [--moves 5]

Times are of the process and leave out the browser; other work on the same core still slows them down. The promise:
300 ms, and 3 s where a model draws samples.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import ipywidgets
import torch

from tinygen.data import load, to_float
from tinygen.diffusion import build_path
from tinygen.models import load_model
from tinygen.show import grid, scrub, widgets


def control(box, name: str):
    """The control of a widget that bears this name."""
    found = [child for child in getattr(box, "children", ()) if getattr(child, "description", "") == name]
    below = (control(child, name) for child in getattr(box, "children", ()))
    return found[0] if found else next(filter(None, below), None)


def log_of_a_run(folder: Path) -> Path:
    """A log of 400 lines with three terms."""
    rows = [{"step": i, "images": 64 * i, "seconds": i / 5, "lr": 1e-3, "images_per_second": 320.0}
            | {f"term {k}": 1 / (i + k) for k in range(3)} for i in range(1, 401)]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def boards(folder: Path) -> list[tuple]:
    """(name, whether a model samples, the widget, its control, the values it moves through)."""
    painter, vqgan = load_model("zoo:shapes-ldm")[0], load_model("zoo:shapes-vqgan")[0]
    shapes = to_float(load("shapes:test").images[:8])
    points = torch.randn(1600, 2, generator=torch.Generator().manual_seed(0))
    sentences = [f"a large {colour} heart on a plain white background" for colour in ("red", "blue", "green", "pink")]
    codes = vqgan.encode_codes(shapes[:1])[0]
    return [
        ("scrub", False, scrub([grid(shapes)] * 10), "frame", range(1, 10)),
        ("gan_playground (50 steps)", False, widgets.gan_playground(), "50 steps", None),
        ("voronoi_explorer", False, widgets.voronoi_explorer(points, 16), "steps", range(20, 0, -1)),
        ("palette_explorer (64 x 64)", False, widgets.palette_explorer(torch.rand(3, 64, 64) * 2 - 1), "colours",
         range(32, 1, -1)),
        ("codebook_explorer", False, widgets.codebook_explorer(vqgan, codes), "code", range(1, 100)),
        ("noise_explorer", False, widgets.noise_explorer(build_path("cosine"), shapes), "t",
         [i / 50 for i in range(50)]),
        ("dashboard", False, widgets.dashboard(log_of_a_run(folder)), "read again", None),
        ("sampler_race (16 calls)", True, widgets.sampler_race(painter, torch.arange(6)), "seed", range(1, 100)),
        ("guidance_explorer", True, widgets.guidance_explorer(painter), "scale", [0.5 * i for i in range(3, 20)]),
        ("interpolation_explorer", True, widgets.interpolation_explorer(painter), "u", [0.05 * i for i in range(20)]),
        ("prompt_box", True, widgets.prompt_box(painter, sentences[-1]), "prompt", sentences),
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--moves", type=int, default=5)
    moves = options.parse_args().moves
    print("| widget | milliseconds | promised |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, samples, box, part, values in boards(Path(folder)):
            if name.startswith("sampler_race"):
                control(box, "calls").value = 16
            handle, seconds = control(box, part), []
            for value in (values or range(moves + 1))[:moves + 1]:
                start = time.process_time()
                if isinstance(handle, ipywidgets.Button):
                    handle.click()
                else:
                    handle.value = value
                seconds.append(time.process_time() - start)
            took, promised = 1000 * statistics.median(seconds[1:]), 3000 if samples else 300
            print(f"| `{name.split()[0]}`{name.removeprefix(name.split()[0])} | {took:.0f} | {promised} |", flush=True)


if __name__ == "__main__":
    main()
