"""Recipes: YAML filled into dataclasses. Configuration is data; unknown keys are refused, with the nearest one."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from ..errors import TinygenError, nearest

FOLDER = Path(__file__).parents[1] / "recipes"
TIERS = ("cpu", "gpu")
CHOICES = {"schedule": ("cosine", "constant"), "precision": ("auto", "fp32", "bf16", "fp16")}
AT_LEAST = {"steps": 1, "batch_size": 1, "lr": 0, "weight_decay": 0, "warmup": 0, "final_lr": 0, "clip": 0, "ema": 0,
            "seed": 0, "shift": 0, "log_every": 0, "preview_every": 0, "checkpoint_every": 0}
AT_MOST = {"warmup": 1, "ema": 1}
# settings that may differ between a run and its resumption
WITHOUT_EFFECT = ("about", "train.compile", "train.precision", "train.log_every", "train.preview_every",
                  "train.checkpoint_every")


@dataclass(frozen=True)
class TrainConfig:
    """How to train; every objective uses the same one."""

    steps: int = 1000                        # optimiser steps, unless minutes are given
    batch_size: int = 64                     # over all processes together
    lr: float = 1e-3                         # peak learning rate
    lr_scale: dict[str, float] = field(default_factory=dict)     # factor for a named parameter group
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    warmup: float = 0.02                     # fraction of the run over which the rate rises linearly
    schedule: str = "cosine"                 # "cosine" (down to lr * final_lr) or "constant"
    final_lr: float = 0.02
    clip: float = 1.0                        # gradient norm of a group, 0 = no clipping
    ema: float = 0.0                         # decay of the averaged weights, 0 = none
    seed: int = 0
    flip: bool = True                        # random horizontal flips
    shift: int = 0                           # random translation, pixels
    precision: str = "auto"                  # "auto", "fp32", "bf16", "fp16"
    compile: bool = False                    # torch.compile the model
    log_every: int = 20                      # steps
    preview_every: int = 500                 # steps, 0 = never
    checkpoint_every: int = 500              # steps, 0 = only at the end

    def __post_init__(self):
        for key, known in CHOICES.items():
            if (value := getattr(self, key)) not in known:
                raise TinygenError(f"train.{key}: unknown value {value!r}{nearest(str(value), known)}")
        for key, low in AT_LEAST.items():
            if not low <= getattr(self, key) <= AT_MOST.get(key, float("inf")):
                most = f" and at most {AT_MOST[key]}" if key in AT_MOST else ""
                raise TinygenError(f"train.{key} must be at least {low}{most}, not {getattr(self, key)}")


@dataclass(frozen=True)
class Recipe:
    """What to train, on what, and how."""

    name: str
    kind: str                                # kind of model, see tinygen.models.KINDS
    data: str                                # name of an image set
    about: str = ""
    model: dict[str, Any] = field(default_factory=dict)          # arguments of the model
    trains: str | None = None                # "decoder" of a latent diffusion model: that, in place of its denoiser
    objective: dict[str, Any] = field(default_factory=dict)      # arguments of its objective
    start: str | None = None                 # zoo:NAME or a run folder: the model to go on with, its arguments and its weights
    first_stage: str | None = None           # zoo:NAME or a run folder
    perceptual: str | None = None            # zoo:NAME or a run folder
    train: TrainConfig = TrainConfig()


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_recipe(name: str, tier: str = "cpu", overrides: Iterable[str] = ()) -> Recipe:
    """The recipe `name` (or a path to a YAML file) at `tier`, changed by overrides `key=value`: `train.steps=100`.

    Raises TinygenError for an unknown recipe, tier or key, and for a value of the wrong type.
    """
    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        path = Path(name)
        if path.suffix not in (".yaml", ".yml") or not path.is_file():
            raise TinygenError(f"unknown recipe {name!r}{nearest(name, recipe_names())}")
    if tier not in TIERS:
        raise TinygenError(f"unknown tier {tier!r}{nearest(tier, TIERS)}")
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TinygenError(f"{path} is not readable YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise TinygenError(f"{path} must be a mapping of keys to values")
    tiers = content.pop("tiers", None) or {}
    if not isinstance(tiers, dict):
        raise TinygenError(f"{path}: tiers must be a mapping, not {tiers!r}")
    for key, change in tiers.items():
        if key not in TIERS:
            raise TinygenError(f"{path}: unknown tier {key!r}{nearest(str(key), TIERS)}")
        if not isinstance(change or {}, dict):
            raise TinygenError(f"{path}: tier {key} must be a mapping, not {change!r}")
    merge(content, tiers.get(tier) or {})
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise TinygenError(f"--set {override!r}: write key=value, for example train.steps=100")
        change = parse_scalar(value)
        for part in reversed(key.strip().split(".")):
            change = {part: change}
        merge(content, change)
    return fill(Recipe, {"name": path.stem} | content, str(path.stem))


def parse_scalar(text: str) -> Any:
    """A value from the command line: YAML, but `1e-3` is a number, as everybody expects."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TinygenError(f"--set value {text!r} is not valid: {str(error).splitlines()[0]}") from error
    return number(value)


