"""Models on disk: round trips of every kind, and every way in which a folder can be damaged."""

import errno
import json
import os

import pytest
import torch
from safetensors.torch import save

from tinygen import models
from tinygen.errors import TinygenError
from tinygen.models import build, load_model, model_folder, read_facts, save_model, write_atomically, zoo_names

VQ = {"codebook_size": 8, "code_channels": 2, "channels": 8, "image_size": 16}
KL = {"latent_channels": 2, "channels": 8, "image_size": 16}
LDM = {"first_stage": {"kind": "kl", "config": KL}, "num_classes": 3, "words": ["red", "star"], "text_channels": 8,
       "network_options": {"channels": 8, "channel_mults": [1], "blocks": 1}}
GAN = {"latent_channels": 4, "channels": 4, "num_classes": 3, "image_size": 16}
CONFIGS = {
    "classifier": {"arch": "plain", "heads": {"class": 3}, "width": 4},
    "vq": VQ,
    "kl": KL,
    "prior": {"first_stage": {"kind": "vq", "config": VQ}, "num_classes": 3, "channels": 8, "depth": 1, "heads": 2},
    "gan": GAN,
    "latent-diffusion": LDM,
    "distilled": {"model": {"kind": "latent-diffusion", "config": LDM}, "steps": 2},
    "int8": {"model": {"kind": "gan", "config": GAN}},
    "lora": {"base": "zoo:shapes-ldm", "rank": 2},
    "controlnet": {"base": "zoo:shapes-ldm"},
    "clip": {"words": ["red", "star"], "text_channels": 8, "channels": 4, "embedding_channels": 8, "image_size": 16},
}
INFO = {"data": "shapes", "class_names": ["a", "b", "c"], "image_size": 16}


def saved(folder, kind="vq", **options):
    torch.manual_seed(0)
    model = build(kind, CONFIGS[kind]).eval()
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand(value.shape))
    save_model(folder, model, kind, CONFIGS[kind], INFO, **options)
    return model


def test_every_kind_is_tried():
    assert set(CONFIGS) == set(models.KINDS)


@pytest.mark.parametrize("kind", CONFIGS)
def test_round_trip(kind, tmp_path):
    """The inner model of a prior or of a latent diffusion lies in the same file."""
    model = saved(tmp_path / "run", kind)
    torch.manual_seed(1)
    again, info = load_model(tmp_path / "run")
    assert type(again) is type(model) and not again.training
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
    assert {key: info[key] for key in INFO} == INFO and info["kind"] == kind
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["model.json", "model.safetensors"]
    if hasattr(model, "generate"):
        make = lambda m: m.generate(2, torch.tensor([0, 2]), torch.Generator().manual_seed(0),
                                    **({"steps": 2} if kind == "latent-diffusion" else {}))
        assert torch.equal(make(model), make(again))


def test_weights_stored_in_half_precision(tmp_path):
    model = saved(tmp_path / "full")
    save_model(tmp_path / "half", model, "vq", VQ, INFO, dtype=torch.float16)
    size = lambda name: (tmp_path / name / "model.safetensors").stat().st_size
    assert size("half") < 0.65 * size("full")
    again, _ = load_model(tmp_path / "half")
    for name, value in model.state_dict().items():
        stored = again.state_dict()[name]
        assert stored.dtype == value.dtype                               # float32 in memory, bool and int as they were
        torch.testing.assert_close(stored, value.half().to(value.dtype) if value.is_floating_point() else value)


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty"])
def test_damaged_weights_are_refused(damage, tmp_path):
    saved(tmp_path)
    path = tmp_path / "model.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "changed":
        content[len(content) // 2] ^= 1
    path.write_bytes({"truncated": content[:-10], "changed": content, "empty": b""}[damage])
    with pytest.raises(TinygenError, match="truncated or was changed"):
        load_model(tmp_path)


@pytest.mark.parametrize("text", ["", "not json", "[]", "3", "{}", '{"format": 1, "kind": "vq"}',
                                  '{"kind": "vq", "config": {}}', "\x00"])
def test_foreign_descriptions_are_refused(text, tmp_path):
    saved(tmp_path)
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(TinygenError, match="is not a tinygen model description"):
        load_model(tmp_path)


def rewrite(folder, **changes):
    facts = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(facts | changes))


def test_another_format_kind_or_architecture_is_refused(tmp_path):
    saved(tmp_path)
    rewrite(tmp_path, format=99)
    with pytest.raises(TinygenError, match="has format 99, this tinygen reads 1"):
        load_model(tmp_path)
    rewrite(tmp_path, format=1, kind="vqq")
    with pytest.raises(TinygenError, match="unknown kind of model 'vqq'; did you mean 'vq'"):
        load_model(tmp_path)
    rewrite(tmp_path, kind="vq", config=VQ | {"channels": 16})
    with pytest.raises(TinygenError, match="does not fit its own description"):
        load_model(tmp_path)
    rewrite(tmp_path, config=VQ | {"chanels": 16})
    with pytest.raises(TinygenError, match="unknown key 'chanels'; did you mean 'channels'"):
        load_model(tmp_path)


def test_weights_of_other_names_are_refused(tmp_path):
    saved(tmp_path)
    content = save({"foreign": torch.zeros(2)})
    (tmp_path / "model.safetensors").write_bytes(content)
    rewrite(tmp_path, sha256=models.hashlib.sha256(content).hexdigest())
    with pytest.raises(TinygenError, match="does not fit its own description"):
        load_model(tmp_path)


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    saved(tmp_path / "zoo" / "shapes-vq")
    (tmp_path / "zoo" / "unfinished").mkdir()
    monkeypatch.setattr(models, "ZOO", tmp_path / "zoo")


def test_zoo_names_and_suggestions(zoo, tmp_path):
    assert zoo_names() == ["shapes-vq"]
    assert load_model("zoo:shapes-vq")[1]["data"] == "shapes" and read_facts("zoo:shapes-vq")["kind"] == "vq"
    with pytest.raises(TinygenError, match="no model 'zoo:shapes-vg' in the zoo; did you mean 'shapes-vq'"):
        load_model("zoo:shapes-vg")
    for outside in ("zoo:../run", "zoo:unfinished", "zoo:"):
        with pytest.raises(TinygenError, match="in the zoo"):
            model_folder(outside)
    with pytest.raises(TinygenError, match="write zoo:NAME"):
        model_folder("shapes-vq")
    with pytest.raises(TinygenError, match="holds no trained model"):
        model_folder(tmp_path / "nowhere")


def test_unknown_arguments_are_refused_at_every_depth():
    with pytest.raises(TinygenError, match="'codebok_size'; did you mean 'codebook_size'"):
        build("vq", {"codebok_size": 8})
    with pytest.raises(TinygenError, match="'latent_chanels'; did you mean 'latent_channels'"):
        build("prior", CONFIGS["prior"] | {"first_stage": {"kind": "kl", "config": {"latent_chanels": 2}}})
    with pytest.raises(TinygenError, match="first_stage"):
        build("prior", {})


def test_a_full_disk_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "model.json"
    write_atomically(path, b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for function in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(models.os, function, full)
            with pytest.raises(TinygenError, match="No space left on device; free some space"):
                write_atomically(path, b"new and longer")
        assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(TinygenError, match="cannot write"):
            saved(folder)
    assert (tmp_path / "file").read_text() == "in the way"
