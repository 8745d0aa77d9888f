# %% [markdown]
# # Lab 11 · Measuring: Fréchet and kernel distance, precision and recall, memorisation
#
# | | |
# |---|---|
# | Goals | write the numbers that papers report, and learn what each of them cannot see |
# | Chapter | 19 (evaluation) |
# | Time | about 80 minutes |
# | Points | 25: six tasks with tests (20), one experiment graded by hand (5) |
# | You need | two CPU cores, no network; the whole notebook runs in less than half a minute |
#
# At the end your functions will judge six programs that draw pictures. Each row is one program, each column one of
# your numbers. No column finds all faults; each fault is found by some column (darker: more suspicious).
#
# ![Six rows of pictures, and beside each row FD, KD, precision, recall and the share of copies](expected.png)
#
# **How it works.** Replace each `# YOUR CODE HERE` (and the line below it) by your own code. Under each task stand
# tests that say *what* is wrong; more tests run when the lab is graded, on other sizes, types and edge cases. A task is
# graded alone: an error in task 1 does not cost points in task 6. Keep the helpers of a task in its cell. Folded hints
# go one step at a time: try for five minutes before you open the first.
#
# **Notation.** A *judge* maps an image to a feature vector of $D$ numbers. A set of $N$ images is a tensor of features
# `(N, D)`, one image a row. **Compute in float64**, whatever comes in: distances are small differences of large
# numbers.

# %% nbgrader={"grade_id": "setup", "locked": true}
import math

import matplotlib.pyplot as plt
import torch
from torch import Tensor

torch.set_num_threads(1)


def seeded(seed: int) -> torch.Generator:
    """A source of random numbers of its own."""
    return torch.Generator().manual_seed(seed)


def toy_features(n: int, generator: torch.Generator, shift: float = 0.0) -> Tensor:
    """Features (n, 16) float64 of a make-believe judge; a model's are shifted by `shift` in the first coordinate."""
    features = torch.randn(n, 16, generator=generator, dtype=torch.float64)
    features[:, 0] += shift
    return features


# %% [markdown]
# ## Task 1 · Two moments (easy, 2 points)
#
# The Fréchet distance knows of a set of features only its mean and its covariance,
#
# $$ m = \frac1N \sum_i f_i , \qquad A = \frac{1}{N - 1} \sum_i (f_i - m)(f_i - m)^{\mathsf T} . $$
#
# <details><summary>Hint 1</summary>
#
# Convert first, then subtract the mean: in float32 the variance of numbers near 1000 is lost.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# With the centred features in a matrix $X$ of shape `(N, D)` the sum of outer products is one matrix product. Which of
# $X X^{\mathsf T}$ and $X^{\mathsf T} X$ has the shape `(D, D)`?
#
# </details>

