"""The one protocol, with a small judge, small image sets and models whose quality is known."""

import io
import json
import urllib.error

import pytest
import torch
from rich.console import Console
from torch import nn

import tinygen.evaluate.judging as judging
import tinygen.evaluate.report as report_module
from tinygen.data import ImageSet, load, to_float
from tinygen.errors import TinygenError
from tinygen.evaluate import (Gaussian, evaluate, frechet_distance, judge_images, judge_set, print_report, reference_statistics,
                              standard_fid)
from tinygen.evaluate.inception import inception_weights
from tinygen.features import Classifier, ClassifierObjective
from tinygen.models import load_model

N = 60


class Generator(nn.Module):
    """Draws training images of the class (or of the caption) asked for: as good as a model can be."""

    def __init__(self, data: ImageSet, num_classes: int, prompts: bool = False):
        super().__init__()
        self.register_parameter("unused", nn.Parameter(torch.zeros(1)))
        self.data, self.num_classes, self.tokenizer, self.asked = data, num_classes, object() if prompts else None, []

    def generate(self, n, labels=None, generator=None, prompts=None, shift=0):
        self.asked.append({"labels": labels, "prompts": prompts, "training": self.training})
        if prompts is not None:
            rows = torch.tensor([self.data.captions.index(prompt) for prompt in prompts])
        elif labels is not None:
            rows = torch.stack([(self.data.labels == (label + shift) % self.num_classes).nonzero()[:, 0][
                torch.randint(100, (1,), generator=generator)[0]] for label in labels])
        else:
            rows = torch.randint(len(self.data), (n,), generator=generator)
        return to_float(self.data.images[rows])


class Blur(nn.Module):
    """A first stage that averages blocks of pixels, with two codes."""

    codebook_size = 4

    def __init__(self, size: int):
        super().__init__()
        self.register_parameter("unused", nn.Parameter(torch.zeros(1)))
        self.size = size

    def reconstruct(self, x):
        return nn.functional.interpolate(nn.functional.avg_pool2d(x, self.size), scale_factor=self.size)

    def encode_codes(self, x):
        return (x.mean(dim=1) > 0).long()


COLOURS = torch.tensor([[200, 60, 60], [60, 200, 60], [60, 60, 200], [130, 130, 130]])


def squares(n: int, seed: int) -> ImageSet:
    """Grainy images in four colours (the classes), dark or bright, of random contrast."""
    g = torch.Generator().manual_seed(seed)
    colour, light = torch.randint(4, (n,), generator=g), torch.randint(2, (n,), generator=g)
    grain = torch.randn(n, 3, 32, 32, generator=g) * (5 + 30 * torch.rand(n, 1, 1, 1, generator=g))
    images = (COLOURS[colour] * (0.5 + 0.5 * light[:, None]))[:, :, None, None] + grain
    names = {"colour": ("red", "green", "blue", "gray"), "light": ("dark", "bright")}
    factors = torch.stack([colour, light], dim=1)
    captions = tuple(f"{names['light'][light]} {names['colour'][colour]} number {i}"
                     for i, (colour, light) in enumerate(factors.tolist()))
    return ImageSet("squares", images.clamp(0, 255).to(torch.uint8), colour, names["colour"], captions, factors, names)


@pytest.fixture(scope="module")
def sets():
    """Two sets, and a judge trained on the first for a second."""
    small = {"train": squares(600, 0), "test": squares(100, 1)}
    torch.manual_seed(0)
    objective = ClassifierObjective(Classifier("residual", {"colour": 4, "light": 2}, width=4))
    batches = objective.batches(small["train"], batch_size=32, flip=False)
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-2)
    for step in range(40):
        (_, loss, _), = objective.losses(batches[step], None)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return small, objective.model.eval()


@pytest.fixture
def run(sets, monkeypatch, tmp_path):
    small, judge = sets
    monkeypatch.setattr(report_module, "load", lambda name, root=None: small[name.partition(":")[2]])
    perceptual = Classifier("plain", {"colour": 4}, width=4)

    def go(model, **options):
        options = {"judge": judge, "perceptual": perceptual, "root": tmp_path} | options
        return evaluate(model, {"kind": "test"}, "shapes", N, **options)
    return go


