"""Checkpoints: crashes while one is written, full disks, damaged files, foreign ones."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from tinygen.errors import TinygenError
from tinygen.train import EMA
from tinygen.train.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint


class PowerCut(BaseException):
    """Nothing after this is executed."""


def some_state():
    model = nn.Linear(2, 2)
    return model, EMA(model, 0.9).model, {"all": torch.optim.AdamW(model.parameters())}


def facts(step):
    return {"recipe": {}, "step": step, "total": 9, "seconds": 1.0}


@pytest.mark.parametrize("rename", [1, 2])
def test_a_crash_between_write_and_rename_leaves_a_checkpoint(rename, tmp_path, monkeypatch):
    """Twice in a row: the copy put aside by the first crash must survive the second."""
    state = some_state()
    save_checkpoint(tmp_path, *state, facts(1))
    plain, count = Path.rename, 0

    def cut(path, target):
        nonlocal count
        count += 1
        if count == rename:
            raise PowerCut
        return plain(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", cut)
        with pytest.raises(PowerCut):
            save_checkpoint(tmp_path, *state, facts(2))
        assert load_checkpoint(tmp_path)[1]["step"] == 1
        count = rename - 1                                               # again, as the new one is put in place
        with pytest.raises(PowerCut):
            save_checkpoint(tmp_path, *state, facts(3))
        assert load_checkpoint(tmp_path)[1]["step"] == 1
    save_checkpoint(tmp_path, *state, facts(4))
    assert load_checkpoint(tmp_path)[1]["step"] == 4 and os.listdir(tmp_path) == ["checkpoint"]


def test_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    state = some_state()
    save_checkpoint(tmp_path, *state, facts(1))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(TinygenError, match="No space left on device"):
            save_checkpoint(tmp_path, *state, facts(2))
    assert load_checkpoint(tmp_path)[1]["step"] == 1 and os.listdir(tmp_path) == ["checkpoint"]


@pytest.mark.parametrize("file, content", [
    ("tensors.safetensors", None), ("tensors.safetensors", b""), ("facts.json", b"{garbage"), ("facts.json", b"[]"),
    ("facts.json", b'{"step": 3}'), ("facts.json", b"\xff\xfe")])
def test_damaged_checkpoints_are_refused(file, content, trainer, tmp_path):
    save_checkpoint(tmp_path, *some_state(), facts(1))
    path = tmp_path / "checkpoint" / file
    path.write_bytes(path.read_bytes()[:-20] if content is None else content)
    with pytest.raises(TinygenError, match="is damaged .*; delete that folder and train again"):
        load_checkpoint(tmp_path)
    with pytest.raises(TinygenError, match="is damaged"):
        trainer("fsq", tmp_path, resume=True).run()


def test_checkpoint_of_another_model(trainer, tmp_path):
    run = trainer("fsq", tmp_path / "a", steps=1)
    run.run()
    stored = json.loads((tmp_path / "a/checkpoint/facts.json").read_text())
    save_checkpoint(tmp_path / "b", *some_state(), stored)               # the right recipe, foreign tensors
    with pytest.raises(TinygenError, match="belongs to another model"):
        trainer("fsq", tmp_path / "b", resume=True, steps=1).run()
    assert find_checkpoint(tmp_path / "nowhere") is None
