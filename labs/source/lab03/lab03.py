# %% [markdown]
# # Lab 03 · Lloyd, k-means and the palette
#
# | | |
# |---|---|
# | Goals | write Lloyd's two steps, a good start and a cure for idle codes, and choose the colours of a photograph |
# | Chapter | 06 (vector quantisation) |
# | Time | about 75 minutes |
# | Points | 25: six tasks with tests (20), one experiment graded by hand (5) |
# | You need | two CPU cores, no network; the whole notebook runs in less than half a minute |
#
# At the end your code chooses eight colours for this flower. Left: the photograph. Middle: eight colours that somebody
# chose in advance. Right: your eight, at the same three bits a pixel.
#
# ![A flower in all its colours, in eight colours of a grid, and in eight colours of your code's choice](expected.png)
#
# **How it works.** Replace each `# YOUR CODE HERE` (and the line below it) by your own code. Under each task stand
# tests that say *what* is wrong; more tests run when the lab is graded, on other sizes, types and edge cases. A task is
# graded alone: an error in task 2 does not cost points in task 5. Keep the helpers of a task in its cell. Folded hints
# go one step at a time: try for five minutes before you open the first.
#
# **Notation.** Points $x_1, \dots, x_N$ in $\mathbb R^n$ are the rows of `x`, of shape `(N, n)`; the codebook $e_1,
# \dots, e_K$ is `codebook`, of shape `(K, n)`. The assignment $a$ is `codes`, int64 of shape `(N,)`, counted from 0.
# The distortion is $J(e, a) = \frac1N \sum_i \|x_i - e_{a_i}\|^2$: a mean over points of a *sum* over components.

# %% nbgrader={"grade_id": "setup", "locked": true}
import itertools
import math

import matplotlib.pyplot as plt
import torch
from torch import Tensor

torch.set_num_threads(1)


def make_heaps(seed: int = 1) -> Tensor:
    """Sixteen round heaps of 100 points each, on a 4 x 4 lattice: (1600, 2)."""
    lattice = 4 * torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0))
    noise = torch.randn(16, 100, 2, generator=torch.Generator().manual_seed(seed))
    return (lattice[:, None] + 0.5 * noise).reshape(-1, 2)


# %% [markdown]
# ## Task 1 · Everyone goes to the nearest code (easy, 4 points)
#
# Hold the codebook still. Then $J$ is smallest when each point goes to its nearest code,
#
# $$ a_i = \arg\min_k \|x_i - e_k\|^2 , \qquad \|x - e\|^2 = \|x\|^2 - 2\, x \cdot e + \|e\|^2 . $$
#
# Three of the four points are for the right answer. The fourth is for sizes at which a table of all differences, of
# shape `(N, K, n)`, does not fit into memory; the second form of the distance needs only `(N, K)`.
#
# <details><summary>Hint 1</summary>
#
# First write it for one point in a loop. What has the shape `(N, K)`, and over which of its axes do you search?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# All inner products at once are one matrix product, `x @ codebook.T`. `Tensor.min(dim=1)` gives values *and* places.
# Rounding can make a squared distance slightly negative.
#
# </details>

