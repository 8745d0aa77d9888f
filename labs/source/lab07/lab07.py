# %% [markdown]
# # Lab 07 · DDPM: forward process, posterior, loss
#
# | | |
# |---|---|
# | Goals | write the three formulas a diffusion model is made of, and see a network draw with them |
# | Chapters | 10 (forward process), 11 (DDPM) |
# | Time | about 80 minutes |
# | Points | 25: six tasks with tests (20), one experiment graded by hand (5) |
# | You need | two CPU cores, no network; the whole notebook runs in less than half a minute |
#
# At the end a small network will have turned noise into this spiral. Left: the data. Middle: the data at half time.
# Right: what your code draws, from noise alone.
#
# ![Three panels: a spiral of points, the same points blurred by noise, and a spiral drawn by the model](expected.png)
#
# **How it works.** Replace each `# YOUR CODE HERE` (and the line below it) by your own code. Under each task stand
# tests that say *what* is wrong; more tests run when the lab is graded, on other sizes, types and edge cases. A task is
# graded alone: an error in task 2 does not cost points in task 5. Keep the helpers of a task in its cell. Folded hints
# go one step at a time: try for five minutes before you open the first.
#
# **Notation.** There are $T$ noise levels; in this lab they are counted from 0 (the chapters count from 1), so `t = 0`
# is the *first noisy* level. The clean data come before it; $x_0$, in code `x0`, is still their name, as in the
# chapters. $\varepsilon$ (`eps`) is standard normal noise of the shape of $x_0$. `betas[t]` is $\beta$,
# `alphas_cumprod[t]` is $\bar\alpha = \prod_{s \le t} (1 - \beta_s)$; both are float64 tensors of shape `(T,)`. A batch
# has one level for each of its elements: `t` is int64 of shape `(B,)`.

# %% nbgrader={"grade_id": "setup", "locked": true}
import math

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

torch.set_num_threads(1)


def spiral(n: int, generator: torch.Generator) -> Tensor:
    """n points (n, 2) on a noisy spiral; mean 0 and standard deviation 1, as good data for diffusion have."""
    angle = 2 * math.pi * (0.25 + torch.rand(n, generator=generator).sqrt())
    points = torch.stack([(angle * angle.cos() - 2.5) / 3.23, (angle * angle.sin() - 0.637) / 4.275], dim=1)
    return points + 0.04 * torch.randn(n, 2, generator=generator)


# %% [markdown]
# ## Task 1 · A noise schedule (easy, 2 points)
#
# Nichol and Dhariwal's cosine schedule lets the signal level follow a squared cosine,
#
# $$ f(i) = \cos^2\!\Big( \frac{i / T + s}{1 + s} \cdot \frac{\pi}{2} \Big), \qquad
#    \beta_t = \min\!\Big(1 - \frac{f(t + 1)}{f(t)},\ \beta_{\max}\Big), \qquad t = 0, \dots, T - 1 . $$
#
# In code $T$ is `steps`, $s$ is `offset`, $\beta_{\max}$ is `max_beta`. Because of the minimum, $\bar\alpha$ must be
# computed from the *clipped* betas, not from $f$.
#
# <details><summary>Hint 1</summary>
#
# You need $f$ at $T + 1$ places: $i = 0, 1, \dots, T$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `f[1:] / f[:-1]` gives all $T$ ratios at once. Which function clips from above, and which multiplies up?
#
# </details>

# %% nbgrader={"grade_id": "cosine_schedule", "solution": true}
def cosine_schedule(steps: int, offset: float = 0.008, max_beta: float = 0.999) -> tuple[Tensor, Tensor]:
    """(betas, alphas_cumprod), each float64 of shape (steps,)."""
    ### BEGIN SOLUTION
    i = torch.arange(steps + 1, dtype=torch.float64)
    f = torch.cos((i / steps + offset) / (1 + offset) * math.pi / 2) ** 2
    betas = (1 - f[1:] / f[:-1]).clamp(max=max_beta)
    return betas, torch.cumprod(1 - betas, dim=0)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_cosine_schedule", "grade": true, "points": 2}
betas, alphas_cumprod = cosine_schedule(1000)
assert betas.shape == alphas_cumprod.shape == (1000,), (
    f"both have one entry for each of the 1000 levels, not {tuple(betas.shape)} and {tuple(alphas_cumprod.shape)}")