# %% nbgrader={"grade_id": "moments", "solution": true}
def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and unbiased covariance (D, D), both float64, of features (N, D), float32 or float64, N > 1."""
    ### BEGIN SOLUTION
    x = features.double()
    mean = x.mean(dim=0)
    centred = x - mean
    return mean, centred.T @ centred / (len(x) - 1)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_moments", "grade": true, "points": 2}
four = torch.tensor([[1.0, 0.0], [3.0, 0.0], [1.0, 4.0], [3.0, 4.0]])
mean, covariance = moments(four)
assert mean.shape == (2,) and covariance.shape == (2, 2), (
    f"four images with two features: mean (2,) and covariance (2, 2), not {tuple(mean.shape)} and "
    f"{tuple(covariance.shape)}: one image a row")
assert mean.dtype == covariance.dtype == torch.float64, f"both are float64, not {mean.dtype} and {covariance.dtype}"
assert mean.tolist() == [2, 2], f"the mean of these four is (2, 2), not {mean.tolist()}"
assert abs(covariance[1, 1] - 16 / 3) < 1e-9, (
    f"the second feature is 0, 0, 4, 4: its variance is 16 / 3, not {covariance[1, 1]:.3f}"
    + (": divide by N - 1" if abs(covariance[1, 1] - 4) < 1e-6 else ": is the mean subtracted, the sum divided?"))
assert abs(covariance[0, 1]) < 1e-9, "the two features are uncorrelated here: the entry [0, 1] should be 0"
### BEGIN HIDDEN TESTS
for n, d, offset in ((2, 3, 0.0), (40, 5, -3.0), (9, 20, 2000.0)):
    features = torch.randn(n, d) * torch.linspace(0.5, 2, d) + offset
    kept = features.clone()
    mean, covariance = moments(features)
    assert torch.equal(features, kept), "moments must not change its argument: `-=` and `sub_` do"
    assert mean.dtype == covariance.dtype == torch.float64, "both are float64"
    rows = features.tolist()
    average = [math.fsum(column) / n for column in zip(*rows)]
    for i in range(d):
        assert abs(mean[i] - average[i]) < 1e-6, f"the mean is wrong for {n} images, {d} features"
        for j in range(d):
            expected = math.fsum((row[i] - average[i]) * (row[j] - average[j]) for row in rows) / (n - 1)
            assert abs(covariance[i, j] - expected) < 1e-5, (
                f"entry [{i}, {j}] of the covariance of {n} images near {offset} should be {expected:.5f}, not "
                f"{covariance[i, j]:.5f}: is everything computed in float64, with N - 1?")
### END HIDDEN TESTS

# %% [markdown]
# ## Task 2 · The Fréchet distance (medium, 4 points)
#
# $$ \mathrm{FD} = \|m_a - m_b\|^2 + \operatorname{tr} A + \operatorname{tr} B
#    - 2 \operatorname{tr} \big( A^{1/2} B A^{1/2} \big)^{1/2} $$
#
# $A^{1/2}$ is the *matrix* root: $A^{1/2} A^{1/2} = A$. A covariance has no negative eigenvalues, but when there are
# fewer images than features some of them are zero, and rounding makes them slightly negative. Your function must
# survive that.
#
# <details><summary>Hint 1</summary>
#
# `torch.linalg.eigh(A)` gives eigenvalues and eigenvectors with $A = V \Lambda V^{\mathsf T}$. What is the root of
# $\Lambda$, and hence that of $A$?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The trace of a symmetric matrix is the sum of its eigenvalues; so the last trace is the sum of the *roots* of the
# eigenvalues of $A^{1/2} B A^{1/2}$. You need no second matrix root.
#
# </details>
#
# <details><summary>Hint 3</summary>
#
# Clamp eigenvalues at 0 before you take a root: the root of $-10^{-17}$ is NaN.
#
# </details>

# %% nbgrader={"grade_id": "frechet", "solution": true}
def frechet(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    """The squared Frechet distance of two Gaussians. Means (D,), covariances (D, D), float64; not negative."""
    ### BEGIN SOLUTION
    values, vectors = torch.linalg.eigh(covariance_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    product = root @ covariance_b @ root
    inner = torch.linalg.eigvalsh((product + product.T) / 2)
    cross = torch.sqrt(inner.clamp_min(0)).sum()
    shift = (mean_a - mean_b).square().sum()
    distance = shift + covariance_a.trace() + covariance_b.trace() - 2 * cross
    return max(distance.item(), 0.0)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_frechet", "grade": true, "points": 3}
zero, unit = torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
distance = float(frechet(zero, unit, torch.tensor([3.0, 4.0]).double(), unit))
assert abs(distance - 25) < 1e-6, (
    f"equal covariances, means 5 apart: FD is 5^2 = 25, not {distance:.3f}"
    + (": the squared distance of the means is meant" if abs(distance - 5) < 1e-6 else ""))
distance = float(frechet(zero, 4 * unit, zero, 9 * unit))
assert abs(distance - 2) < 1e-6, (
    f"standard deviations 2 and 3 in two dimensions: FD is 2 * (3 - 2)^2 = 2, not {distance:.3f}: look at the roots "
    "and at the factor of the last trace")
stretched = torch.tensor([[4.0, 0.0], [0.0, 1.0]]).double()
tilted = torch.tensor([[2.5, 1.5], [1.5, 2.5]]).double()                  # the same ellipse, turned by 45 degrees
distance = float(frechet(zero, stretched, zero, tilted))
by_hand = 10 - 2 * math.sqrt(12.5 + 2 * 4)      # of 2 x 2: the trace of a root is sqrt(trace + 2 sqrt(determinant))
assert abs(distance - by_hand) < 1e-3, (
    f"an ellipse and the same one turned by 45 degrees: FD is {by_hand:.3f}, not {distance:.3f}: `A.sqrt()` takes the "
    "root of every entry; the root of a matrix is needed")
### BEGIN HIDDEN TESTS
for d in (2, 6, 10):
    generator = seeded(d)
    turn = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]
    pieces_a, pieces_b, cross = [], [], 0.0
    for _ in range(d // 2):                 # 2 x 2 blocks: the trace of a root is known in closed form
        r_a, r_b = torch.randn(2, 2, 2, generator=generator, dtype=torch.float64)
        a, b = r_a @ r_a.T + 0.1 * torch.eye(2), r_b @ r_b.T + 0.1 * torch.eye(2)
        pieces_a.append(a.double())
        pieces_b.append(b.double())
        determinant = float(torch.linalg.det(a) * torch.linalg.det(b))
        cross += math.sqrt(float((a * b.T).sum()) + 2 * math.sqrt(determinant))
    a, b = turn @ torch.block_diag(*pieces_a) @ turn.T, turn @ torch.block_diag(*pieces_b) @ turn.T
    m_a, m_b = torch.randn(2, d, generator=generator, dtype=torch.float64)
    shift = sum((p - q) ** 2 for p, q in zip(m_a.tolist(), m_b.tolist()))
    expected = shift + sum(a[i, i].item() + b[i, i].item() for i in range(d)) - 2 * cross
    for first, second in (((m_a, a), (m_b, b)), ((m_b, b), (m_a, a))):
        distance = float(frechet(*first, *second))
        assert abs(distance - expected) < 1e-5 * (1 + expected), (
            f"two Gaussians in {d} dimensions: FD is {expected:.4f}, not {distance:.4f}")
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_frechet_singular", "grade": true, "points": 1}
flat = torch.tensor([[1.0, 1.0], [1.0, 1.0]]).double()                    # all on a line: one eigenvalue is zero
zero = torch.zeros(2, dtype=torch.float64)
distance = float(frechet(zero, flat, zero, flat))
assert not math.isnan(distance), "NaN for a singular covariance: clamp eigenvalues at 0 before you take roots"
assert 0 <= distance < 1e-6, f"a Gaussian and itself: FD is 0 (never negative), not {distance}"
### BEGIN HIDDEN TESTS
for n, d in ((3, 8), (5, 40), (20, 30)):
    x = torch.randn(n, d, generator=seeded(n), dtype=torch.float64)
    x = x - x.mean(0)
    few = x.T @ x / (n - 1)
    null = torch.zeros(d, dtype=torch.float64)
    same = float(frechet(null, few, null, few))
    assert not math.isnan(same), f"NaN for {n} images with {d} features: clamp eigenvalues at 0 before taking roots"
    assert 0 <= same < 1e-5, f"{n} images with {d} features against themselves: FD is 0 and not negative, not {same}"
    doubled = float(frechet(null, few, null, 4 * few))
    expected = sum(few[i, i].item() for i in range(d))
    assert abs(doubled - expected) < 1e-4 * expected, (
        f"all features doubled: FD is tr A = {expected:.4f}, not {doubled:.4f}, also when N < D")
### END HIDDEN TESTS

# %% [markdown]
# ## Task 3 · The kernel distance (medium, 3 points)
#
# Two samples $x_1, \dots, x_N$ and $y_1, \dots, y_M$. With the kernel $k(a, b) = (a \cdot b / D + 1)^3$,
#
# $$ \mathrm{KD} = \frac{1}{N (N - 1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{M (M - 1)} \sum_{i \ne j} k(y_i, y_j)
#    - \frac{2}{N M} \sum_{i, j} k(x_i, y_j) . $$
#
# It has no bias: for two samples of *one* distribution its mean is exactly 0. So it must be allowed to be negative.
#
# <details><summary>Hint 1</summary>
#
# `x @ y.T` holds all the scalar products at once.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Within a sample, a vector is not compared with itself: subtract the diagonal's sum from that of the whole matrix.
# Across samples there is no "itself": all pairs count.
#
# </details>

# %% nbgrader={"grade_id": "kernel_distance", "solution": true}
def kernel_distance(x: Tensor, y: Tensor) -> float:
    """The unbiased squared distance of the features x (N, D) and y (M, D); may be negative."""
    ### BEGIN SOLUTION
    x, y = x.double(), y.double()

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a):
        matrix = kernel(a, a)
        return (matrix.sum() - matrix.diagonal().sum()) / (len(a) * (len(a) - 1))

    return (within(x) + within(y) - 2 * kernel(x, y).mean()).item()
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_kernel_distance", "grade": true, "points": 3}
x, y = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([[2.0, 2.0], [0.0, 0.0], [0.0, 2.0]])
value = float(kernel_distance(x, y))
within_x, within_y, across = 1.0, (1 + 27 + 1) / 3, (1 + 1 + 1 + 27 + 1 + 1) / 6
by_hand = within_x + within_y - 2 * across
assert abs(value - by_hand) < 1e-6, (
    f"for two and three vectors KD is {within_x:.2f} + {within_y:.2f} - 2 * {across:.2f} = {by_hand:.3f}, not "
    f"{value:.3f}: is the scalar product divided by D, 1 added, the third power taken, nobody compared with himself?")
values = [float(kernel_distance(toy_features(12, seeded(i)), toy_features(12, seeded(1000 + i)))) for i in range(200)]
average = sum(values) / 200
assert all(value == value for value in values), "KD is NaN for some samples: do not take a root of it"
assert min(values) < 0 < max(values), (
    "for samples of one distribution KD should fall on both sides of 0: no clamping, no absolute values")
assert abs(average) < 0.15, (
    f"the mean over 200 pairs of samples of one distribution should be 0, not {average:.2f}: within a sample a vector "
    "must not be compared with itself")
### BEGIN HIDDEN TESTS
for n, m, d in ((2, 2, 1), (5, 9, 4), (8, 8, 30)):
    x, y = torch.randn(n, d, generator=seeded(n)), 0.5 + torch.randn(m, d, generator=seeded(50 + m))
    kept = x.clone(), y.clone()
    value = float(kernel_distance(x, y))
    assert torch.equal(x, kept[0]) and torch.equal(y, kept[1]), "kernel_distance must not change its arguments"

    def k(a, b, d=d):
        return (math.fsum(p * q for p, q in zip(a, b)) / d + 1) ** 3

    rows, others = x.tolist(), y.tolist()
    inside = [math.fsum(k(s[i], s[j]) for i in range(len(s)) for j in range(i)) * 2 / len(s) / (len(s) - 1)
              for s in (rows, others)]
    expected = sum(inside) - 2 * math.fsum(k(a, b) for a in rows for b in others) / n / m
    assert abs(value - expected) < 1e-5 * (1 + abs(expected)), (
        f"{n} and {m} vectors of {d} features: KD is {expected:.4f}, not {value:.4f}")
### END HIDDEN TESTS

# %% [markdown]
# ## Task 4 · Precision and recall (medium, 4 points)
#
# Around every real feature vector draw a ball that just reaches its $k$-th nearest *other* real vector. The union of
# these balls stands for the region where data lie. **Precision** is the share of samples in it. **Recall** is the share
# of real vectors in the union of the balls that are drawn, in the same way, around the *samples*. The surface belongs
# to the ball.
#
# <details><summary>Hint 1</summary>
#
# Write a helper `covered(points, support, k)` first: which points lie in a ball of the support? The rest is two calls.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.cdist(support, support)` in float64. In it everybody is his own nearest neighbour, at distance 0: how do you
# skip him? (`sort`, `kthvalue` or `topk`: mind the count.)
#
# </details>
#
# <details><summary>Hint 3</summary>
#
# The distances from points to centres are `(N, M)`, the radii `(M,)`: one comparison, then "is there any centre
# for which it holds"?
#
# </details>

# %% nbgrader={"grade_id": "precision_recall", "solution": true}
def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    """(precision, recall), between 0 and 1, of real features (N, D) and fake ones (M, D); k < N and k < M."""
    ### BEGIN SOLUTION
    def distances(a, b):
        return (a[:, None] - b[None]).square().sum(dim=2)

    def covered(points, support):
        radii = distances(support, support).sort(dim=1).values[:, k]
        return (distances(points, support) <= radii).any(dim=1).double().mean().item()

    real, fake = real.double(), fake.double()
    return covered(fake, real), covered(real, fake)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_precision_recall", "grade": true, "points": 3}
real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])                        # with k = 1 the radii are 1, 1, 1, 8
precision, _ = precision_recall(real, torch.tensor([[3.0], [-1.5], [18.0], [19.0], [0.5]]), 1)
assert abs(precision - 0.6) < 1e-6, (
    f"reals at 0, 1, 2, 10, k = 1: the balls reach 1, 1, 1 and 8 far. Fakes at 3, 0.5 and 18 (on the surface) are "
    f"inside, -1.5 and 19 are not: precision 3 / 5, not {precision:.2f}"
    + {0.0: ": nobody is his own neighbour", 0.4: ": the surface belongs to the ball"}.get(round(precision, 3), ""))
cloud = toy_features(150, seeded(0))
precision, recall = precision_recall(cloud, 0.2 * toy_features(150, seeded(1)))
assert precision > 0.9, f"samples that all stand in the middle of the data: precision is near 1, not {precision:.2f}"
assert recall < 0.2, (
    f"samples that stand in the middle of the data only: recall is near 0, not {recall:.2f}: whose are its balls?")
### BEGIN HIDDEN TESTS
for n, m, d, k in ((12, 12, 2, 1), (20, 9, 3, 3), (9, 25, 5, 6)):
    real, fake = torch.randn(n, d, generator=seeded(n)), 0.7 + torch.randn(m, d, generator=seeded(90 + m))
    result = precision_recall(real, fake, k)
    sets = [real.tolist(), fake.tolist()]
    for name, value, support, points in (("precision", result[0], *sets), ("recall", result[1], *sets[::-1])):
        reach = [sorted(math.dist(p, q) for j, q in enumerate(support) if j != i)[k - 1] for i, p in enumerate(support)]
        inside = [any(math.dist(p, q) <= r for q, r in zip(support, reach)) for p in points]
        expected = sum(inside) / len(points)
        assert abs(value - expected) < 1e-6, (
            f"{n} real, {m} fake vectors, k = {k}: {name} is {expected:.3f}, not {value:.3f}")
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_precision_recall_far", "grade": true, "points": 1}
near, other = toy_features(60, seeded(2)).float(), toy_features(60, seeded(3)).float()
shifted = precision_recall(near + 4096, other + 4096)
assert 0.4 < shifted[0] < 1, (
    f"60 vectors against 60 of the same distribution, k = 3: precision is between 0.4 and 1, not {shifted[0]:.2f}")
assert abs(shifted[0] - precision_recall(near.double(), other.double())[0]) < 0.1, (
    "float32 features near 4096 give another precision than the same features near 0: compute distances in float64")
### BEGIN HIDDEN TESTS
for seed in (4, 5, 6):
    near, other = (4096 + toy_features(80, seeded(seed + 10 * i), 0.8 * i).float() for i in (0, 1))
    for value, expected in zip(precision_recall(near, other), precision_recall(near.double() - 4096,
                                                                               other.double() - 4096)):
        assert abs(value - expected) < 0.02, (
            f"{value:.3f} for float32 features near 4096, {expected:.3f} for the same near 0: compute in float64")
### END HIDDEN TESTS

# %% [markdown]
# ## Task 5 · Is it a copier? (easy, 3 points)
#
# Keep as many real images aside as there are training images. The sample of an honest model owes nothing to either
# set: its nearest image, among both together, is a training image with probability $\frac12$. A copier's coin always
# shows the same side. Report the share $\hat p$ of the $n$ samples whose nearest image is a *training* image, and
# Wilson's interval around it,
#
# $$ \frac{1}{1 + z^2 / n} \Big( \hat p + \frac{z^2}{2 n}
#    \pm z \sqrt{\frac{\hat p\,(1 - \hat p)}{n} + \frac{z^2}{4 n^2}} \Big), \qquad z = 1.96 . $$
#
# With sets of different sizes the coin is not fair. Raise `ValueError` then.
#
# <details><summary>Hint 1</summary>
#
# For each sample: the smallest distance to the training set, and the smallest to the images kept aside.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Check the interval by hand: for $\hat p = 0$ it begins at 0 and ends at $z^2 / (n + z^2)$.
#
# </details>

# %% nbgrader={"grade_id": "copy_test", "solution": true}
def copy_test(samples: Tensor, train: Tensor, held_out: Tensor) -> tuple[float, float, float]:
    """Share of samples (N, D) that are nearer to train (T, D) than to held_out (T, D), and Wilson's interval.

    -> (share, low, high). ValueError when train and held_out differ in size.
    """
    ### BEGIN SOLUTION
    if len(train) != len(held_out):
        raise ValueError(f"{len(train)} training images, {len(held_out)} kept aside: the coin is not fair")
    samples, train, held_out = samples.double(), train.double(), held_out.double()
    to_train = torch.cdist(samples, train).min(dim=1).values
    to_held_out = torch.cdist(samples, held_out).min(dim=1).values
    n, z = len(samples), 1.96
    share = (to_train < to_held_out).double().mean().item()
    middle = share + z**2 / (2 * n)
    margin = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return share, (middle - margin) / (1 + z**2 / n), (middle + margin) / (1 + z**2 / n)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_copy_test", "grade": true, "points": 2}
train, held_out = toy_features(100, seeded(4)), toy_features(100, seeded(5))
copies = train[:40] + 0.01 * toy_features(40, seeded(6))
share, low, high = copy_test(copies, train, held_out)
assert share == 1, (
    f"40 training images with a little noise: all are nearest to training, a share of 1, not {share:.2f}: the nearest "
    "image counts, not the mean distance")
assert copy_test(held_out[:40] + 0.01, train, held_out)[0] == 0, "samples beside images kept aside have the share 0"
honest = copy_test(toy_features(200, seeded(7)), train, held_out)[0]
assert 0.35 < honest < 0.65, f"honest samples are nearest to training about half of the time, not {honest:.2f}"
### BEGIN HIDDEN TESTS
try:
    copy_test(copies, train, held_out[:50])
except ValueError:
    pass
else:
    raise AssertionError("100 training images and 50 kept aside must raise ValueError: the coin is not fair")
for n, size, d in ((7, 5, 2), (30, 12, 3), (64, 40, 6)):
    samples, first, second = (torch.randn(count, d, generator=seeded(10 * n + i))
                              for i, count in enumerate((n, size, size)))
    hits = 0
    for row in samples.tolist():
        both = [math.dist(row, other) for other in first.tolist() + second.tolist()]
        hits += both.index(min(both)) < size
    share = copy_test(samples, first, second)[0]
    assert abs(share - hits / n) < 1e-9, f"{hits} of {n} samples are nearest to training, not {share * n:.1f}"
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_copy_interval", "grade": true, "points": 1}
train, held_out = toy_features(100, seeded(4)), toy_features(100, seeded(5))
_, low, high = copy_test(held_out[:50] + 0.001, train, held_out)
assert abs(low) < 1e-6 and abs(high - 1.96**2 / (50 + 1.96**2)) < 1e-6, (
    f"0 of 50: Wilson's interval is 0 to {1.96**2 / (50 + 1.96**2):.4f}, not {low:.4f} to {high:.4f}: is the whole "
    "bracket divided by 1 + z^2 / n?")
### BEGIN HIDDEN TESTS
for n in (8, 30, 100):
    share, low, high = copy_test(toy_features(n, seeded(20 + n)), train, held_out)
    for end, name in ((low, "lower"), (high, "upper")):     # the ends solve (share - p)^2 = z^2 p (1 - p) / n
        gap = (share - end) ** 2 - 1.96**2 * end * (1 - end) / n
        assert abs(gap) < 1e-6, f"the {name} end for a share of {share:.2f} of {n} is wrong: {end:.4f}"
    assert low < share < high, f"the interval {low:.3f} to {high:.3f} must hold the share {share:.3f}: ends exchanged?"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 6 · A model that gets better every week? (medium, 4 points)
#
# A team reports its progress: the Fréchet distance has fallen every week. The next cell repeats what they did and
# prints their log, with more columns than they looked at.

# %% nbgrader={"grade_id": "broken_run", "locked": true}
WEEKS = {1: 60, 2: 120, 3: 250, 4: 1000, 5: 4000}       # week: number of samples drawn for the measurement


def weekly_samples(week: int) -> Tensor:
    """The features (N, 16) of that week's samples."""
    return toy_features(WEEKS[week], seeded(100 + week), shift=0.5)


