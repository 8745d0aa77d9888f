"""Frechet and kernel distances against closed forms, other routes and simulation."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from tinygen.errors import TinygenError
from tinygen.evaluate import Gaussian, frechet_distance, kernel_distance, kernel_mmd2


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def covariance(d, seed):
    a = normal(d, d + 3, seed=seed)
    return a @ a.T / d


def test_fit_is_numpys_mean_and_covariance():
    x = normal(50, 4).float()
    g = Gaussian.fit(x)
    np.testing.assert_allclose(g.mean, x.double().numpy().mean(0), atol=1e-12)
    np.testing.assert_allclose(g.covariance, np.cov(x.double().numpy(), rowvar=False), atol=1e-12)
    with pytest.raises(TinygenError, match="at least 2 images"):
        Gaussian.fit(x[:1])


@pytest.mark.parametrize("m1, s1, m2, s2", [(0, 1, 0, 1), (1.5, 1, -1, 3), (0, 0, 2, 0.5)])
def test_one_dimension(m1, s1, m2, s2):
    """(m1 - m2)^2 + (s1 - s2)^2."""
    a, b = (Gaussian(torch.tensor([m]).double(), torch.tensor([[s ** 2]]).double()) for m, s in ((m1, s1), (m2, s2)))
    assert frechet_distance(a, b) == pytest.approx((m1 - m2) ** 2 + (s1 - s2) ** 2, abs=1e-12)


def test_diagonal_covariances():
    m1, m2, v1, v2 = normal(6), normal(6, seed=1), normal(6, seed=2).square(), normal(6, seed=3).square()
    expected = ((m1 - m2) ** 2 + (v1.sqrt() - v2.sqrt()) ** 2).sum().item()
    assert frechet_distance(Gaussian(m1, v1.diag()), Gaussian(m2, v2.diag())) == pytest.approx(expected, rel=1e-10)


def test_commuting_covariances():
    """With shared eigenvectors, tr (A B)^(1/2) is the sum of the roots of products of eigenvalues."""
    q = torch.linalg.qr(normal(8, 8))[0]
    a, b = normal(8, seed=1).square() + 0.1, normal(8, seed=2).square()
    zero = torch.zeros(8, dtype=torch.float64)
    expected = (a.sqrt() - b.sqrt()).square().sum().item()
    found = frechet_distance(Gaussian(zero, q * a @ q.T), Gaussian(zero, q * b @ q.T))
    assert found == pytest.approx(expected, rel=1e-9)


def test_general_covariances_against_scipys_matrix_root():
    m1, m2, a, b = normal(12), normal(12, seed=1), covariance(12, 2), covariance(12, 3)
    root = scipy.linalg.sqrtm(a.numpy() @ b.numpy()).real
    expected = (m1 - m2).square().sum().item() + np.trace(a.numpy() + b.numpy() - 2 * root)
    assert frechet_distance(Gaussian(m1, a), Gaussian(m2, b)) == pytest.approx(expected, rel=1e-9)


def test_symmetric_and_invariant_under_rotation_and_shift():
    x, y = normal(200, 5), normal(300, 5, seed=1) * 1.5 + 0.3
    q, shift = torch.linalg.qr(normal(5, 5, seed=2))[0], normal(5, seed=3)
    d = frechet_distance(Gaussian.fit(x), Gaussian.fit(y))
    assert frechet_distance(Gaussian.fit(y), Gaussian.fit(x)) == pytest.approx(d, rel=1e-9)
    assert frechet_distance(Gaussian.fit(x @ q + shift), Gaussian.fit(y @ q + shift)) == pytest.approx(d, rel=1e-9)
    assert frechet_distance(Gaussian.fit(3 * x), Gaussian.fit(3 * y)) == pytest.approx(9 * d, rel=1e-9)


def test_identical_sets_have_distance_zero_even_where_singular():
    for x in (normal(100, 6), normal(4, 10), torch.ones(5, 3)):
        assert frechet_distance(Gaussian.fit(x), Gaussian.fit(x)) == pytest.approx(0, abs=1e-6)


def test_fd_falls_as_n_grows():
    """The bias in N: both sets are from one distribution, whose true distance is 0."""
    x = normal(8000, 16)
    distances = [frechet_distance(Gaussian.fit(x[:n]), Gaussian.fit(normal(n, 16, seed=9))) for n in (50, 500, 5000)]
    assert distances[0] > 5 * distances[1] > 25 * distances[2] > 0


def test_mmd_against_a_double_loop():
    x, y = normal(7, 3), normal(5, 3, seed=1) + 0.5
    kernel = lambda a, b: (float(a @ b) / 3 + 1) ** 3
    pairs = lambda s: [kernel(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]
    expected = np.mean(pairs(x)) + np.mean(pairs(y)) - 2 * np.mean([kernel(a, b) for a in x for b in y])
    assert kernel_mmd2(x, y) == pytest.approx(expected, rel=1e-10)


def test_mmd_is_unbiased():
    """Over many draws of two small samples its mean is the true value within 4 standard errors: 0, and a closed form.

    In one dimension E k(x, y) = E (x y + 1)^3 = 1 + 3 m_x m_y + 3 s_x s_y + t_x t_y with the raw moments m, s, t.
    """
    def population(mean):
        moments = lambda m: (m, 1 + m * m, m ** 3 + 3 * m)                      # of a normal with variance 1
        k = lambda a, b: 1 + 3 * a[0] * b[0] + 3 * a[1] * b[1] + a[2] * b[2]
        p, q = moments(0.0), moments(mean)
        return k(p, p) + k(q, q) - 2 * k(p, q)

    for mean in (0.0, 0.5):
        x, y = normal(1000, 6, 1), normal(1000, 6, 1, seed=1) + mean
        values = torch.tensor([kernel_mmd2(a, b) for a, b in zip(x, y, strict=True)])
        error = values.std().item() / math.sqrt(len(values))
        assert abs(values.mean().item() - population(mean)) < 4 * error
    assert population(0.5) > 4 * error                                          # so 0 would not pass for it


def test_kernel_distance_averages_disjoint_blocks_and_its_error_is_honest():
    x, y = normal(400, 4), normal(300, 4, seed=1)
    shuffle = lambda seed: torch.Generator().manual_seed(seed)
    draws = [kernel_distance(normal(400, 4, seed=10 + s), normal(400, 4, seed=500 + s), shuffle(s), block=50)
             for s in range(60)]
    means, errors = torch.tensor(draws).T
    assert abs(means.mean().item()) < 4 * means.std().item() / math.sqrt(60)
    assert errors.mean().item() == pytest.approx(means.std().item(), rel=0.35)
    mean, error = kernel_distance(x, y, shuffle(0))                             # one block of 300, y in another order
    assert mean == pytest.approx(kernel_mmd2(x[torch.randperm(400, generator=shuffle(0))][:300], y), abs=1e-12)
    assert math.isnan(error)
