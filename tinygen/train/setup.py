"""From a recipe to the objects that the loop works on: data, model, objective."""

import importlib
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..data import ImageSet, load
from ..errors import TinygenError, nearest
from ..models import build, call, load_model, model_class, read_facts
from .recipe import Recipe, TrainConfig

OBJECTIVES = {
    "classifier": ("tinygen.features", "ClassifierObjective"),
    "vq": ("tinygen.vq", "VQGANObjective"),
    "kl": ("tinygen.vq", "VQGANObjective"),
    "prior": ("tinygen.vq", "PriorObjective"),
    "gan": ("tinygen.gan", "GANObjective"),
    "latent-diffusion": ("tinygen.latent", "LatentDiffusionObjective"),
    "latent-diffusion, decoder": ("tinygen.latent", "DecoderObjective"),                # recipes that say `trains: decoder`
    "clip": ("tinygen.latent", "ClipObjective"),
    "lora": ("tinygen.latent", "LoRAObjective"),
    "controlnet": ("tinygen.latent", "ControlNetObjective"),
    "distilled": ("tinygen.latent", "DistillationObjective"),
}


class Training(NamedTuple):
    """What a recipe becomes: the image set, the objective (with its model), and the model's full configuration."""

    data: ImageSet
    objective: nn.Module
    config: dict[str, Any]


def set_up(recipe: Recipe, device: torch.device, data: ImageSet | None = None) -> Training:
    """Load the data, build the model by the recipe's seed, load frozen networks, and the objective; all on `device`."""
    model_type = model_class(recipe.kind)                                  # an unknown kind is reported before any work
    if recipe.kind not in OBJECTIVES:
        raise TinygenError(f"a model of kind {recipe.kind!r} is made of a trained one: it has no recipe of its own")
    goal = f"{recipe.kind}, {recipe.trains}" if recipe.trains else recipe.kind
    if goal not in OBJECTIVES:
        raise TinygenError(f"{recipe.name}: trains {recipe.trains!r} is not for a model of kind {recipe.kind!r}; "
                           "there is only 'decoder', of a 'latent-diffusion'")
    if recipe.trains and not recipe.start:
        raise TinygenError(f"{recipe.name}: trains {recipe.trains!r} needs a trained model: name it in start")
    data = (data or load(recipe.data)).to(device)
    config = dict(recipe.model)
    first_stage = None
    if recipe.first_stage:
        facts = read_facts(recipe.first_stage)
        if facts["kind"] not in ("vq", "kl"):
            raise TinygenError(f"first_stage {recipe.first_stage} is of kind {facts['kind']!r}: "
                               "name a 'vq' or 'kl' model")
        first_stage, _ = load_model(recipe.first_stage, device)
        config["first_stage"] = {"kind": facts["kind"], "config": facts["config"]}
    if hasattr(model_type, "complete"):                               # what only the data can tell, e.g. the vocabulary
        config = model_type.complete(config, data)
    if recipe.start:
        config = config_of(recipe.start, recipe.kind, config)
    torch.manual_seed(recipe.train.seed)
    model = build(recipe.kind, config).to(device)
    if recipe.start:
        model.load_state_dict(load_model(recipe.start, device)[0].state_dict())
    if (classes := getattr(model, "num_classes", 0)) not in (0, len(data.class_names)):
        known = len(data.class_names)
        raise TinygenError(f"{recipe.name}: the model has {classes} classes but {data.name} has {known}; "
                           f"set model.num_classes={known}")
    if first_stage is not None:
        model.first_stage.load_state_dict(first_stage.state_dict())
    module, name = OBJECTIVES[goal]
    context = {"model": model}
    if recipe.perceptual:
        context["perceptual"] = load_model(recipe.perceptual, device)[0].requires_grad_(False)
    objective_type = getattr(importlib.import_module(module), name)
    objective = call(objective_type, recipe.objective, f"{recipe.name}: objective", **context)
    return Training(data, objective.to(device, memory_format=torch.channels_last), config)


def config_of(start: str, kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the trained model `start`; TinygenError where its kind, or one of the arguments in `config`, is another."""
    facts = read_facts(start)
    if facts["kind"] != kind:
        raise TinygenError(f"start {start} is of kind {facts['kind']!r}, the recipe of kind {kind!r}")
    for key, value in json.loads(json.dumps(config)).items():
        if facts["config"].get(key) != value:
            raise TinygenError(f"start {start} has another {key} than the recipe's model, and cannot be trained on with it")
    return facts["config"]


def make_optimizers(objective: nn.Module, config: TrainConfig,
                    device: torch.device) -> dict[str, torch.optim.Optimizer]:
    """One AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) for each group; biases and norms do not decay."""
    groups = objective.groups()
    for name in config.lr_scale:
        if name not in groups:
            raise TinygenError(f"train.lr_scale: no parameter group {name!r}{nearest(str(name), groups)}")
    optimizers = {}
    for name, parameters in groups.items():
        parameters = [p for p in parameters if p.requires_grad]
        matrices, vectors = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
        split = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        optimizers[name] = torch.optim.AdamW([part for part in split if part["params"]], lr=config.lr,
                                             betas=config.betas, fused=device.type in ("cpu", "cuda"))
    return optimizers


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """Linear warm-up over `warmup` of the run, then a cosine down to `final_lr` times the peak, or constant.

    The cosine: Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts.
    """
    warmup = max(1.0, config.warmup * total)
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    if config.schedule == "constant":
        return config.lr
    progress = (step - warmup) / max(1.0, total - warmup)
    return config.lr * (config.final_lr + (1 - config.final_lr) * 0.5 * (1 + math.cos(math.pi * progress)))


def model_info(data: ImageSet, recipe: Recipe, facts: dict[str, Any]) -> dict[str, Any]:
    """What is stored beside the weights: enough to sample, to evaluate and to say where they come from."""
    return {"recipe": recipe.name, "about": recipe.about, "data": recipe.data, "data_sha256": data.sha256(),
            "class_names": list(data.class_names), "image_size": data.images.shape[-1], **facts}


def save_preview(images: Tensor, path: Path) -> None:
    """(N, 3, S, S) in [-1, 1] -> a PNG of at most ten columns."""
    from ..data import to_uint8
    from ..show import grid, save_png
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(grid(to_uint8(images).cpu(), columns=min(10, len(images)), scale=3), path)