# %% tags=["nbval-ignore-output"]
reference = toy_features(4000, seeded(99))
train, held_out = reference[:400], toy_features(400, seeded(98))
print("week     N     FD      KD  nearest to training   std of the features")
for week, n in WEEKS.items():
    samples = weekly_samples(week)
    fd = frechet(*moments(samples), *moments(reference))
    kd = kernel_distance(samples, reference)
    print(f"{week:4} {n:5} {fd:6.2f} {kd:7.3f} {copy_test(samples, train, held_out)[0]:12.2f} {samples.std():20.2f}")

# %% [markdown]
# Why does FD fall?
#
# - **a** The model gets better.
# - **b** FD is too large for small samples, and the samples became more.
# - **c** The model learns its training set by heart.
# - **d** The samples lose variety.
#
# Set `cause` to its letter. Then mend the measurement. For $N$ samples the expected FD is about $\mathrm{FD}_\infty + b
# / N$. So measure it for several $N$ and fit a straight line *in* $1 / N$ by least squares: its value at $1 / N = 0$
# is free of the bias. For each size take the mean over `repeats` random subsets (without replacement; the samples may
# be sorted!).
#
# <details><summary>Hint 1</summary>
#
# Which column *is* unbiased? What does it say about the five weeks?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.randperm(len(features), generator=generator)[:n]` are `n` random rows.
#
# </details>
#
# <details><summary>Hint 3</summary>
#
# The line through points $(u_i, y_i)$ has the slope $\sum (u_i - \bar u)\, y_i / \sum (u_i - \bar u)^2$ and passes
# through $(\bar u, \bar y)$. (`torch.linalg.lstsq` and `numpy.polyfit` know this, too.)
#
# </details>