def number(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as a string; read it, at any depth, as the number it looks like."""
    if isinstance(value, dict):
        return {key: number(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [number(entry) for entry in value]
    looks_like_one = isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", value)
    return float(value) if looks_like_one else value


def merge(into: dict, change: Mapping) -> None:
    """Lay `change` over `into`, mapping by mapping."""
    for key, value in change.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def fill(cls: type, content: Mapping[str, Any], where: str) -> Any:
    """A dataclass from a mapping: unknown keys and wrong types raise a TinygenError that names the key."""
    if not isinstance(content, Mapping):
        raise TinygenError(f"{where} must be a mapping, not {content!r}")
    known = {entry.name: entry for entry in fields(cls)}
    arguments = {}
    for key, value in content.items():
        if key not in known:
            raise TinygenError(f"{where}: unknown key {key!r}{nearest(str(key), known)}")
        if key == "train":
            arguments[key] = fill(TrainConfig, {} if value is None else value, f"{where}: train")
        else:
            arguments[key] = check_type(value, known[key].type, f"{where}: {key}")
    try:
        return cls(**arguments)
    except TypeError as error:
        raise TinygenError(f"{where}: {error}") from error


def check_type(value: Any, kind: Any, where: str) -> Any:
    """`value` as `kind`; numbers that look like strings to YAML are converted."""
    value = value if kind is str else number(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == tuple[float, float]:
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise TinygenError(f"{where} must be two numbers, not {value!r}")
        return tuple(check_type(entry, float, where) for entry in value)
    if kind in (int, float, str, bool) and (type(value) is not kind):
        raise TinygenError(f"{where} must be of type {kind.__name__}, not {value!r}")
    if getattr(kind, "__origin__", None) is dict:
        value = {} if value is None else value
        if not isinstance(value, dict):
            raise TinygenError(f"{where} must be a mapping, not {value!r}")
        return {name: check_type(entry, kind.__args__[1], f"{where}.{name}") for name, entry in value.items()}
    if kind == (str | None) and not isinstance(value, str | None):
        raise TinygenError(f"{where} must be of type str, not {value!r}")
    return value


def default_tier(device_type: str) -> str:
    """TINYGEN_TIER where it is set, else "gpu" on a CUDA device and "cpu" elsewhere."""
    return os.environ.get("TINYGEN_TIER") or ("gpu" if device_type == "cuda" else "cpu")


def difference(recipe: Recipe, stored: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """(key, stored value, value of `recipe`) of the first setting in which `stored` (from JSON) trains otherwise."""
    def flat(content):
        train = content.get("train") if isinstance(content.get("train"), dict) else {}
        return {**content, **{f"train.{key}": value for key, value in train.items()}, "train": None}

    mine = flat(json.loads(json.dumps(asdict(recipe))))
    theirs = flat(stored if isinstance(stored, dict) else {})
    return next(((key, theirs.get(key), value) for key, value in mine.items()
                 if key not in WITHOUT_EFFECT and theirs.get(key) != value), None)


def with_steps(recipe: Recipe, steps: int) -> Recipe:
    """The same recipe with another number of steps."""
    return replace(recipe, train=replace(recipe.train, steps=steps))
