"""`tinygen train`: a run of three steps, resuming, Ctrl-C, and what is refused."""

import json
import os
import re
import shlex
import signal

import pytest

from tinygen.features import ClassifierObjective
from tinygen.models import load_model

RECIPE = """
kind: classifier
data: shapes:test
model: {arch: plain, heads: {object: 12}, width: 4}
train: {steps: 3, batch_size: 8, log_every: 1, preview_every: 0, checkpoint_every: 0}
tiers:
  gpu: {train: {steps: 4}}
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path


def steps(folder):
    return [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_train_writes_a_model_and_says_where(run, recipe, tmp_path):
    out = tmp_path / "run"
    result = run("train", recipe, "--out", out, "--device", "cpu", "--tier", "gpu", "--set", "train.seed=5",
                 "--set", "train.lr=1e-4")
    assert result.code == 0, result.err
    assert "4 steps" in result.out and str(out) in result.out and str(out / "report.html") in result.out
    page = (out / "report.html").read_text()
    assert "tier gpu" in page and "Changed by hand: train.seed=5, train.lr=1e-4." in page and "finished" in page
    _, info = load_model(out)
    assert (info["steps"], info["train"]["seed"], info["train"]["lr"]) == (4, 5, 1e-4)
    assert steps(out) == [1, 2, 3, 4]
    again = run("train", recipe, "--out", out, "--device", "cpu", "--tier", "gpu")
    assert again.code == 2 and "--resume" in again.err


@pytest.fixture
def ctrl_c():
    """SIGINT raises KeyboardInterrupt, also where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_saves_and_says_how_to_go_on(run, recipe, tmp_path, monkeypatch, ctrl_c):
    out, losses = tmp_path / "run", ClassifierObjective.losses

    def interrupted(self, batch, progress):
        if progress.step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        yield from losses(self, batch, progress)

    monkeypatch.setattr(ClassifierObjective, "losses", interrupted)
    result = run("train", recipe, "--out", out, "--device", "cpu", "--set", "train.seed=5")
    assert result.code == 130 and result.err.count("\n") == 1 and "checkpoint is saved" in result.err
    assert not (out / "model.json").exists() and "<td>interrupted</td>" in (out / "report.html").read_text()
    monkeypatch.setattr(ClassifierObjective, "losses", losses)
    words = shlex.split(re.search(r"go on with: tinygen (.*)", result.err).group(1))
    assert words[-1] == "--resume"
    assert run(*words).code == 0
    assert "<td>finished</td>" in (out / "report.html").read_text()
    (out / "report.html").unlink()
    assert run("report", out).out == f"{out / 'report.html'}\n" and (out / "report.html").exists()
    assert "holds no run" in run("report", tmp_path).err
    assert steps(out) == [1, 2, 3] and load_model(out)[1]["train"]["seed"] == 5


def test_ctrl_c_before_the_first_step_does_not_promise_a_checkpoint(run, recipe, tmp_path, monkeypatch):
    def interrupted(self, data, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(ClassifierObjective, "batches", interrupted, raising=False)
    result = run("train", recipe, "--out", tmp_path / "run", "--device", "cpu")
    assert result.code == 130 and "no checkpoint" in result.err and not (tmp_path / "run").exists()


SET = "--set"
BAD = [
    ((SET, "train.stpes=3"), "did you mean 'steps'"), ((SET, "train.steps"), "key=value"),
    ((SET, "train.steps=0"), "steps must be at least 1"), ((SET, "train.steps=many"), "steps must be of type int"),
    ((SET, "train=5"), "train"), ((SET, "kind=gna"), "did you mean 'gan'"), ((SET, "data=mnist"), "mnist"),
    ((SET, "model.width=wide"), "classifier"), ((SET, "model.wdith=8"), "did you mean 'width'"),
    ((SET, "model.width=-4"), "classifier"), ((SET, "objective.foo=1"), "foo"),
    ((SET, "train.batch_size=5000"), "batch"),
    ((SET, "first_stage=nowhere", SET, "kind=latent-diffusion", SET, "model={}"), "no trained model"),
    ((SET, "train.precision=fp12"), "fp12"), (("--tier", "tpu"), "tpu"), (("--minutes", "0"), "--minutes"),
    (("--minutes", "-1"), "--minutes"), (("--minutes", "inf"), "--minutes"), (("--device", "tpu"), "unknown device"),
    (("--resume",), "no checkpoint")]


@pytest.mark.parametrize(("extra", "says"), BAD)
def test_what_train_refuses(refused, recipe, tmp_path, extra, says):
    assert says in refused("train", recipe, "--out", tmp_path / "run", "--device", "cpu", *extra)
    assert not (tmp_path / "run" / "model.json").exists()


@pytest.mark.parametrize("content", ["just words", "[1, 2]", "kind: [", "kind: classifier\nmodel: 5\ndata: shapes",
                                     "data: shapes:test"])
def test_a_recipe_that_is_none_is_refused(refused, tmp_path, content):
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    refused("train", path, "--out", tmp_path / "run", "--device", "cpu")
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.yaml"]


def test_an_unknown_recipe_and_a_folder_that_cannot_be_written(refused, recipe, tmp_path):
    assert "did you mean 'shapes-vqgan'" in refused("train", "shapes-vqgn", "--out", tmp_path / "run")
    assert "choose another folder" in refused("train", recipe, "--out", "/proc/nowhere/run")
    assert "choose another folder" in refused("train", recipe, "--out", recipe)             # a file
    for command in ("demo", "speedrun"):
        assert "choose another folder" in refused(command, "--out", recipe)


def test_a_damaged_checkpoint_is_refused(run, refused, recipe, tmp_path):
    assert run("train", recipe, "--out", tmp_path / "run", "--device", "cpu").code == 0
    tensors = tmp_path / "run" / "checkpoint" / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:100])
    assert "damaged" in refused("train", recipe, "--out", tmp_path / "run", "--device", "cpu", "--resume")


def test_demo_and_speedrun_are_given_their_plans(run, tmp_path, monkeypatch):
    from tinygen import demo
    asked = []
    monkeypatch.setattr(demo, "run", lambda *arguments: asked.append(arguments))
    assert run("demo", "--out", tmp_path / "pictures").code == 0
    assert run("speedrun", "--out", tmp_path / "real", "--device", "cpu", "--tier", "gpu").code == 0
    assert run("speedrun", "--out", tmp_path / "dry", "--dry-run").code == 0
    assert asked[0] == (demo.DEMO, tmp_path / "pictures")
    assert asked[1] == (demo.SPEEDRUN, tmp_path / "real", "cpu", "gpu")
    dry, *rest = asked[2]
    assert rest == [tmp_path / "dry", None, None]
    assert dry.first_stage == "cifar10-vqgan" and dry.first_stage_minutes + dry.diffusion_minutes + dry.decoder_minutes < 0.2
    assert dry.n <= 50 and dry.decoder == "cifar10-ldm-tuned" and dry.samples <= 50