# %% nbgrader={"grade_id": "fd_infinity", "solution": true}
cause = ""          # "a", "b", "c" or "d"


def fd_infinity(features: Tensor, mean: Tensor, covariance: Tensor, sizes: list[int], generator: torch.Generator,
                repeats: int = 8) -> tuple[float, float]:
    """FD of the features (N, D) to a reference (mean (D,), covariance (D, D)), extrapolated to N = infinity.

    -> (value at 1 / N = 0, slope b), of the line through the mean FD of `repeats` random subsets of each size.
    """
    ### BEGIN SOLUTION
    u = torch.tensor([1 / n for n in sizes], dtype=torch.float64)
    y = torch.zeros_like(u)
    for i, n in enumerate(sizes):
        for _ in range(repeats):
            rows = torch.randperm(len(features), generator=generator)[:n]
            y[i] += frechet(*moments(features[rows]), mean, covariance) / repeats
    slope = ((u - u.mean()) * y).sum() / (u - u.mean()).square().sum()
    return (y.mean() - slope * u.mean()).item(), slope.item()


cause = "b"
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_cause", "grade": true, "points": 1}
fair = fd_infinity(toy_features(300, seeded(1)), torch.zeros(16).double(), torch.eye(16).double(), [60, 120], seeded(2))
assert fair is not None and cause in list("abcd"), "set `cause` to a, b, c or d, and write fd_infinity"
### BEGIN HIDDEN TESTS
assert cause == "b", (
    "that cause would show in another column: a better model has a smaller KD, a copier is nearest to training nearly "
    "always, lost variety is a smaller standard deviation. None of them changes; N does")
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_fd_infinity", "grade": true, "points": 3}
zero, unit = torch.zeros(16, dtype=torch.float64), torch.eye(16, dtype=torch.float64)
samples = toy_features(4000, seeded(11), shift=0.5)
limit, slope = fd_infinity(samples, zero, unit, [100, 200, 400, 800, 1600], seeded(12))
assert abs(limit - 0.25) < 0.1, (
    f"a model that is shifted by 0.5 has FD 0.25 without bias; yours is {limit:.2f}: is the line one in 1 / N, and the "
    "value that at 1 / N = 0?")