assert betas.dtype == alphas_cumprod.dtype == torch.float64, "use float64: the last levels are lost in float32"
assert (betas > 0).all() and (betas < 1).all(), "every beta is a variance between 0 and 1"
assert (alphas_cumprod.diff() < 0).all(), "the signal level must fall from level to level: is it a product of 1 - beta?"
middle = alphas_cumprod[499].item()
assert abs(middle - 0.49) < 0.01, (
    f"half way there should be half of the signal's variance, 0.49; you have {middle:.2f}"
    + (": is the cosine squared?" if middle > 0.6 else ""))
### BEGIN HIDDEN TESTS
for steps, offset, max_beta in ((4, 0.008, 0.999), (50, 0.05, 0.5), (1000, 0.008, 0.999)):
    betas, alphas_cumprod = cosine_schedule(steps, offset, max_beta)
    curve = [math.cos((i / steps + offset) / (1 + offset) * math.pi / 2) ** 2 for i in range(steps + 1)]
    expected = [min(1 - curve[i + 1] / curve[i], max_beta) for i in range(steps)]
    torch.testing.assert_close(betas, torch.tensor(expected, dtype=torch.float64), msg=(
        f"T = {steps}, offset {offset}, max_beta {max_beta}: the betas are not those of the formula; the first should "
        f"be {expected[0]:.5f}, the last {expected[-1]:.3f}"))
    signal, product = [], 1.0
    for beta in expected:
        product *= 1 - beta
        signal.append(product)
    torch.testing.assert_close(alphas_cumprod, torch.tensor(signal, dtype=torch.float64), msg=(
        "alphas_cumprod is not the cumulative product of 1 - betas: did you compute it before clipping?"))
### END HIDDEN TESTS

# %% [markdown]
# ## Task 2 · To any level in one jump (easy, 3 points)
#
# $$ x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon $$
#
# The noise is an argument: training needs to know it afterwards. Each element of the batch has its own level.
#
# <details><summary>Hint 1</summary>
#
# `alphas_cumprod[t]` has the shape `(B,)`. Which shape does it need so that it multiplies `(B, C, H, W)` element by
# element of the batch?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Reshape to `(B, 1, 1, 1)`; for any number of dimensions: `.view(-1, *[1] * (x0.ndim - 1))`. And the schedule is
# float64: what type does your result have?
#
# </details>

