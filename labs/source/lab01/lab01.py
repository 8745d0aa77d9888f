# %% [markdown]
# # Lab 01 · Adversarial losses, Wasserstein and the ring of Gaussians
#
# | | |
# |---|---|
# | Goals | write the losses and the two steps of a GAN, two distances behind them, and a count that tells a collapse |
# | Chapters | 03 (GANs), 04 (GANs that train) |
# | Time | about 80 minutes |
# | Points | 25: six tasks with tests (20), one experiment graded by hand (5) |
# | You need | two CPU cores, no network; the whole notebook runs in less than half a minute |
#
# At the end a generator that has never seen a point draws a ring of eight Gaussians. Left: the data. Middle: what comes
# of it when the generator runs ahead. Right: the same two networks, balanced.
#
# ![Three panels: eight round heaps on a circle, an arm of points, and points gathered near the heaps](expected.png)
#
# **How it works.** Replace each `# YOUR CODE HERE` (and the line below it) by your own code. Under each task stand
# tests that say *what* is wrong; more tests run when the lab is graded, on other sizes, types and edge cases. A task is
# graded alone: an error in task 2 does not cost points in task 5. Keep the helpers of a task in its cell. Folded hints
# go one step at a time: try for five minutes before you open the first.
#
# **Notation.** $p$ is the law of the data, $q$ that of the generator. The discriminator puts out *logits* $a$, any real
# numbers, and $D = \sigma(a) = 1 / (1 + e^{-a})$ is its probability for "real". Useful throughout:
# $-\log \sigma(a) = \operatorname{softplus}(-a)$ and $-\log(1 - \sigma(a)) = \operatorname{softplus}(a)$.

# %% nbgrader={"grade_id": "setup", "locked": true}
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

torch.set_num_threads(1)
SPREAD = 0.1
ANGLES = 2 * math.pi * torch.arange(8) / 8
CENTRES = 2 * torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1)                  # (8, 2): the ring


def ring(n: int, generator: torch.Generator) -> Tensor:
    """n points (n, 2) of eight Gaussians of standard deviation SPREAD around CENTRES."""
    which = torch.randint(8, (n,), generator=generator)
    return CENTRES[which] + SPREAD * torch.randn(n, 2, generator=generator)


# %% [markdown]
# ## Task 1 · Four games (easy, 5 points)
#
# Each loss is a mean, and each is *minimised*. The means over real and over generated points are taken apart.
#
# | kind | the discriminator's loss | the generator's loss |
# |---|---|---|
# | `"saturating"` | $-\mathbb E_p \log D - \mathbb E_q \log (1 - D)$ | $\mathbb E_q \log (1 - D)$ |
# | `"non-saturating"` | the same | $-\mathbb E_q \log D$ |
# | `"hinge"` | $\mathbb E_p \max(0, 1 - a) + \mathbb E_q \max(0, 1 + a)$ | $-\mathbb E_q\, a$ |
# | `"wasserstein"` | $\mathbb E_q\, a - \mathbb E_p\, a$ | $-\mathbb E_q\, a$ |
#
# A discriminator can be *certain*: at a logit of $-200$, $D$ is 0 in float32 and $\log D$ is minus infinity. Your
# losses must stay finite there. Any other kind raises a `ValueError`.
#
# <details><summary>Hint 1</summary>
#
# Never compute $D$. The notation above rewrites each logarithm in logits.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `F.softplus` and `F.relu` are all you need. The saturating loss of the generator is negative, or zero.
#
# </details>