def test_a_generator_of_training_images(run, sets):
    model = Generator(sets[0]["train"], 4).train()
    report = run(model, batch_size=25)
    metrics, (test, noise, repeat) = report["metrics"], report["yardsticks"].values()
    assert report["n"] == report["n_test"] == N and "600 images" in report["reference"]
    assert report["condition"] == "labels" and list(report["yardsticks"]) == ["test", "noise", "repeat"]
    assert [len(call["labels"]) for call in model.asked] == [25, 25, 10]
    assert not any(call["training"] for call in model.asked)
    assert torch.equal(torch.cat([call["labels"] for call in model.asked]), torch.arange(N) % 4)
    assert metrics["fd"] < 3 * test["fd"] < noise["fd"]
    assert noise["recall"] < 0.2 < 0.5 < metrics["recall"] and metrics["precision"] > 0.5
    assert metrics["class_adherence"] > 0.9 and test["class_adherence"] > 0.9
    assert metrics["duplicates"] < 0.25 and metrics["pixel_distance_to_train"] < 1e-2 < test["pixel_distance_to_train"]
    assert metrics["pixel_close_to_train"] == 1.0 and metrics["feature_close_to_train"] == 1.0
    assert repeat["fd"] < noise["fd"] and repeat.keys() == noise.keys() < test.keys()
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_the_same_seed_gives_the_same_report_and_sampling_options_arrive(run, sets):
    options = ({}, {}, {"seed": 1}, {"shift": 1})
    first, again, other, wrong = (run(Generator(sets[0]["train"], 4), **chosen) for chosen in options)
    assert first["metrics"] == again["metrics"] != other["metrics"] and wrong["sampling"] == {"shift": 1}
    assert wrong["metrics"]["class_adherence"] < 0.5 * first["metrics"]["class_adherence"]


def test_repeating_few_images_is_seen(run, sets):
    report = run(Generator(sets[0]["train"].subset(range(3)), 0), repeats=3)
    assert report["metrics"]["duplicates"] == pytest.approx(1 - 3 / N) and report["repeats"] == 3
    assert report["metrics"]["recall"] < 0.2
    assert "class_adherence" not in report["metrics"] and report["condition"] is None
    assert report["metrics"]["fd"] > 2 * report["yardsticks"]["test"]["fd"]


def test_prompts(run, sets):
    model = Generator(sets[0]["test"], 4, prompts=True)
    report = run(model, condition="prompt")
    assert report["condition"] == "factors"
    assert [p for call in model.asked for p in call["prompts"]] == list(sets[0]["test"].captions[:N])
    for factor in ("light", "colour", "all"):                                  # the model gives exactly the test images
        name = f"prompt_adherence_{factor}"
        assert report["metrics"][name] == report["yardsticks"]["test"][name]
    with pytest.raises(TinygenError, match="'prompt' is not what this model knows: label"):
        run(Generator(sets[0]["test"], 4), condition="prompt")


def test_reconstructions(run):
    sharp, blurred = run(Blur(1)), run(Blur(4))
    assert sharp["metrics"]["ssim"] == pytest.approx(1) and sharp["metrics"]["perceptual"] == pytest.approx(0, abs=1e-9)
    assert sharp["metrics"]["fd"] == pytest.approx(sharp["yardsticks"]["test"]["fd"], rel=1e-6)
    for name, better in (("psnr", 1), ("ssim", 1), ("perceptual", -1)):
        assert better * sharp["metrics"][name] > better * blurred["metrics"][name]
    assert blurred["metrics"]["code_usage"] == 0.5 and 1 < blurred["metrics"]["code_perplexity"] <= 2
    assert "duplicates" not in blurred["metrics"]


def test_other_models_and_small_n_are_refused(run):
    with pytest.raises(TinygenError, match="only first stages and generators"):
        run(nn.Linear(1, 1))
    with pytest.raises(TinygenError, match="at least 10 images"):
        evaluate(Blur(1), {}, "shapes", 9)


