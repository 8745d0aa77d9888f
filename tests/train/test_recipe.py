"""Recipes: what comes with the package loads, and every kind of mistake in one is a clear error."""

import importlib
import inspect
import json
from dataclasses import asdict, replace

import pytest
import torch

from tinygen.data import ImageSet
from tinygen.data.catalog import split_name
from tinygen.data.cifar10 import CLASSES
from tinygen.errors import TinygenError
from tinygen.models import model_class
from tinygen.train import Progress, Recipe, TrainConfig, default_tier, load_recipe, recipe_names
from tinygen.train.recipe import TIERS, difference
from tinygen.train.setup import OBJECTIVES, set_up

GOOD = {"kind": "vq", "data": "shapes", "model": {"codebook_size": 8}, "train": {"steps": 5, "lr": 0.1},
        "tiers": {"gpu": {"model": {"channels": 9}, "train": {"steps": 50}}}}


@pytest.fixture
def written(tmp_path):
    """written(content or text) -> the path of a recipe."""
    def write(content):
        path = tmp_path / "mine.yaml"
        path.write_text(content if isinstance(content, str) else json.dumps(content))            # JSON is YAML
        return str(path)
    return write


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_comes_with_the_package(name, tier):
    recipe = load_recipe(name, tier)
    assert recipe.name == name and recipe.about and split_name(recipe.data)
    module, objective = OBJECTIVES[f"{recipe.kind}, {recipe.trains}" if recipe.trains else recipe.kind]
    objective = getattr(importlib.import_module(module), objective)
    assert set(recipe.model) <= set(inspect.signature(model_class(recipe.kind)).parameters)
    assert set(recipe.objective) <= set(inspect.signature(objective).parameters)
    for other in (recipe.start, recipe.first_stage, recipe.perceptual):
        assert other is None or other.startswith("zoo:")
    assert bool(recipe.first_stage) == (recipe.kind in ("prior", "latent-diffusion") and not recipe.start)


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith("cifar10")])
def test_a_step_of_the_gpu_tier(name):
    """Of full size, with two images, on the CPU, near the end, where every term of the loss is in force."""
    draw, two = torch.Generator().manual_seed(0), torch.arange(2)
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8, generator=draw)
    data = ImageSet("cifar10:train", images, two, CLASSES, ("a photo of a cat",) * 2, torch.empty(2, 0, dtype=torch.long), {})
    few = ["objective.samples=4"] if load_recipe(name).trains == "decoder" else []
    objective = set_up(load_recipe(name, "gpu", few), torch.device("cpu"), data).objective.train()
    batch = objective.batches(data, batch_size=2, seed=0)[0]
    names = []
    for group, loss, _ in objective.losses(batch, Progress(96, 100, draw)):
        names.append(group)
        loss.backward()
        gradients = [p.grad for p in objective.groups()[group] if p.grad is not None]
        assert loss.isfinite() and gradients and all(g.isfinite().all() for g in gradients)
    assert sorted(names) == sorted(objective.groups())


def test_there_are_recipes():
    assert {"shapes-vqgan", "cifar10-judge"} <= set(recipe_names())


def test_tiers_and_overrides(written):
    path = written(GOOD)
    cpu, gpu = load_recipe(path), load_recipe(path, "gpu")
    assert cpu.name == "mine" and cpu.model == {"codebook_size": 8} and cpu.train == TrainConfig(steps=5, lr=0.1)
    assert gpu.model == {"codebook_size": 8, "channels": 9} and gpu.train == TrainConfig(steps=50, lr=0.1)
    changed = load_recipe(path, "gpu", ["train.lr=1e-3", "train.steps=1e2", "model.levels=[8, 5]", "train.flip=false",
                                        "train.betas=[0.5,0.9]", "train.lr_scale.discriminator=2", "about=a=b"])
    assert changed.train == TrainConfig(steps=100, lr=1e-3, flip=False, betas=(0.5, 0.9),
                                        lr_scale={"discriminator": 2.0})
    assert changed.model == {"codebook_size": 8, "channels": 9, "levels": [8, 5]} and changed.about == "a=b"
    assert type(changed.train.steps) is int and type(changed.train.lr_scale["discriminator"]) is float


def test_numbers_that_yaml_reads_as_strings(written):
    """YAML 1.1 takes 1e-3 for a string; so it must not be, at any depth, and what is no number stays what it is."""
    recipe = load_recipe(written("kind: vq\ndata: shapes\ntrain: {lr: 1e-3, weight_decay: 5E-2}\n"
                                 "model: {decay: 9e-1, deep: {er: [1e-5, nan, one, 1e]}}\n"))
    assert recipe.train.lr == 1e-3 and recipe.train.weight_decay == 0.05
    assert recipe.model == {"decay": 0.9, "deep": {"er": [1e-5, "nan", "one", "1e"]}}


