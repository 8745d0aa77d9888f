"""The GAN objective: who learns from which loss, penalties on time, one source of randomness; and the augmentation."""

from types import SimpleNamespace

import pytest
import torch

from tinygen.data import Batch, ImageSet
from tinygen.errors import TinygenError
from tinygen.gan import GANObjective, Generator, diff_augment, r1_penalty
from tinygen.gan.augment import change_colours, translate


def objective_of(num_classes=2, **options):
    torch.manual_seed(0)
    model = Generator(latent_channels=8, channels=4, num_classes=num_classes, image_size=16)
    return GANObjective(model, discriminator_channels=4, **options)


def batch_of(n=6, seed=0):
    random = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(n, 3, 16, 16, generator=random) * 2 - 1, torch.arange(n) % 2, torch.arange(n))


def progress_at(step, seed=0):
    return SimpleNamespace(step=step, total=100, fraction=step / 100, generator=torch.Generator().manual_seed(seed))


def train_step(objective, step=0, rate=0.1, only=None):
    """What the loop does, with plain gradient descent: yields' names, and their scalars."""
    seen = []
    for group, loss, scalars in objective.losses(batch_of(), progress_at(step)):
        objective.zero_grad()
        loss.backward()
        if only in (None, group):
            with torch.no_grad():
                for parameter in objective.groups()[group]:
                    parameter -= rate * parameter.grad
        strangers = [p for name, ps in objective.groups().items() if name != group for p in ps]
        assert all(p.grad is None or not p.grad.any() for p in strangers), f"the {group} loss reached the other network"
        seen.append((group, scalars))
    return seen


OPTIONS = [{"loss": "saturating"}, {"loss": "non-saturating", "regulariser": "r1"},
           {"loss": "hinge", "spectral_norm": True}, {"loss": "wasserstein", "regulariser": "gradient-penalty"},
           {"augment": True, "num_classes": 0}]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_step_of_one_group_changes_that_group_only(options):
    for group in ("discriminator", "generator"):
        objective = objective_of(**options)
        before = {name: p.detach().clone() for name, p in objective.named_parameters()}
        assert [name for name, _ in train_step(objective, only=group)] == ["discriminator", "generator"]
        changed = {name.split(".")[0] for name, p in objective.named_parameters() if not torch.equal(before[name], p)}
        assert changed == {"model" if group == "generator" else "discriminator"}
        assert all(p.requires_grad for p in objective.parameters())


def test_the_groups_are_all_the_parameters_once():
    objective = objective_of(spectral_norm=True)
    listed = [id(p) for ps in objective.groups().values() for p in ps]
    assert list(objective.groups()) == ["generator", "discriminator"]
    assert sorted(listed) == sorted(id(p) for p in objective.parameters())


@pytest.mark.parametrize("options", OPTIONS)
def test_losses_depend_on_the_progress_generator_alone(options):
    def scalars(seed, noise):
        torch.manual_seed(noise)
        terms = {}
        objective.train()
        objective.load_state_dict(start)
        for _, loss, logged in objective.losses(batch_of(), progress_at(0, seed)):
            terms |= logged
        assert all(value.dim() == 0 and not value.requires_grad for value in terms.values())
        return torch.stack(list(terms.values()))
    objective = objective_of(**options)
    start = {name: value.clone() for name, value in objective.state_dict().items()}
    assert torch.equal(scalars(1, noise=5), scalars(1, noise=6))
    assert not torch.equal(scalars(1, noise=5), scalars(2, noise=5))


def test_the_discriminator_learns_to_tell_and_the_generator_to_fool():
    objective = objective_of()
    def terms():
        steps = objective.losses(batch_of(), progress_at(0))
        return {name: value.item() for _, _, logged in steps for name, value in logged.items()}
    before = terms()
    for _ in range(10):
        train_step(objective, only="discriminator")
    told = terms()
    assert told["discriminator"] < before["discriminator"] and told["logits_real"] > told["logits_fake"]
    for _ in range(10):
        train_step(objective, only="generator")
    assert terms()["generator"] < told["generator"]