def test_the_table_names_n_and_reference(run, sets):
    report = run(Generator(sets[0]["train"], 4))
    console = Console(file=io.StringIO(), width=140)
    print_report(report, console)
    text = console.file.getvalue()
    for part in ("N = 60", "all 600 images", "60 test images", "uniform noise", "100 images repeated", "not FID",
                 "precision", f"{report['metrics']['fd']:.4g}", report["judge_sha256"][:8]):
        assert part in text
    assert "prompt_adherence_all" in report["yardsticks"]["test"] and "prompt_adherence" not in text     # it was not asked


def test_judged_sets_are_remembered_and_damage_is_repaired(sets, tmp_path, monkeypatch):
    small, judge = sets
    data = small["test"].subset(range(30))
    first = judge_set(judge, data, root=tmp_path)
    path, = (tmp_path / "judged").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(judging, "judge_images", None)                            # a second look needs no network
        again = judge_set(judge, data, root=tmp_path)
    assert torch.equal(first.features, again.features)
    assert all(torch.equal(first.predicted[head], again.predicted[head]) for head in judge.heads)
    path.write_bytes(path.read_bytes()[:100])
    torch.testing.assert_close(judge_set(judge, data, root=tmp_path).features, first.features)
    other = Classifier("residual", judge.heads, width=8)
    judge_set(other, data, root=tmp_path)
    judge_set(judge, small["test"].subset(range(20)), root=tmp_path)
    assert len(list((tmp_path / "judged").iterdir())) == 3
    (tmp_path / "file").write_text("")
    assert len(judge_set(judge, data, root=tmp_path / "file")) == 30            # nowhere to write: computed, not kept


def test_standard_fid_without_weights_says_what_to_do(monkeypatch, tmp_path):
    def offline(*_, timeout, **__):
        assert timeout <= 20
        raise urllib.error.URLError("no network")
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", offline)
    images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(TinygenError, match="cannot be fetched .*no network.*put it at .*checkpoints"):
        standard_fid(images, images)


def test_standard_fid_is_asked_for_by_name_and_before_any_work(run, sets, monkeypatch):
    """The weights are not here: a stand-in says which images it was given."""
    def offline():
        raise TinygenError("no weights")

    model = Generator(sets[0]["train"], 4)
    monkeypatch.setattr(report_module, "inception_weights", offline)
    with pytest.raises(TinygenError, match="no weights"):
        run(model, fid=True)
    assert not model.asked
    monkeypatch.setattr(report_module, "inception_weights", lambda: None)
    monkeypatch.setattr(report_module, "standard_fid", lambda a, b, device: 1000 * len(a) + b.float().mean().item())
    report = run(model, fid=True)
    held = sets[0]["test"].images[:N].float().mean().item()
    assert report["yardsticks"]["test"]["standard_fid"] == pytest.approx(600_000 + held)
    assert report["metrics"]["standard_fid"] != report["yardsticks"]["test"]["standard_fid"]
    assert "standard_fid" not in run(model)["metrics"]


def test_damaged_inception_weights_are_never_used(monkeypatch, tmp_path):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(b"half a file"))
    with pytest.raises(TinygenError, match="the download is damaged"):
        inception_weights()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    monkeypatch.setattr("tinygen.evaluate.inception.inception_weights", lambda: tmp_path / "weights")
    torch.save({"a": print}, tmp_path / "weights")                              # a pickle that holds a function
    images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(TinygenError, match="no file of weights"):
        standard_fid(images, images)


def test_the_zoo_has_the_statistics_of_its_judges(monkeypatch):
    """Mean and covariance of the whole training split: a fresh part of it is near, the same part in noise is not."""
    reference, judge = reference_statistics("shapes"), load_model("zoo:shapes-judge")[0]
    part = load("shapes").images[:1000]
    near, far = (frechet_distance(Gaussian.fit(judge_images(judge, images).features), reference)
                 for images in (part, (part.float() + 60 * torch.randn(part.shape)).clamp(0, 255).to(torch.uint8)))
    assert near < 3 and far > 10 * near
    assert reference_statistics("cifar10").covariance.shape == reference_statistics("cifar10").mean.shape * 2
    monkeypatch.setattr("tinygen.evaluate.judging.STATISTICS", "nowhere.safetensors")
    with pytest.raises(TinygenError, match="the zoo has no nowhere.safetensors of faces"):
        reference_statistics("faces")