assert 60 < slope < 110, f"the slope b for 16 features of variance 1 is about 16 * 21 / 4 = 84, not {slope:.3g}"
assert fd_infinity(samples, zero, unit, [100, 400], seeded(3)) == fd_infinity(samples, zero, unit, [100, 400],
                                                                              seeded(3)), (
    "generators with the same seed must give the same result: draw the subsets with `generator`")
### BEGIN HIDDEN TESTS
ordered = samples[samples[:, 1].argsort()]
limit, slope = fd_infinity(ordered, zero, unit, [100, 200, 400, 800, 1600], seeded(13))
assert abs(limit - 0.25) < 0.1 and 55 < slope < 115, (
    f"sorted samples give {limit:.2f} and not about 0.25: a subset must be random, not the first rows")
for d, shift, scale in ((4, 1.0, 1.0), (10, 0.0, 2.0), (8, 0.7, 0.5)):
    features = scale * torch.randn(5000, d, generator=seeded(d), dtype=torch.float64)
    features[:, -1] += shift
    null, wide = torch.zeros(d, dtype=torch.float64), scale**2 * torch.eye(d, dtype=torch.float64)
    limit, slope = fd_infinity(features, null, wide, [50, 100, 200, 1000], seeded(14), repeats=24)
    b = scale**2 * d * (d + 5) / 4
    assert abs(limit - shift**2) < 0.12 * max(1.0, scale**2), (
        f"{d} features, true distance {shift**2:.2f}: the limit is {limit:.3f}")
    assert abs(slope / b - 1) < 0.4 or shift > 0, (
        f"{d} features of variance {scale**2:g}: b is {b:.1f}, not {slope:.1f}")
