"""Runs that are stopped, by whatever means, end like runs that were not, bit for bit."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tinygen.errors import TinygenError
from tinygen.models import load_model
from tinygen.train import budget

SCRIPT = Path(__file__).with_name("tiny.py")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(SCRIPT.parents[2]), "OMP_NUM_THREADS": "1"}
RESUMED = ("vq", "latent-diffusion", "decoder", "gan", "classifier")


@pytest.mark.parametrize("kind", RESUMED)
def test_resumed_run_ends_with_the_same_bits(kind, trainer, crash_at, same_end, tmp_path):
    """With an adversary, text, dropout, batch norms, lazy steps: 8 steps at once, or 3, lost work, and the rest."""
    trainer(kind, tmp_path / "whole").run()
    crash_at(trainer(kind, tmp_path / "parts"), 5)
    again = trainer(kind, tmp_path / "parts", resume=True)
    again.run()
    assert json.loads((tmp_path / "parts/checkpoint/facts.json").read_text())["step"] == 8
    assert same_end(tmp_path / "whole", tmp_path / "parts")
    log = lambda name: [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
    timeless = lambda lines: [line | {"seconds": 0, "images_per_second": 0} for line in lines]
    assert timeless(log("whole")) == timeless(log("parts"))              # no step twice, the same losses
    model, info = load_model(tmp_path / "parts")
    assert info["steps"] == 8 and info["images_seen"] == 64
    state = again.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_the_checkpoint_matters(trainer, crash_at, same_end, tmp_path):
    """The comparison can fail: without the optimiser's state the run ends elsewhere."""
    trainer("classifier", tmp_path / "whole").run()
    crash_at(trainer("classifier", tmp_path / "parts"), 5)
    again = trainer("classifier", tmp_path / "parts", resume=True)
    restore = again.restore

    def forgetful():
        restore()
        again.optimizers["classifier"].state.clear()

    again.restore = forgetful
    again.run()
    assert not same_end(tmp_path / "whole", tmp_path / "parts")


def test_kill_9_at_any_instant_costs_nothing_but_time(trainer, models, same_end, tmp_path):
    command = [sys.executable, str(SCRIPT), "vq", str(models), str(tmp_path / "parts"), "7"]
    killed = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=500)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "parts" / "model.json").exists()
    trainer("vq", tmp_path / "parts", resume=True, steps=24).run()
    trainer("vq", tmp_path / "whole", steps=24).run()
    assert same_end(tmp_path / "whole", tmp_path / "parts")


