"""What a chapter's equation checks call: two routes to the same quantity, compared so that the comparison can fail."""

import re

import numpy as np

LABEL = re.compile(r"eq-[a-z0-9]+(-[a-z0-9]+)*")
LOOSEST = 0.25   # a tolerance of more than a quarter of what is compared would let a missing factor of sqrt(2) pass


def check(label: str, a, b, tol: float = 1e-6, scale: float | None = None) -> None:
    """Assert that two independently computed values of the equation `label` agree, and print one line that says so.

    `a`, `b`: SymPy expressions or matrices, whose difference must simplify to 0; or numbers, arrays or tensors of
    one shape, equal within the absolute `tol` in every element. `scale`: the size of the terms behind two values that
    should both vanish (default: the largest magnitude of `a` and `b`). Raises AssertionError with both numbers where
    they differ; ValueError for a check that could not fail: one object given twice, NaN or infinity, shapes that
    differ, `tol` above a quarter of `scale`.
    """
    _check_label(label)
    if _is_symbolic(a, b):
        _check_symbolic(label, a, b)
        return
    if a is b and not isinstance(a, int):   # small integers are one object however they were computed
        raise ValueError(f"{label}: both values are the same object; compute the second by another route")
    x, y = _array(label, a), _array(label, b)
    if x.shape != y.shape:
        raise ValueError(f"{label}: the shapes {x.shape} and {y.shape} differ")
    _check_tolerance(label, tol, scale, x, y)
    gap = np.abs(x - y)
    if not (gap <= tol).all():
        worst = np.unravel_index(gap.argmax(), gap.shape)
        where = f" at {tuple(map(int, worst))}" if worst else ""
        raise AssertionError(f"{label} fails: {float(x[worst])} and {float(y[worst])}{where} differ by {gap[worst]:.3g}"
                             f" > {tol:g}")
    print(f"{label} holds: two routes agree to {tol:g}")


def check_monte_carlo(label: str, samples, value, sigmas: float = 4.0, scale: float | None = None) -> None:
    """Assert that the mean of independent `samples` is within `sigmas` standard errors of `value`, computed otherwise.

    `samples`: (N,) or (N, ...), N >= 100; `value`: a number or (...). The standard error is std / sqrt(N), per element.
    Raises AssertionError where the mean is too far away; ValueError as `check` does, where `sigmas` is not in (0, 6],
    and where the samples do not vary or are too few for the size of the value.
    """
    _check_label(label)
    draws, exact = _array(label, samples), _array(label, value)
    if draws.ndim == 0 or len(draws) < 100:
        raise ValueError(f"{label}: a Monte Carlo check needs at least 100 samples along the first axis")
    if draws.shape[1:] != exact.shape:
        raise ValueError(f"{label}: the shapes {draws.shape[1:]} (one sample) and {exact.shape} (the value) differ")
    if not 0 < sigmas <= 6:
        raise ValueError(f"{label}: sigmas = {sigmas} must be above 0 and at most 6")
    mean, error = draws.mean(axis=0), draws.std(axis=0, ddof=1) / len(draws) ** 0.5
    if not (error > 0).all():
        raise ValueError(f"{label}: the samples do not vary; compare their value with `check`")
    _check_tolerance(label, sigmas * error.max(), scale, mean, exact)
    distance = np.abs(mean - exact) / error
    if not (distance <= sigmas).all():
        worst = np.unravel_index(distance.argmax(), distance.shape)
        raise AssertionError(f"{label} fails: the mean {mean[worst]:g} +- {error[worst]:.2g} is {distance[worst]:.1f}"
                             f" standard errors from {exact[worst]:g}")
    print(f"{label} holds: the mean of {len(draws)} samples agrees within {sigmas:g} standard errors"
          f" (of {error.max():.1e})")


def _check_label(label: str) -> None:
    if not LABEL.fullmatch(label):
        raise ValueError(f"{label!r} is no equation label: eq-<chapter>-<name>, lower-case letters, digits, hyphens")


def _check_tolerance(label, tol, scale, x, y) -> None:
    scale = max(np.abs(x).max(), np.abs(y).max()) if scale is None else scale
    if not (tol > 0 and np.isfinite(scale) and tol <= LOOSEST * scale):
        raise ValueError(f"{label}: a tolerance of {tol:.3g} on values of size {scale:.3g} cannot catch a mistake:"
                         " tighten it, take more samples, or give the scale of the terms that cancel")


def _is_symbolic(a, b) -> bool:
    both = all(type(value).__module__.startswith("sympy.") for value in (a, b))
    return both or any(getattr(value, "free_symbols", None) for value in (a, b))


def _check_symbolic(label, a, b) -> None:
    import sympy   # half a second that only symbolic checks should pay

    a, b = sympy.sympify(a), sympy.sympify(b)
    shapes = [getattr(value, "shape", ()) for value in (a, b)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{label}: the shapes {shapes[0]} and {shapes[1]} differ")
    if a.has(sympy.nan, sympy.zoo, sympy.oo) or b.has(sympy.nan, sympy.zoo, sympy.oo):
        raise ValueError(f"{label}: NaN or infinity in {a} or {b}")
    difference = sympy.simplify(a - b)
    zero = difference.is_zero_matrix if hasattr(difference, "shape") else difference == 0
    if not zero:
        raise AssertionError(f"{label} fails: {a} and {b} differ by {difference}")
    print(f"{label} holds: two routes agree symbolically")


def _array(label, value) -> np.ndarray:
    if hasattr(value, "detach"):   # a torch tensor, on any device, of any precision
        value = value.detach().cpu().double().numpy()
    if np.iscomplexobj(value):
        raise ValueError(f"{label}: compare the real and the imaginary parts")
    array = np.asarray(value, dtype=np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{label}: nothing, NaN or infinity in {array!r}")
    return array
