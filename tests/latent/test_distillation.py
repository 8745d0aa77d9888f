"""The student: what it starts from, what it is told, its loss by hand, what it refuses."""

from types import SimpleNamespace

import pytest
import torch

from tinygen.data import ImageSet
from tinygen.errors import TinygenError
from tinygen.latent import DistillationObjective, DistilledDiffusion, Tokenizer
from tinygen.models import build, load_model, save_model

CAPTIONS = ("a red star", "a small blue star", "a blue square", "a red square on blue")
KL = {"latent_channels": 2, "channels": 8, "image_size": 16}
CONFIG = {"network": "unet", "network_options": {"channels": 8, "channel_mults": [1], "blocks": 1}, "num_classes": 3,
          "words": Tokenizer.vocabulary(CAPTIONS), "text_length": 7, "text_channels": 8,
          "first_stage": {"kind": "kl", "config": KL}}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def dataset(n=12):
    images = torch.randint(256, (n, 3, 16, 16), generator=seeded(), dtype=torch.uint8)
    captions = tuple(CAPTIONS[i % 4] for i in range(n))
    return ImageSet("noise:train", images, torch.arange(n) % 3, ("x", "y", "z"), captions, torch.zeros(n, 0, dtype=torch.long), {})


@pytest.fixture
def teacher(tmp_path):
    """The folder of a pipeline whose outputs are not zero."""
    torch.manual_seed(0)
    model = build("latent-diffusion", CONFIG)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(0.3 * torch.randn(parameter.shape))
    save_model(tmp_path / "teacher", model, "latent-diffusion", CONFIG, {"data": "noise"})
    return str(tmp_path / "teacher")


def student(teacher, steps=2, **options):
    config = DistilledDiffusion.complete({"model": teacher, "steps": steps}, None)
    torch.manual_seed(5)
    return DistillationObjective(build("distilled", config), teacher, **options)


def test_the_student_starts_as_its_teacher(teacher):
    objective, (model, _) = student(teacher), load_model(teacher)
    state = objective.model.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert objective.model.num_classes == 3 and objective.model.steps == 2
    trained = {id(p) for p in objective.groups()["denoiser"]}
    assert trained and not trained & {id(p) for p in objective.model.first_stage.parameters()}


def test_trajectories_are_the_teachers_samples(teacher):
    objective, data = student(teacher, trajectories=8, teacher_steps=6, guidance_scale=3.0, unconditional=0.0), dataset()
    batches = objective.batches(data, batch_size=4, seed=3)
    assert batches.cache.shape == (1, 8, 3, 2, 4, 4)
    by_label = objective.labels < 3
    assert 0 < by_label.sum() < 8                                             # told a label or a caption, never both
    model, _ = load_model(teacher)
    for row in range(8):
        told = {"labels": data.labels[row:row + 1]} if by_label[row] else {"prompts": [data.captions[row]]}
        noise = batches.cache[0, row:row + 1, 0]
        with pytest.MonkeyPatch.context() as patch:                           # the same noise, however it is drawn
            patch.setattr(torch, "randn", lambda *shape, noise=noise, **options: noise.clone())
            expected = model.generate(1, **told, steps=6, guidance_scale=3.0)
        torch.testing.assert_close(model.decode(batches.cache[0, row:row + 1, -1]), expected, atol=1e-4, rtol=1e-3)


def test_loss_by_hand(teacher):
    """On the flow path a jump from t to s is x - (t - s) v: the loss compares v with the chord (x_t - x_s) / (t - s)."""
    objective = student(teacher, trajectories=12, teacher_steps=4)
    batch = objective.batches(dataset(), batch_size=3)[0]
    objective.model.eval()
    (group, loss, terms), = objective.losses(batch, SimpleNamespace(generator=seeded()))
    errors = []
    for row, states in zip(batch.index, batch.images, strict=True):
        for i, t in enumerate((1.0, 0.5)):
            told = objective.told(row[None])
            x = states[i][None]
            v = (x - objective.model.denoiser.x0(x, t, **told)) / t
            errors.append((v - (states[i] - states[i + 1]) / 0.5).square().mean())
    assert group == "denoiser" and terms["jump"] is loss
    torch.testing.assert_close(loss, torch.stack(errors).mean(), rtol=1e-4, atol=1e-5)
    loss.backward()


