"""Classifier-free guidance: the combination, what is (not) evaluated, interval, rescale, dropping of conditions."""

import pytest
import torch

from tinygen.diffusion import build_path, drop_condition, guided, sample
from tinygen.errors import TinygenError


class Recorder:
    """x0(x, t, labels) = x (1 + labels), remembering the labels of every call."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, t, labels):
        self.calls.append(labels.tolist())
        return x * (1 + labels[:, None])


X = torch.randn(2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CONDITION, NULL = {"labels": torch.tensor([1, 2])}, {"labels": torch.tensor([9, 9])}


def test_scale_1_is_the_conditional_guess_and_runs_nothing_else():
    x0 = Recorder()
    assert torch.equal(guided(x0, CONDITION, NULL, 1.0)(X, 0.5), X * torch.tensor([[2.0], [3.0]]))
    assert x0.calls == [[1, 2]]


@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0])
def test_the_combination_in_one_call(scale):
    x0 = Recorder()
    with_condition, without = X * torch.tensor([[2.0], [3.0]]), 10 * X
    guess = guided(x0, CONDITION, NULL, scale)(X, 0.5)
    torch.testing.assert_close(guess, without + scale * (with_condition - without))
    assert x0.calls == [[1, 2, 9, 9]]


def test_guidance_on_x0_is_guidance_on_eps():
    alpha, sigma = 0.6, 0.8
    guess = guided(Recorder(), CONDITION, NULL, 4.0)(X, 0.5)
    eps = [(X - alpha * factor * X) / sigma for factor in (torch.tensor([[2.0], [3.0]]), 10)]
    torch.testing.assert_close((X - alpha * guess) / sigma, eps[1] + 4.0 * (eps[0] - eps[1]))


def test_interval_limits_guidance_and_its_cost():
    x0 = Recorder()
    denoise = guided(x0, CONDITION, NULL, 3.0, interval=(0.3, 0.6))
    for t in (0.7, 0.6, 0.45, 0.3, 0.2):
        guess = denoise(X, t)
        assert torch.allclose(guess, X * torch.tensor([[2.0], [3.0]])) == (t in (0.7, 0.2))
    assert [len(call) for call in x0.calls] == [2, 4, 4, 4, 2]


def test_rescale_brings_the_standard_deviation_back():
    plain, half, full = (guided(Recorder(), CONDITION, NULL, 3.0, rescale=r)(X, 0.5) for r in (0.0, 0.5, 1.0))
    torch.testing.assert_close(full.std(dim=1), (X * torch.tensor([[2.0], [3.0]])).std(dim=1))
    torch.testing.assert_close(half, (plain + full) / 2)


def test_text_conditions_and_a_negative_prompt_in_a_sampler():
    def x0(x, t, context, context_mask):
        return (context * context_mask[..., None]).sum(dim=1)

    positive = {"context": torch.ones(2, 3, 4), "context_mask": torch.tensor([[True, True, False]] * 2)}
    negative = {"context": torch.full((2, 3, 4), 5.0), "context_mask": torch.tensor([[True, False, False]] * 2)}
    generator = torch.Generator().manual_seed(0)
    end = sample(guided(x0, positive, negative, 2.0), build_path("flow"), (2, 4), 3, "ddim", generator)
    assert torch.allclose(end, torch.full((2, 4), 5.0 + 2 * (2.0 - 5.0)))


def test_drop_condition_drops_whole_examples_at_the_given_rate():
    n = 20_000
    condition = {"labels": torch.arange(n) % 10, "context": torch.ones(n, 2, 3),
                 "context_mask": torch.ones(n, 2, dtype=torch.bool)}
    null = {"labels": torch.tensor(10), "context": torch.zeros(1, 2, 3), "context_mask": torch.tensor([[True, False]])}
    dropped = drop_condition(condition, null, 0.1, torch.Generator().manual_seed(0))
    gone = dropped["labels"] == 10
    assert gone.float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(dropped["labels"][~gone], condition["labels"][~gone])
    assert torch.equal(dropped["context"][:, 0, 0] == 0, gone)
    assert torch.equal(~dropped["context_mask"][:, 1], gone)
    assert torch.equal(drop_condition(condition, null, 0.0)["labels"], condition["labels"])
    assert drop_condition(condition, null, 1.0)["labels"].unique().tolist() == [10]


def test_mistakes_are_told():
    with pytest.raises(TinygenError, match="same conditions twice"):
        guided(Recorder(), CONDITION, {}, 2.0)
    with pytest.raises(TinygenError, match="the same shape"):
        guided(Recorder(), CONDITION, {"labels": torch.tensor([9])}, 2.0)
