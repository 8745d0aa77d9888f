"""Tiny untrained models of every kind, and a way to run the command inside this process."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tinygen.cli import main
from tinygen.models import build, save_model

CLASSES = ("star", "heart", "ring")
STAGE = {"codebook_size": 8, "code_channels": 2, "channels": 8}
NESTED = {"kind": "vq", "config": STAGE}
NETWORK = {"first_stage": NESTED, "network_options": {"channels": 8, "blocks": 1, "heads": 1}}
WORDS = {"words": ["blue", "red", "star"], "text_channels": 8, "text_depth": 1}
MODELS = {
    "vq": ("vq", STAGE),
    "gan": ("gan", {"latent_channels": 4, "channels": 4, "num_classes": 3}),
    "plain-gan": ("gan", {"latent_channels": 4, "channels": 4, "num_classes": 0}),
    "prior": ("prior", {"first_stage": NESTED, "num_classes": 3, "channels": 8, "depth": 1, "heads": 2}),
    "ldm": ("latent-diffusion", NETWORK | WORDS | {"num_classes": 3}),
    "by-class": ("latent-diffusion", NETWORK | {"num_classes": 3}),
    "by-text": ("latent-diffusion", NETWORK | WORDS | {"num_classes": 0}),
    "classifier": ("classifier", {"arch": "plain", "heads": {"object": 3}, "width": 4}),
}


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """A folder with a folder for each of MODELS; every weight is random, also those that start at zero."""
    folder = tmp_path_factory.mktemp("models")
    for name, (kind, config) in MODELS.items():
        torch.manual_seed(0)
        model = build(kind, config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        save_model(folder / name, model, kind, config, {"data": "shapes", "class_names": CLASSES, "image_size": 32})
    return folder


@pytest.fixture
def run(capsys):
    """run("sample", ...) -> code, out, err of `tinygen sample ...` on the CPU."""
    def run(*arguments) -> SimpleNamespace:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)
    return run


@pytest.fixture
def refused(run):
    """refused(*arguments) -> the one line on stderr; asserts exit code 2 and that stdout is empty."""
    def refused(*arguments) -> str:
        result = run(*arguments)
        assert (result.code, result.out) == (2, ""), result
        assert result.err.startswith("tinygen: ") and result.err.count("\n") == 1 and "Traceback" not in result.err
        return result.err
    return refused
