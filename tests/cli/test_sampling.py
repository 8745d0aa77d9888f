"""`tinygen sample` and `tinygen reconstruct`: what they write, and what they refuse."""

import errno
import os

import numpy as np
import pytest
import torch
from PIL import Image

from tinygen.cli.drawing import draw
from tinygen.data import load, to_float, to_uint8
from tinygen.models import load_model


def arrays(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def test_npz_holds_what_generate_draws_for_labels_in_turn(run, models, tmp_path):
    result = run("sample", models / "ldm", "--n", 5, "--steps", 2, "--seed", 7, "--guidance", 3, "--sampler", "heun",
                 "--device", "cpu", "--out", tmp_path / "new" / "a.npz")
    assert result.code == 0 and "a.npz" in result.out
    held = arrays(tmp_path / "new" / "a.npz")
    model, _ = load_model(models / "ldm")
    drawn = model.generate(5, torch.tensor([0, 1, 2, 0, 1]), torch.Generator().manual_seed(7), steps=2,
                           guidance_scale=3.0, sampler="heun")
    assert held["images"].dtype == np.uint8 and held["images"].shape == (5, 32, 32, 3)
    assert np.array_equal(held["images"], to_uint8(drawn).permute(0, 2, 3, 1).numpy())
    assert held["labels"].tolist() == [0, 1, 2, 0, 1]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.npz", "a.png"]
    run("sample", models / "ldm", "--n", 5, "--steps", 2, "--seed", 7, "--guidance", 3, "--sampler", "heun",
        "--device", "cpu", "--out", tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes() == (tmp_path / "new" / "a.png").read_bytes()


@pytest.mark.parametrize("name", ["gan", "plain-gan", "prior", "by-class", "by-text"])
def test_same_seed_same_images_another_seed_others(run, models, tmp_path, name):
    for file, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run("sample", models / name, "--n", 3, "--seed", seed, "--out", tmp_path / f"{file}.npz").code == 0
    a, b, c = (arrays(tmp_path / f"{file}.npz") for file in "abc")
    assert np.array_equal(a["images"], b["images"]) and not np.array_equal(a["images"], c["images"])
    assert ("labels" in a) == (name not in ("plain-gan", "by-text"))


@pytest.mark.parametrize("label", ["heart", "Heart", "1"])
def test_label_by_name_or_index(run, models, tmp_path, label):
    assert run("sample", models / "gan", "--n", 2, "--label", label, "--out", tmp_path / "a.npz").code == 0
    assert arrays(tmp_path / "a.npz")["labels"].tolist() == [1, 1]


def test_more_images_than_a_batch_go_on_with_the_same_generator(run, models, tmp_path):
    assert run("sample", models / "gan", "--n", 103, "--seed", 3, "--out", tmp_path / "a.npz").code == 0
    model, _ = load_model(models / "gan")
    generator, labels = torch.Generator().manual_seed(3), torch.arange(103) % 3
    drawn = torch.cat([model.generate(100, labels[:100], generator), model.generate(3, labels[100:], generator)])
    held = arrays(tmp_path / "a.npz")
    assert np.array_equal(held["images"], to_uint8(drawn).permute(0, 2, 3, 1).numpy())
    assert held["labels"].tolist() == labels.tolist()
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.height > 34 * 66                           # the first 100 in rows of three, a class a column


def test_prompt_and_negative_prompt_matter(run, models, tmp_path):
    options = {"a": ("--prompt", "red star"), "b": ("--prompt", "blue star"),
               "c": ("--prompt", "red star", "--negative", "blue")}
    for file, extra in options.items():                       # strong guidance: small changes are lost in quantisation
        assert run("sample", models / "by-text", "--n", 2, "--steps", 2, "--guidance", 30, *extra,
                   "--out", tmp_path / f"{file}.npz").code == 0
    a, b, c = (arrays(tmp_path / f"{file}.npz") for file in options)
    assert "labels" not in a
    assert not np.array_equal(a["images"], b["images"]) and not np.array_equal(a["images"], c["images"])


def test_gif_shows_every_step_and_ends_with_the_samples(run, models, tmp_path):
    for file in ("a.gif", "a.png"):
        assert run("sample", models / "by-class", "--n", 6, "--steps", 4, "--out", tmp_path / file).code == 0
    with Image.open(tmp_path / "a.gif") as gif, Image.open(tmp_path / "a.png") as png:
        assert 2 <= gif.n_frames <= 4                         # equal neighbours are stored once
        first = np.asarray(gif.convert("RGB"), float)
        gif.seek(gif.n_frames - 1)
        last, still = (np.asarray(picture.convert("RGB"), float) for picture in (gif, png))
    assert last.shape == still.shape and abs(last - still).mean() < abs(first - still).mean()

    model, _ = load_model(models / "by-class")
    told, options = {"labels": torch.arange(103) % 3}, {"steps": 3, "guidance_scale": 30.0}
    frames = draw(model, 103, told, options, 0, every_step=True)
    assert [frame.shape for frame in frames] == [(103, 3, 32, 32)] * 3
    assert torch.equal(frames[-1], draw(model, 103, told, options, 0, every_step=False)[0])
    assert not torch.equal(frames[0], frames[-1])


def test_reconstructions_are_the_models_and_their_psnr_is_said(run, models, tmp_path):
    result = run("reconstruct", models / "vq", "--data", "shapes:test", "--n", 12, "--out", tmp_path / "a.npz")
    assert result.code == 0
    held, test = arrays(tmp_path / "a.npz"), load("shapes:test").subset(range(12))
    model, _ = load_model(models / "vq")
    with torch.no_grad():
        images = to_uint8(model.reconstruct(to_float(test.images))).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(held["images"], images) and held["labels"].tolist() == test.labels.tolist()
    squares = ((images / 127.5 - test.images.permute(0, 2, 3, 1).numpy() / 127.5) ** 2).mean((1, 2, 3))
    assert f"PSNR {(10 * np.log10(4 / squares)).mean():.2f} dB" in result.out

    with Image.open(tmp_path / "a.png") as beside:
        sheet = np.asarray(beside)
    assert run("reconstruct", models / "vq", "--data", "shapes:test", "--n", 12, "--out", tmp_path / "a.png").code == 0
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert np.array_equal(pixels, sheet)
    tile = test.images[11].permute(1, 2, 0).numpy().repeat(2, 0).repeat(2, 1)
    corners = np.argwhere((pixels[:-63, :-63] == tile[0, 0]).all(-1))
    assert any(np.array_equal(pixels[row:row + 64, column:column + 64], tile) for row, column in corners)


SAMPLE = ("sample", "MODEL", "--n", "2", "--out", "a.npz")
BAD = [
    ("gan", ("--n", "0"), "--n"), ("gan", ("--n", "two"), "--n"), ("by-class", ("--steps", "0"), "--steps"),
    ("by-class", ("--seed", "-1"), "--seed"), ("gan", ("--out", "a.jpg"), ".npz or .png or .gif"),
    ("gan", ("--out", "."), ".npz"), ("gan", ("--out", "a.gif"), "does not denoise"),
    ("gan", ("--label", "hart"), "did you mean 'heart'"), ("gan", ("--label", "3"), "from 0 to 2"),
    ("gan", ("--label", "-1"), "from 0 to 2"), ("plain-gan", ("--label", "0"), "knows no classes"),
    ("by-text", ("--label", "0"), "knows no classes"), ("ldm", ("--label", "0", "--prompt", "red"), "not both"),
    ("gan", ("--prompt", "red"), "--label"), ("by-class", ("--prompt", "red"), "knows no text"),
    ("by-class", ("--negative", "red"), "knows no text"), ("by-text", ("--prompt", "rde star"), "did you mean 'red'"),
    ("by-text", ("--prompt", "red", "--negative", "green"), "'green'"),
    ("by-text", ("--prompt", "red " * 20), "at most"),
    ("by-text", ("--guidance", "3"), "--prompt"), ("ldm", ("--guidance", "nan"), "--guidance"),
    ("ldm", ("--guidance", "-1"), "--guidance"), ("ldm", ("--sampler", "dpm"), "dpmpp_2m"),
    ("gan", ("--steps", "3"), "no --steps"), ("gan", ("--guidance", "2"), "no --guidance"),
    ("gan", ("--sampler", "ddim"), "no --sampler"), ("prior", ("--steps", "3"), "no --steps"),
    ("prior", ("--negative", "red"), "no --negative"), ("vq", (), "does not draw"), ("classifier", (), "does not draw"),
    ("gan", ("--device", "tpu"), "unknown device"), ("gan", ("--device", "cuda:99"), "no device"),
    ("nothing", (), "no trained model"), ("zoo:nothing", (), "in the zoo"), ("gan", ("--bogus", "1"), "--bogus"),
]


@pytest.mark.parametrize(("name", "extra", "says"), BAD)
def test_what_sample_refuses(refused, models, tmp_path, monkeypatch, name, extra, says):
    monkeypatch.chdir(tmp_path)
    model = name if name.startswith("zoo:") else models / name
    assert says in refused(*(model if word == "MODEL" else word for word in SAMPLE), *extra)
    assert list(tmp_path.iterdir()) == []


RECONSTRUCT_BAD = [("vq", ("--n", "0"), "--n"), ("vq", ("--n", "2001"), "2000 images"),
                   ("vq", ("--data", "mnist"), "mnist"), ("vq", ("--data", "shapes:tset"), "did you mean 'test'"),
                   ("vq", ("--out", "a.gif"), ".npz or .png"),
                   ("gan", (), "first stage"), ("ldm", (), "first stage")]


@pytest.mark.parametrize(("name", "extra", "says"), RECONSTRUCT_BAD)
def test_what_reconstruct_refuses(refused, models, tmp_path, monkeypatch, name, extra, says):
    monkeypatch.chdir(tmp_path)
    assert says in refused("reconstruct", models / name, "--data", "shapes:test", "--n", 2, "--out", "a.npz", *extra)
    assert list(tmp_path.iterdir()) == []


def damage(folder, how):
    weights, facts = folder / "model.safetensors", folder / "model.json"
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-5])
    elif how == "changed":
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    elif how == "gone":
        weights.unlink()
    elif how == "half a description":
        facts.write_text(facts.read_text()[:40])
    elif how == "binary":
        facts.write_bytes(b"\x80\x04\xff")
    elif how in ("foreign", "list"):
        facts.write_text({"foreign": '{"architectures": ["GPT2"]}', "list": "[1]"}[how])
    else:
        before, after = {
            "kind": ('"gan"', '"gna"'), "width": ('"channels": 4', '"channels": -4'),
            "newer": ('"format": 1', '"format": 9'),
            "argument": ('"channels"', '"chanels"'), "another": ('"num_classes": 3', '"num_classes": 5'),
            "info": ('"info": {', '"info": 5, "old": {')}[how]
        facts.write_text(facts.read_text().replace(before, after))


@pytest.mark.parametrize("how", ["truncated", "changed", "gone", "half a description", "binary", "foreign", "list",
                                 "kind", "width", "newer", "argument", "another", "info"])
def test_a_damaged_or_foreign_model_is_refused(refused, models, tmp_path, how):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in (models / "gan").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    damage(folder, how)
    error = refused("sample", folder, "--n", 2, "--out", tmp_path / "a.npz")
    assert str(folder) in error or (how in ("kind", "width", "argument") and "kind" in error)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("suffix", ["npz", "png", "gif"])
def test_a_full_disk_leaves_the_old_file_whole(refused, models, tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tinygen.models.os.fsync", full)
    error = refused("sample", models / "by-class", "--n", 2, "--steps", 1, "--out", path)
    assert str(path) in error and "No space left" in error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("folder", ["/proc/nowhere", "/dev/null/below"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_model_is_read(refused, folder):
    assert "choose another folder" in refused("sample", "no-such-model", "--n", 2, "--out", f"{folder}/a.npz")