### END HIDDEN TESTS

# %% [markdown]
# The mended measurement, of the last three weeks:

# %% tags=["nbval-ignore-output"]
for week in (3, 4, 5):
    samples = weekly_samples(week)
    sizes = [len(samples) // 4, len(samples) // 3, len(samples) // 2, len(samples)]
    limit, slope = fd_infinity(samples, *moments(reference), sizes, seeded(week))
    print(f"week {week}: FD extrapolated to infinitely many samples {limit:.2f}, b = {slope:.0f}")

# %% [markdown]
# Now the reward: six programs, judged by your functions in the features of `zoo:shapes-judge`. The first is honest: it
# shows real test images. The others have one fault each.

# %% tags=["nbval-ignore-output"]
from tinygen.data import generate_shapes, to_float, to_uint8
from tinygen.evaluate import judge_images
from tinygen.models import load_model

N = 256
train, test = generate_shapes(2 * N, seed=1, split="train").images, generate_shapes(6 * N, seed=2, split="test")
held_out, fresh, labels = test.images[:2 * N], test.images[2 * N:], test.labels[2 * N:]


def with_noise(images: Tensor, sigma: float) -> Tensor:
    """uint8 -> uint8, with Gaussian noise."""
    x = to_float(images)
    return to_uint8(x + sigma * torch.randn(x.shape, generator=seeded(0)))


programs = {
    "real test images": fresh[:N],
    "noisy": with_noise(fresh[:N], 0.2),
    "blurred": to_uint8(torch.nn.functional.avg_pool2d(to_float(fresh[:N]), 3, 1, padding=1, count_include_pad=False)),
    "half of the subjects": fresh[labels < 6][:N],
    "25 pictures repeated": fresh[torch.randint(25, (N,), generator=seeded(1))],
    "copies of training": with_noise(train[:N], 0.02),
}
judge, _ = load_model("zoo:shapes-judge")
features = {name: judge_images(judge, images).features.double() for name, images in programs.items()}
of_train, of_held_out = (judge_images(judge, images).features.double() for images in (train, held_out))

# %% tags=["nbval-ignore-output", "expected-picture"]
columns = ("FD", "KD", "precision", "recall", "copies")
table = []
for name, fake in features.items():
    fd = frechet(*moments(fake), *moments(of_held_out))
    table.append([fd, kernel_distance(fake, of_held_out), *precision_recall(of_held_out[:N], fake),
                  copy_test(fake, of_train, of_held_out)[0]])
numbers = torch.tensor(table)
suspicion = torch.stack([numbers[:, 0] / numbers[:, 0].max(), numbers[:, 1].clamp(min=0) / numbers[:, 1].max(),
                         1 - numbers[:, 2], 1 - numbers[:, 3], (2 * numbers[:, 4] - 1).abs()], dim=1)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.1), width_ratios=(1.45, 1), constrained_layout=True)
