"""Fill the zoo.

`python -m tinygen.publish RUN NAME MACHINE [METRICS.json]` puts a trained run into it, in float16, with a model card made of what
was measured; `python -m tinygen.publish NAME` measures a classifier that is there on test images, and leaves a judge's statistics.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from .data import load
from .evaluate.adherence import label_head
from .evaluate.frechet import Gaussian
from .evaluate.judging import STATISTICS, judge_images, judge_set, weights_sha256
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


def measure_classifier(name: str) -> dict[str, float]:
    """Accuracies of zoo:`name` on the test split, into its card; of a judge, mean and covariance over the training split, too."""
    model, info = load_model(f"zoo:{name}")
    train, test = load(f"{info['data']}:train"), load(f"{info['data']}:test")
    truth = dict(zip(test.factor_names, test.factors.T)) | {label_head(model.heads, test): test.labels}
    predicted = judge_images(model, test.images).predicted
    right = {head: predicted[head] == truth[head] for head in model.heads}
    if len(right) > 1:
        right["all"] = torch.stack(list(right.values())).all(0)
    numbers = {f"accuracy_{head}": hits.double().mean().item() for head, hits in right.items()}
    numbers |= {"n": len(test), "images": f"{test.name}, all {len(test)} images"}
    if name.endswith("judge"):
        seen = Gaussian.fit(judge_set(model, train).features)
        facts = {"judge_sha256": weights_sha256(model), "data_sha256": train.sha256(), "n": str(len(train))}
        save_file({"mean": seen.mean, "covariance": seen.covariance}, ZOO / name / STATISTICS, facts)
        numbers["images_in_statistics"] = len(train)
    facts = json.loads((ZOO / name / "model.json").read_text())
    facts["info"]["metrics"] = numbers
    (ZOO / name / "model.json").write_text(json.dumps(facts, indent=1))
    (ZOO / name / "README.md").write_text(card(name, facts))
    return numbers


if __name__ == "__main__":
    if len(sys.argv) not in (2, 4, 5):
        raise SystemExit("usage: python -m tinygen.publish RUN NAME MACHINE [METRICS.json], or python -m tinygen.publish NAME")
    if len(sys.argv) == 2:
        print(measure_classifier(sys.argv[1]))
    else:
        print(publish(*sys.argv[1:4], json.loads(Path(sys.argv[4]).read_text()) if len(sys.argv) == 5 else None))
