"""`python -m tinygen.publish RUN NAME`: put a trained run into the zoo, in float16, with a model card made of what was measured."""

import json
import sys
from pathlib import Path

import torch

from .models import ZOO, load_model, read_facts, save_model


def card(name: str, facts: dict) -> str:
    """The model card, Markdown, from the facts in model.json."""
    info, numbers = facts["info"], facts["info"].get("metrics") or {}
    rows = [f"| {key} | {value:.4g} |" if isinstance(value, float) else f"| {key} | {value} |"
            for key, value in numbers.items() if isinstance(value, (int, float, str))]
    arguments = {key: (value["kind"] if isinstance(value, dict) and "kind" in value else value) for key, value in facts["config"].items()}
    return "\n".join([
        f"# zoo:{name}", "", info.get("about", ""), "",
        f"- Recipe `{info['recipe']}`, seed {info['seed']}, {info['steps']} steps of {info['batch_size']} images "
        f"({info['images_seen']:,} images), {info['seconds'] / 60:.0f} minutes on {info['machine']}.",
        f"- Data `{info['data']}`, SHA-256 of the images `{info['data_sha256']}`.",
        f"- Weights in float16, SHA-256 `{facts['sha256']}`.",
        f"- Model `{facts['kind']}`: `{json.dumps(arguments)}`", "",
        *(["| measured | value |", "|---|---|", *rows, ""] if rows else []),
        "Made for teaching, at 32 by 32 pixels. The distances (FD, KD) are measured in the features of our own judging network: "
        "they are not FID and must not be set beside published FIDs.", ""])


def publish(run: str | Path, name: str, machine: str, metrics: dict | None = None) -> Path:
    """Copy the model of `run` to zoo/`name`, in float16, with a card. `machine` says in words what it was trained on."""
    model, info = load_model(run)
    facts = read_facts(run)
    info = {key: value for key, value in info.items() if key not in ("kind", "sha256")} | {"machine": machine}
    save_model(ZOO / name, model, facts["kind"], facts["config"], info | ({"metrics": metrics} if metrics else {}), torch.float16)
    (ZOO / name / "README.md").write_text(card(name, read_facts(f"zoo:{name}")))
    return ZOO / name


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        raise SystemExit("usage: python -m tinygen.publish RUN NAME MACHINE [METRICS.json]")
    print(publish(sys.argv[1], sys.argv[2], sys.argv[3], json.loads(Path(sys.argv[4]).read_text()) if len(sys.argv) == 5 else None))
