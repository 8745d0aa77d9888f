"""The loop and its parts: rates, averages, precision, logs, losses that are no numbers."""

import json
import math
import threading
from dataclasses import replace
from unittest import mock

import pytest
import torch
from torch import nn

from tinygen.errors import TinygenError
from tinygen.models import load_model, read_facts
from tinygen.train import EMA, TrainConfig, Trainer, choose_device, choose_precision, precision, train
from tinygen.train.checkpoint import load_checkpoint
from tinygen.train.interrupt import Interrupt
from tinygen.train.log import Log
from tinygen.train.setup import learning_rate, set_up


def test_learning_rate():
    config = TrainConfig(lr=2.0, warmup=0.1, final_lr=0.1)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([2.0 * (step + 1) / 11 for step in range(10)])
    assert rates[10] == pytest.approx(2.0) == max(rates)
    assert rates[55] == pytest.approx(2.0 * (0.1 + 0.9 / 2))             # half of the cosine
    assert rates[40] == pytest.approx(2.0 * (0.1 + 0.9 * math.cos(math.pi * 30 / 90 / 2) ** 2))
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[-1] == pytest.approx(0.2, rel=0.01)
    constant = replace(config, schedule="constant")
    assert {learning_rate(constant, step, 100) for step in range(10, 100)} == {2.0}
    assert 0 < learning_rate(replace(config, warmup=0.0), 0, 100) <= 2.0


def test_average_in_closed_form():
    """d = min(decay, (1 + s) / (10 + s)): a weighted sum of all the weights that were."""
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 2).requires_grad_(False))
    ema = EMA(model, 0.5)
    history = [model[0].weight.detach().clone()]
    for step in range(20):
        with torch.no_grad():
            model[0].weight.normal_(generator=torch.Generator().manual_seed(step))
            model[1].running_mean.fill_(float(step))
        history.append(model[0].weight.detach().clone())
        ema.update(step)
    decays = [min(0.5, (1 + step) / (10 + step)) for step in range(20)]
    shares = [math.prod(decays)] + [(1 - decays[s]) * math.prod(decays[s + 1:]) for s in range(20)]
    assert sum(shares) == pytest.approx(1) and decays[0] == 0.1 and decays[-1] == 0.5
    expected = sum(share * weight for share, weight in zip(shares, history, strict=True))
    torch.testing.assert_close(ema.model[0].weight, expected)
    assert (ema.model[1].running_mean == 19).all()                       # buffers are copied
    assert ema.model[2].weight is model[2].weight                        # frozen weights are shared
    assert not ema.model.training and not any(p.requires_grad for p in ema.model.parameters())


