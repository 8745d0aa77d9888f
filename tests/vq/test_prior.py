"""The token prior: a proper, causal distribution over codes; sampling by hand; its objective."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tinygen.data import Batch, ImageSet
from tinygen.errors import TinygenError
from tinygen.vq.prior import PriorObjective, TokenPrior, cached_step, token_probabilities


class PaletteStage(nn.Module):
    """A first stage without learning: a code is the brightness of a patch of 2 x 2 pixels, in codebook_size steps."""

    def __init__(self, codebook_size=5, size=3):
        super().__init__()
        self.codebook_size, self.latent_shape = codebook_size, (1, size, size)
        self.scale = nn.Parameter(torch.ones(1))

    def encode_codes(self, x):
        grey = (x.mean(dim=1) + 1) / 2 * self.scale                             # (B, H, W) in [0, 1]
        patches = nn.functional.avg_pool2d(grey[:, None], 2)[:, 0]
        return (patches * self.codebook_size).long().clamp(0, self.codebook_size - 1)

    def decode_codes(self, codes):
        grey = (codes.float() + 0.5) / self.codebook_size * 2 - 1
        return grey[:, None].repeat_interleave(2, 2).repeat_interleave(2, 3).repeat(1, 3, 1, 1)


def random_prior(codebook_size=5, size=3, num_classes=2, dropout=0.0, seed=0):
    """A prior whose every weight is random, also those that start at zero."""
    torch.manual_seed(seed)
    prior = TokenPrior(PaletteStage(codebook_size, size), num_classes, channels=16, depth=2, heads=2, dropout=dropout)
    for parameter in prior.own_parameters():
        nn.init.normal_(parameter, std=0.3)
    return prior.eval()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def toy_data(n=12):
    images = torch.randint(256, (n, 3, 6, 6), generator=seeded()).to(torch.uint8)
    return ImageSet("toy", images, torch.arange(n) % 2, ("a", "b"), ("",) * n, torch.zeros(n, 0, dtype=torch.int64), {})


def test_an_untrained_prior_is_uniform():
    prior = TokenPrior(PaletteStage(), num_classes=2, channels=16, depth=1, heads=2).eval()
    codes = torch.randint(5, (4, 3, 3), generator=seeded())
    log_p = prior.log_likelihood(codes, torch.tensor([0, 1, 2, 0]))
    torch.testing.assert_close(log_p, torch.full((4,), -9 * math.log(5)))


def test_logits_depend_on_earlier_codes_only():
    prior = random_prior()
    codes = torch.randint(5, (1, 3, 3), generator=seeded())
    before = prior.logits(codes, torch.tensor([1]))
    assert before.shape == (1, 9, 5)
    for changed in range(9):
        other = codes.flatten(1).clone()
        other[0, changed] = (other[0, changed] + 1) % 5
        differs = (prior.logits(other.view(1, 3, 3), torch.tensor([1])) - before).abs().amax(dim=(0, 2)) > 1e-6
        assert differs.tolist() == [position > changed for position in range(9)]


def test_the_class_changes_every_logit_and_none_means_the_null_class():
    prior = random_prior()
    codes = torch.randint(5, (1, 3, 3), generator=seeded())
    zero, one, null = (prior.logits(codes, torch.tensor([label])) for label in range(3))
    assert ((zero - one).abs().amax(dim=-1) > 1e-6).all()
    assert torch.equal(prior.logits(codes), null) and torch.equal(prior(codes), null)


@pytest.mark.parametrize("label", [0, 1, 2])
def test_probabilities_of_all_code_maps_sum_to_one(label):
    prior = random_prior(codebook_size=2, size=2)
    maps = torch.tensor(list(itertools.product(range(2), repeat=4))).view(16, 2, 2)
    log_p = prior.log_likelihood(maps, torch.full((16,), label))
    assert log_p.exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    assert log_p.exp().max() > 2 / 16                                           # and it is not the uniform distribution


def test_samples_have_the_frequencies_of_the_likelihood():
    prior, n = random_prior(codebook_size=2, size=2), 20_000
    maps = torch.tensor(list(itertools.product(range(2), repeat=4))).view(16, 2, 2)
    p = prior.log_likelihood(maps, torch.full((16,), 1)).exp()
    codes = prior.generate_codes(n, torch.full((n,), 1), seeded())
    counts = torch.bincount((codes.flatten(1) * torch.tensor([8, 4, 2, 1])).sum(1), minlength=16)
    z = (counts - n * p) / (n * p * (1 - p)).sqrt()                             # standard errors
    assert z.abs().max() < 4


def test_the_cache_gives_the_logits_of_the_whole_sequence():
    prior = random_prior()
    codes = torch.randint(5, (4, 3, 3), generator=seeded())
    labels = torch.tensor([0, 1, 2, 1])
    inputs = torch.cat([prior.classes(labels)[:, None], prior.tokens(codes.flatten(1)[:, :-1])], dim=1)
    inputs = inputs + prior.positions
    caches, rows = [None] * len(prior.blocks), []
    for i in range(9):
        h = inputs[:, i:i + 1]
        for j, block in enumerate(prior.blocks):
            h, caches[j] = cached_step(block, h, caches[j])
        rows.append(prior.head(prior.norm(h)))
    torch.testing.assert_close(torch.cat(rows, dim=1), prior.logits(codes, labels))


@pytest.mark.parametrize("guidance_scale", [1.0, 2.5, 0.0])
def test_greedy_codes_are_the_argmax_of_the_guided_logits(guidance_scale):
    prior, labels = random_prior(), torch.tensor([0, 1, 1, 0])
    codes = prior.generate_codes(4, labels, temperature=0.0, guidance_scale=guidance_scale)
    null, conditional = prior.logits(codes), prior.logits(codes, labels)
    guided = (1 - guidance_scale) * null + guidance_scale * conditional
    assert torch.equal(guided.argmax(dim=-1), codes.flatten(1))


def test_sampled_codes_equal_a_loop_without_a_cache():
    prior, labels = random_prior(), torch.tensor([0, 1, 1, 0])
    codes, generator = torch.zeros(4, 9, dtype=torch.int64), seeded(5)
    for i in range(9):
        p = token_probabilities(prior.logits(codes.view(4, 3, 3), labels)[:, i], temperature=0.9, top_k=4, top_p=0.95)
        codes[:, i] = torch.multinomial(p, 1, generator=generator)[:, 0]
    fast = prior.generate_codes(4, labels, seeded(5), temperature=0.9, top_k=4, top_p=0.95)
    assert torch.equal(fast.flatten(1), codes)


def test_temperature_top_k_and_top_p_by_hand():
    p = torch.tensor([[0.1, 0.5, 0.15, 0.25]])
    def kept(*options):
        return token_probabilities(p.log(), *options)[0]
    torch.testing.assert_close(kept(1.0), p[0])
    torch.testing.assert_close(kept(0.5), p[0] ** 2 / (p[0] ** 2).sum())
    torch.testing.assert_close(kept(1.0, 2), torch.tensor([0, 2 / 3, 0, 1 / 3]))
    torch.testing.assert_close(kept(1.0, 9), p[0])                              # more than there are
    torch.testing.assert_close(kept(1.0, 0, 0.76), torch.tensor([0, 5 / 9, 1.5 / 9, 2.5 / 9]))
    torch.testing.assert_close(kept(1.0, 0, 0.74), torch.tensor([0, 2 / 3, 0, 1 / 3]))
    torch.testing.assert_close(kept(1.0, 0, 0.01), torch.tensor([0, 1.0, 0, 0]))
    torch.testing.assert_close(kept(1.0, 2, 0.6), torch.tensor([0, 1.0, 0, 0]))  # 2/3 of what top_k left reaches 0.6
    assert kept(0.0).tolist() == [0, 1, 0, 0]


def test_generate_is_deterministic_and_restores_the_mode():
    prior = random_prior(dropout=0.5).train()
    first, again, other = (prior.generate(6, generator=seeded(seed)) for seed in (1, 1, 2))
    assert first.shape == (6, 3, 6, 6) and first.abs().max() <= 1 and not first.requires_grad
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert prior.training


def test_the_first_stage_is_frozen_for_good():
    prior = TokenPrior(PaletteStage(), num_classes=2, channels=16, depth=1, heads=2)
    prior.train()
    assert prior.training and prior.blocks.training and not prior.first_stage.training
    assert not prior.first_stage.scale.requires_grad
    assert len(prior.own_parameters()) == len(list(prior.parameters())) - 1
    assert all(p.requires_grad for p in prior.own_parameters())


@pytest.mark.parametrize("options, message", [
    ({"temperature": -1.0}, "temperature must be"), ({"top_k": -1}, "top_k must be"), ({"top_p": 0.0}, "top_p must be"),
    ({"labels": torch.tensor([0])}, "need 3 labels")])
def test_mistakes_get_one_clear_line(options, message):
    with pytest.raises(TinygenError, match=message):
        random_prior().generate(3, **options)


def test_batches_are_the_codes_of_the_images_or_of_their_mirror_images():
    prior, data = random_prior(), toy_data()
    stage = prior.first_stage
    plain = PriorObjective(prior).batches(data, batch_size=12, seed=3, flip=False)
    assert plain.cache.shape == (1, 12, 3, 3) and plain.cache.dtype == torch.int64
    both = PriorObjective(prior).batches(data, batch_size=12, seed=3)
    assert both.cache.shape == (2, 12, 3, 3)
    images = data.images.float() / 127.5 - 1
    assert torch.equal(both.cache[0], stage.encode_codes(images))
    assert torch.equal(both.cache[1], stage.encode_codes(images.flip(-1)))
    batch = both[0]
    chosen = [both.cache[:, row].eq(codes).flatten(1).all(1).tolist() for row, codes in zip(batch.index, batch.images)]
    assert all(any(pair) for pair in chosen) and {tuple(pair) for pair in chosen} >= {(True, False), (False, True)}


@pytest.mark.parametrize("label_dropout, told", [(0.0, lambda labels: labels), (1.0, lambda labels: 0 * labels + 2)])
def test_the_loss_is_the_likelihood_per_token(label_dropout, told):
    prior = random_prior()
    codes, labels = torch.randint(5, (8, 3, 3), generator=seeded()), torch.arange(8) % 2
    progress = SimpleNamespace(step=0, total=10, fraction=0.0, generator=seeded())
    (group, loss, scalars), = PriorObjective(prior, label_dropout).losses(Batch(codes, labels, labels), progress)
    assert group == "prior"
    torch.testing.assert_close(loss, -prior.log_likelihood(codes, told(labels)).mean() / 9)
    torch.testing.assert_close(scalars["cross_entropy"], loss.detach())
    assert scalars["perplexity"].item() == pytest.approx(math.exp(loss.item()), rel=1e-5)


def test_the_objective_trains_the_transformer_only_and_learns_what_a_class_looks_like():
    torch.manual_seed(0)
    prior = TokenPrior(PaletteStage(), num_classes=2, channels=16, depth=1, heads=2, dropout=0.0)
    objective = PriorObjective(prior)
    codes, labels = torch.tensor([0, 4]).view(2, 1, 1).expand(2, 3, 3), torch.tensor([0, 1])
    batch = Batch(codes.repeat(8, 1, 1), labels.repeat(8), torch.arange(16))
    parameters = objective.groups()["prior"]
    for step in range(100):
        progress = SimpleNamespace(step=step, total=100, fraction=step / 100, generator=seeded(step))
        (_, loss, _), = objective.losses(batch, progress)
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
            parameter.data -= 0.3 * gradient
    assert not any(p is prior.first_stage.scale for p in parameters)
    assert torch.equal(prior.eval().generate_codes(2, labels, temperature=0.0), codes)
    assert prior.log_likelihood(codes, labels).min() > -1.0                     # nats a map; untrained 9 log 5 = 14.5
    preview = objective.preview(prior, batch)
    assert preview.shape == (8, 3, 6, 6) and torch.equal(preview, objective.preview(prior, batch))