def test_a_lazy_penalty_is_rarer_and_heavier():
    objective = objective_of(regulariser="r1", regulariser_weight=3.0, regulariser_every=4)
    terms = {}
    for step in range(6):
        _, loss, scalars = next(objective.losses(batch_of(), progress_at(step)))
        terms[step] = (loss - scalars["discriminator"]).item(), scalars
    batch = batch_of()
    penalty = r1_penalty(lambda x: objective.discriminator(x, batch.labels), batch.images).item()
    assert [step for step, (_, scalars) in terms.items() if "r1" in scalars] == [0, 4]
    assert terms[0][0] == pytest.approx(3.0 * 4 * penalty, rel=1e-3) and terms[1][0] == 0.0
    assert terms[0][1]["r1"].item() == pytest.approx(penalty, rel=1e-5)


def test_the_generator_can_wait_for_its_critic():
    objective = objective_of(loss="wasserstein", generator_every=3)
    turns = [[group for group, _ in train_step(objective, step)] for step in range(4)]
    alone, both = ["discriminator"], ["discriminator", "generator"]
    assert turns == [both, alone, alone, both]


def test_preview_shows_every_class_from_the_same_noise():
    objective = objective_of()
    first, again = (objective.preview(objective.model, batch_of(seed=seed)) for seed in (0, 1))
    assert first.shape == (16, 3, 16, 16) and torch.equal(first, again)
    assert objective_of(num_classes=0).preview(objective_of(num_classes=0).model, batch_of()).shape == (64, 3, 16, 16)


def test_batches_are_images():
    images = torch.randint(256, (8, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    none = torch.zeros(8, 0, dtype=torch.int64)
    data = ImageSet("toy", images, torch.zeros(8, dtype=torch.int64), ("a",), ("",) * 8, none, {})
    batch = objective_of().batches(data, batch_size=4, seed=1, flip=False)[0]
    torch.testing.assert_close(batch.images, images[batch.index].float() / 127.5 - 1)


@pytest.mark.parametrize("options, message", [
    ({"loss": "hinges"}, "did you mean 'hinge'"), ({"regulariser_every": 0}, "at least 1"),
    ({"regulariser": "gradient_penalty"}, "did you mean 'gradient-penalty'")])
def test_unknown_options_are_refused(options, message):
    with pytest.raises(TinygenError, match=message):
        objective_of(**options)


def test_translation_moves_whole_images_and_fills_with_zero():
    pixel_numbers = torch.arange(1.0, 257).view(1, 1, 16, 16).repeat(40, 3, 1, 1)
    moved = translate(pixel_numbers, torch.Generator().manual_seed(0))
    shifts = set()
    for image in moved:
        row, column = next((r, c) for r, c in image[0].nonzero().tolist())
        down, right = row - (int(image[0, row, column]) - 1) // 16, column - (int(image[0, row, column]) - 1) % 16
        expected = torch.zeros(20, 20)
        expected[2 + down:18 + down, 2 + right:18 + right] = pixel_numbers[0, 0]
        assert torch.equal(image, expected[2:18, 2:18].expand(3, -1, -1))
        shifts.add((down, right))
    assert {abs(shift) for pair in shifts for shift in pair} == {0, 1, 2} and len(shifts) > 10


def test_colour_changes_are_affine_in_every_pixel():
    x = batch_of().images
    random = lambda: torch.Generator().manual_seed(3)
    brightness, saturation, contrast = torch.rand(3, 6, generator=random())
    for i, image in enumerate(change_colours(x, random())):
        bright = x[i] + brightness[i] - 0.5
        grey = bright.mean(dim=0)
        coloured = torch.stack([grey + 2 * saturation[i] * (plane - grey) for plane in bright])
        torch.testing.assert_close(image, coloured.mean() + (0.5 + contrast[i]) * (coloured - coloured.mean()))


def test_augmentation_passes_gradients_on():
    x = batch_of().images[:2, :, :6, :6].double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: diff_augment(x, torch.Generator().manual_seed(0)), x)
