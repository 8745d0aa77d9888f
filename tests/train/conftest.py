"""What the tests of training share: tiny recipes, the models they name, and comparisons of runs."""

import importlib.util
from pathlib import Path

import pytest
import torch

from tinygen.train import Trainer


@pytest.fixture(scope="session")
def tiny():
    """The module tiny.py, which other processes run as a program."""
    spec = importlib.util.spec_from_file_location("tiny", Path(__file__).with_name("tiny.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def models(tiny, tmp_path_factory):
    """A folder with the trained models that the recipes name."""
    folder = tmp_path_factory.mktemp("models")
    tiny.prepare(folder)
    return folder


@pytest.fixture
def trainer(tiny, models):
    """trainer(kind, out, resume=..., minutes=..., **train) -> a Trainer of the tiny recipe."""
    torch.set_num_threads(1)

    def make(kind, out, *, resume=False, minutes=None, **train):
        return Trainer(tiny.recipe(kind, models, **train), out, device="cpu", data=tiny.dataset(kind), resume=resume,
                       minutes=minutes, quiet=True)

    return make


class Crash(Exception):
    """The machine stops here."""


@pytest.fixture
def crash_at():
    """crash_at(trainer, step): let it train, but stop it when it is about to make that step."""
    def run(trainer, step):
        train_step = trainer.train_step

        def deadly(progress):
            if progress.step == step:
                raise Crash
            return train_step(progress)

        trainer.train_step = deadly
        with pytest.raises(Crash):
            trainer.run()

    return run


@pytest.fixture
def same_end():
    """same_end(a, b): whether two run folders end in the same bytes: weights, averages, optimisers."""
    def compare(a, b):
        names = ("model.safetensors", "checkpoint/tensors.safetensors")
        return all((Path(a) / name).read_bytes() == (Path(b) / name).read_bytes() for name in names)

    return compare