# %% nbgrader={"grade_id": "discriminator_loss", "solution": true}
def discriminator_loss(kind: str, real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss, a scalar, of the logits (any shapes) of real and of generated points."""
    ### BEGIN SOLUTION
    if kind in ("saturating", "non-saturating"):
        return F.softplus(-real).mean() + F.softplus(fake).mean()
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    if kind == "wasserstein":
        return fake.mean() - real.mean()
    raise ValueError(f"unknown kind {kind!r}")
    ### END SOLUTION


def generator_loss(kind: str, fake: Tensor) -> Tensor:
    """The generator's loss, a scalar, of the logits (any shape) of generated points."""
    ### BEGIN SOLUTION
    if kind == "saturating":
        return -F.softplus(fake).mean()
    if kind == "non-saturating":
        return F.softplus(-fake).mean()
    if kind in ("hinge", "wasserstein"):
        return -fake.mean()
    raise ValueError(f"unknown kind {kind!r}")
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_discriminator_loss", "grade": true, "points": 3}
real, fake = torch.tensor([0.0, math.log(3)]), torch.tensor([0.0, -math.log(3), -2.0])
wanted = {"saturating": 0.8597, "non-saturating": 0.8597, "hinge": 0.8333, "wasserstein": -1.5822}
for kind, value in wanted.items():
    loss = discriminator_loss(kind, real, fake)
    assert isinstance(loss, Tensor) and loss.ndim == 0, f"{kind}: a loss is a tensor without axes"
    swapped = {"saturating": 2.4418, "non-saturating": 2.4418, "hinge": 3.5822, "wasserstein": 1.5822}[kind]
    assert abs(loss.item() - value) < 0.002, (
        f"{kind}: for D = 1/2, 3/4 on two real points and 1/2, 1/4, 0.12 on three fakes the loss is {value}, not "
        f"{loss.item():.4f}" + (": are real and fake exchanged?" if abs(loss.item() - swapped) < 0.05 else
                                ": two means, taken apart, and then put together as in the table?"))
certain = discriminator_loss("non-saturating", torch.tensor([-200.0]), torch.tensor([200.0])).item()
assert math.isfinite(certain), (
    f"logits of -200 and 200 give {certain}: sigmoid(a) rounds to 0 or 1 there, and its logarithm is infinite; softplus is not")
### BEGIN HIDDEN TESTS
try:
    discriminator_loss("least-squares", real, fake)
    raised = False
except ValueError:
    raised = True
assert raised, "an unknown kind must raise a ValueError"
for seed, (m, n) in enumerate((((5,), (9,)), ((4, 1, 3, 3), (2, 1, 3, 3)), ((1,), (7, 2)))):
    generator = torch.Generator().manual_seed(seed)
    real = (3 * torch.randn(m, generator=generator, dtype=torch.float64)).requires_grad_()
    fake = (3 * torch.randn(n, generator=generator, dtype=torch.float64)).requires_grad_()
    r, f = real.flatten().tolist(), fake.flatten().tolist()
    mean = lambda values: sum(values) / len(values)
    D = lambda a: 1 / (1 + math.exp(-a))
    logs = -mean([math.log(D(a)) for a in r]) - mean([math.log(1 - D(a)) for a in f])
    expected = {"saturating": logs, "non-saturating": logs, "wasserstein": mean(f) - mean(r),
                "hinge": mean([max(0.0, 1 - a) for a in r]) + mean([max(0.0, 1 + a) for a in f])}
    for kind, value in expected.items():
        loss = discriminator_loss(kind, real, fake)
        assert abs(loss.item() - value) < 1e-5, f"{kind}, logits {m} and {n}: {value:.4f}, not {loss.item():.4f}"
        to_real, to_fake = torch.autograd.grad(loss, (real, fake), allow_unused=True)
        assert to_real is not None and to_fake is not None, f"{kind}: the gradient must reach both sets of logits"
        if kind == "wasserstein":
            assert (to_real < 0).all() and (to_fake > 0).all(), "the critic raises real logits and lowers fake ones"
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_generator_loss", "grade": true, "points": 2}
fake = torch.tensor([0.0, -math.log(3)], requires_grad=True)
wanted = {"saturating": (-0.4904, [-0.25, -0.125]), "non-saturating": (1.0397, [-0.25, -0.375]),
          "hinge": (0.5493, [-0.5, -0.5]), "wasserstein": (0.5493, [-0.5, -0.5])}
for kind, (value, slopes) in wanted.items():
    loss = generator_loss(kind, fake)
    assert isinstance(loss, Tensor) and loss.ndim == 0, f"{kind}: a loss is a tensor without axes"
    assert loss.requires_grad, f"{kind}: the gradient must reach the logits"
    gradient = torch.autograd.grad(loss, fake)[0]
    assert (gradient < 0).all(), f"{kind}: a lower loss must mean higher logits of the fakes; yours wants lower ones"
    assert abs(loss.item() - value) < 0.002, f"{kind}: for D = 1/2, 1/4 the loss is {value}, not {loss.item():.4f}"
    assert (gradient - torch.tensor(slopes)).abs().max() < 1e-3, (
        f"{kind}: the slopes at D = 1/2, 1/4 are {slopes}, not {[round(v, 3) for v in gradient.tolist()]}")
certain = generator_loss("non-saturating", torch.tensor([-200.0])).item()
assert abs(certain - 200) < 0.1, f"-log D at a logit of -200 is 200, not {certain}: do not compute D"
### BEGIN HIDDEN TESTS
certain = generator_loss("saturating", torch.tensor([200.0])).item()
assert abs(certain + 200) < 0.1, f"log(1 - D) at a logit of 200 is -200, not {certain}: do not compute D"
try:
    generator_loss("least-squares", fake)
    raised = False
except ValueError:
    raised = True
assert raised, "an unknown kind must raise a ValueError"
for shape in ((6,), (3, 1, 2, 2)):
    fake = torch.randn(shape, dtype=torch.float64)
    D = [1 / (1 + math.exp(-a)) for a in fake.flatten().tolist()]
    means = {"saturating": sum(math.log(1 - d) for d in D), "non-saturating": -sum(math.log(d) for d in D),
             "hinge": -sum(math.log(d / (1 - d)) for d in D), "wasserstein": -sum(math.log(d / (1 - d)) for d in D)}
    for kind, total in means.items():
        loss = generator_loss(kind, fake).item()
        assert abs(loss - total / len(D)) < 1e-5, f"{kind}, logits {shape}: {total / len(D):.4f}, not {loss:.4f}"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 2 · What the perfect discriminator measures (easy, 2 points)
#
# With the best discriminator $D^* = p / (p + q)$ the value of the game (minus the discriminator's first loss in the
# table) is $2\, \mathrm{JSD}(p, q) - \log 4$, with
#
# $$ \mathrm{JSD}(p, q) = \tfrac12 \mathrm{KL}(p \,\|\, m) + \tfrac12 \mathrm{KL}(q \,\|\, m), \qquad
#    m = \tfrac12 (p + q), \qquad \mathrm{KL}(p \,\|\, m) = \sum_x p(x) \log \frac{p(x)}{m(x)} , $$
#
# in nats, where $0 \log 0 = 0$. It lies between 0 and $\log 2$.
#
# <details><summary>Hint 1</summary>
#
# Where $p(x) = 0$ the product `0 * log(0 / m)` is NaN. `torch.xlogy(p, p)` is $p \log p$ with the zero in its place.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# $p \log \frac pm = p \log p - p \log m$. Where can $m$ be zero, and what is the second term there?
#
# </details>

# %% nbgrader={"grade_id": "jsd", "solution": true}
def jsd(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence in nats, a scalar, of distributions p and q (n,) over the same n outcomes."""
    ### BEGIN SOLUTION
    m = (p + q) / 2
    kl_p = (torch.xlogy(p, p) - torch.xlogy(p, m)).sum()
    kl_q = (torch.xlogy(q, q) - torch.xlogy(q, m)).sum()
    return (kl_p + kl_q) / 2
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_jsd", "grade": true, "points": 2}
p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.0, 0.5, 0.5])
value = float(jsd(p, q))
assert not math.isnan(value), "NaN: outcomes that one of the two never has need 0 log 0 = 0"
assert abs(value - 0.34657) < 1e-3, (
    f"(1/2, 1/2, 0) against (0, 1/2, 1/2) has a JSD of log(2) / 2 = 0.347 nats, not {value:.3f}"
    + (": those are bits" if abs(value - 0.5) < 1e-3 else ": half the sum of two KL divergences to the middle m?"))
assert abs(float(jsd(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))) - math.log(2)) < 1e-4, (
    "two distributions that never meet have the JSD log 2")
### BEGIN HIDDEN TESTS
for seed, n in enumerate((2, 5, 40)):
    generator = torch.Generator().manual_seed(seed)
    p, q = (torch.rand(2, n, generator=generator, dtype=torch.float64) ** 3).unbind(0)
    p[0] = 0.0
    p, q = p / p.sum(), q / q.sum()
    # the information that an outcome carries about its origin: log 2 - H(y | x)
    open_ = 0.0
    for a, b in zip(p.tolist(), q.tolist()):
        for d in (a / (a + b), b / (a + b)):
            open_ -= (a + b) / 2 * (d * math.log(d) if d > 0 else 0.0)
    assert abs(float(jsd(p, q)) - (math.log(2) - open_)) < 1e-6, (
        f"on {n} outcomes the JSD is {math.log(2) - open_:.4f}, not {float(jsd(p, q)):.4f}")
    assert abs(float(jsd(p, q) - jsd(q, p))) < 1e-9, "the JSD is the same both ways"
    assert abs(float(jsd(q, q))) < 1e-9, "a distribution has the JSD 0 to itself"
both = torch.tensor([0.4, 0.6, 0.0], dtype=torch.float64)
assert abs(float(jsd(both, both))) < 1e-9, "an outcome that neither has adds nothing, and no NaN"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 3 · Moving earth on a line (medium, 3 points)
#
# The Wasserstein distance is the least work that turns one heap of earth into the other. On a line nobody gains by
# carrying one grain past another. So for $n$ points on each side the cheapest plan pairs them in order,
#
# $$ W_1 = \frac1n \sum_i |x_{(i)} - y_{(i)}| , $$
#
# with $x_{(1)} \le \dots \le x_{(n)}$, and $y$ likewise. In general, for $n$ points of weight $\frac1n$ and $m$ of
# weight $\frac1m$, it is the area between the cumulative distributions: $W_1 = \int |F_x(t) - F_y(t)|\, \mathrm dt$.
# Two points are for equal numbers, one is for the general case.
#
# <details><summary>Hint 1</summary>
#
# Equal numbers: sort both.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# In general, sort all $n + m$ points together. Between two neighbours of that list both $F$ are constant.
# `torch.searchsorted(sorted_x, t, right=True) / n` is $F_x(t)$.
#
# </details>

# %% nbgrader={"grade_id": "w1", "solution": true}
def w1(x: Tensor, y: Tensor) -> Tensor:
    """Wasserstein-1 distance, a scalar, between points x (n,) and y (m,) on a line, each set equally weighted."""
    ### BEGIN SOLUTION
    x, y, places = x.sort().values, y.sort().values, torch.cat([x, y]).sort().values
    below_x = torch.searchsorted(x, places, right=True) / len(x)
    below_y = torch.searchsorted(y, places, right=True) / len(y)
    return ((below_x - below_y).abs()[:-1] * places.diff()).sum()
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_w1", "grade": true, "points": 2}
x, y = torch.tensor([3.0, 0.0, 1.0]), torch.tensor([1.0, 5.0, 0.0])
value = float(w1(x, y))
assert abs(value - 2 / 3) < 1e-4, (
    f"0, 1, 3 and 0, 1, 5 are 2/3 apart: only 3 has to go to 5; you have {value:.3f}"
    + (": pair them in order, not as they come" if abs(value - 8 / 3) < 0.01 else "")
    + (": a mean, not a sum" if abs(value - 2) < 0.01 else ""))
assert abs(float(w1(x, x + 40)) - 40) < 1e-3, "points that are all moved by 40 are 40 apart"
assert x.tolist() == [3, 0, 1], "w1 must not change its arguments"
### BEGIN HIDDEN TESTS
import itertools

for seed in range(6):
    generator = torch.Generator().manual_seed(seed)
    x, y = 3 * torch.randn(2, 5, generator=generator, dtype=torch.float64)
    best = min(sum(abs(a - b) for a, b in zip(x.tolist(), order)) / 5 for order in itertools.permutations(y.tolist()))
    assert abs(float(w1(x, y)) - best) < 1e-6, (
        f"of all 120 pairings of five points the cheapest costs {best:.4f}; yours says {float(w1(x, y)):.4f}")
assert abs(float(w1(torch.tensor([2.0]), torch.tensor([-1.0]))) - 3) < 1e-5, "one point each: 2 and -1 are 3 apart"
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_w1_general", "grade": true, "points": 1}
assert abs(float(w1(torch.tensor([0.0, 0.0]), torch.tensor([4.0, 4.0]))) - 4) < 1e-4, "two points at 0 and two at 4: 4"
def distance(x, y):
    try:
        return float(w1(x, y))
    except RuntimeError:
        return math.nan


value = distance(torch.tensor([0.0, 3.0]), torch.tensor([1.0, 1.0, 1.0]))
assert abs(value - 1.5) < 1e-4, (
    f"half of the earth goes from 0 to 1 and half from 3 to 1: W1 is 1.5, not {value}: the numbers may differ")
### BEGIN HIDDEN TESTS
for seed, (n, m) in enumerate(((2, 6), (4, 3), (1, 7), (12, 5))):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, generator=generator, dtype=torch.float64)
    y = torch.randn(m, generator=generator, dtype=torch.float64) + 0.5
    many_x = sorted(a for a in x.tolist() for _ in range(m))              # n m points on both sides
    many_y = sorted(b for b in y.tolist() for _ in range(n))
    expected = sum(abs(a - b) for a, b in zip(many_x, many_y)) / (n * m)
    assert abs(distance(x, y) - expected) < 1e-5, f"{n} against {m} points: {expected:.4f}, not {distance(x, y):.4f}"
### END HIDDEN TESTS

# %% [markdown]
# Look at what you have written. Two heaps, one of them moved by $a$: the JSD is the same for all $a > 1$, the
# Wasserstein distance says how far it is.

# %% tags=["nbval-ignore-output"]
places, shifts = torch.linspace(0, 4, 401), torch.linspace(0, 3, 31)
heap = lambda a: ((places > a - 0.005) & (places < a + 0.995)).double()
figure, axis = plt.subplots(figsize=(6, 2.4), constrained_layout=True)
axis.plot(shifts, [float(jsd(heap(0) / 100, heap(a) / 100)) for a in shifts], label="JSD")
axis.plot(shifts, [float(w1(torch.rand(500), torch.rand(500) + a)) for a in shifts], label="$W_1$, 500 points each")
axis.set(xlabel="shift $a$", title="uniform on [0, 1] and on [a, a + 1]")
axis.legend()
plt.show()

# %% [markdown]
# ## Task 4 · The gradient penalty (medium, 3 points)
#
# A Wasserstein critic must not be steeper than 1. WGAN-GP asks for slope 1 at random points between reals and fakes,
#
# $$ \frac1B \sum_i \big( \|\nabla f(\hat x_i)\| - 1 \big)^2 , \qquad
#    \hat x_i = u_i\, x^{\text{real}}_i + (1 - u_i)\, x^{\text{fake}}_i . $$
#
# Here $f$ is the critic, and the $u_i$ are given. The norm is that of the whole gradient of one element, whatever its
# shape. The penalty is differentiated again, by the critic's parameters; it never reaches the generator.
#
# <details><summary>Hint 1</summary>
#
# `torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0]` has in row $i$ the gradient of $f(x_i)$. What would be
# missing without `create_graph`? And `x` must require a gradient.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `u` has the shape `(B,)`, the points `(B, ...)`: reshape, as in `u.view(-1, *[1] * (real.ndim - 1))`. `flatten(1)`
# makes rows of the gradients.
#
# </details>

# %% nbgrader={"grade_id": "gradient_penalty", "solution": true}
def gradient_penalty(critic, real: Tensor, fake: Tensor, u: Tensor) -> Tensor:
    """The penalty, a scalar, with a graph to the critic's parameters and none to real and fake.

    critic: (B, ...) -> (B,) or (B, 1); real, fake: (B, ...); u: (B,), between 0 (fake) and 1 (real).
    """
    ### BEGIN SOLUTION
    u = u.view(-1, *[1] * (real.ndim - 1))
    x = (u * real + (1 - u) * fake).detach().requires_grad_()
    gradient = torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0]
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_gradient_penalty", "grade": true, "points": 3}
bowl = lambda x: x.square().flatten(1).sum(1) / 2                         # its gradient at x is x
points = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
value = float(gradient_penalty(bowl, points, points, torch.rand(2)).detach())
assert abs(value - 8.5) < 1e-3, (
    f"by hand (chapter 04, section 3) norms of 5 and 2 give (4^2 + 1^2) / 2 = 8.5, not {value:.3f}: the norm of each "
    "row, minus 1, squared, averaged")
real, fake = torch.full((3, 2), 5.0), torch.full((3, 2), 1.0)
value = float(gradient_penalty(bowl, real, fake, torch.tensor([1.0, 1.0, 1.0])).detach())
assert abs(value - (math.sqrt(50) - 1) ** 2) < 1e-2, "u = 1 is the real point, u = 0 the fake one"
weight = torch.tensor([2.0, 0.0], requires_grad=True)
penalty = gradient_penalty(lambda x: x @ weight, real, fake, torch.rand(3))
assert penalty.requires_grad, "the penalty has no graph to the critic's parameters: create_graph"
assert abs(torch.autograd.grad(penalty, weight)[0][0] - 2) < 1e-3, "for f = w x the slope of the penalty is 2 (|w| - 1)"
### BEGIN HIDDEN TESTS
real = torch.randn(4, 2, 3, 3, requires_grad=True)
fake, u = torch.randn(4, 2, 3, 3, requires_grad=True), torch.rand(4)
weight = torch.ones((), requires_grad=True)
value = gradient_penalty(lambda x: weight * bowl(x)[:, None], real, fake, u)
norms = [math.sqrt(sum((u[i].item() * a + (1 - u[i].item()) * b) ** 2
                       for a, b in zip(real[i].flatten().tolist(), fake[i].flatten().tolist()))) for i in range(4)]
expected = sum((norm - 1) ** 2 for norm in norms) / 4
assert abs(value.item() - expected) < 1e-3, (
    f"for points of shape (2, 3, 3) the penalty is {expected:.4f}, not {value.item():.4f}: one norm an element")
slope = torch.autograd.grad(value, (weight, real, fake), allow_unused=True)
assert slope[0] is not None and abs(slope[0].item() - sum(2 * (n - 1) * n for n in norms) / 4) < 1e-2, (
    "the gradient with respect to the critic's weight is wrong")
assert slope[1] is None and slope[2] is None, "the penalty must not reach real and fake points: detach them"
real, fake = torch.randn(5, 1, dtype=torch.float64), torch.randn(5, 1, dtype=torch.float64)
steep = float(gradient_penalty(lambda x: 3 * x[:, 0], real, fake, torch.rand(5, dtype=torch.float64)).detach())
assert abs(steep - 4) < 1e-5, f"a critic of slope 3 has the penalty 4, not {steep:.3f}; float64 must work as well"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 5 · One round of the game (medium, 3 points)
#
# First the discriminator: one step on its loss of `real` and of fakes $G(z)$; the generator must not hear of it. Then
# the generator, with the *new* discriminator: one step on its loss of the same fakes $G(z)$. Both optimisers are given;
# the loss is the non-saturating one.
#
# <details><summary>Hint 1</summary>
#
# `fake.detach()` has the values of the fakes and no way back to the generator.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The generator's loss also leaves gradients in the discriminator. Who clears them before the next round, and when?
#
# </details>

# %% nbgrader={"grade_id": "play_round", "solution": true}
def play_round(G: nn.Module, D: nn.Module, of_G: torch.optim.Optimizer, of_D: torch.optim.Optimizer, real: Tensor,
               z: Tensor) -> tuple[float, float]:
    """One step of D, then one of G; the two losses as numbers, each as it was before its step.

    G: noise (B, d) -> points (B, 2); D: points -> logits (B, 1); of_G, of_D: their optimisers; real: (B, 2).
    """
    ### BEGIN SOLUTION
    fake = G(z)
    d_loss = discriminator_loss("non-saturating", D(real), D(fake.detach()))
    of_D.zero_grad()
    d_loss.backward()
    of_D.step()
    g_loss = generator_loss("non-saturating", D(fake))
    of_G.zero_grad()
    g_loss.backward()
    of_G.step()
    return d_loss.item(), g_loss.item()
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_play_round", "grade": true, "points": 3}
class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(0.5))

    def forward(self, z):
        return z + self.theta


class Slope(nn.Module):
    def __init__(self):
        super().__init__()
        self.psi = nn.Parameter(torch.tensor(0.4))

    def forward(self, x):
        return self.psi * x


def by_hand(theta, psi, rounds, real, z, rate):
    """The same two networks on one number: everything in closed form."""
    D, losses = lambda a: 1 / (1 + math.exp(-a)), None
    for _ in range(rounds):
        fake = z + theta
        first = -math.log(D(psi * real)) - math.log(1 - D(psi * fake))
        psi -= rate * (-(1 - D(psi * real)) * real + D(psi * fake) * fake)
        losses = first, -math.log(D(psi * fake))
        theta -= rate * -(1 - D(psi * fake)) * psi
    return theta, psi, losses


G, D = Shift(), Slope()
of_G, of_D = torch.optim.SGD(G.parameters(), lr=0.1), torch.optim.SGD(D.parameters(), lr=0.1)
losses = play_round(G, D, of_G, of_D, torch.tensor([[2.0]]), torch.tensor([[-1.0]]))
theta, psi, expected = by_hand(0.5, 0.4, 1, 2.0, -1.0, 0.1)
assert losses is not None and len(losses) == 2 and all(isinstance(loss, float) for loss in losses), (
    "return the two losses as Python numbers: `.item()`")
assert abs(D.psi.item() - psi) < 1e-4, (
    f"after one round D's slope is {psi:.4f} by hand, not {D.psi.item():.4f}: one step of D, on its own loss, and the "
    "generator's loss must not move it")
assert abs(losses[0] - expected[0]) < 1e-3, f"D's loss is {expected[0]:.4f}, not {losses[0]:.4f}"
assert abs(G.theta.item() - theta) < 2e-5, (
    f"after one round G's shift is {theta:.5f} by hand, not {G.theta.item():.5f}: is D's loss kept from G, and is G's "
    "step taken against the *new* D?")
### BEGIN HIDDEN TESTS
for rounds, real, z, rate in ((1, -1.5, 0.3, 0.5), (2, 2.0, -1.0, 0.2), (12, 1.0, 0.2, 0.3)):
    G, D = Shift().double(), Slope().double()
    of_G, of_D = torch.optim.SGD(G.parameters(), lr=rate), torch.optim.SGD(D.parameters(), lr=rate)
    for _ in range(rounds):
        losses = play_round(G, D, of_G, of_D, torch.tensor([[real]]).double(), torch.tensor([[z]]).double())
    theta, psi, expected = by_hand(0.5, 0.4, rounds, real, z, rate)
    where = f"after {rounds} rounds from real point {real}, noise {z}"
    assert abs(D.psi.item() - psi) < 1e-5, (
        f"{where}: D's slope is {psi:.5f}, not {D.psi.item():.5f}: are old gradients cleared before each step?")
    assert abs(G.theta.item() - theta) < 1e-5, f"{where}: G's shift is {theta:.5f}, not {G.theta.item():.5f}"
    assert abs(losses[0] - expected[0]) < 1e-5 and abs(losses[1] - expected[1]) < 1e-5, (
        f"{where}: the losses are {expected[0]:.4f} and {expected[1]:.4f}, not {losses[0]:.4f} and {losses[1]:.4f}")
### END HIDDEN TESTS

# %% [markdown]
# ## Task 6 · A run that went wrong (medium, 4 points)
#
# A colleague trains a GAN on the ring. After some hundred steps both losses are near what the theory says of the
# solution $q = p$: $\log 4 = 1.39$ for the discriminator, $\log 2 = 0.69$ for the generator. "Converged", the report
# says. The next cells repeat the run, print the losses and draw a thousand samples.

# %% nbgrader={"grade_id": "broken_run", "locked": true}
def network(*sizes: int) -> nn.Sequential:
    """A perceptron with ReLUs between its layers."""
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def train(round_of, rate_G: float, rate_D: float, steps: int = 700, seed: int = 0) -> tuple[nn.Module, list]:
    """The generator after `steps` rounds, and (step, D's loss, G's loss) at ten times."""
    torch.manual_seed(seed)
    generator, log = torch.Generator().manual_seed(seed), []
    G, D = network(2, 64, 64, 2), network(2, 64, 64, 1)
    of_G = torch.optim.Adam(G.parameters(), lr=rate_G, betas=(0.5, 0.9), fused=True)
    of_D = torch.optim.Adam(D.parameters(), lr=rate_D, betas=(0.5, 0.9), fused=True)
    for step in range(1, steps + 1):
        losses = round_of(G, D, of_G, of_D, ring(128, generator), torch.randn(128, 2, generator=generator))
        if step % (steps // 10) == 0:
            log.append((step, *losses))
    return G, log


# %% tags=["nbval-ignore-output"]
ahead, log = train(play_round, rate_G=5e-3, rate_D=5e-4)
for step, d_loss, g_loss in log:
    print(f"step {step:4}: discriminator's loss {d_loss:.2f}, generator's loss {g_loss:.2f}")
with torch.no_grad():
    drawn = ahead(torch.randn(1000, 2, generator=torch.Generator().manual_seed(1)))
figure, axis = plt.subplots(figsize=(3, 3), constrained_layout=True)
axis.scatter(*CENTRES.T, s=80, facecolors="none", edgecolors="#6b7280")
axis.scatter(*drawn.T, s=2, color="#dc2626")
axis.set(aspect="equal", xlim=(-3.2, 3.2), ylim=(-3.2, 3.2))
plt.show()

# %% [markdown]
# What is the cause?
#
# - **a** The run has converged: at these losses $q = p$.
# - **b** The discriminator is far too good: the generator's gradient has vanished.
# - **c** The generator moves ten times as fast as the discriminator, and runs to what that liked a moment ago.
# - **d** The fakes were not detached: the discriminator's loss moved the generator.
#
# Set `cause` to its letter, and write the number that the report should have had: how many modes the samples hit. A
# sample belongs to its nearest centre; it is *good* if it lies nearer than 3 `spread` to it. A mode is hit if it has at
# least 1 % of **all** samples as good ones. Also return the share of good samples.
#
# <details><summary>Hint 1</summary>
#
# At which losses would a discriminator be "far too good"? And look at the two rates in the call above.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.cdist(points, centres).min(dim=1)` gives both the distance and the place of the nearest centre.
#
# </details>

# %% nbgrader={"grade_id": "count_modes", "solution": true}
cause = ""          # "a", "b", "c" or "d"


def count_modes(points: Tensor, centres: Tensor, spread: float) -> tuple[int, float]:
    """(number of modes hit, share of good points) of points (N, 2) and centres (M, 2)."""
    ### BEGIN SOLUTION
    distance, nearest = torch.cdist(points, centres).min(dim=1)
    good = distance < 3 * spread
    hits = torch.bincount(nearest[good], minlength=len(centres))
    return int((hits >= 0.01 * len(points)).sum()), good.double().mean().item()


cause = "c"
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_cause", "grade": true, "points": 1}
assert count_modes(CENTRES, CENTRES, 0.1) is not None and cause in list("abcd"), (
    "set `cause` to a, b, c or d, and write count_modes")
### BEGIN HIDDEN TESTS
assert cause == "c", (
    "not that: the samples are not the ring; a discriminator that is too good has a loss near 0; and your own round "
    "detaches the fakes")
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_count_modes", "grade": true, "points": 3}
centres = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
points = torch.cat([torch.tensor([[0.1, 0.0]]).repeat(90, 1), torch.tensor([[4.0, 0.25]]).repeat(5, 1),
                    torch.tensor([[0.0, 3.0]]).repeat(105, 1)])
modes, good = count_modes(points, centres, 0.1)
assert abs(good - 95 / 200) < 1e-4, (
    f"90 points at distance 0.1 and 5 at 0.25 are good (nearer than 0.3), 105 at distance 1 are not: a share of 0.475, "
    f"not {good:.3f}")
assert modes == 2, f"90 and 5 good points of 200 hit two modes; the third has no good points; you count {modes}"
modes, good = count_modes(points[:91], centres, 0.1)
assert modes == 2, "one good point of 91 is more than 1 %: the mode is hit"
### BEGIN HIDDEN TESTS
assert isinstance(modes, int) and isinstance(good, float), "a Python integer and a Python number"
rare = torch.cat([torch.zeros(199, 2), centres[1:2]])
assert count_modes(rare, centres, 0.1)[0] == 1, "one good point of 200 is half a per cent: not enough for a hit"
many = torch.cat([centres[1:2].repeat(3, 1), centres[:1] + 1.5 + torch.zeros(397, 2)])
assert count_modes(many, centres, 0.1)[0] == 0, "3 of 400 points are less than 1 % of *all* points, good or not"
for seed, (N, M) in enumerate(((300, 5), (50, 20), (1000, 1))):
    generator = torch.Generator().manual_seed(seed)
    middle = 3 * torch.randn(M, 2, generator=generator, dtype=torch.float64)
    points = middle[torch.randint(M, (N,), generator=generator) // 2] + 0.5 * torch.randn(
        N, 2, generator=generator, dtype=torch.float64)
    tally, share = [0] * M, 0
    for a, b in points.tolist():
        away = [math.hypot(a - c, b - d) for c, d in middle.tolist()]
        if min(away) < 3 * 0.2:
            tally[away.index(min(away))] += 1
            share += 1 / N
    modes, good = count_modes(points, middle, 0.2)
    assert modes == sum(hits >= 0.01 * N for hits in tally), f"N = {N}, M = {M}: wrong number of modes"
    assert abs(good - share) < 1e-6, f"N = {N}, M = {M}: the share of good points is {share:.3f}, not {good:.3f}"
nobody = count_modes(torch.full((10, 2), 99.0), centres, 0.1)
assert nobody[0] == 0 and abs(nobody[1]) < 1e-9, "no good points: 0 modes, share 0"
### END HIDDEN TESTS

# %% [markdown]
# Now the reward: the same networks, with the discriminator ahead.

# %% tags=["nbval-ignore-output", "expected-picture"]
balanced, _ = train(play_round, rate_G=1e-3, rate_D=3e-3, steps=1200)
noise = torch.randn(2000, 2, generator=torch.Generator().manual_seed(1))
shown = {"data": ring(2000, torch.Generator().manual_seed(0)), "generator ahead": ahead(noise).detach(),
         "discriminator ahead": balanced(noise).detach()}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), sharex=True, sharey=True, constrained_layout=True)
for axis, (name, points), colour in zip(axes, shown.items(), ("#2563eb", "#dc2626", "#15803d")):
    modes, good = count_modes(points, CENTRES, SPREAD)
    axis.scatter(*CENTRES.T, s=80, facecolors="none", edgecolors="#6b7280")
    axis.scatter(*points.T, s=2, color=colour, alpha=0.6)
    axis.set(title=f"{name}\n{modes} modes, {good:.0%} good", aspect="equal", xlim=(-3.2, 3.2), ylim=(-3.2, 3.2))
plt.show()

# %% [markdown]
# ## Experiment · Who should be ahead? (5 points, graded by hand)
#
# Train with the rates (G, D) = (5e-3, 5e-4), (1e-3, 1e-3) and (1e-3, 3e-3), two seeds each, 400 steps. Draw the
# samples of one seed of each, and give modes, share of good samples and the last discriminator's loss for all six runs.
# Then argue in two or three sentences: whose loss is nearest to $\log 4$, is that a sign of success, and why do even
# the best runs leave threads of samples between the modes?
#
# | Rubric | points |
# |---|---|
# | three pictures with the same axes, titled | 1 |
# | modes, share and loss of all six runs, counted on at least 1000 samples | 2 |
# | the argument: the loss compares the players, not q with p; the image of a connected set is connected | 2 |

# %% nbgrader={"grade_id": "experiment_code", "solution": true} tags=["nbval-ignore-output"]
# Your code: train six games, count, draw.
### BEGIN SOLUTION
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), sharex=True, sharey=True, constrained_layout=True)
for axis, (rate_G, rate_D) in zip(axes, ((5e-3, 5e-4), (1e-3, 1e-3), (1e-3, 3e-3))):
    for seed in (0, 1):
        G, log = train(play_round, rate_G, rate_D, steps=400, seed=seed)
        points = G(noise).detach()
        modes, good = count_modes(points, CENTRES, SPREAD)
        print(f"rates {rate_G}, {rate_D}, seed {seed}: {modes} modes, {good:.0%} good, D's loss {log[-1][1]:.2f}")
    axis.scatter(*points.T, s=2, color="#dc2626")
    axis.set(title=f"rates {rate_G}, {rate_D}", aspect="equal", xlim=(-3.2, 3.2), ylim=(-3.2, 3.2))
plt.show()
### END SOLUTION

# %% [markdown] nbgrader={"grade_id": "experiment_answer", "solution": true, "grade": true, "points": 5}
# ### BEGIN SOLUTION
# Nearest to log 4 are the losses of the four runs whose discriminator is not the faster one, and these have the
# fewest good samples; with the generator ahead hardly a mode is hit. What the discriminator learned of the last place
# does not apply to the present one, so it can only guess. The loss says how the players stand to each other, not how
# q stands to p; with the discriminator ahead the samples are better. The threads remain because G is continuous and
# the plane of noise connected: its image cannot be eight islands.
# ### END SOLUTION