strip = torch.cat([torch.cat(list(images[:9]), dim=2) for images in programs.values()], dim=1)
left.imshow(strip.permute(1, 2, 0), aspect="auto")
left.set_yticks([16 + 32 * i for i in range(6)], list(programs))
left.set_xticks([])
right.imshow(suspicion, cmap="Reds", vmin=0, vmax=1.4, aspect="auto")
for i, row in enumerate(table):
    for j, value in enumerate(row):
        right.text(j, i, f"{value:.2f}", ha="center", va="center")
right.set_xticks(range(5), columns)
right.set_yticks([])
right.xaxis.tick_top()
plt.show()

# %% [markdown]
# ## Experiment · Buying precision with variety (5 points, graded by hand)
#
# Many generators have a dial that makes samples more typical: truncation, temperature, guidance. Imitate it in feature
# space: take the features of real test images and pull them towards their mean, $f' = m + \psi\,(f - m)$, for at least
# five values of $\psi$ between 0.3 and 1.2. Plot FD, precision and recall over $\psi$, with an honest baseline (real
# images of equal number) as dotted lines. Then argue in three or four sentences: which number would you show to sell
# $\psi = 0.6$, which one gives you away, and why does one of them *exceed* the value that real images get?
#
# | Rubric | points |
# |---|---|
# | one plot, three curves, at least five values, axes labelled | 1 |
# | equal numbers of images on both sides, the baseline measured and not assumed to be 1 | 2 |
# | the argument: precision never asks whether all balls are used; recall and FD do | 2 |

