"""The command as a whole: help, exit codes, and the commands that only tell something."""

import errno
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tinygen import models as tinygen_models
from tinygen.cli import app, main
from tinygen.data import load

COMMANDS = ["doctor", "data", "train", "report", "reconstruct", "sample", "evaluate", "zoo", "demo", "speedrun"]


def test_help_lists_every_command_without_importing_torch():
    code = ("import sys; from tinygen.cli import main; code = main(['--help']); "
            "print(sorted({'torch', 'numpy', 'matplotlib', 'accelerate'} & set(sys.modules))); sys.exit(code)")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and result.stdout.splitlines()[-1] == "[]"
    for command in COMMANDS:
        assert f" {command} " in result.stdout


def test_python_m_tinygen_with_a_full_disk_behind_stdout():
    with open("/dev/full", "w") as full:
        result = subprocess.run([sys.executable, "-m", "tinygen", "--version"], stdout=full, stderr=subprocess.PIPE,
                                text=True, timeout=60)
    assert (result.returncode, result.stderr) == (2, "tinygen: No space left on device; free some space\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run, command):
    result = run(command, "--help")
    assert result.code == 0 and "Usage: tinygen" in result.out and result.err == ""


def test_no_arguments_show_help_and_version_is_one_line(run):
    assert "Usage: tinygen" in run().out
    assert run("--version").out.startswith("tinygen 0.") and run("--version").out.count("\n") == 1


@pytest.mark.parametrize("arguments", [
    ("smaple",), ("--bogus",), ("sample",), ("data", "shapes", "more"), ("train", "--out", "x"),
    ("evaluate", "x", "--data", "shapes", "--n", "0"), ("data", "shaeps"), ("data", "shapes:val")])
def test_usage_errors_are_one_line_and_exit_code_2(refused, arguments):
    refused(*arguments)


@pytest.mark.parametrize(("error", "code", "says"), [
    (KeyboardInterrupt(), 130, "nothing was written"), (KeyboardInterrupt("go on like that"), 130, "go on like that"),
    (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 2, "/x/y: No space left on device; free some space"),
    (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "choose another folder"),
    (tinygen_models.TinygenError("two\nlines"), 2, "two lines"),
    (torch.OutOfMemoryError("CUDA out of memory"), 2, "too little memory: close what else uses it, or take smaller batches"), (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, "")])
def test_how_a_command_ends(run, monkeypatch, error, code, says):
    def fail():
        raise error

    monkeypatch.setattr(tinygen_models, "zoo_names", fail)
    result = run("zoo")
    assert result.code == code and says in result.err and result.err.count("\n") == (0 if code == 1 else 1)


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(tinygen_models, "zoo_names", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["zoo"])


def test_data_can_be_looked_at(run, refused, tmp_path):
    assert run("data", "shapes:heldout", "--out", tmp_path / "a.png").code == 0
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    tile = load("shapes:heldout").images[99].permute(1, 2, 0).numpy().repeat(2, 0).repeat(2, 1)
    assert np.array_equal(pixels[-6 - 64:-6, -6 - 64:-6], tile)             # the last of a hundred, in its corner
    assert ".png" in refused("data", "shapes", "--out", tmp_path / "a.jpg")


def test_data_tells_what_is_in_a_set(run):
    facts = json.loads(run("data", "shapes:heldout", "--json").out)
    there = load("shapes:heldout")
    assert facts["n"] == len(there) == sum(facts["images_per_class"]) and facts["sha256"] == there.sha256()
    text = run("data", "shapes:heldout").out
    assert there.sha256() in text and f"{len(there)} images" in text and there.captions[0] in text


def test_zoo_lists_names_first_then_a_table(run, models, monkeypatch):
    monkeypatch.setattr(tinygen_models, "ZOO", models)
    lines = run("zoo").out.splitlines()
    names = sorted(path.name for path in models.iterdir())
    assert lines[:len(names) + 1] == [*names, ""]
    table = "\n".join(lines[len(names) + 1:])
    assert all(name in table for name in names) and "latent-diffusion" in table


def test_an_empty_zoo_says_what_to_do(run, tmp_path, monkeypatch):
    monkeypatch.setattr(tinygen_models, "ZOO", tmp_path)
    result = run("zoo")
    assert (result.code, result.out) == (0, "") and "tinygen train" in result.err


def test_evaluate_passes_the_options_on(run, models, monkeypatch):
    import tinygen.evaluate
    asked = {}

    def measure(model, info, data_name, n, **options):
        asked.update(options, data=data_name, n=n, kind=info["kind"])
        return {"metrics": {"fd": 1.5}}

    monkeypatch.setattr(tinygen.evaluate, "evaluate", measure)
    result = run("evaluate", models / "ldm", "--data", "shapes", "--n", 20, "--json", "--steps", 3, "--sampler", "ddim",
                 "--guidance", 2.5, "--negative", "red", "--seed", 4, "--condition", "prompt", "--fid", "--device", "cpu")
    assert result.code == 0 and json.loads(result.out) == {"metrics": {"fd": 1.5}}
    assert callable(asked.pop("watch"))
    assert asked | {"device": "cpu"} == {
        "data": "shapes", "n": 20, "kind": "latent-diffusion", "steps": 3, "sampler": "ddim", "guidance_scale": 2.5,
        "negative_prompt": "red", "seed": 4, "condition": "prompt", "fid": True, "device": "cpu"}
    assert asked["device"].type == "cpu"


@pytest.mark.parametrize(("name", "extra", "says"), [
    ("gan", ("--steps", "3"), "no --steps"), ("vq", ("--guidance", "3"), "no --guidance"),
    ("vq", ("--condition", "label"), "--condition"), ("ldm", ("--sampler", "bogus"), "unknown sampler"),
    ("gan", ("--data", "cifar10"), "--data shapes"), ("gan", ("--data", "mnist"), "mnist"),
    ("gan", ("--n", "9"), "at least 10"), ("nothing", (), "no trained model")])
def test_what_evaluate_refuses(refused, models, name, extra, says):
    assert says in refused("evaluate", models / name, "--data", "shapes", "--n", 20, "--device", "cpu", *extra)


def test_commands_are_the_contract():
    assert [command.callback.__name__ for command in app.registered_commands] == COMMANDS
