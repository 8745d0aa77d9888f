"""For want of a GPU: every recipe family takes a step and draws on the device `meta`, and compiled first stages survive.

Tensors on `meta` have a shape and a device and no values. Whatever mixes them with a tensor of the CPU is refused, as on a GPU.
"""

import contextlib
from unittest import mock

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tinygen.data import generate_shapes
from tinygen.data.meadow import generate_meadow
from tinygen.features import Classifier
from tinygen.latent import DecoderObjective, add_low_rank
from tinygen.models import call
from tinygen.show import codebook_map
from tinygen.train import EMA, Progress, load_recipe
from tinygen.train.loop import Trainer
from tinygen.train.setup import make_optimizers, set_up
from tinygen.vq import VQGANObjective

META = torch.device("meta")
READS = ("aten::_local_scalar_dense", "aten::is_nonzero")
NAMES = ("vqgan", "kl", "prior", "dcgan", "ldm", "clip", "lora", "controlnet", "ldm-distilled", "judge", "perceptual")


class Strict(TorchDispatchMode):
    """Refuses operations on two devices; a value that is read is 0, a tensor that comes back to the CPU is zeros."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, func._schema.name
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        there = [x for x in tensors if x.device == META]
        if there and name in READS:
            return False if there[0].dtype == torch.bool else 0
        if there and name == "aten::_to_copy" and torch.device(kwargs.get("device") or META).type == "cpu":
            return torch.zeros(there[0].shape, dtype=kwargs.get("dtype") or there[0].dtype)
        moves = name in ("aten::copy_", "aten::_to_copy") or (name == "aten::index" and args[0].device == META)
        if there and not moves and any(x.ndim and x.device != META for x in tensors):
            raise RuntimeError(f"{name} of tensors on two devices")
        return func(*args, **kwargs)


class Generator:
    """torch.Generator, also of the device."""

    real = torch.Generator

    def __new__(cls, device="cpu"):
        if torch.device(device) != META:
            return cls.real(device)
        self = super().__new__(cls)
        self.device = META
        return self

    def manual_seed(self, seed):
        return self


def agreeing(draw):
    """`draw`, which refuses a generator of another device than the tensor's."""
    def drawn(*args, generator=None, **options):
        device = args[0].device if isinstance(args[0], torch.Tensor) else torch.device(options.get("device") or "cpu")
        assert generator is None or generator.device == device, f"a generator of {generator.device}, a tensor on {device}"
        return draw(*args, **options) if device == META else draw(*args, generator=generator, **options)
    return drawn


@pytest.fixture
def strict():
    real = torch.autocast
    autocast = lambda kind, *args, **options: contextlib.nullcontext() if kind == "meta" else real(kind, *args, **options)
    with contextlib.ExitStack() as stack:
        for name in ("rand", "randn", "randint", "randperm", "multinomial"):
            stack.enter_context(mock.patch.object(torch, name, agreeing(getattr(torch, name))))
        stack.enter_context(mock.patch.object(torch, "Generator", Generator))
        stack.enter_context(mock.patch.object(torch, "autocast", autocast))
        stack.enter_context(Strict())
        yield


@pytest.mark.parametrize("name", NAMES)
def test_a_step_and_a_preview(name, strict):
    changes = ["train.batch_size=8"] + ["objective.trajectories=16"] * (name == "ldm-distilled")
    recipe = load_recipe(f"shapes-{name}", "cpu", changes)
    training = set_up(recipe, META, generate_meadow(64) if name == "lora" else generate_shapes(64))
    objective = training.objective
    batch = objective.batches(training.data, batch_size=8, seed=0, flip=False)[0]
    optimizers, average = make_optimizers(objective.train(), recipe.train, META), EMA(objective.model, 0.99)
    for group, loss, _ in objective.losses(batch, Progress(984, 1000, Generator(META))):
        loss.backward()
        optimizers[group].step()
    average.update(0)
    objective.preview(average.model.eval(), batch)
    if name == "vqgan":
        tuned = call(VQGANObjective, {"adversarial_weight": 1.0, "adversarial_start": 0.0, "critic": "features", "decoder_only": True}, "",
                     model=objective.model, perceptual=objective.perceptual.classifier).to(META).train()
        tuned.steps_per_epoch = 8
        for _, loss, _ in tuned.losses(batch, Progress(984, 1000, Generator(META))):
            loss.backward()
        codebook_map(torch.ones(512, device=META), objective.model.decode_codes, (8, 8))
    if name == "ldm":
        pipeline, images, by_hand = objective.model, batch.images.new_zeros(8, 3, 32, 32), Generator.real("cpu")
        pipeline.inpaint(images, images[:, :1] > 0, by_hand, steps=2)                               # a generator of the CPU will do
        tuned = DecoderObjective(pipeline, Classifier("plain", {"class": 10}, width=4).to(META), samples=16, steps=2).to(META)
        images = tuned.batches(training.data, batch_size=8, seed=0, flip=False)[0]
        for _, loss, _ in tuned.train().losses(images, Progress(984, 1000, Generator(META))):
            loss.backward()
        tuned.preview(pipeline, images)
        add_low_rank(pipeline.denoiser.network)
        pipeline.generate(2, generator=by_hand, steps=2)


def test_devices_that_meet_are_refused(strict):
    """The test above can fail."""
    with pytest.raises(RuntimeError, match="two devices"):
        torch.ones(3, device=META) + torch.ones(3)
    with pytest.raises(AssertionError, match="generator"):
        torch.randn(3, generator=Generator.real("cpu"), device=META)


@pytest.mark.parametrize("name, changes", [("shapes-vqgan", []), ("shapes-kl", []), ("shapes-vqgan", ["objective.critic=features", "objective.decoder_only=true"]),
                                           ("cifar10-ldm-tuned", ["objective.samples=16", "objective.steps=2", "data=shapes", "start=zoo:shapes-ldm-vq",
                                                                  "perceptual=zoo:shapes-perceptual", "train.precision=fp32"])])
def test_a_compiled_first_stage_meets_its_critic(name, changes, tmp_path, monkeypatch):
    """The first step goes backward once, later ones twice more for the adaptive weight, which a compiled graph may refuse."""
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compile_module(self, backend="aot_eager_decomp_partition"))
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    recipe = load_recipe(name, "cpu", ["train.compile=true", "train.batch_size=8", *changes])
    trainer = Trainer(recipe, tmp_path / "run", device="cpu", data=generate_shapes(64), quiet=True)
    trainer.objective.train()
    trainer.total = 1000
    weights = [trainer.train_step(trainer.progress(step)).get("adaptive_weight") for step in (0, 900, 901)]
    assert weights[0] is None and all(0 < weight <= 1 for weight in weights[1:])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 1 and not torch._dynamo.utils.counters["graph_break"]
    torch.compiler.reset()
