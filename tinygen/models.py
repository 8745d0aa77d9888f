"""Models on disk: one folder with `model.safetensors` (weights) and `model.json` (kind, constructor arguments, facts).

Nothing is pickled, the weights are verified by SHA-256 on load, and both files are written to a temporary name and renamed.
"""

import contextlib
import hashlib
import importlib
import inspect
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from .errors import TinygenError, nearest

ZOO = Path(__file__).parent / "zoo"
FORMAT = 1

# kind -> where its class lives; imported when first used, so that `import tinygen` stays fast
KINDS = {
    "classifier": ("tinygen.features", "Classifier"),
    "vq": ("tinygen.vq", "VQAutoencoder"),
    "kl": ("tinygen.autoencoder", "KLAutoencoder"),
    "prior": ("tinygen.vq", "TokenPrior"),
    "gan": ("tinygen.gan", "Generator"),
    "latent-diffusion": ("tinygen.latent", "LatentDiffusion"),
    "clip": ("tinygen.latent", "CLIP"),
    "lora": ("tinygen.latent", "LoRA"),
    "controlnet": ("tinygen.latent", "ControlNet"),
    "distilled": ("tinygen.latent", "DistilledDiffusion"),
    "int8": ("tinygen.nn", "Int8Model"),
}


def model_class(kind: str) -> type[nn.Module]:
    """The class of a `kind`; TinygenError with a suggestion where there is none."""
    if kind not in KINDS:
        raise TinygenError(f"unknown kind of model {kind!r}{nearest(kind, KINDS)}")
    module, name = KINDS[kind]
    return getattr(importlib.import_module(module), name)


def call(function: Callable, arguments: Mapping[str, Any], where: str, **context: Any) -> Any:
    """`function(**context, **arguments)`, an unknown or missing argument refused with a TinygenError that names `where`."""
    known = set(inspect.signature(function).parameters) - {"self"} - set(context)
    for key in arguments:
        if key not in known:
            raise TinygenError(f"{where}: unknown key {key!r}{nearest(key, known)}")
    try:
        return function(**context, **arguments)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise TinygenError(f"{where}: {error}") from error


def build(kind: str, config: Mapping[str, Any]) -> nn.Module:
    """A fresh model of `kind` from plain numbers; a value `{"kind": ..., "config": ...}` is built first (a first stage)."""
    is_model = lambda value: isinstance(value, Mapping) and set(value) == {"kind", "config"}
    arguments = {key: build(**value) if is_model(value) else value for key, value in config.items()}
    return call(model_class(kind), arguments, f"model of kind {kind!r}")


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary name beside `path` and rename: a crash, or a full disk, leaves the old file whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise TinygenError(f"cannot write {path}: {error.strerror or error}; free some space or choose another folder") from error
    finally:
        with contextlib.suppress(OSError):                                  # gone already, or the folder never was
            temporary.unlink()


def save_model(folder: str | Path, model: nn.Module, kind: str, config: Mapping[str, Any], info: Mapping[str, Any],
               dtype: torch.dtype | None = None) -> None:
    """Write `model` to `folder`; `dtype` (torch.float16, say) is what floating-point weights are stored in.

    `info` holds JSON-able facts; `data`, `class_names` and `image_size` are needed by whoever samples from the model.
    """
    weights = {name: tensor.detach().cpu().to(dtype if dtype and tensor.is_floating_point() else tensor.dtype).contiguous()
               for name, tensor in model.state_dict().items()}
    content = save_tensors(weights)
    facts = {"format": FORMAT, "kind": kind, "config": config, "sha256": hashlib.sha256(content).hexdigest(), "info": info}
    folder = Path(folder)
    write_atomically(folder / "model.safetensors", content)
    write_atomically(folder / "model.json", json.dumps(facts, indent=1).encode())


def model_folder(name: str | Path) -> Path:
    """The folder behind `zoo:NAME` or a path; TinygenError where it holds no model."""
    text = str(name)
    if text.startswith("zoo:"):
        if text[4:] not in zoo_names():
            raise TinygenError(f"no model {text!r} in the zoo{nearest(text[4:], zoo_names())}")
        return ZOO / text[4:]
    folder = Path(text)
    if not (folder / "model.json").is_file() or not (folder / "model.safetensors").is_file():
        hint = "write zoo:NAME for a model of the zoo" if text in zoo_names() else \
            "give the folder of a finished `tinygen train`, or zoo:NAME (`tinygen zoo` lists them)"
        raise TinygenError(f"{text} holds no trained model; {hint}")
    return folder


def zoo_names() -> list[str]:
    """Names of the models that come with the package, sorted."""
    return sorted(path.parent.name for path in ZOO.glob("*/model.json"))


def read_facts(name: str | Path) -> dict[str, Any]:
    """What `model.json` says: kind, config, sha256, info."""
    path = model_folder(name) / "model.json"
    try:
        facts = json.loads(path.read_text())
        if facts["format"] != FORMAT:
            raise TinygenError(f"{path} has format {facts['format']}, this tinygen reads {FORMAT}; use the tinygen that wrote it")
        for key, kind in {"kind": str, "config": dict, "sha256": str, "info": dict}.items():
            if not isinstance(facts[key], kind):
                raise TypeError(f"{key} is not of type {kind.__name__}")
        return {key: facts[key] for key in ("kind", "config", "sha256", "info")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TinygenError(f"{path} is not a tinygen model description ({error}); train the model again") from error


def load_model(name: str | Path, device: str | torch.device = "cpu") -> tuple[nn.Module, dict[str, Any]]:
    """The model of a run folder or of `zoo:NAME`, in float32 and eval mode on `device`, and its facts (`info`).

    Raises TinygenError for a folder without a model, a truncated or changed file, or weights of another architecture.
    """
    folder, facts = model_folder(name), read_facts(name)
    content = (folder / "model.safetensors").read_bytes()
    if hashlib.sha256(content).hexdigest() != facts["sha256"]:
        raise TinygenError(f"{folder / 'model.safetensors'} is truncated or was changed (SHA-256 differs); copy or train it again")
    model = build(facts["kind"], facts["config"])
    try:
        weights = load_tensors(content)
        model.load_state_dict(weights)
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise TinygenError(f"{folder} does not fit its own description: {reason}; it was written by another version") from error
    return model.to(device).eval(), facts["info"] | {"kind": facts["kind"], "sha256": facts["sha256"]}