def test_nobody_is_told_both_and_some_nothing(teacher):
    objective, data = student(teacher, unconditional=0.2), dataset(4000)
    objective.choose(data, seeded())
    by_label = objective.labels < 3
    by_text = (objective.tokens != objective.model.tokenizer([""])[0]).any(1)
    share = lambda flags: flags.float().mean().item()
    assert not (by_label & by_text).any() and (objective.labels[by_label] == data.labels[by_label]).all()
    assert share(by_label) == pytest.approx(0.4, abs=0.03) and share(by_text) == pytest.approx(0.4, abs=0.03)


def test_a_distilled_model_can_teach(teacher, tmp_path):
    """Progressive distillation: 2 steps to 1; the trajectories are the first student's own, without more guidance."""
    first = student(teacher).model.eval()
    config = DistilledDiffusion.complete({"model": teacher, "steps": 2}, None)
    save_model(tmp_path / "first", first, "distilled", config, {"data": "noise"})
    objective = student(str(tmp_path / "first"), steps=1, trajectories=4)
    assert (objective.teacher_steps, objective.sampler, objective.guidance_scale) == (2, "euler", 1.0)
    assert objective.batches(dataset(), batch_size=2).cache.shape == (1, 4, 2, 2, 4, 4)
    with pytest.raises(TinygenError, match="do not divide"):
        student(str(tmp_path / "first"), steps=3)


def test_generate_takes_the_steps_that_were_learned(teacher):
    model = student(teacher).model.eval()
    labels = lambda *values: torch.tensor(values)
    calls, plain = [], model.model.denoiser.x0
    model.model.denoiser.x0 = lambda x, t, **told: calls.append((t, len(x))) or plain(x, t, **told)
    images = model.generate(3, labels(0, 1, 2), seeded())
    assert calls == [(1.0, 3), (0.5, 3)] and images.shape == (3, 3, 16, 16)     # no second half for guidance
    assert torch.equal(images, model.generate(3, labels(0, 1, 2), seeded(), steps=2))
    calls.clear()
    model.img2img(images, 0.5, seeded(), labels=labels(0, 1, 2))
    assert calls == [(0.5, 3)]
    mask = torch.zeros(3, 1, 16, 16, dtype=torch.bool)
    assert torch.equal(model.inpaint(images, mask, seeded(), labels=labels(0, 1, 2)), images)
    preview = DistillationObjective.preview(SimpleNamespace(), model, SimpleNamespace(labels=labels(0)))
    assert preview.shape == (20, 3, 16, 16)


@pytest.mark.parametrize("options, message", [
    ({"steps": 3}, "distilled to 2 steps, not 3"), ({"guidance_scale": 2.0}, "guidance_scale is inside"),
    ({"sampler": "heun"}, "sampler is inside"), ({"strength": 0.3}, "strengths 0.5, 1, not 0.3")])
def test_what_a_distilled_model_refuses(teacher, options, message):
    with pytest.raises(TinygenError, match=message):
        student(teacher).model.generate(2, torch.tensor([0, 1]), **options)


def test_only_latent_diffusion_can_be_distilled(tmp_path):
    save_model(tmp_path / "kl", build("kl", KL), "kl", KL, {"data": "noise"})
    with pytest.raises(TinygenError, match="only latent diffusion"):
        DistilledDiffusion.complete({"model": str(tmp_path / "kl")}, None)
    with pytest.raises(TinygenError, match="at least 1 step"):
        DistilledDiffusion(build("latent-diffusion", CONFIG), 0)