@pytest.mark.parametrize("change, message", [
    ({"modle": {}}, "unknown key 'modle'; did you mean 'model'"),
    ({"train": {"stepz": 3}}, "train: unknown key 'stepz'; did you mean 'steps'"),
    ({"tiers": {"gpuu": {}}}, "unknown tier 'gpuu'; did you mean 'gpu'"),
    ({"tiers": {"cpu": {"train": {"lrr": 1}}}}, "unknown key 'lrr'; did you mean 'lr'"),
    ({"tiers": [1]}, "tiers must be a mapping"), ({"tiers": {"cpu": 5}}, "tier cpu must be a mapping"),
    ({"train": 5}, "train must be a mapping"), ({"train": [1]}, "train must be a mapping"),
    ({"model": 3}, "model must be a mapping"), ({"objective": "x"}, "objective must be a mapping"),
    ({"kind": 3}, "kind must be of type str"), ({"perceptual": 3}, "perceptual must be of type str"),
    ({"train": {"steps": "many"}}, "steps must be of type int, not 'many'"),
    ({"train": {"steps": 1.5}}, "of type int, not 1.5"),
    ({"train": {"steps": True}}, "of type int, not True"), ({"train": {"lr": None}}, "lr must be of type float"),
    ({"train": {"flip": 1}}, "flip must be of type bool"), ({"train": {"flip": "maybe"}}, "flip must be of type bool"),
    ({"train": {"betas": 0.9}}, "betas must be two numbers"),
    ({"train": {"betas": ["a", 1]}}, "betas must be of type float"),
    ({"train": {"lr_scale": {"generator": "x"}}}, "lr_scale.generator must be of type float"),
    ({"train": {"lr_scale": 2}}, "lr_scale must be a mapping"),
    ({"train": {"steps": 0}}, "steps must be at least 1, not 0"),
    ({"train": {"ema": 1.5}}, "ema must be at least 0 and at most 1"),
    ({"train": {"schedule": "cosin"}}, "unknown value 'cosin'; did you mean 'cosine'"),
    ({"train": {"precision": "bf61"}}, "unknown value 'bf61'; did you mean 'bf16'"),
], ids=str)
def test_mistakes_are_refused(change, message, written):
    with pytest.raises(TinygenError, match=message):
        load_recipe(written(GOOD | change))


@pytest.mark.parametrize("text, message", [
    ("kind: vq", "data"), ("- a\n- b", "must be a mapping"), ("", "must be a mapping"), ("a: [1", "not readable YAML"),
    ("a: !!python/object/apply:os.system [ls]", "not readable YAML")])
def test_files_that_are_no_recipes(text, message, written):
    with pytest.raises(TinygenError, match=message) as caught:
        load_recipe(written(text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override, message", [
    ("train.steps", "write key=value"), ("train.stepz=3", "did you mean 'steps'"), ("train.lr=[", "is not valid"),
    ("trian.steps=3", "did you mean 'train'"), ("train=3", "must be a mapping"), ("=3", "unknown key ''")])
def test_overrides_with_mistakes(override, message, written):
    with pytest.raises(TinygenError, match=message):
        load_recipe(written(GOOD), "cpu", [override])


def test_unknown_recipes_and_tiers(tmp_path):
    with pytest.raises(TinygenError, match="unknown recipe 'shapes-vqgam'; did you mean 'shapes-vqgan'"):
        load_recipe("shapes-vqgam")
    with pytest.raises(TinygenError, match="unknown recipe"):
        load_recipe(str(tmp_path / "absent.yaml"))
    with pytest.raises(TinygenError, match="unknown tier 'gpuu'; did you mean 'gpu'"):
        load_recipe("shapes-vqgan", "gpuu")


def test_tier_by_device_and_by_environment(monkeypatch):
    monkeypatch.delenv("TINYGEN_TIER", raising=False)
    assert [default_tier(device) for device in ("cpu", "cuda", "mps")] == ["cpu", "gpu", "cpu"]
    monkeypatch.setenv("TINYGEN_TIER", "gpu")
    assert default_tier("cpu") == "gpu"


def test_difference_between_a_recipe_and_a_stored_one():
    recipe = Recipe("mine", "vq", "shapes", model={"levels": (8, 5)}, train=TrainConfig(betas=(0.9, 0.95)))
    stored = json.loads(json.dumps(asdict(recipe)))
    assert difference(recipe, stored) is None
    assert difference(replace(recipe, about="else", train=replace(recipe.train, log_every=3)), stored) is None
    assert difference(replace(recipe, objective={"a": 1}), stored) == ("objective", {}, {"a": 1})
    assert difference(replace(recipe, train=replace(recipe.train, lr=5.0)), stored) == ("train.lr", 1e-3, 5.0)
    for foreign in ([], {}, {"train": 3}, "x"):
        assert difference(recipe, foreign) is not None
