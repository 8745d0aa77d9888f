"""Checkpoints: everything a run needs to go on, in safetensors and JSON, written to a temporary folder and renamed.

Random numbers and the position in the data are functions of (seed, step, process):
the step is all that is stored of them.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import TinygenError

NAME = "checkpoint"


def flatten_optimizer(name: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state tensors under flat names `optimizer.NAME.INDEX.KEY`."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{name}.{index}.{key}": value for index, entry in state.items() for key, value in entry.items()}


def restore_optimizer(name: str, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Undo flatten_optimizer."""
    prefix, state = f"optimizer.{name}.", {}
    for key, value in tensors.items():
        if key.startswith(prefix):
            index, entry = key[len(prefix):].split(".", 1)
            state.setdefault(int(index), {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, entry in optimizer.state.items():              # fused kernels want the parameter's own memory format
        for key, value in entry.items():
            if value.shape == parameter.shape:
                entry[key] = torch.empty_like(parameter).copy_(value)


def save_checkpoint(folder: Path, objective: nn.Module, average: nn.Module | None,
                    optimizers: dict[str, torch.optim.Optimizer], facts: dict[str, Any]) -> None:
    """Write `folder`/checkpoint; a crash at any instant leaves the last whole one in place (or beside it as `.old`)."""
    tensors = {f"objective.{key}": value for key, value in objective.state_dict().items()}
    if average is not None:
        tensors |= {f"ema.{key}": value for key, value in average.state_dict().items()}
    for name, optimizer in optimizers.items():
        tensors |= flatten_optimizer(name, optimizer)
    temporary, final, old = (folder / part for part in (f".{NAME}.tmp", NAME, f".{NAME}.old"))
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        # clone: safetensors refuses tensors that share memory
        tensors = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
        save_file(tensors, temporary / "tensors.safetensors")
        (temporary / "facts.json").write_text(json.dumps(facts, indent=1))
        for path in temporary.iterdir():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        if final.exists():                                                  # else `old` may be the only one: keep it
            shutil.rmtree(old, ignore_errors=True)
            final.rename(old)
        temporary.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise TinygenError(f"cannot write a checkpoint to {folder} ({error}); "
                           "free some space or choose another --out") from error


def find_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run folder, or None."""
    return next((path for path in (folder / NAME, folder / f".{NAME}.old") if (path / "facts.json").is_file()), None)


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors by flat name, facts); TinygenError where there is none or it is damaged."""
    path, keys = find_checkpoint(folder), ("recipe", "step", "total", "seconds")
    if path is None:
        raise TinygenError(f"{folder} has no checkpoint to resume from; leave out --resume to start afresh")
    try:
        facts = json.loads((path / "facts.json").read_text())
        kept = {key: facts[key] for key in keys} | {"scaler": facts.get("scaler")}          # of fp16 only
        return load_file(path / "tensors.safetensors"), kept
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise TinygenError(f"{path} is damaged ({error}); delete that folder and train again") from error


def restore(tensors: dict[str, Tensor], objective: nn.Module, average: nn.Module | None,
            optimizers: dict[str, torch.optim.Optimizer], where: Path) -> None:
    """Put the tensors of load_checkpoint back; TinygenError where they belong to another model."""
    part = lambda prefix: {key[len(prefix):]: value for key, value in tensors.items() if key.startswith(prefix)}
    try:
        objective.load_state_dict(part("objective."))
        if average is not None:
            average.load_state_dict(part("ema."))
        for name, optimizer in optimizers.items():
            restore_optimizer(name, optimizer, tensors)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise TinygenError(f"the checkpoint in {where} belongs to another model ({reason}); "
                           "choose another --out") from error
