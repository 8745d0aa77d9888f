"""`check` and `check_monte_carlo`: what they accept, what they catch, and what they refuse to compare."""

import math

import numpy as np
import pytest
import sympy
import torch

from tinygen.checks import check, check_monte_carlo

X = sympy.symbols("x", positive=True)


def draws(n=40_000, seed=0):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("a, b", [
    (math.log(2.0), sum((-1) ** (k + 1) / k for k in range(1, 1_000_001)) + 5e-7),
    (torch.arange(4.0), np.arange(4)),
    (torch.tensor([[0.5, 2.0]], dtype=torch.bfloat16), [[0.5, 2.0]]),
    (torch.ones(2, requires_grad=True), np.ones(2, dtype=np.float32)),
    (3, 3),
    (sympy.Rational(1, 2), 0.5),
])
def test_equal_numbers_hold(capsys, a, b):
    assert check("eq-log-series", a, b, tol=1e-6) is None
    assert capsys.readouterr().out == "eq-log-series holds: two routes agree to 1e-06\n"


@pytest.mark.parametrize("a, b", [
    (sympy.sin(X) ** 2, 1 - sympy.cos(X) ** 2),
    (sympy.integrate(sympy.exp(-X), (X, 0, sympy.oo)), sympy.Integer(1)),
    (sympy.sin(X) ** 2 + sympy.cos(X) ** 2, 1),
    (sympy.Matrix([X, 2]).T * 2, sympy.Matrix([[X + X, 4]])),
])
def test_equal_expressions_hold(capsys, a, b):
    check("eq-trig", a, b)
    assert capsys.readouterr().out == "eq-trig holds: two routes agree symbolically\n"


def test_a_difference_names_both_numbers_and_the_place(capsys):
    with pytest.raises(AssertionError, match=r"eq-a fails: 2\.0 and 2\.5 at \(1, 0\) differ by 0\.5 > 1e-06"):
        check("eq-a", torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [2.5]]))
    with pytest.raises(AssertionError, match=r"eq-a fails: 1\.0 and -1\.0 differ by 2"):
        check("eq-a", 1.0, -1.0)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("a, b", [
    (X, -X), (sympy.sqrt(X), X), (sympy.Matrix([X, 1]), sympy.Matrix([X, 2])), (X + 1, 1),
])
def test_a_symbolic_difference_is_caught(a, b):
    with pytest.raises(AssertionError, match="eq-a fails: .* differ by "):
        check("eq-a", a, b)


@pytest.mark.parametrize("wrong", [-1.0, 2.0, 0.5, 2 ** 0.5, 0.0])
def test_the_loosest_allowed_tolerance_still_catches_common_mistakes(wrong):
    with pytest.raises((AssertionError, ValueError)):
        check("eq-a", 1.0, wrong, tol=0.25)


def test_one_object_is_no_second_route():
    for value in (torch.ones(2), np.ones(2), 0.5):
        with pytest.raises(ValueError, match="the same object"):
            check("eq-a", value, value)


@pytest.mark.parametrize("a, b", [
    (float("nan"), float("nan")), (math.inf, 1.0), (torch.tensor([1.0, math.nan]), torch.ones(2)), (1.0, 1j),
    ([], []), (sympy.oo, sympy.Integer(1)), (sympy.nan, X),
])
def test_what_cannot_be_compared_is_refused(a, b):
    with pytest.raises(ValueError, match="eq-a: "):
        check("eq-a", a, b)


@pytest.mark.parametrize("a, b", [
    (torch.ones(2), torch.ones(3)), (torch.ones(2), 1.0), (torch.ones(1, 2), torch.ones(2)),
    (sympy.Matrix([X]), sympy.Matrix([X, X])), (sympy.Matrix([X]), X),
])
def test_shapes_are_never_broadcast(a, b):
    with pytest.raises(ValueError, match="eq-a: the shapes .* differ"):
        check("eq-a", a, b)


@pytest.mark.parametrize("label", ["vq-elbo", "eq-", "eq-VQ", "eq-vq_elbo", "eq-vq-", "eq--vq", " eq-vq", "eq-vq\n"])
def test_labels_have_one_form(label):
    with pytest.raises(ValueError, match="is no equation label"):
        check(label, 1.0, 2.0)
    with pytest.raises(ValueError, match="is no equation label"):
        check_monte_carlo(label, draws(), 0.0)


def test_a_tolerance_that_cannot_fail_is_refused():
    loose = [(1.0, 1.1, 0.3), (1e-8, 3e-8, 1e-6), (0.0, -1 * 0.0, 1e-6)]
    for a, b, tol in loose + [(1.0, 1.0 + 1e-9, 0.0), (1.0, 2.0, -1.0)]:
        with pytest.raises(ValueError, match="cannot catch a mistake"):
            check("eq-a", a, b, tol=tol)


def test_a_scale_allows_values_that_vanish(capsys):
    check("eq-a", np.array([1e-9]), np.zeros(1), scale=1.0)
    assert "eq-a holds" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="eq-a fails"):
        check("eq-a", np.array([1e-3]), np.zeros(1), scale=1.0)


def test_monte_carlo_agrees_with_a_closed_form(capsys):
    check_monte_carlo("eq-mc", draws() ** 2, 1.0)                                    # E x^2 = 1, variance 2
    assert capsys.readouterr().out == ("eq-mc holds: the mean of 40000 samples agrees within 4 standard errors"
                                       f" (of {math.sqrt(2 / 40_000):.1e})\n")
    pairs = torch.stack([draws(), draws(seed=1)], dim=1)                             # (N, 2)
    check_monte_carlo("eq-mc", (pairs + 1) ** 2, torch.tensor([2.0, 2.0]))


def test_monte_carlo_catches_a_wrong_value():
    for value in (-1.0, 1.05, 0.5):
        with pytest.raises(AssertionError, match=r"eq-mc fails: the mean .* standard errors from"):
            check_monte_carlo("eq-mc", draws() ** 2, value)
    with pytest.raises(AssertionError, match="eq-mc fails"):
        check_monte_carlo("eq-mc", torch.stack([draws() + 1, draws() + 1], 1), [1.0, 1.1])


def test_monte_carlo_refuses_what_cannot_fail():
    with pytest.raises(ValueError, match="at least 100 samples"):
        check_monte_carlo("eq-mc", draws(99), 0.0)
    with pytest.raises(ValueError, match="do not vary"):
        check_monte_carlo("eq-mc", torch.ones(1000), 1.0)
    with pytest.raises(ValueError, match="sigmas"):
        check_monte_carlo("eq-mc", draws(), 1.0, sigmas=7)
    with pytest.raises(ValueError, match="cannot catch a mistake"):
        check_monte_carlo("eq-mc", draws(), 0.0)                                     # the mean is 0: give a scale
    with pytest.raises(ValueError, match="the shapes"):
        check_monte_carlo("eq-mc", draws().reshape(-1, 2), 0.0)
    check_monte_carlo("eq-mc", draws(), 0.0, scale=1.0)