@pytest.mark.parametrize("capability, expected", [((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"),
                                                  ((8, 9), "bf16"), ((10, 0), "bf16")])
def test_precision_on_gpus(capability, expected, monkeypatch):
    """A T4 (7.5) says that it supports bf16, and emulates it: it is not asked."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    assert choose_precision(torch.device("cuda")) == expected
    assert choose_precision(torch.device("cuda"), "fp32") == "fp32"


@pytest.mark.parametrize("avx512, amx, expected", [(False, False, "fp32"), (True, False, "bf16"),
                                                   (False, True, "bf16")])
def test_precision_elsewhere(avx512, amx, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert precision.cpu_has_bf16() == (avx512 or amx)
    assert choose_precision(torch.device("cpu")) == expected
    assert choose_precision(torch.device("mps")) == "fp32"
    with pytest.raises(TinygenError, match="fp16 needs a GPU"):
        choose_precision(torch.device("cpu"), "fp16")


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device() == choose_device("cpu") == torch.device("cpu")
    for absent in ("cuda", "cuda:1", "mps"):
        with pytest.raises(TinygenError, match=f"no device '{absent}' here: use one of cpu"):
            choose_device(absent)
    with pytest.raises(TinygenError, match="unknown device 'gpu'"):
        choose_device("gpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device() == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(precision, "cannot_compute", lambda device: "")
    assert choose_device() == torch.device("cuda") and choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(TinygenError, match="no device 'cuda:2'"):
        choose_device("cuda:2")
    monkeypatch.setattr(precision, "cannot_compute", lambda device: "no kernel image is available")
    with pytest.raises(TinygenError, match="cannot compute on cuda \\(no kernel image is available\\): use --device cpu"):
        choose_device()


def test_a_gpu_that_torch_cannot_use_says_why(monkeypatch):
    assert precision.cannot_compute(torch.device("cpu")) == ""
    monkeypatch.setattr(torch, "zeros", mock.Mock(side_effect=RuntimeError("CUDA error: no kernel image\nhelp")))
    assert precision.cannot_compute(torch.device("cuda")) == "CUDA error: no kernel image"


def test_without_triton_a_gpu_trains_uncompiled(monkeypatch):
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: False)
    assert precision.can_compile(torch.device("cpu"))
    with pytest.warns(UserWarning, match="no Triton for this GPU"):
        assert not precision.can_compile(torch.device("cuda"))


def test_one_process_may_train_in_several_precisions(trainer, tmp_path):
    """As in a notebook: accelerate would keep the first choice for ever."""
    for name, wanted in (("a", "no"), ("b", "bf16"), ("c", "no")):
        run = trainer("fsq", tmp_path / name, precision="fp32" if wanted == "no" else wanted)
        assert run.accelerator.mixed_precision == wanted and run.device.type == "cpu"


def test_parameter_groups_and_their_rates(trainer, tmp_path):
    run = trainer("vq", tmp_path, lr_scale={"discriminator": 0.5}, weight_decay=0.1, warmup=0.0)
    seen = {}
    run.train_step(run.progress(3))
    for name, optimizer in run.optimizers.items():
        seen[name] = {group["lr"] for group in optimizer.param_groups}
        for group in optimizer.param_groups:
            assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] > 0}          # biases do not decay
    rate = learning_rate(run.config, 3, 8)
    assert seen == {"autoencoder": {rate}, "discriminator": {0.5 * rate}}
    with pytest.raises(TinygenError, match="'discrimnator'; did you mean 'discriminator'"):
        trainer("vq", tmp_path / "other", lr_scale={"discrimnator": 0.5})


def test_clipping_bounds_the_step_and_is_logged(trainer, tmp_path):
    run, seen = trainer("fsq", tmp_path, clip=1e-3), []
    optimizer = run.optimizers["autoencoder"]
    optimizer.register_step_pre_hook(lambda *_: seen.append(torch.cat([p.grad.flatten() for g in optimizer.param_groups
                                                                       for p in g["params"]]).norm().item()))
    terms = run.train_step(run.progress(0))
    assert seen[0] == pytest.approx(1e-3, rel=1e-2) and terms["gradient_autoencoder"] > 1e-3
    free = trainer("fsq", tmp_path / "free", clip=0.0)
    torch.testing.assert_close(free.train_step(free.progress(0))["gradient_autoencoder"], terms["gradient_autoencoder"])


def test_log_lines_are_means_since_the_last_one(tmp_path):
    with Log(tmp_path, "test", 10, 4, quiet=True) as log:
        for step in range(1, 6):
            log.add(step, {"mse": torch.tensor(float(step))} | ({"penalty": torch.tensor(7.0)} if step == 2 else {}))
            if step in (3, 5):
                log.flush(0.5)
    first, second = (json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines())
    assert (first["step"], first["images"], first["lr"], first["mse"], first["penalty"]) == (3, 12, 0.5, 2.0, 7.0)
    assert (second["step"], second["mse"]) == (5, 4.5) and "penalty" not in second
    assert second["seconds"] >= first["seconds"] and first["images_per_second"] > 0
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 6, "ms')                                    # a line that was cut off
    with Log(tmp_path, "test", 10, 4, first_step=3, seconds=100.0, quiet=True) as log:
        log.add(4, {"mse": torch.tensor(1.0)})
        assert log.flush(0.5) >= 100.0
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 4] and lines[1]["mse"] == 1.0


def test_a_run_leaves_what_it_promises(trainer, tmp_path):
    model = trainer("latent-diffusion", tmp_path, preview_every=5, log_every=3).run()
    assert not model.training
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [3, 6, 8]
    assert sorted(path.name for path in (tmp_path / "previews").iterdir()) == ["0000005.png", "0000008.png"]
    assert any((tmp_path / "tensorboard").iterdir())
    facts = json.loads((tmp_path / "model.json").read_text())
    assert facts["config"]["words"] == ["a", "bright", "dark", "square"]
    assert facts["config"]["first_stage"]["kind"] == "kl"
    assert facts["info"]["class_names"] == ["dark", "bright", "any"] and facts["info"]["image_size"] == 16
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert {"step", "images", "seconds", "lr", "images_per_second", "denoising", "gradient_denoiser"} <= set(line)


def poison(run, step, term):
    """Let `run` meet a loss, or only a gradient, that is not a number."""
    losses = run.objective.losses

    def poisoned(batch, progress):
        for name, loss, terms in losses(batch, progress):
            if progress.step == step and term == "mse":
                loss, terms = loss * float("nan"), terms | {"mse": terms["mse"] * float("nan")}
            if progress.step == step and term.startswith("gradient"):
                weight = run.objective.model.decoder.last_weight
                loss = loss + (0 * weight.square().sum()).sqrt()         # 0, with the slope 0 / 0
            yield name, loss, terms

    run.objective.losses = poisoned


@pytest.mark.parametrize("clip", [1.0, 0.0])
@pytest.mark.parametrize("term", ["mse", "gradient_autoencoder"])
def test_nan_stops_the_run_and_reaches_no_checkpoint(term, clip, trainer, tmp_path):
    """Even where the log is read later, and where the loss is still a number but its gradient is not."""
    run = trainer("fsq", tmp_path, checkpoint_every=2, log_every=100, clip=clip)
    poison(run, 5, term)
    with pytest.raises(TinygenError, match=f"step 6: {term} is nan; the last good checkpoint is .*checkpoint; try"):
        run.run()
    tensors, facts = load_checkpoint(tmp_path)
    assert facts["step"] == 4 and all(torch.isfinite(value).all() for value in tensors.values())
    assert not (tmp_path / "model.json").exists()


def test_nan_before_the_first_checkpoint(trainer, tmp_path):
    run = trainer("fsq", tmp_path)
    poison(run, 0, "mse")
    with pytest.raises(TinygenError, match="step 1: mse is nan; no checkpoint had been written yet"):
        run.run()


def test_folders_in_use(trainer, tmp_path):
    with pytest.raises(TinygenError, match="no checkpoint to resume from; leave out --resume"):
        trainer("fsq", tmp_path / "run", resume=True)
    trainer("fsq", tmp_path / "run", steps=1).run()
    with pytest.raises(TinygenError, match="already holds a run; add --resume"):
        trainer("fsq", tmp_path / "run")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TinygenError, match="choose another --out"):
        trainer("fsq", tmp_path / "file").run()


def test_mistakes_in_a_recipe_are_found_before_training(tiny, models):
    device, data = torch.device("cpu"), tiny.dataset("vq")
    good = tiny.recipe("latent-diffusion", models)
    mistakes = [({"kind": "vqq"}, "did you mean 'vq'"),
                ({"model": good.model | {"num_classes": 7}}, "num_classes=3"),
                ({"model": good.model | {"num_clases": 3}}, "did you mean 'num_classes'"),
                ({"objective": {"label_dropuot": 1}}, "objective: unknown key 'label_dropuot'; .* 'label_dropout'"),
                ({"first_stage": str(models / "features")}, "is of kind 'classifier': name a 'vq' or 'kl' model"),
                ({"first_stage": "zoo:nothing"}, "no model 'zoo:nothing'"),
                ({"first_stage": None}, "first_stage"),
                ({"trains": "encoder"}, "trains 'encoder' is not for a model of kind 'latent-diffusion'"),
                ({"kind": "gan", "trains": "decoder"}, "trains 'decoder' is not for a model of kind 'gan'"),
                ({"trains": "decoder"}, "trains 'decoder' needs a trained model: name it in start")]
    for change, message in mistakes:
        with pytest.raises(TinygenError, match=message):
            set_up(replace(good, **change), device, data)


def test_a_recipe_can_start_from_a_trained_model(tiny, models, tmp_path):
    first = tiny.recipe("vq", models)
    train(first, tmp_path / "first", device="cpu", data=tiny.dataset("vq"), quiet=True)
    before, _ = load_model(tmp_path / "first")
    tuned = replace(first, start=str(tmp_path / "first"), model={}, objective=first.objective | {"decoder_only": True, "critic": "features"})
    tuned = replace(tuned, train=replace(tuned.train, ema=0.0, preview_every=2, checkpoint_every=2))   # previews of the very model
    after = train(tuned, tmp_path / "tuned", device="cpu", data=tiny.dataset("vq"), quiet=True)
    moved = {name.split(".")[0] for name, tensor in after.state_dict().items() if not torch.equal(tensor, before.state_dict()[name])}
    assert moved == {"decoder"} and read_facts(tmp_path / "tuned")["config"] == read_facts(tmp_path / "first")["config"]
    again = Trainer(tuned, tmp_path / "again", device="cpu", data=tiny.dataset("vq"), quiet=True)
    step = again.train_step
    again.train_step = lambda progress: step(progress) if progress.step < 5 else {}["stopped"]
    with pytest.raises(KeyError, match="stopped"):
        again.run()
    resumed = Trainer(tuned, tmp_path / "again", device="cpu", data=tiny.dataset("vq"), quiet=True, resume=True).run()
    assert all(torch.equal(tensor, resumed.state_dict()[name]) for name, tensor in after.state_dict().items())
    captioned = tiny.recipe("latent-diffusion", models)
    train(captioned, tmp_path / "captioned", device="cpu", data=tiny.dataset("latent-diffusion"), quiet=True)
    started = set_up(replace(captioned, start=str(tmp_path / "captioned")), torch.device("cpu"), tiny.dataset("latent-diffusion"))
    trained = load_model(tmp_path / "captioned")[0].state_dict()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in started.objective.model.state_dict().items())
    for change, message in (({"start": str(models / "features")}, "is of kind 'classifier', the recipe of kind 'vq'"),
                            ({"model": {"channels": 32}}, "has another channels than")):
        with pytest.raises(TinygenError, match=message):
            set_up(replace(tuned, **change), torch.device("cpu"), tiny.dataset("vq"))


def test_interrupts_outside_the_main_thread_change_nothing():
    seen = []

    def work():
        with Interrupt() as interrupt:
            seen.append((interrupt.previous, interrupt.asked))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(None, False)]