# %% nbgrader={"grade_id": "nearest", "solution": true}
def nearest(x: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest code of every point, (N,) int64, and the squared distance to it, (N,), dtype of x, never negative.

    x: (N, n) points; codebook: (K, n), the same dtype.
    """
    ### BEGIN SOLUTION
    table = x.square().sum(1)[:, None] - 2 * x @ codebook.T + codebook.square().sum(1)
    squared, codes = table.min(dim=1)
    return codes, squared.clamp(min=0)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_nearest", "grade": true, "points": 3}
x, codebook = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 0.2]]), torch.tensor([[0.0, 1.0], [3.0, 0.0]])
codes, squared = nearest(x, codebook)
assert codes.shape == squared.shape == (3,), (
    f"three points have three codes and three distances, not {tuple(codes.shape)} and {tuple(squared.shape)}: "
    "search over the codes, not over the points")
assert codes.dtype == torch.int64, f"codes are int64, not {codes.dtype}: did you return them first?"
assert codes.tolist() == [0, 1, 0], (
    f"the nearest codes of these points are 0, 1, 0, not {codes.tolist()}"
    + (": is the length of the codes in your distance? A long code is not a near code" if codes[1] == 1 else
       ": is it the smallest distance?"))
assert squared[1] > 0, f"point (3, 4) is at squared distance 16 from its code, not {squared[1]:.2f}: do not leave out |x|^2"
torch.testing.assert_close(squared, torch.tensor([1.0, 16.0, 1.64]), rtol=1e-3, atol=1e-3, msg=(
    f"the squared distances are 1, 16, 1.64; you have {[round(d, 3) for d in squared.tolist()]}: squared, and summed "
    "(not averaged) over components?"))
### BEGIN HIDDEN TESTS
for seed, (N, K, n) in enumerate(((1, 5, 3), (40, 1, 2), (60, 7, 1), (50, 50, 12))):
    for dtype in (torch.float32, torch.float64):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(N, n, generator=generator, dtype=dtype) * 2 + 1
        codebook = torch.randn(K, n, generator=generator, dtype=dtype) * 2
        kept = x.clone(), codebook.clone()
        codes, squared = nearest(x, codebook)
        assert torch.equal(x, kept[0]) and torch.equal(codebook, kept[1]), "nearest must not change its arguments"
        assert squared.dtype == dtype, f"for {dtype} points the distances are {dtype}, not {squared.dtype}"
        for i in range(N):
            away = [sum((x[i, j].item() - codebook[k, j].item()) ** 2 for j in range(n)) for k in range(K)]
            assert abs(squared[i].item() - min(away)) < 1e-3, (
                f"N = {N}, K = {K}, n = {n}: point {i} is at squared distance {min(away):.3f}, not {squared[i]:.3f}")
            assert away[codes[i]] < min(away) + 1e-3, f"N = {N}, K = {K}, n = {n}: point {i} has a nearer code"
x = torch.randn(500, 8) + 30
codes, squared = nearest(x, x)
assert (squared >= 0).all(), f"a squared distance of {squared.min():.4f}: rounding makes it negative; keep it from that"
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_nearest_large", "grade": true, "points": 1}
x, codebook = torch.randn(2000, 64), torch.randn(16, 64)
codes, squared = nearest(x, codebook)
assert codes.shape == squared.shape == (2000,), f"2000 points have 2000 codes and distances, not {tuple(codes.shape)}"
assert abs(squared.mean() - (x - codebook[codes]).square().sum(1).mean()) < 0.1, (
    "the distances are not those to the codes that you return")
### BEGIN HIDDEN TESTS
x, codebook = torch.randn(20_000, 64), torch.randn(512, 64)
try:
    codes, squared = nearest(x, codebook)
except (RuntimeError, MemoryError):
    raise AssertionError("20000 points (64 components), 512 codes: out of memory; make no (N, K, n) table") from None
away = torch.stack([torch.linalg.vector_norm(codebook - point, dim=1) ** 2 for point in x[::500]])
torch.testing.assert_close(squared[::500], away.amin(1), rtol=1e-3, atol=1e-2, msg="wrong for 20000 points")
### END HIDDEN TESTS

# %% [markdown]
# ## Task 2 · Every code moves to the middle of its points (medium, 3 points)
#
# Now hold the assignment still. The best code of a set of points is their mean, the centroid:
#
# $$ e_k \leftarrow \bar x_k = \frac{1}{n_k} \sum_{i : a_i = k} x_i , \qquad n_k = \#\{i : a_i = k\} . $$
#
# A code with $n_k = 0$ is *idle*. It has no mean; it stays where it is.
#
# <details><summary>Hint 1</summary>
#
# A loop over the $K$ codes is fine. What is the mean of no points in PyTorch?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Without a loop: `torch.bincount(codes, minlength=K)` gives all $n_k$, and `torch.zeros_like(codebook).index_add_(0,
# codes, x)` all sums. Why `minlength`?
#
# </details>

# %% nbgrader={"grade_id": "centroids", "solution": true}
def centroids(x: Tensor, codes: Tensor, codebook: Tensor) -> Tensor:
    """The new codebook (K, n): the mean of every code's points, and the old code where there are none.

    x: (N, n); codes: (N,) int64; codebook: (K, n), which must not be changed.
    """
    ### BEGIN SOLUTION
    counts = torch.bincount(codes, minlength=len(codebook))[:, None]
    totals = torch.zeros_like(codebook).index_add_(0, codes, x)
    return torch.where(counts > 0, totals / counts.clamp(min=1), codebook)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_centroids", "grade": true, "points": 3}
x, codes = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0], [5.0, 5.0]]), torch.tensor([0, 0, 0, 2])
codebook = torch.tensor([[9.0, 9.0], [7.0, 7.0], [8.0, 8.0], [6.0, 6.0]])
moved = centroids(x, codes, codebook)
assert moved.shape == (4, 2), f"four codes stay four codes: (4, 2), not {tuple(moved.shape)}; the last one is idle"
assert not moved.isnan().any(), "NaN: a code without points has no mean"
assert moved[1].tolist() == [7, 7] and moved[3].tolist() == [6, 6], (
    f"codes 1 and 3 have no points and stay at (7, 7) and (6, 6); yours are at {moved[1].tolist()} and "
    f"{moved[3].tolist()}")
torch.testing.assert_close(moved[0], torch.tensor([1.0, 1.0]), msg=(
    f"the mean of (0, 0), (2, 0), (1, 3) is (1, 1), not {[round(v, 2) for v in moved[0].tolist()]}: divide by the "
    "number of the code's own points, and start the sum at zero"))
assert codebook[0].tolist() == [9, 9], "centroids must not change the codebook that it is given"
### BEGIN HIDDEN TESTS
for seed, (N, K, n) in enumerate(((30, 4, 2), (200, 30, 3), (7, 20, 1), (1, 1, 5))):
    for dtype in (torch.float32, torch.float64):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(N, n, generator=generator, dtype=dtype)
        codebook = torch.randn(K, n, generator=generator, dtype=dtype)
        codes, kept = torch.randint(K, (N,), generator=generator), (x.clone(), codebook.clone())
        moved = centroids(x, codes, codebook)
        assert torch.equal(x, kept[0]) and torch.equal(codebook, kept[1]), "centroids must not change its arguments"
        assert moved.shape == (K, n) and moved.dtype == dtype, f"for {dtype}, K = {K}: a {dtype} codebook ({K}, {n})"
        for k in range(K):
            mine = [i for i in range(N) if codes[i] == k]
            mean = [sum(x[i, j].item() for i in mine) / len(mine) for j in range(n)] if mine else codebook[k].tolist()
            assert max(abs(a - b) for a, b in zip(moved[k].tolist(), mean)) < 1e-4, (
                f"N = {N}, K = {K}: code {k}, which has {len(mine)} points, is not at their mean"
                + ("" if mine else " (it has none, and stays)"))
### END HIDDEN TESTS

# %% [markdown]
# ## Task 3 · Lloyd's algorithm (easy, 3 points)
#
# Take both steps in turn, at most `steps` rounds. A round: find the nearest codes, note $J$ (so `history[0]` is that of
# the codebook you were given), then move the codes to their means. Stop after a round that leaves the codebook exactly
# as it was. Four points on a line, 0, 1, 2 and 6, and two codes, at 0 and at 1, by hand:
#
# | round | codes | goes to the first | goes to the second | $4 J$ |
# |---|---|---|---|---|
# | 1 | 0, 1 | 0 | 1, 2, 6 | $0 + 0 + 1 + 25 = 26$ |
# | 2 | 0, 3 | 0, 1 | 2, 6 | $0 + 1 + 1 + 9 = 11$ |
# | 3 | ½, 4 | 0, 1, 2 | 6 | $0.25 + 0.25 + 2.25 + 4 = 6.75$ |
# | 4 | 1, 6 | 0, 1, 2 | 6 | $1 + 0 + 1 + 0 = 2$: nothing moves any more |
#
# <details><summary>Hint 1</summary>
#
# Your `nearest` returns what both the next step and $J$ need.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Keep the old codebook until you have compared it with the new one: `torch.equal`.
#
# </details>

# %% nbgrader={"grade_id": "lloyd", "solution": true}
def lloyd(x: Tensor, codebook: Tensor, steps: int) -> tuple[Tensor, list[float]]:
    """The codebook (K, n) after at most `steps` rounds, and J at the start of every round, a list of numbers.

    x: (N, n); codebook: (K, n), which must not be changed.
    """
    ### BEGIN SOLUTION
    history = []
    for _ in range(steps):
        codes, squared = nearest(x, codebook)
        history.append(squared.mean().item())
        before, codebook = codebook, centroids(x, codes, codebook)
        if torch.equal(before, codebook):
            break
    return codebook, history
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_lloyd", "grade": true, "points": 3}
line, start = torch.tensor([[0.0], [1.0], [2.0], [6.0]]), torch.tensor([[0.0], [1.0]])
codebook, history = lloyd(line, start, 10)
assert start.flatten().tolist() == [0, 1], "lloyd must not change the codebook that it is given"
assert isinstance(history, list) and all(isinstance(J, float) for J in history), (
    "history is a list of Python numbers: `.item()`")
assert codebook.flatten().tolist() == [1, 6], f"by hand the codes end at 1 and 6, not {codebook.flatten().tolist()}"
assert len(history) == 4, (
    f"round 4 leaves the codebook as it is, so there are 4 entries in history, not {len(history)}"
    + (": do you stop?" if len(history) == 10 else ": is each round's J noted, the last one's too?"))
assert [round(4 * J, 2) for J in history] == [26, 11, 6.75, 2], (
    f"4 J is 26, 11, 6.75, 2 by hand; yours is {[round(4 * J, 2) for J in history]}: J is a mean over points, noted in "
    "each round after the assignment and before the codes move")
### BEGIN HIDDEN TESTS
codebook, history = lloyd(line, start, 2)
assert codebook.flatten().tolist() == [0.5, 4] and len(history) == 2, (
    "after 2 rounds the codes are at 0.5 and 4, and history has 2 entries")
codebook, history = lloyd(line, start, 0)
assert codebook.flatten().tolist() == [0, 1] and list(history) == [], "no rounds: the codebook as given, no history"
for seed, (N, K, n) in enumerate(((300, 8, 2), (500, 3, 4), (60, 40, 1))):
    generator = torch.Generator().manual_seed(seed)
    x, start = torch.randn(N, n, generator=generator), torch.randn(K, n, generator=generator)
    kept = start.clone()
    codebook, history = lloyd(x, start, 200)
    assert torch.equal(start, kept), "lloyd must not change the codebook that it is given"
    by_hand = [((x - start[(x[:, None] - start).norm(dim=2).argmin(1)]) ** 2).sum(1).mean().item()]
    best = (x[:, None] - codebook).norm(dim=2).argmin(1)
    by_hand.append(((x - codebook[best]) ** 2).sum(1).mean().item())
    for name, J, mine in (("first", history[0], by_hand[0]), ("last", history[-1], by_hand[1])):
        assert abs(J - mine) < 1e-3 * mine + 1e-4, f"N = {N}, K = {K}: the {name} J is {mine:.4f}, not {J:.4f}"
    assert all(b <= a + 1e-5 for a, b in itertools.pairwise(history)), "J must never rise"
    for k in best.unique():
        assert (codebook[k] - x[best == k].mean(0)).abs().max() < 1e-3, (
            f"N = {N}, K = {K}: after 200 rounds code {k} is not at the mean of its points: do you stop too early?")
    assert len(history) < 200, "once nothing moves any more, stop"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 4 · A better start (medium, 4 points)
#
# Lloyd's algorithm ends where its start lets it end. *k-means++* spreads the start: the first code is a point of the
# data, all equally likely; every further one is point $x_i$ with the probability
#
# $$ P(i) = \frac{d_i}{\sum_j d_j} , \qquad d_i = \min_{\text{codes } e \text{ so far}} \|x_i - e\|^2 . $$
#
# <details><summary>Hint 1</summary>
#
# `torch.multinomial(weights, 1, generator=generator)` draws a place with a probability proportional to its weight. The
# weights need not add up to 1.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Keep one vector of $d_i$. What can a new code do to it, other than leave it or lower it?
#
# </details>

# %% nbgrader={"grade_id": "plus_plus", "solution": true}
def plus_plus(x: Tensor, K: int, generator: torch.Generator) -> Tensor:
    """K rows of x as a first codebook (K, n). x: (N, n). All randomness comes from `generator`."""
    ### BEGIN SOLUTION
    chosen = [x[torch.randint(len(x), (), generator=generator)]]
    squared = (x - chosen[0]).square().sum(1)
    while len(chosen) < K:
        chosen.append(x[torch.multinomial(squared, 1, generator=generator).item()])
        squared = torch.minimum(squared, (x - chosen[-1]).square().sum(1))
    return torch.stack(chosen)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_plus_plus", "grade": true, "points": 4}
x = torch.randn(50, 3)
start = plus_plus(x, 6, torch.Generator().manual_seed(0))
assert start.shape == (6, 3), f"K = 6 codes of 3 components are (6, 3), not {tuple(start.shape)}"
assert all((x == code).all(1).any() for code in start), "every code of the start is one of the points"
line = torch.tensor([[0.0], [1.0], [3.0]])
generator = torch.Generator().manual_seed(1)
pairs = [tuple(plus_plus(line, 2, generator).flatten().tolist()) for _ in range(1500)]
assert all(a != b for a, b in pairs), "a point that is a code already has distance 0 and cannot be drawn again"
first = [sum(pair[0] == value for pair in pairs) / 1500 for value in (0, 1, 3)]
assert all(abs(share - 1 / 3) < 0.07 for share in first), (
    f"of 0, 1, 3 each is first in a third of the starts; yours: {', '.join(f'{share:.2f}' for share in first)}")
after_zero = [pair[1] for pair in pairs if pair[0] == 0]
share = sum(value == 3 for value in after_zero) / len(after_zero)
assert abs(share - 0.9) < 0.06, (
    f"after 0, the points 1 and 3 have squared distances 1 and 9: 3 follows in 90 % of the cases, not in {share:.0%}"
    + (": do not take the farthest, draw" if share > 0.99 else ": are the distances squared?"))
### BEGIN HIDDEN TESTS
same = [plus_plus(x, 6, torch.Generator().manual_seed(3)) for _ in range(2)]
assert torch.equal(*same), "generators with the same seed must give the same start: draw everything from `generator`"
line = torch.tensor([[0.0], [2.0], [3.0], [7.0]])
generator = torch.Generator().manual_seed(2)
counts, firsts = {}, {}
for _ in range(4000):
    a, b, c = plus_plus(line, 3, generator).flatten().tolist()
    counts.setdefault((a, b), []).append(c)
for (a, b), thirds in counts.items():
    if len(thirds) < 400:
        continue
    left = [value for value in (0.0, 2.0, 3.0, 7.0) if value not in (a, b)]
    weights = [min((value - a) ** 2, (value - b) ** 2) for value in left]
    share, expected = sum(value == left[0] for value in thirds) / len(thirds), weights[0] / sum(weights)
    assert abs(share - expected) < 0.1, (
        f"after {a:g} and {b:g}, the third code is {left[0]:g} with probability {expected:.2f}, not {share:.2f}: the "
        "distance is that to the *nearest* of all codes so far")
points = torch.randn(12, 2, dtype=torch.float64)
every = plus_plus(points, 12, torch.Generator().manual_seed(4))
assert len(every.unique(dim=0)) == 12, "K = N: every point is drawn exactly once"
assert plus_plus(points, 1, torch.Generator().manual_seed(5)).shape == (1, 2), "K = 1: one code, (1, n)"
heaps = make_heaps()
found = [len(((plus_plus(heaps, 16, torch.Generator().manual_seed(s)) + 2) // 4).unique(dim=0)) for s in range(20)]
assert sum(found) / 20 > 12, (
    f"on sixteen heaps the start should reach more than 12 of them on average, not {sum(found) / 20:.1f}")
### END HIDDEN TESTS

# %% [markdown]
# Look at what you have written: Lloyd's algorithm on sixteen heaps, from your start.

# %% tags=["nbval-ignore-output"]
heaps = make_heaps()
start = plus_plus(heaps, 16, torch.Generator().manual_seed(4))
figure, axes = plt.subplots(1, 4, figsize=(11, 2.9), constrained_layout=True)
for axis, rounds in zip(axes, (0, 1, 3, 25)):
    codebook, _ = lloyd(heaps, start, rounds)
    J = nearest(heaps, codebook)[1].mean()
    axis.scatter(*heaps.T, s=1, c=nearest(heaps, codebook)[0], cmap="tab20")
    axis.scatter(*codebook.T, s=30, color="#dc2626", edgecolor="black")
    axis.set(title=f"after {rounds} rounds: J = {J:.2f}", aspect="equal", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Task 5 · What it costs and what it loses (medium, 2 points)
#
# A palette of $K$ colours costs $\log_2 K$ bits a pixel if every index is stored with equally many bits. If frequent
# colours get short code words, it costs little more than the entropy of the indices,
#
# $$ H = - \sum_k \hat p_k \log_2 \hat p_k , \qquad \hat p_k = n_k / N , $$
#
# with $0 \log 0 = 0$. What is lost is told by the peak signal-to-noise ratio in decibels. Values lie in $[-1, 1]$, so
# the peak is 2, and the mean squared error is a mean over all numbers:
#
# $$ \mathrm{PSNR} = 10 \log_{10} \frac{2^2}{\mathrm{MSE}} , \qquad
#    \mathrm{MSE} = \frac1{N n} \sum_i \|x_i - e_{a_i}\|^2 . $$
#
# <details><summary>Hint 1</summary>
#
# How does $J$, which `nearest` helps you to compute, differ from the MSE?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# For a colour that nobody uses, `0 * log2(0)` is NaN. Leave such colours out of the sum, or use `torch.xlogy`, which is
# made for this (and uses the natural logarithm).
#
# </details>

# %% nbgrader={"grade_id": "measure", "solution": true}
def measure(x: Tensor, codebook: Tensor) -> tuple[float, float, float]:
    """(log2 K, entropy of the codes in bits per point, PSNR in decibels) of points x (N, n), quantised to the nearest
    of codebook (K, n)."""
    ### BEGIN SOLUTION
    codes, squared = nearest(x, codebook)
    p = torch.bincount(codes, minlength=len(codebook)).double() / len(x)
    entropy = -torch.xlogy(p, p).sum().item() / math.log(2)
    mse = squared.mean().item() / x.shape[1]
    return math.log2(len(codebook)), entropy, 10 * math.log10(4 / mse)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_measure", "grade": true, "points": 2}
x = torch.tensor([[0.0, 0.2], [0.0, -0.2], [0.0, 0.2], [1.0, 0.8]])
rate, entropy, psnr = measure(x, torch.tensor([[0.0, 0.0], [1.0, 1.0], [-9.0, 9.0], [9.0, 9.0]]))
assert abs(rate - 2) < 1e-4, f"four codes cost log2(4) = 2 bits, used or not; you have {rate:.3f}"
assert not math.isnan(entropy), "the entropy is NaN: what is 0 * log(0)?"
assert abs(entropy - 0.8113) < 1e-3, (
    f"frequencies 3/4, 1/4, 0, 0 have the entropy 0.811 bits, not {entropy:.3f}"
    + (": those are nats" if abs(entropy - 0.5623) < 1e-3 else ""))
assert abs(psnr - 23.0103) < 0.01, (
    f"all errors are 0 or 0.2, the mean square is 0.02, so the PSNR is 23.01 dB, not {psnr:.2f}"
    + (": divide by the number of components, too" if abs(psnr - 20) < 0.01 else "")
    + (": the peak is 2, from -1 to 1" if abs(psnr - 16.99) < 0.01 else ""))
### BEGIN HIDDEN TESTS
for seed, (N, K, n) in enumerate(((64, 5, 3), (1000, 30, 2), (10, 1, 4))):
    generator = torch.Generator().manual_seed(seed)
    x, codebook = torch.randn(N, n, generator=generator), torch.randn(K, n, generator=generator)
    rate, entropy, psnr = measure(x, codebook)
    tally, error = {}, 0.0
    for point in x.tolist():
        away = [sum((a - b) ** 2 for a, b in zip(point, code)) for code in codebook.tolist()]
        tally[away.index(min(away))] = tally.get(away.index(min(away)), 0) + 1
        error += min(away)
    expected = (math.log(K) / math.log(2), sum(c / N * math.log2(N / c) for c in tally.values()),
                20 * math.log10(2) - 10 * math.log10(error / (N * n)))
    for name, mine, theirs in zip(("rate", "entropy", "PSNR"), expected, (rate, entropy, psnr)):
        assert abs(mine - theirs) < 1e-2, f"N = {N}, K = {K}, n = {n}: the {name} is {mine:.3f}, not {theirs:.3f}"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 6 · A run that went wrong (medium, 4 points)
#
# A colleague wants sixteen codes for the sixteen heaps. The codebook starts as normal numbers around (-4, -4), far from
# most points. Nothing crashes, $J$ falls, and then it stays far above what sixteen codes can do. The next cells repeat the
# run; the log has $J$, the *usage* (the share of codes that any point uses) and by how far the codes moved in total.

# %% nbgrader={"grade_id": "broken_run", "locked": true}
def run_lloyd(x: Tensor, codebook: Tensor, steps: int, find, move, restart=None, seed: int = 0) -> tuple[Tensor, list]:
    """Lloyd's algorithm with a log of (J, usage, distance moved); restart(x, codes, codebook, generator), if any, is
    called in the first half of the rounds."""
    generator, log = torch.Generator().manual_seed(seed), []
    for step in range(steps):
        codes, squared = find(x, codebook)
        before, codebook = codebook, move(x, codes, codebook)
        log.append((squared.mean().item(), len(codes.unique()) / len(codebook), (codebook - before).norm().item()))
        if restart is not None and step < steps // 2:
            codebook = restart(x, codes, codebook, generator)
    return codebook, log


# %% tags=["nbval-ignore-output"]
heaps = make_heaps()
normal = torch.randn(16, 2, generator=torch.Generator().manual_seed(4)) - 4
broken, log = run_lloyd(heaps, normal, 40, nearest, centroids)
for step in (0, 1, 2, 5, 10, 20, 39):
    print("round {:2}: J {:6.2f}, usage {:.2f}, moved by {:.3f}".format(step + 1, *log[step]))
lattice = 4 * torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0))
print(f"J with a code on every heap: {nearest(heaps, lattice)[1].mean():.2f}")

# %% [markdown]
# Which cause does the log show?
#
# - **a** Codes do not move to the mean of their points: the centroid step has a fault.
# - **b** There were too few rounds: $J$ is still falling.
# - **c** All codes are at work, but two of them share a heap while another one serves two.
# - **d** Some codes were nobody's nearest at the start. They have no points, so they never move.
#
# Set `cause` to its letter, and write `restart_idle`, which moves idle codes to where points are. An idle code adds
# nothing to $J$, so moving it can never raise $J$. Each idle code is put onto a point of `x`, all points equally
# likely; two idle codes never onto the same one.
#
# <details><summary>Hint 1</summary>
#
# Each of the four would leave another trace. Which column of the log would be different under **a**, which under **b**,
# and which under **c**?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Which codes are idle is told by `codes`, the assignment. `torch.randperm(len(x), generator=generator)` puts all points
# into a random order.
#
# </details>

# %% nbgrader={"grade_id": "restart_idle", "solution": true}
cause = ""          # "a", "b", "c" or "d"


def restart_idle(x: Tensor, codes: Tensor, codebook: Tensor, generator: torch.Generator) -> Tensor:
    """The codebook (K, n) with every idle code on a point of x of its own; codes with points stay.

    x: (N, n), N >= K; codes: (N,) int64; codebook: (K, n), which must not be changed.
    """
    ### BEGIN SOLUTION
    idle = torch.bincount(codes, minlength=len(codebook)) == 0
    chosen = torch.randperm(len(x), generator=generator)[:int(idle.sum())]
    moved = codebook.clone()
    moved[idle] = x[chosen]
    return moved


cause = "d"
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_cause", "grade": true, "points": 1}
x = torch.randn(5, 2)
codebook = restart_idle(x, torch.zeros(5, dtype=torch.int64), x[:2], torch.Generator().manual_seed(0))
assert codebook is not None and cause in list("abcd"), "set `cause` to a, b, c or d, and write restart_idle"
### BEGIN HIDDEN TESTS
assert cause == "d", (
    "that cause would leave another trace: a faulty step or too few rounds show in `moved`, and codes that are all at "
    "work have usage 1.00")
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_restart_idle", "grade": true, "points": 3}
x = torch.arange(20.0)[:, None].repeat(1, 2)
codebook = torch.full((6, 2), -50.0)
codebook[1], codebook[4] = 5.0, 14.0
codes = torch.where(x[:, 0] < 9.5, 1, 4)
moved = restart_idle(x, codes, codebook, torch.Generator().manual_seed(0))
assert moved.shape == (6, 2), f"six codes stay six: (6, 2), not {tuple(moved.shape)}"
assert (codebook[0] == -50).all(), "restart_idle must not change the codebook that it is given"
assert (moved[1] == 5).all() and (moved[4] == 14).all(), "codes 1 and 4 have points: they stay where they are"
assert (moved[[0, 2, 3, 5]] > -1).all(), (
    "codes 0, 2, 3 and 5 are idle, and at least one of them is where it was: idle codes have no points in `codes`")
assert all((x == code).all(1).any() for code in moved[[0, 2, 3, 5]]), "an idle code is put exactly onto a point of x"
### BEGIN HIDDEN TESTS
again = [restart_idle(x, codes, codebook, torch.Generator().manual_seed(7)) for _ in range(2)]
assert torch.equal(*again), "generators with the same seed must give the same codes: draw everything from `generator`"
many = torch.stack([restart_idle(x, codes, codebook, torch.Generator().manual_seed(s)) for s in range(300)])
assert all(len(row[[0, 2, 3, 5], 0].unique()) == 4 for row in many), "two idle codes were put onto the same point"
shares = torch.bincount(many[:, [0, 2, 3, 5], 0].flatten().long(), minlength=20) / 1200
assert 0.02 < shares.min() and shares.max() < 0.09, (
    f"every one of 20 points should be drawn in about 5 % of the cases; yours between {shares.min():.1%} and "
    f"{shares.max():.1%}")
for seed, (N, K) in enumerate(((40, 40), (300, 9), (30, 3))):
    generator = torch.Generator().manual_seed(seed)
    points, table = torch.randn(N, 3, generator=generator).double(), 3 * torch.randn(K, 3, generator=generator).double()
    table[0] = points.mean(0)
    kept, own = table.clone(), (points[:, None] - table).norm(dim=2).argmin(1)
    result = restart_idle(points, own, table, generator)
    assert torch.equal(table, kept), "restart_idle must not change the codebook that it is given"
    assert result.dtype == torch.float64, "a float64 codebook stays float64"
    for k in range(K):
        if k in own.tolist():
            assert torch.equal(result[k], table[k]), f"K = {K}: code {k} has points and was moved"
        else:
            assert (points == result[k]).all(1).any(), f"K = {K}: idle code {k} is not on a point"
    before, after = ((points[:, None] - e).norm(dim=2).amin(1).square().mean() for e in (table, result))
    assert after <= before + 1e-9, "J rose: only idle codes may move"
### END HIDDEN TESTS

# %% [markdown]
# The same start, mended. All codes are at work now. What still keeps $J$ above that of a code on every heap is the trap
# of **c**: restarts cure idle codes, not a bad start (task 4 does).

# %% tags=["nbval-ignore-output"]
mended, log = run_lloyd(heaps, normal, 40, nearest, centroids, restart_idle)
for step in (0, 1, 2, 5, 10, 20, 39):
    print("round {:2}: J {:6.2f}, usage {:.2f}, moved by {:.3f}".format(step + 1, *log[step]))
figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.1), constrained_layout=True)
for axis, codebook, title in zip(axes, (broken, mended), ("as the colleague ran it", "with your restarts")):
    axis.scatter(*heaps.T, s=1, color="#6b7280", alpha=0.5)
    axis.scatter(*codebook.T, s=30, color="#dc2626", edgecolor="black")
    axis.set(title=title, aspect="equal", xlim=(-7.5, 14.5), ylim=(-7.5, 14.5))
plt.show()

# %% [markdown]
# Now the reward. The points are the pixels of a photograph, and the codebook is its palette. (`flower.jpg` comes with
# scikit-learn; it is by the Flickr user vultilion, licence CC BY 2.0.)

# %% tags=["nbval-ignore-output", "expected-picture"]
from sklearn.datasets import load_sample_image

photograph = torch.tensor(load_sample_image("flower.jpg").copy())[30:390:3, 100:640:3]         # uint8 (120, 180, 3)
pixels = photograph.reshape(-1, 3).float() / 127.5 - 1
corners = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * 3)                              # eight colours on a grid
generator, few = torch.Generator().manual_seed(0), pixels[::3]
tries = [lloyd(few, plus_plus(few, 8, generator), 30) for _ in range(4)]
palette = min(tries, key=lambda result: result[1][-1])[0]

figure, axes = plt.subplots(2, 3, figsize=(9.6, 2.75), height_ratios=(8, 1), constrained_layout=True)
for column, (name, colours) in enumerate({"photograph": None, "a grid": corners, "yours": palette}.items()):
    shown, title = pixels, "photograph: 24 bits a pixel"
    if colours is not None:
        shown = colours[nearest(pixels, colours)[0]]
        title = "{}: {:.0f} bits (entropy {:.2f}), {:.1f} dB".format(name, *measure(pixels, colours))
        axes[1, column].imshow((colours[colours.sum(1).argsort()][None] + 1) / 2, aspect="auto")
    axes[0, column].imshow(((shown + 1) / 2).reshape(photograph.shape).clamp(0, 1))
    axes[0, column].set_title(title, fontsize=9)
for axis in axes.flat:
    axis.axis("off")
plt.show()

# %% [markdown]
# ## Experiment · How much is a start worth? (5 points, graded by hand)
#
# On the sixteen heaps, run Lloyd's algorithm (25 rounds) from at least 100 random starts of each of three kinds:
# sixteen points of the data, all equally likely; k-means++; and the best of ten k-means++. A run *succeeds* if its
# final $J$ is less than 1.05 times that of the best arrangement (started from `lattice`). Draw the histograms of $J$
# divided by that number in one picture, and give the three shares of success. Then argue in two or three sentences: why
# do the histograms have separate peaks, what does a run in the second peak look like, and could its log have told you?
#
# | Rubric | points |
# |---|---|
# | one picture with three histograms on a common axis, labelled | 1 |
# | the three shares, each from at least 100 runs, with the criterion as given | 2 |
# | the argument: what a peak counts; why such runs stay there; what shows it (and what does not) | 2 |

# %% nbgrader={"grade_id": "experiment_code", "solution": true} tags=["nbval-ignore-output"]
# Your code: start, run, compare.
### BEGIN SOLUTION
def final(start: Tensor) -> float:
    """J after 25 rounds, in units of the best arrangement's."""
    return nearest(heaps, lloyd(heaps, start, 25)[0])[1].mean().item() / optimum


optimum, generator = nearest(heaps, lloyd(heaps, lattice, 25)[0])[1].mean().item(), torch.Generator().manual_seed(0)
ratios = {"from data": [final(heaps[torch.randperm(1600, generator=generator)[:16]]) for _ in range(100)],
          "k-means++": [final(plus_plus(heaps, 16, generator)) for _ in range(1000)]}
ratios["best of ten k-means++"] = [min(ratios["k-means++"][i:i + 10]) for i in range(0, 1000, 10)]
figure, axis = plt.subplots(figsize=(8, 2.7), constrained_layout=True)
for name, values in ratios.items():
    share = sum(value < 1.05 for value in values) / len(values)
    axis.hist([min(value, 5.95) for value in values], [0.9 + 0.1 * i for i in range(52)], alpha=0.55,
              weights=[1 / len(values)] * len(values), label=f"{name}: {share:.0%} succeed")
axis.set(xlabel="final J / best J", ylabel="share of runs")
axis.legend()
plt.show()
### END SOLUTION

# %% [markdown] nbgrader={"grade_id": "experiment_answer", "solution": true, "grade": true, "points": 5}
# ### BEGIN SOLUTION
# Of the starts from data only a few in a hundred succeed, of k-means++ many more, of the best of ten nearly all. The
# peaks lie about one unit apart: in the first every heap has its code; in the second two neighbouring heaps share one
# while another heap has two; in the third this happens twice. Each is a fixed point of Lloyd's algorithm: both of his
# conditions hold, all codes are used, nothing moves. So a run's own log looks perfect, and only a second run with a
# lower J shows that the first was trapped. That is why one repeats, and why J is the criterion to choose by.
# ### END SOLUTION