@pytest.fixture
def interruptible():
    """Ctrl-C as it is at a terminal, whoever runs the tests."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler          # the trainer put it back
    signal.signal(signal.SIGINT, previous)


def test_ctrl_c_saves_between_two_steps(trainer, same_end, interruptible, tmp_path):
    """Pressed in the middle of step 5: that step is finished, saved, and not made again."""
    first = trainer("vq", tmp_path / "parts", checkpoint_every=0)
    losses = first.objective.losses

    def pressed(batch, progress):
        for item in losses(batch, progress):
            yield item
            if progress.step == 4 and item[0] == "autoencoder":
                signal.raise_signal(signal.SIGINT)

    first.objective.losses = pressed
    with pytest.raises(KeyboardInterrupt):
        first.run()
    assert json.loads((tmp_path / "parts/checkpoint/facts.json").read_text())["step"] == 5
    trainer("vq", tmp_path / "parts", resume=True, checkpoint_every=0).run()
    trainer("vq", tmp_path / "whole", checkpoint_every=0).run()
    assert same_end(tmp_path / "whole", tmp_path / "parts")


def test_second_ctrl_c_acts_at_once(trainer, interruptible, tmp_path):
    first = trainer("fsq", tmp_path)

    def hung(progress):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("still here")

    first.train_step = hung
    with pytest.raises(KeyboardInterrupt):
        first.run()


def test_a_finished_run_is_left_as_it_is(trainer, same_end, tmp_path):
    trainer("fsq", tmp_path / "run").run()
    before = {name: (tmp_path / "run" / name).read_bytes() for name in ("model.safetensors", "log.jsonl")}
    again = trainer("fsq", tmp_path / "run", resume=True)
    again.train_step = None                                              # not a single step
    model = again.run()
    assert not model.training
    assert all((tmp_path / "run" / name).read_bytes() == content for name, content in before.items())


def test_minutes_become_steps_that_a_resumed_run_keeps(trainer, crash_at, same_end, tmp_path):
    """And the warm-up that measures the speed leaves no trace."""
    crash_at(trainer("vq", tmp_path / "minutes", steps=10, minutes=1e-9), 7)
    facts = json.loads((tmp_path / "minutes/checkpoint/facts.json").read_text())
    assert (facts["step"], facts["total"]) == (6, 10)                    # at least 10 steps, however short the time
    again = trainer("vq", tmp_path / "minutes", steps=10, resume=True)
    again.restore()
    assert (again.step, again.total) == (6, 10)
    again.run()
    trainer("vq", tmp_path / "steps", steps=10).run()
    assert same_end(tmp_path / "minutes", tmp_path / "steps")


def test_a_checkpoint_keeps_the_scale_of_half_precision(trainer, tmp_path):
    """Else a resumed fp16 run would search for it again, and leave out steps."""
    run = trainer("fsq", tmp_path / "run", steps=4)
    run.run()
    run.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=128.0)
    run.checkpoint(SimpleNamespace(flush=lambda rate: 1.0))
    again = trainer("fsq", tmp_path / "run", steps=4, resume=True)
    again.accelerator.scaler = torch.amp.GradScaler("cpu")
    again.restore()
    assert again.accelerator.scaler.get_scale() == 128.0


@pytest.fixture
def paced(trainer, monkeypatch, tmp_path):
    """paced(seconds) -> a Trainer whose step number `step` takes seconds(step), by the only clock that there is."""
    now = [0.0]
    monkeypatch.setattr(budget, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def make(seconds, kind="gan", **options):
        timed = trainer(kind, tmp_path / "timed", **options)
        step = timed.train_step

        def train_step(progress):
            now[0] += seconds(progress.step)
            return step(progress)

        timed.train_step = train_step
        return timed

    return make, now


def test_a_time_budget_is_divided_by_the_time_of_a_step(paced):
    """By a clock that says 3/8 s a step and 7/8 s every fourth (as with R1): half a second. The timed steps are undone."""
    timed = paced[0](lambda step: 0.375 if step % 4 else 0.875)
    before = {name: value.clone() for name, value in timed.objective.state_dict().items()}
    assert budget.steps_within(timed, 1.5) == 180
    assert all(torch.equal(value, before[name]) for name, value in timed.objective.state_dict().items())
    assert not any(optimizer.state for optimizer in timed.optimizers.values())
    for average, weight in zip(timed.ema.model.parameters(), timed.objective.model.parameters(), strict=True):
        assert torch.equal(average, weight)


@pytest.mark.parametrize("warm_up", [4.0, 0.1])
def test_a_time_budget_is_kept_though_the_first_steps_mislead(paced, warm_up):
    """The warm-up is four times as slow, or ten times as fast, as the training, whose steps take a second and then half of one."""
    make, now = paced
    timed = make(lambda step: warm_up if step >= 980 else 1.0 if step < 100 else 0.5, kind="fsq", minutes=5, checkpoint_every=0)
    fractions = []
    losses = timed.objective.losses
    timed.objective.losses = lambda batch, progress: (fractions.append(progress.fraction), losses(batch, progress))[1]
    timed.run()
    assert now[0] - 16 * warm_up == pytest.approx(300, abs=35)
    assert timed.step == timed.total == pytest.approx(500, abs=70) and fractions[-1] == (timed.total - 1) / timed.total
    assert json.loads((timed.out / "model.json").read_text())["info"]["steps"] == timed.total


def test_resume_with_another_recipe_is_refused(trainer, tmp_path):
    trainer("fsq", tmp_path, steps=2).run()
    for key, value in {"seed": 1, "batch_size": 4, "lr": 0.01, "steps": 9, "ema": 0.5}.items():
        with pytest.raises(TinygenError, match=f"was made with train.{key} = .*, not {value}; choose another --out"):
            trainer("fsq", tmp_path, resume=True, **{"steps": 2} | {key: value}).run()
    with pytest.raises(TinygenError, match="was made with name = 'tiny-fsq'"):
        trainer("gan", tmp_path, resume=True, steps=2).run()
    may_differ = {"log_every": 7, "checkpoint_every": 1, "preview_every": 3}
    trainer("fsq", tmp_path, resume=True, steps=2, **may_differ).run()