# %% nbgrader={"grade_id": "experiment_code", "solution": true} tags=["nbval-ignore-output"]
# Your code: the sweep over psi, the plot.
### BEGIN SOLUTION
here, real = of_held_out[:N], features["real test images"]
centre = real.mean(dim=0)
dial = torch.linspace(0.3, 1.2, 10)
curves = []
for psi in dial.tolist():
    pulled = centre + psi * (real - centre)
    curves.append([frechet(*moments(pulled), *moments(here)), *precision_recall(here, pulled)])
baseline = [frechet(*moments(real), *moments(here)), *precision_recall(here, real)]
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), constrained_layout=True)
for axis, which in ((left, (0,)), (right, (1, 2))):
    for j in which:
        line, = axis.plot(dial, [row[j] for row in curves], marker="o", label=columns[(0, 2, 3)[j]])
        axis.axhline(baseline[j], color=line.get_color(), linestyle=":")
    axis.set(xlabel="psi", ylim=(0, None))
    axis.legend()
plt.show()
### END SOLUTION

# %% [markdown] nbgrader={"grade_id": "experiment_answer", "solution": true, "grade": true, "points": 5}
# ### BEGIN SOLUTION
# To sell $\psi = 0.6$ I show precision: it is higher than that of real images. Real images do not reach 1, because
# rare ones fall outside the balls of the reference; pulled towards the mean, they fall inside. Nobody asks whether
# all balls are used. Recall asks that, and falls; FD sees the lost variance and rises. Precision alone can be bought
# with variety, so the pair must be printed, with $N$, $k$ and the pair of real images.
# ### END SOLUTION