# %% nbgrader={"grade_id": "add_noise", "solution": true}
def add_noise(x0: Tensor, eps: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """The noisy x_t, shape and dtype of x0.

    x0, eps: (B, ...), any number of dimensions; t: (B,) int64; alphas_cumprod: (T,) float64.
    """
    ### BEGIN SOLUTION
    level = alphas_cumprod[t].view(-1, *[1] * (x0.ndim - 1))
    return level.sqrt().to(x0.dtype) * x0 + (1 - level).sqrt().to(x0.dtype) * eps
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_add_noise", "grade": true, "points": 2}
levels = torch.tensor([0.99, 0.5, 0.01], dtype=torch.float64)
many, level_of = torch.randn(30_000, 2), torch.arange(3).repeat_interleave(10_000)
noisy = add_noise(many, torch.randn(30_000, 2), level_of, levels)
assert noisy.shape == (30_000, 2), f"x_t has the shape of x0, (30000, 2), not {tuple(noisy.shape)}"
spread = [noisy[level_of == i].std().item() for i in range(3)]
assert all(abs(s - 1) < 0.03 for s in spread), (
    f"data of standard deviation 1 keep it at every level; yours have {', '.join(f'{s:.2f}' for s in spread)}: "
    "did you use alphas_cumprod where its square root is meant?")
still = add_noise(torch.ones(3, 2), torch.zeros(3, 2), torch.tensor([0, 1, 2]), levels)
assert torch.allclose(still[:, 0].float(), levels.sqrt().float(), atol=1e-4), (
    "without noise, 1 should become sqrt(alphas_cumprod[t]) at level t: do you index with t, and multiply x0 by the "
    "signal's root?")
### BEGIN HIDDEN TESTS
assert torch.equal(add_noise(many[:3], many[3:6], torch.tensor([0, 1, 2]), levels),
                   add_noise(many[:3], many[3:6], torch.tensor([0, 1, 2]), levels)), (
    "twice the same arguments give two results: use the noise that you are given, do not draw any")
for shape in ((5,), (4, 3), (3, 1, 4, 4), (2, 2, 3, 4, 5)):
    signal = torch.linspace(0.98, 0.02, 7, dtype=torch.float64)
    clean, noise = torch.randn(shape), torch.randn(shape)
    chosen = torch.randint(7, shape[:1])
    rows = [math.sqrt(signal[k]) * clean[j] + math.sqrt(1 - signal[k]) * noise[j]
            for j, k in enumerate(chosen.tolist())]
    torch.testing.assert_close(add_noise(clean, noise, chosen, signal).float(), torch.stack(rows).float(), msg=(
        f"wrong for x0 of shape {shape}: every element of the batch has its own level t"))
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_add_noise_types", "grade": true, "points": 1}
levels = torch.tensor([0.99, 0.5, 0.01], dtype=torch.float64)
clean, noise = torch.ones(2, 3), torch.ones(2, 3)
result = add_noise(clean, noise, torch.tensor([0, 1]), levels)
assert result.dtype == torch.float32, f"for float32 data the result is float32, not {result.dtype}"
assert (clean == 1).all() and (noise == 1).all(), "add_noise must not change its arguments: `*=` and `mul_` do"
### BEGIN HIDDEN TESTS
clean, noise = torch.randn(4, 2, 3, dtype=torch.float64), torch.randn(4, 2, 3, dtype=torch.float64)
kept = clean.clone(), noise.clone(), levels.clone()
result = add_noise(clean, noise, torch.tensor([0, 1, 2, 2]), levels)
assert result.dtype == torch.float64, "for float64 data the result is float64"
assert torch.equal(clean, kept[0]) and torch.equal(noise, kept[1]) and torch.equal(levels, kept[2]), (
    "add_noise must not change its arguments")
### END HIDDEN TESTS

# %% [markdown]
# Look at what you have written: the data at five levels of the schedule.

# %% tags=["nbval-ignore-output"]
data = spiral(2000, torch.Generator().manual_seed(0))
betas, alphas_cumprod = cosine_schedule(100)
figure, axes = plt.subplots(1, 5, figsize=(11, 2.4), sharex=True, sharey=True, constrained_layout=True)
for axis, level in zip(axes, (0, 24, 49, 74, 99)):
    x_t = add_noise(data, torch.randn_like(data), torch.full((len(data),), level), alphas_cumprod)
    axis.scatter(*x_t.T, s=1, color="#2563eb")
    axis.set(title=f"t = {level}, std {x_t.std():.2f}", aspect="equal", xlim=(-4, 4), ylim=(-4, 4))
plt.show()

# %% [markdown]
# ## Task 3 · The exact way back (medium, 4 points)
#
# Whoever knows $x_0$ knows where $x_t$ came from: $q(x_{t-1} \mid x_t, x_0)$ is a Gaussian with
#
# $$ \tilde\mu = \frac{\sqrt{\bar\alpha_{t-1}}\, \beta_t}{1 - \bar\alpha_t}\, x_0
# + \frac{\sqrt{1 - \beta_t}\, (1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t}\, x_t , \qquad
#    \tilde\beta = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\, \beta_t . $$
#
# Before level 0 come the clean data: $\bar\alpha_{-1} = 1$. What does the formula then say about the last step, to
# $x_0$?
#
# <details><summary>Hint 1</summary>
#
# Python's `alphas_cumprod[-1]` is not $\bar\alpha_{-1}$, it is the noisiest level of all.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Put a 1 in front of `alphas_cumprod`: the level before `t` is then entry `t` of the longer tensor. `torch.where(t > 0,
# ...)` works as well.
#
# </details>

# %% nbgrader={"grade_id": "posterior", "solution": true}
def posterior(x0: Tensor, x_t: Tensor, t: Tensor, betas: Tensor, alphas_cumprod: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, shape and dtype of x0, and variance, (B,) float64, of q(x_{t-1} | x_t, x_0).

    x0, x_t: (B, ...); t: (B,) int64; betas, alphas_cumprod: (T,) float64.
    """
    ### BEGIN SOLUTION
    now = alphas_cumprod[t]
    before = torch.cat([alphas_cumprod.new_ones(1), alphas_cumprod])[t]
    c_0 = before.sqrt() * betas[t] / (1 - now)
    c_t = (1 - betas[t]).sqrt() * (1 - before) / (1 - now)
    shape = (-1, *[1] * (x0.ndim - 1))
    mean = c_0.view(shape).to(x0.dtype) * x0 + c_t.view(shape).to(x0.dtype) * x_t
    return mean, (1 - before) / (1 - now) * betas[t]
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_posterior", "grade": true, "points": 4}
some_betas = torch.tensor([0.1, 0.2, 0.4], dtype=torch.float64)
some_levels = torch.cumprod(1 - some_betas, dim=0)
x0, x_t = torch.full((3, 2), 2.0), torch.full((3, 2), -1.0)
mean, variance = posterior(x0, x_t, torch.tensor([0, 1, 2]), some_betas, some_levels)
assert mean.shape == (3, 2) and variance.shape == (3,), (
    f"mean (3, 2) and variance (3,) are asked for, not {tuple(mean.shape)} and {tuple(variance.shape)}")
assert abs(variance[0]) < 1e-12, (
    f"from level 0 there is one step to the clean data, and x0 is known: the variance is 0, not {variance[0]:.3f}. "
    "What is alphas_cumprod before level 0?")
torch.testing.assert_close(mean[0], x0[0], msg=(
    "from level 0 the step leads exactly to x0: is alphas_cumprod before level 0 a 1?"))
# the textbook's way, for level 1 (step 2 of the chapters): multiply q(x_1 | x_0) by q(x_2 | x_1) and complete the square
precision = 1 / 0.1 + 0.8 / 0.2
by_hand = (math.sqrt(0.9) * 2 / 0.1 + math.sqrt(0.8) * -1 / 0.2) / precision
assert abs(variance[1] - 1 / precision) < 1e-6, f"at level 1 the variance is {1 / precision:.4f}, not {variance[1]:.4f}"
assert abs(mean[1, 0] - by_hand) < 1e-4, (
    f"at level 1 the mean of x0 = 2 and x_t = -1 is {by_hand:.3f}, not {mean[1, 0]:.3f}: are the two coefficients in "
    "their places, and the roots?")
### BEGIN HIDDEN TESTS
for steps, shape in ((6, (6,)), (9, (9, 3)), (12, (12, 2, 3, 3))):
    generator = torch.Generator().manual_seed(steps)
    some_betas = 0.05 + 0.5 * torch.rand(steps, generator=generator, dtype=torch.float64)
    some_levels = torch.cumprod(1 - some_betas, dim=0)
    order = torch.randperm(steps, generator=generator)
    x0, x_t = torch.randn(2, *shape, generator=generator)
    mean, variance = posterior(x0, x_t, order, some_betas, some_levels)
    assert mean.dtype == torch.float32, f"for float32 data the mean is float32, not {mean.dtype}"
    for row, level in enumerate(order.tolist()):
        if level == 0:
            expected, spread = x0[row], 0.0
        else:
            signal, beta = some_levels[level - 1].item(), some_betas[level].item()
            precision = 1 / (1 - signal) + (1 - beta) / beta
            spread = 1 / precision
            expected = spread * (math.sqrt(signal) / (1 - signal) * x0[row] + math.sqrt(1 - beta) / beta * x_t[row])
        torch.testing.assert_close(mean[row], expected, rtol=1e-4, atol=1e-5, msg=(
            f"the mean is wrong at level {level} of {steps}, for x0 of shape {shape}"))
        assert abs(variance[row].item() - spread) < 1e-5, (
            f"at level {level} of {steps} the variance is {spread:.4f}, not {variance[row].item():.4f}")
### END HIDDEN TESTS

# %% [markdown]
# ## Task 4 · What a network's output says about the data (easy, 3 points)
#
# A network may predict the noise ($\varepsilon$), the data ($x_0$) or the velocity $v = \sqrt{\bar\alpha_t}\,
# \varepsilon - \sqrt{1 - \bar\alpha_t}\, x_0$. Turn each of them into a guess of $x_0$.
#
# <details><summary>Hint 1</summary>
#
# For "eps" solve the equation of task 2 for $x_0$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# For "v" write both $x_t$ and $v$ with $x_0$ and $\varepsilon$; multiply the first by $\sqrt{\bar\alpha_t}$, the second
# by $\sqrt{1 - \bar\alpha_t}$, and subtract. The squares add up to 1.
#
# </details>

# %% nbgrader={"grade_id": "predict_x0", "solution": true}
def predict_x0(output: Tensor, x_t: Tensor, t: Tensor, alphas_cumprod: Tensor, kind: str) -> Tensor:
    """The guess of x0, shape and dtype of x_t; ValueError unless kind is "eps", "x0" or "v".

    output, x_t: (B, ...); t: (B,) int64; alphas_cumprod: (T,) float64.
    """
    ### BEGIN SOLUTION
    level = alphas_cumprod[t].view(-1, *[1] * (x_t.ndim - 1))
    alpha, sigma = level.sqrt().to(x_t.dtype), (1 - level).sqrt().to(x_t.dtype)
    if kind == "eps":
        return (x_t - sigma * output) / alpha
    if kind == "v":
        return alpha * x_t - sigma * output
    if kind == "x0":
        return output
    raise ValueError(f"unknown kind {kind!r}")
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_predict_x0", "grade": true, "points": 3}
signal = torch.tensor([0.9, 0.36], dtype=torch.float64)
x0, eps = torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.tensor([[0.3, 1.0], [-1.0, 2.0]])
a, s = signal.sqrt()[:, None].float(), (1 - signal).sqrt()[:, None].float()
for kind, output in (("eps", eps), ("x0", x0), ("v", a * eps - s * x0)):
    guess = predict_x0(output, a * x0 + s * eps, torch.tensor([0, 1]), signal, kind)
    assert guess is not None and guess.shape == x0.shape, f"{kind}: the guess has the shape of x_t"
    torch.testing.assert_close(guess, x0, rtol=1e-4, atol=1e-4, msg=(
        f"a perfect prediction of {kind} must give x0 back, here {x0[1].tolist()}; you have "
        f"{[round(value, 2) for value in guess[1].tolist()]}"))
### BEGIN HIDDEN TESTS
for shape in ((4,), (3, 2, 5), (2, 3, 4, 4)):
    signal = torch.linspace(0.97, 0.05, 6, dtype=torch.float64)
    chosen = torch.randint(6, shape[:1])
    x_t, output = torch.randn(shape), torch.randn(shape)
    for kind in ("eps", "x0", "v"):
        guess = predict_x0(output, x_t, chosen, signal, kind)
        assert guess.dtype == torch.float32, f"for float32 data the guess is float32, not {guess.dtype}"
        for row, level in enumerate(chosen.tolist()):
            root, rest = math.sqrt(signal[level]), math.sqrt(1 - signal[level])
            noise = {"eps": output[row], "v": root * output[row] + rest * x_t[row]}.get(kind)
            expected = output[row] if kind == "x0" else (x_t[row] - rest * noise) / root
            torch.testing.assert_close(guess[row], expected, rtol=1e-3, atol=1e-4, msg=(
                f"wrong for {kind} and x_t of shape {shape}"))
try:
    predict_x0(x_t, x_t, chosen, signal, "noise")
except ValueError:
    pass
else:
    raise AssertionError("an unknown kind must raise ValueError: a silent guess costs a day of training")
### END HIDDEN TESTS

# %% [markdown]
# ## Task 5 · The loss (medium, 4 points)
#
# $$ L = \mathbb E_{t, \varepsilon}\, \big\| \varepsilon - \hat\varepsilon(x_t, t) \big\|^2
#    \quad\text{(mean over the batch and over all coordinates)} $$
#
# One level for each element, uniform over *all* levels; one noise, which is mixed in and asked for.
#
# <details><summary>Hint 1</summary>
#
# Draw with the `generator`: `torch.randint(..., generator=generator)`, `torch.randn(..., generator=generator)`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Four lines: levels, noise, `add_noise`, mean squared error. The upper end of `torch.randint` is not included.
#
# </details>

# %% nbgrader={"grade_id": "ddpm_loss", "solution": true}
def ddpm_loss(model, x0: Tensor, alphas_cumprod: Tensor, generator: torch.Generator) -> Tensor:
    """The loss, a scalar with gradient. model(x_t (B, ...), t (B,) int64) -> guess of the noise (B, ...).

    x0: (B, ...); alphas_cumprod: (T,) float64; generator: for all randomness.
    """
    ### BEGIN SOLUTION
    t = torch.randint(len(alphas_cumprod), (len(x0),), generator=generator)
    eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
    x_t = add_noise(x0, eps, t, alphas_cumprod)
    return (eps - model(x_t, t)).square().mean()
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_ddpm_loss", "grade": true, "points": 4}
signal = torch.linspace(0.95, 0.05, 8, dtype=torch.float64)
x0, seen = torch.randn(4096, 3), []


def perfect(x_t: Tensor, t: Tensor) -> Tensor:
    """Knows x0, and so the noise."""
    seen.append(t)
    root, rest = signal[t].sqrt()[:, None].float(), (1 - signal[t]).sqrt()[:, None].float()
    return (x_t - root * x0) / rest


loss = ddpm_loss(perfect, x0, signal, torch.Generator().manual_seed(1))
assert loss.shape == (), f"the loss is one number, not a tensor of shape {tuple(loss.shape)}"
assert loss < 1e-6, (
    f"a network that knows the noise has loss 0, not {loss:.2f}"
    + (": the noise that is mixed in and the noise that is asked for must be the same" if 1.9 < loss < 2.1 else ""))
assert seen[0].shape == (4096,), (
    f"the network wants one level for each element: t of shape (4096,), not {tuple(seen[0].shape)}")
counts = torch.bincount(seen[0], minlength=8)
assert (counts > 0).sum() > 1, "the levels of a batch are all the same: draw one for each element"
assert (counts[:8] > 400).all() and len(counts) == 8, (
    f"all 8 levels should come about 512 times; yours come {counts.tolist()} times")
blind = ddpm_loss(lambda x_t, t: torch.zeros_like(x_t), x0, signal, torch.Generator().manual_seed(2)).item()
assert abs(blind - 1) < 0.05, (
    f"a network that always says 0 has the noise's mean square as its loss, 1.0; you have {blind:.2f}"
    + (": is it a mean over all coordinates, and not a sum?" if blind > 2 else
       ": is the noise Gaussian, the error squared?"))
### BEGIN HIDDEN TESTS
half = ddpm_loss(lambda x_t, t: torch.full_like(x_t, 0.5), x0, signal, torch.Generator().manual_seed(7)).item()
assert abs(half - 1.25) < 0.05, (
    f"a network that always says 0.5 has loss 1 + 0.25 = 1.25, not {half:.2f}: is it the square of the error?")
again = [ddpm_loss(lambda x_t, t: x_t, x0, signal, torch.Generator().manual_seed(3)).item() for _ in range(2)]
assert again[0] == again[1], "generators with the same seed must give the same loss: draw everything from `generator`"
weight = torch.ones((), requires_grad=True)
loss = ddpm_loss(lambda x_t, t: weight * x_t, torch.randn(64, 1, 4, 4), signal, torch.Generator().manual_seed(4))
assert loss.requires_grad, "no gradient reaches the network: is something detached?"
loss.backward()
assert weight.grad is not None and weight.grad.abs() > 0, "no gradient reaches the network: is something detached?"
taken = []
ddpm_loss(lambda x_t, t: taken.append((x_t, t)) or x_t, torch.zeros(5000, 2), signal, torch.Generator().manual_seed(5))
for level in range(8):
    spread = taken[0][0][taken[0][1] == level].std().item()
    assert abs(spread - math.sqrt(1 - signal[level])) < 0.06, (
        f"at level {level} the network sees noise of standard deviation {spread:.2f}, and is told a level that has "
        f"{math.sqrt(1 - signal[level]):.2f}: tell it the level that you used")
### END HIDDEN TESTS

# %% [markdown]
# ## Task 6 · A run that went wrong (medium, 4 points)
#
# A colleague trained the network below on the spiral. The loss fell and looked harmless, but the samples were a blot.
# The next cells repeat the run and print what was logged: the loss in five ranges of levels, and by how much the
# network's output changes when only `t` is changed.

# %% nbgrader={"grade_id": "broken_run", "locked": true}
def broken_embedding(t: Tensor, steps: int) -> Tensor:
    """Features (B, 8) float32 of the levels t (B,) int64: sines and cosines of the time."""
    time = (t // steps).float()[:, None]
    frequencies = 2.0 ** torch.arange(4)
    return torch.cat([(frequencies * time).sin(), (frequencies * time).cos()], dim=1)


class Network(nn.Module):
    """Points (B, 2) and levels t (B,) -> (B, 2); embedding(t, steps) makes features of the levels."""

    def __init__(self, embedding, steps: int, width: int = 64):
        super().__init__()
        self.embedding, self.steps = embedding, steps
        features = embedding(torch.zeros(1, dtype=torch.int64), steps).shape[1]
        self.layers = nn.Sequential(nn.Linear(2 + features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
                                    nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.layers(torch.cat([x, self.embedding(t, self.steps)], dim=1))


def train(network: nn.Module, loss, data: Tensor, alphas_cumprod: Tensor, iterations: int = 1000) -> nn.Module:
    """Adam on loss(network, batch, alphas_cumprod, generator)."""
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(network.parameters(), lr=4e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, iterations)
    for _ in range(iterations):
        batch = data[torch.randint(len(data), (192,), generator=generator)]
        optimiser.zero_grad()
        loss(network, batch, alphas_cumprod, generator).backward()
        optimiser.step()
        schedule.step()
    return network


# %% tags=["nbval-ignore-output"]
def log(network: nn.Module, data: Tensor, alphas_cumprod: Tensor) -> None:
    """The loss by level, and whether the network looks at the level at all."""
    steps, generator = len(alphas_cumprod), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for start in range(0, steps, steps // 5):
            part = alphas_cumprod[start:start + steps // 5]
            shifted = lambda x, t, start=start: network(x, t + start)
            loss = ddpm_loss(shifted, data, part, generator)
            print(f"levels {start:2} to {start + steps // 5 - 1:2}: loss {loss:.2f}")
        first, last = torch.zeros(len(data), dtype=torch.int64), torch.full((len(data),), steps - 1)
        change = (network(data, first) - network(data, last)).abs().max()
    print(f"largest change of the output when only t changes, from 0 to {steps - 1}: {change:.3f}")


torch.manual_seed(0)
data = spiral(4000, torch.Generator().manual_seed(0))
betas, alphas_cumprod = cosine_schedule(100)
broken = train(Network(broken_embedding, 100), ddpm_loss, data, alphas_cumprod, iterations=400)
log(broken, data, alphas_cumprod)

# %% [markdown]
# What is the cause?
#
# - **a** The target is fresh noise and not the noise that was mixed in.
# - **b** The schedule destroys too little: at the last level there is still signal.
# - **c** The network cannot know at which level it is.
# - **d** The data are not of unit variance.
#
# Set `cause` to its letter, and write `embed_time` so that it does what `broken_embedding` should. The features must
# lie between -1 and 1, tell any two levels apart, and be near each other for neighbouring levels: nearer than half of
# the largest distance between any two levels, for 10 levels as for 1000.
#
# <details><summary>Hint 1</summary>
#
# One of the causes would make the loss 1 at all levels. Which line of the log is one that no healthy run prints?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Print `broken_embedding(torch.arange(5), 100)`.
#
# </details>

# %% nbgrader={"grade_id": "embed_time", "solution": true}
cause = ""          # "a", "b", "c" or "d"


def embed_time(t: Tensor, steps: int) -> Tensor:
    """Features (B, F) float32 of the levels t (B,) int64, 0 <= t < steps, for an F of your choice."""
    ### BEGIN SOLUTION
    time = (t / steps).float()[:, None]
    frequencies = 2.0 ** torch.arange(4)
    return torch.cat([(frequencies * time).sin(), (frequencies * time).cos()], dim=1)


cause = "c"
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_cause", "grade": true, "points": 1}
assert embed_time(torch.arange(3), 10) is not None and cause in list("abcd"), (
    "set `cause` to a, b, c or d, and write embed_time")
### BEGIN HIDDEN TESTS
assert cause == "c", (
    "that cause would look different in the log: fresh noise makes the loss 1 at all levels, and none of the others "
    "makes the output the same for all t")
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_embed_time", "grade": true, "points": 3}
features = embed_time(torch.arange(100), 100)
assert features.ndim == 2 and len(features) == 100, f"100 levels give features (100, F), not {tuple(features.shape)}"
assert features.dtype == torch.float32, f"the network wants float32, not {features.dtype}"
assert features.abs().max() <= 1.0001, f"features should lie between -1 and 1; yours reach {features.abs().max():.1f}"
distances = torch.cdist(features, features) + torch.eye(100) * 9
assert distances.min() > 1e-4, (
    f"levels {distances.argmin() // 100} and {distances.argmin() % 100} have the same features: the network "
    "cannot tell them apart")
### BEGIN HIDDEN TESTS
for steps in (10, 100, 1000):
    features = embed_time(torch.arange(steps), steps)
    alone = torch.cat([embed_time(torch.tensor([k]), steps) for k in range(0, steps, max(steps // 10, 1))])
    torch.testing.assert_close(features[::max(steps // 10, 1)], alone, rtol=1e-4, atol=1e-4, msg=(
        "a level's features must not depend on the rest of the batch: divide by `steps`, not by what is in t"))
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    assert (distances + torch.eye(steps) * 9).min() > 1e-5, f"of {steps} levels two have the same features"
    step, whole = distances.diagonal(1).max(), distances.max()
    assert step < 0.5 * whole, (
        f"neighbours of {steps} levels are as far from each other as strangers: is the time scaled?")
    assert features.abs().max() <= 1.0001, f"for {steps} levels the features reach {features.abs().max():.1f}, not 1"
### END HIDDEN TESTS

# %% [markdown]
# Now the reward. With your six functions the same network draws. Sampling walks from the noisiest level to the data,
# and at each level asks the network for a guess of $x_0$ and draws from your posterior.

# %% nbgrader={"grade_id": "sampling", "locked": true}
@torch.no_grad()
def sample(network, n: int, betas: Tensor, alphas_cumprod: Tensor, generator: torch.Generator, guess, step) -> Tensor:
    """n points (n, 2). guess: predict_x0; step: posterior."""
    x = torch.randn(n, 2, generator=generator)
    for level in reversed(range(len(betas))):
        t = torch.full((n,), level)
        x0 = guess(network(x, t), x, t, alphas_cumprod, "eps").clamp(-3, 3)
        mean, variance = step(x0, x, t, betas, alphas_cumprod)
        x = mean + variance.sqrt()[:, None].float() * torch.randn(n, 2, generator=generator)
    return x


# %% tags=["nbval-ignore-output", "expected-picture"]
torch.manual_seed(0)
network = train(Network(embed_time, 100), ddpm_loss, data, alphas_cumprod, iterations=2000)
log(network, data, alphas_cumprod)
drawn = sample(network, 2000, betas, alphas_cumprod, torch.Generator().manual_seed(2), predict_x0, posterior)
half_way = add_noise(data, torch.randn(data.shape), torch.full((len(data),), 49), alphas_cumprod)
figure, axes = plt.subplots(1, 3, figsize=(9, 3.1), sharex=True, sharey=True, constrained_layout=True)
shown = {"data": data[:2000], "data at t = 49": half_way[:2000], "drawn by the model": drawn}
for axis, (title, points) in zip(axes, shown.items()):
    axis.scatter(*points.T, s=2, color="#dc2626" if points is drawn else "#2563eb", alpha=0.6)
    axis.set(title=title, aspect="equal", xlim=(-3, 3), ylim=(-3, 3))
plt.show()

# %% [markdown]
# ## Experiment · How many levels are enough? (5 points, graded by hand)
#
# Train and sample with $T$ = 5, 20 and 100 levels (same network, same number of iterations). Draw the three results
# side by side, and give one number for each: the mean distance of a drawn point to the nearest of a few thousand fresh
# data points (`spiral` with another seed). Then argue in two or three sentences: why do few steps hurt, although the
# posterior is exact for every $T$? (Exact *given what*?)
#
# | Rubric | points |
# |---|---|
# | three pictures with the same axes, titled | 1 |
# | the distance, computed over at least 1000 drawn points, against points that were not trained on | 2 |
# | the argument: the network knows only the mean of all $x_0$; the true $q(x_{t-1} \mid x_t)$ is a mixture | 2 |

# %% nbgrader={"grade_id": "experiment_code", "solution": true} tags=["nbval-ignore-output"]
# Your code: train, sample, draw, measure.
### BEGIN SOLUTION
fresh = spiral(4000, torch.Generator().manual_seed(9))
figure, axes = plt.subplots(1, 3, figsize=(9, 3.1), sharex=True, sharey=True, constrained_layout=True)
for axis, steps in zip(axes, (5, 20, 100)):
    torch.manual_seed(0)
    few_betas, few_levels = cosine_schedule(steps)
    trained = train(Network(embed_time, steps), ddpm_loss, data, few_levels)
    points = sample(trained, 1000, few_betas, few_levels, torch.Generator().manual_seed(2), predict_x0, posterior)
    distance = torch.cdist(points, fresh).min(dim=1).values.mean()
    axis.scatter(*points.T, s=2, color="#dc2626")
    axis.set(title=f"{steps} levels: distance {distance:.3f}", aspect="equal", xlim=(-3, 3), ylim=(-3, 3))
plt.show()
### END SOLUTION

# %% [markdown] nbgrader={"grade_id": "experiment_answer", "solution": true, "grade": true, "points": 5}
# ### BEGIN SOLUTION
# With 5 levels many points lie beside the curve, between its ends (mean distance about 0.08). With 20 and with 100
# the distance is less than half of that and about the same: what is left then is the network's own error after so
# short a training. The posterior is exact *given $x_0$*. The network does not know $x_0$; it says the mean of all
# data that could have become $x_t$. The true $q(x_{t-1} \mid x_t)$ is a mixture over those, and only for small steps
# is a single Gaussian a good stand-in: with large steps the sampler draws from a Gaussian around a mean that lies off
# the curve.
# ### END SOLUTION
