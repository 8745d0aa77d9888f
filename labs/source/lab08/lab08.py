# %% [markdown]
# # Lab 08 · Samplers: DDIM, Heun, DPM-Solver++
#
# | | |
# |---|---|
# | Goals | write three samplers, measure how fast their errors fall, and mend one that is slower than it should be |
# | Chapter | 13 (samplers) |
# | Time | about 75 minutes |
# | Points | 25: six tasks with tests (20), one experiment graded by hand (5) |
# | You need | two CPU cores, no network, no training: the denoiser of this lab is known exactly |
#
# A good result: with eight calls of the denoiser (Heun: seven), one sampler is on its way and another has arrived.
#
# ![Paths of samples to a ring of eight blobs, by Euler, Heun and DPM-Solver++, in seven or eight calls](expected.png)
#
# **How it works.** Replace each `# YOUR CODE HERE` (and the line below it) by your own code. Under each task stand
# tests that say *what* is wrong; more tests run when the lab is graded. A task is graded alone, with correct answers to
# the tasks before it. Keep the helpers of a task in its cell. Folded hints go one step at a time.
#
# **Notation.** A noisy point is $x_t = \alpha_t x_0 + \sigma_t \varepsilon$. A denoiser guesses $\hat x_0$, which is a
# guess of the noise as well: $\hat\varepsilon = (x_t - \alpha_t \hat x_0) / \sigma_t$. A step goes from a time $t$ to a
# time $s < t$ with less noise. From task 3 on, $\alpha = 1$ at all times, and the noise level $\sigma$ itself is the
# clock.

# %% nbgrader={"grade_id": "setup", "locked": true}
import math

import matplotlib.pyplot as plt
import torch
from torch import Tensor

torch.set_num_threads(1)
CENTRES = torch.stack([torch.tensor([math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)]) for k in range(8)]).double()
WIDTH = 0.05


def ring(x: Tensor, sigma: float) -> Tensor:
    """The exact denoiser E[x0 | x] for eight Gaussians of width 0.05 on a circle; x (B, 2), alpha = 1."""
    spread = WIDTH**2 + sigma**2
    share = torch.softmax(-torch.cdist(x, CENTRES.to(x)).square() / (2 * spread), dim=1)         # (B, 8)
    return (WIDTH**2 * x + sigma**2 * share @ CENTRES.to(x)) / spread


# %% [markdown]
# ## Task 1 · Where to call the denoiser (easy, 2 points)
#
# Karras et al. spread $n$ noise levels evenly in $\sigma^{1/\rho}$, from $\sigma_{\max}$ down to $\sigma_{\min}$, and
# end with a step to 0:
#
# $$ \sigma_i = \Big( \sigma_{\max}^{1/\rho} + \tfrac{i}{n - 1} \big(\sigma_{\min}^{1/\rho}
#    - \sigma_{\max}^{1/\rho}\big) \Big)^{\rho}, \quad i = 0, \dots, n - 1, \qquad \sigma_n = 0 . $$
#
# <details><summary>Hint 1</summary>
#
# `torch.linspace(0, 1, n, dtype=torch.float64)` is $i / (n - 1)$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The result has one entry more than there are calls: the 0 at the end.
#
# </details>

# %% nbgrader={"grade_id": "karras_levels", "solution": true}
def karras_levels(n: int, sigma_min: float = 0.02, sigma_max: float = 20.0, rho: float = 7.0) -> Tensor:
    """(n + 1,) float64: falling noise levels, the last one 0; n is at least 2."""
    ### BEGIN SOLUTION
    fraction = torch.linspace(0, 1, n, dtype=torch.float64)
    top, bottom = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    levels = (top + fraction * (bottom - top)) ** rho
    return torch.cat([levels, levels.new_zeros(1)])
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_karras_levels", "grade": true, "points": 2}
levels = karras_levels(10)
assert levels.shape == (11,), f"ten calls need 11 levels, the last one 0; you have {tuple(levels.shape)}"
assert levels.dtype == torch.float64, f"the levels should be float64, not {levels.dtype}"
assert levels[-1] == 0, f"the last level is 0, not {levels[-1]:.3f}"
assert (levels.diff() < 0).all(), "the levels must fall: sampling goes from noise to data"
assert abs(levels[0] - 20) < 1e-6 and abs(levels[-2] - 0.02) < 1e-6, (
    f"the first is sigma_max = 20, the last but one sigma_min = 0.02; not {levels[0]:.3f} and {levels[-2]:.3f}")
### BEGIN HIDDEN TESTS
for n, low, high, rho in ((2, 0.1, 3.0, 7.0), (7, 0.002, 80.0, 7.0), (12, 0.05, 10.0, 3.0), (5, 0.5, 2.0, 1.0)):
    got = karras_levels(n, low, high, rho)
    wanted = [(high ** (1 / rho) * (1 - i / (n - 1)) + low ** (1 / rho) * i / (n - 1)) ** rho for i in range(n)] + [0.0]
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64), rtol=1e-6, atol=1e-9, msg=(
        f"n = {n}, {high} to {low}, rho = {rho}: the second level should be {wanted[1]:.4f}, not {got[1].item():.4f}"))
### END HIDDEN TESTS

# %% [markdown]
# ## Task 2 · DDIM (medium, 4 points)
#
# Keep the guess of the picture, keep part of the guessed noise, and replace the rest by fresh noise $z$ (the argument
# `noise`):
#
# $$ x_s = \alpha_s \hat x_0 + \sqrt{\sigma_s^2 - \tau^2}\, \hat\varepsilon + \tau z, \qquad
#    \tau = \eta\, \frac{\sigma_s}{\sigma_t} \sqrt{\sigma_t^2 - \frac{\alpha_t^2}{\alpha_s^2} \sigma_s^2} . $$
#
# With $\eta = 0$ nothing is random; with $\eta = 1$ it is DDPM's ancestral sampling. Why must the old noise shrink when
# new noise comes in? The noise in $x_s$ has to have the variance $\sigma_s^2$, or the denoiser is told the wrong level.
#
# <details><summary>Hint 1</summary>
#
# First $\hat\varepsilon$ from `x` and `x0`, then $\tau$ (a number), then three terms.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# All levels are Python numbers: `math.sqrt` will do. Rounding may bring a difference slightly below 0: `max(..., 0.0)`.
#
# </details>

# %% nbgrader={"grade_id": "ddim_step", "solution": true}
def ddim_step(x: Tensor, x0: Tensor, alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float, eta: float,
              noise: Tensor) -> Tensor:
    """x at time s, shape of x. x, x0 (the guess), noise (standard normal): (B, ...); alpha_s, sigma_t > 0."""
    ### BEGIN SOLUTION
    eps = (x - alpha_t * x0) / sigma_t
    tau = eta * sigma_s / sigma_t * math.sqrt(max(sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2, 0.0))
    kept = math.sqrt(max(sigma_s**2 - tau**2, 0.0))
    return alpha_s * x0 + kept * eps + tau * noise
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_ddim_step", "grade": true, "points": 2}
clean, eps, noise = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 1.5]]), torch.tensor([[9.0, 9.0]])
moved = ddim_step(0.6 * clean + 0.8 * eps, clean, 0.6, 0.8, 0.8, 0.6, 0.0, noise)
assert moved is not None and moved.shape == clean.shape, "the result has the shape of x"
torch.testing.assert_close(moved, 0.8 * clean + 0.6 * eps, rtol=1e-4, atol=1e-4, msg=(
    "with eta = 0 and a perfect guess, 0.6 x0 + 0.8 eps becomes 0.8 x0 + 0.6 eps, with the same eps: "
    f"{(0.8 * clean + 0.6 * eps).tolist()}; you have {moved.tolist()}"))
### BEGIN HIDDEN TESTS
x, guess, z = torch.randn(3, 4, 2, 2, 2).unbind(0)
for at, st, a, s in ((0.1, 0.995, 0.9, 0.436), (1.0, 5.0, 1.0, 2.0), (0.7, 0.714, 1.0, 0.0), (0.0, 1.0, 0.3, 0.954)):
    wanted = a * guess + s / st * (x - at * guess)
    torch.testing.assert_close(ddim_step(x, guess, at, st, a, s, 0.0, z), wanted, rtol=1e-4, atol=1e-5, msg=(
        f"wrong for eta = 0 from (alpha, sigma) = ({at}, {st}) to ({a}, {s})"))
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_ddim_step_noise", "grade": true, "points": 2}
zero, many = torch.zeros(40_000, 1), torch.randn(40_000, 1)
spread = ddim_step(0.8 * many, zero, 0.6, 0.8, 0.8, 0.6, 1.0, torch.randn(40_000, 1)).std().item()
assert abs(spread - 0.6) < 0.02, (
    f"the noise in x_s must have the standard deviation sigma_s = 0.6 for every eta; with eta = 1 yours has "
    f"{spread:.2f}: the old noise must shrink by as much as new noise comes in")
### BEGIN HIDDEN TESTS
one = torch.ones(1, 1, dtype=torch.float64)
for at, st, a, s in ((0.1, math.sqrt(0.99), 0.9, math.sqrt(0.19)), (1.0, 5.0, 1.0, 2.0), (0.6, 0.8, 0.96, 0.28)):
    precision = 1 / s**2 + (at / a) ** 2 / (st**2 - (at / a * s) ** 2)          # of x_s, given x_t and x0
    for eta in (0.3, 1.0):
        fresh = ddim_step(0 * one, 0 * one, at, st, a, s, eta, one).item()
        assert abs(fresh - eta / math.sqrt(precision)) < 1e-6, (
            f"eta = {eta}: the fresh noise has the factor {fresh:.4f}, it should be {eta / math.sqrt(precision):.4f}, "
            "which is eta times the posterior's standard deviation")
        old = ddim_step(st * one, 0 * one, at, st, a, s, eta, 0 * one).item()
        assert abs(old**2 + fresh**2 - s**2) < 1e-6, (
            f"eta = {eta}: the variances of old and fresh noise add up to {old**2 + fresh**2:.4f}, not to {s**2:.4f}")
        still = ddim_step(at * one, one, at, st, a, s, eta, 0 * one).item()
        assert abs(still - a) < 1e-6, "x0 comes with the factor alpha_s"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 3 · Euler (easy, 2 points)
#
# From here on $\alpha = 1$. The path from noise to data obeys $\mathrm dx / \mathrm d\sigma = \hat\varepsilon = (x -
# \hat x_0(x, \sigma)) / \sigma$. Euler's method follows the slope at the beginning of the step.
#
# <details><summary>Hint 1</summary>
#
# The step in $\sigma$ is negative. Which difference is it?
#
# </details>

# %% nbgrader={"grade_id": "euler_step", "solution": true}
def euler_step(denoise, x: Tensor, sigma_t: float, sigma_s: float) -> Tensor:
    """x at noise level sigma_s < sigma_t. denoise(x (B, ...), sigma) -> guess of x0; one call."""
    ### BEGIN SOLUTION
    slope = (x - denoise(x, sigma_t)) / sigma_t
    return x + (sigma_s - sigma_t) * slope
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_euler_step", "grade": true, "points": 2}
x, target = torch.tensor([[3.0, -1.0]]), torch.tensor([[1.0, 1.0]])
half = euler_step(lambda x, sigma: target, x, 4.0, 2.0)
assert half is not None and half.shape == x.shape, "the result has the shape of x"
torch.testing.assert_close(half, torch.tensor([[2.0, 0.0]]), msg=(
    f"towards a fixed guess (1, 1), half the noise is half of the way: (3, -1) becomes (2, 0), not {half[0].tolist()}"))
end = euler_step(lambda x, sigma: target, x, 4.0, 0.0)
torch.testing.assert_close(end, target, msg="a step to sigma = 0 ends at the guess")
### BEGIN HIDDEN TESTS
calls = []
x = torch.randn(5, 2, 3, dtype=torch.float64)
got = euler_step(lambda y, sigma: calls.append((y, sigma)) or 0.25 * y + sigma, x, 3.0, 1.2)
wanted = 0.4 * x + 0.6 * (0.25 * x + 3.0)
torch.testing.assert_close(got, wanted, msg="wrong for a denoiser that depends on x and sigma")
assert len(calls) == 1, f"one call of the denoiser a step, not {len(calls)}"
assert calls[0][1] == 3.0 and torch.equal(calls[0][0], x), "the slope is taken at the beginning: at x and sigma_t"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 4 · Heun (medium, 4 points)
#
# Euler's slope is out of date at the end of the step. Heun's method goes there, asks again, and takes the mean of both
# slopes: two calls, and an error that falls with the square of the step. At $\sigma_s = 0$ there is no slope; that step
# stays Euler's.
#
# <details><summary>Hint 1</summary>
#
# The second slope is taken at Euler's *result*, at the level $\sigma_s$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The mean of the slopes replaces the first one; the step starts again from the *old* `x`.
#
# </details>

# %% nbgrader={"grade_id": "heun_step", "solution": true}
def heun_step(denoise, x: Tensor, sigma_t: float, sigma_s: float) -> Tensor:
    """x at noise level sigma_s < sigma_t. denoise(x (B, ...), sigma) -> guess of x0; two calls, one for sigma_s = 0."""
    ### BEGIN SOLUTION
    slope = (x - denoise(x, sigma_t)) / sigma_t
    guess = x + (sigma_s - sigma_t) * slope
    if sigma_s == 0:
        return guess
    slope_s = (guess - denoise(guess, sigma_s)) / sigma_s
    return x + (sigma_s - sigma_t) * (slope + slope_s) / 2
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_heun_step", "grade": true, "points": 4}
gauss = lambda x, sigma: x / (1 + sigma**2)          # exact for data of variance 1: x goes like sqrt(1 + sigma^2)
start = torch.tensor([2.0], dtype=torch.float64)
errors = []
for n in (8, 16, 32):
    x, grid = start, torch.linspace(3.0, 0.2, n + 1).tolist()
    for t, s in zip(grid[:-1], grid[1:]):
        x = heun_step(gauss, x, t, s)
        assert x is not None, "heun_step returns nothing"
    errors.append(abs(x - start * math.sqrt(1 + 0.2**2) / math.sqrt(1 + 3.0**2)).item())
order = math.log2(errors[1] / errors[2])
assert order > 1.6, (
    f"halving the steps should divide the error by about 4, not by {errors[1] / errors[2]:.1f}: is the second slope "
    "taken at Euler's result, at the new level, and are both slopes used?")
done = heun_step(gauss, start, 0.5, 0.0)
assert torch.isfinite(done).all(), "a step to sigma = 0 has no second slope: return Euler's result"
### BEGIN HIDDEN TESTS
for denoise in (lambda y, sigma: 0.3 * y + sigma, lambda y, sigma: torch.sin(y) * sigma):
    calls = []
    x = torch.linspace(-1, 2, 12, dtype=torch.float64).view(2, 3, 2)
    got = heun_step(lambda y, sigma: calls.append(sigma) or denoise(y, sigma), x, 2.0, 0.5)
    first = (x - denoise(x, 2.0)) / 2.0
    there = x - 1.5 * first
    torch.testing.assert_close(got, x - 0.75 * (first + (there - denoise(there, 0.5)) / 0.5), msg=(
        "wrong for a denoiser that depends on x and sigma"))
    assert calls == [2.0, 0.5], f"two calls, at sigma_t and at sigma_s, not at {calls}"
calls = []
last = heun_step(lambda y, sigma: calls.append(sigma) or 0.3 * y, x, 0.7, 0.0)
torch.testing.assert_close(last, 0.3 * x, msg="the step to sigma = 0 ends at the guess of x0")
assert calls == [0.7], f"one call where sigma_s is 0, not {len(calls)}"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 5 · DPM-Solver++ (2M) (hard, 4 points)
#
# Order 2 for one call: remember the guess of the step before, and draw a straight line through both. With $\alpha = 1$,
# the clock is $\lambda = -\log \sigma$, and a step from $\sigma_t$ to $\sigma_s$ has the length $h = \log(\sigma_t /
# \sigma_s)$:
#
# $$ x_s = \frac{\sigma_s}{\sigma_t}\, x + \Big(1 - \frac{\sigma_s}{\sigma_t}\Big) D, \qquad
# D = \Big(1 + \frac{1}{2r}\Big)\, \hat x_0 - \frac{1}{2r}\, \hat x_0^{\text{old}}, \qquad
#    r = \frac{h_{\text{old}}}{h}, \quad h_{\text{old}} = \log \frac{\sigma_{\text{old}}}{\sigma_t} . $$
#
# In the first step there is no old guess, and in the step to $\sigma_s = 0$ the length is infinite: there $D = \hat
# x_0$.
#
# <details><summary>Hint 1</summary>
#
# $D = \hat x_0$ in both exceptions; put the case distinction there and write the formula for $x_s$ once.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# $1 / (2r) = h / (2 h_{\text{old}})$. The sign: if the guess has been rising, $D$ lies *beyond* the present one.
#
# </details>

# %% nbgrader={"grade_id": "dpmpp_2m_step", "solution": true}
def dpmpp_2m_step(x: Tensor, x0: Tensor, old_x0: Tensor | None, sigma_t: float, sigma_s: float,
                  sigma_old: float | None) -> Tensor:
    """x at sigma_s. x, x0: point and guess at sigma_t; old_x0: the guess at sigma_old > sigma_t, None at first."""
    ### BEGIN SOLUTION
    direction = x0
    if old_x0 is not None and sigma_s > 0:
        ahead = math.log(sigma_t / sigma_s) / (2 * math.log(sigma_old / sigma_t))
        direction = (1 + ahead) * x0 - ahead * old_x0
    ratio = sigma_s / sigma_t
    return ratio * x + (1 - ratio) * direction
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_dpmpp_2m_step", "grade": true, "points": 4}
x, x0, old_x0 = (torch.tensor([value], dtype=torch.float64) for value in (4.0, 1.0, 0.0))
first = dpmpp_2m_step(x, x0, None, 2.0, 1.0, None)
assert first is not None and abs(first - 2.5) < 1e-9, (
    "in the first step D is the guess itself: half of x = 4 and half of x0 = 1 make 2.5"
    + (f", not {first.item():.3f}" if first is not None else ""))
last = dpmpp_2m_step(x, x0, old_x0, 2.0, 0.0, 4.0)
assert abs(last - 1) < 1e-9, f"the step to sigma = 0 ends at the guess x0 = 1, not at {last.item():.3f}"
equal = dpmpp_2m_step(x, x0, old_x0, 2.0, 1.0, 4.0).item()
assert abs(equal - 2.75) < 1e-9, (
    f"two steps of equal length, guesses 0 and then 1: D = 1.5 and x = 2 + 0.75 = 2.75, not {equal:.3f}"
    + (": the line goes on beyond the present guess; is the sign right?" if equal < 2.5 else ""))
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(8)
for before, now, after in ((4.0, 2.0, 0.5), (3.0, 2.9, 0.1), (80.0, 1.0, 0.9)):
    x, x0, old_x0 = torch.randn(3, 2, 3, generator=generator, dtype=torch.float64)
    r = (math.log(before) - math.log(now)) / (math.log(now) - math.log(after))
    line = x0 + (x0 - old_x0) / (2 * r)
    got = dpmpp_2m_step(x, x0, old_x0, now, after, before)
    torch.testing.assert_close(got, line + after / now * (x - line), msg=(
        f"wrong for steps of different length, {before} to {now} to {after}: r compares the old step with this one"))
### END HIDDEN TESTS

# %% [markdown]
# ## Task 6 · A sampler that is slower than it should be (medium, 4 points)
#
# A colleague put your step into a loop. The pictures look right, so nobody noticed. But a sampler of order 2 should
# make its error four times smaller when it takes twice as many steps. The cell below prints what this loop does
# instead.

# %% nbgrader={"grade_id": "broken_loop", "locked": true}
def broken_2m(denoise, x: Tensor, sigmas: Tensor, step) -> Tensor:
    """Samples: x at sigmas[0] -> x at sigmas[-1]; step is a dpmpp_2m_step."""
    old_x0, sigma_old = None, None
    levels = sigmas.tolist()
    for sigma_t, sigma_s in zip(levels[:-1], levels[1:]):
        x0 = denoise(x, sigma_t)
        x = step(x, x0, old_x0, sigma_t, sigma_s, sigma_old)
        if old_x0 is None:
            old_x0, sigma_old = x0, sigma_t
    return x


def errors_of(sampler, counts=(16, 32, 64, 128)) -> list[float]:
    """The error at sigma = 0.1 for data of variance 1, whose exact path is known; from sigma = 10 in `counts` steps."""
    errors = []
    for n in counts:
        start = torch.tensor([10.0], dtype=torch.float64)
        sigmas = torch.logspace(1, -1, n + 1, dtype=torch.float64)
        end = sampler(lambda x, sigma: x / (1 + sigma**2), start, sigmas)
        errors.append(abs(end - start * math.sqrt((1 + 0.1**2) / (1 + 10.0**2))).item())
    return errors


# %%
errors = errors_of(lambda denoise, x, sigmas: broken_2m(denoise, x, sigmas, dpmpp_2m_step))
for n, before, after in zip((32, 64, 128), errors[:-1], errors[1:]):
    print(f"{n // 2:3} -> {n:3} steps: the error becomes {before / after:.1f} times smaller")

# %% [markdown]
# What is the cause?
#
# - **a** The last step goes to $\sigma = 0$, where the formula does not hold.
# - **b** The guess that is remembered is not the one of the step before.
# - **c** The noise levels are badly spread.
# - **d** The denoiser is called at the wrong noise level.
#
# Set `cause` to its letter, and write the loop as it should be.
#
# <details><summary>Hint 1</summary>
#
# Two of the four cannot be: read `errors_of`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Write down by hand what `old_x0` and `sigma_old` are in the first three turns of the loop.
#
# </details>

# %% nbgrader={"grade_id": "sample_2m", "solution": true}
cause = ""          # "a", "b", "c" or "d"


def sample_2m(denoise, x: Tensor, sigmas: Tensor) -> Tensor:
    """x at sigmas[0] -> x at sigmas[-1], by dpmpp_2m_step. denoise(x, sigma: float); sigmas (N + 1,) fall; N calls."""
    ### BEGIN SOLUTION
    old_x0, sigma_old = None, None
    levels = sigmas.tolist()
    for sigma_t, sigma_s in zip(levels[:-1], levels[1:]):
        x0 = denoise(x, sigma_t)
        x = dpmpp_2m_step(x, x0, old_x0, sigma_t, sigma_s, sigma_old)
        old_x0, sigma_old = x0, sigma_t
    return x


cause = "b"
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_cause", "grade": true, "points": 1}
assert sample_2m(lambda x, sigma: x, torch.ones(1), torch.tensor([2.0, 1.0])) is not None and cause in list("abcd"), (
    "set `cause` to a, b, c or d, and write sample_2m")
### BEGIN HIDDEN TESTS
assert cause == "b", "in errors_of no step goes to 0, levels are evenly spread, denoise gets sigma_t: what is left?"
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_sample_2m", "grade": true, "points": 3}
errors = errors_of(sample_2m)
factor = errors[-2] / errors[-1]
assert 3.4 < factor < 4.6, (
    f"twice as many steps should make the error about 4 times smaller, not {factor:.1f} times: which guess is kept?")
### BEGIN HIDDEN TESTS
calls = []
sigmas = torch.tensor([5.0, 3.0, 0.9, 0.2, 0.0], dtype=torch.float64)
x = torch.linspace(-4, 4, 6, dtype=torch.float64).view(3, 2)
denoise = lambda y, sigma: torch.tanh(y) / (1 + sigma)
got = sample_2m(lambda y, sigma: calls.append(sigma) or denoise(y, sigma), x, sigmas)
y, guesses = x, []
for k, (t, s) in enumerate(zip([5.0, 3.0, 0.9, 0.2], [3.0, 0.9, 0.2, 0.0])):
    guesses.append(denoise(y, t))
    line = guesses[-1]
    if k > 0 and s > 0:
        rise = (guesses[-1] - guesses[-2]) / math.log([5.0, 3.0, 0.9, 0.2][k - 1] / t)
        line = line + rise * math.log(t / s) / 2
    y = line + s / t * (y - line)
torch.testing.assert_close(got, y, msg="wrong on uneven levels: remember guess and level of the step just made")
assert calls == [5.0, 3.0, 0.9, 0.2], f"one call at each level but the last, as Python numbers: not at {calls}"
### END HIDDEN TESTS

# %% [markdown]
# Now compare: eight calls of the denoiser each (Heun pays in pairs, and comes to seven), the same start.

# %% tags=["nbval-ignore-output", "expected-picture"]
def follow(step, sigmas: Tensor, x: Tensor) -> list[Tensor]:
    """The points after every step; step(denoise, x, sigma_t, sigma_s)."""
    path = [x]
    for t, s in zip(sigmas[:-1].tolist(), sigmas[1:].tolist()):
        path.append(step(ring, path[-1], t, s))
    return path


start = 3.0 * torch.randn(300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
eight, four = karras_levels(8, 0.05, 3.0), karras_levels(4, 0.05, 3.0)
two_m = [sample_2m(ring, start, eight[:k + 1]) if k else start for k in range(9)]
paths = {"Euler, eight calls": follow(euler_step, eight, start), "Heun, seven calls": follow(heun_step, four, start),
         "DPM-Solver++ (2M), eight calls": two_m}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), sharex=True, sharey=True, constrained_layout=True)
for axis, (name, path) in zip(axes, paths.items()):
    lines = torch.stack(path)[:, :60]
    axis.plot(lines[..., 0], lines[..., 1], color="#6b7280", linewidth=0.4)
    axis.scatter(*path[-1].T, s=4, color="#dc2626", zorder=3)
    axis.set(title=name, aspect="equal", xlim=(-2.5, 2.5), ylim=(-2.5, 2.5))
plt.show()

# %% [markdown]
# ## Experiment · What does a call buy? (5 points, graded by hand)
#
# Measure for Euler, Heun and DPM-Solver++ (2M) on the ring how far the samples are from those of a very fine run (2M
# with 1000 steps) from the same start, for 8, 16, 32, 64 and 128 *calls* of the denoiser. Draw the mean distance
# against the number of calls, both axes logarithmic, one curve for each sampler. Stop all runs at $\sigma = 0.05$, with
# levels `karras_levels(n, 0.05, 3.0)[:-1]`: without the step to 0 every step of Heun's costs two calls. Then argue in two
# or three sentences: which one would you use with 10 calls, which with 100, and why is "twice as many steps" not a fair
# comparison?
#
# | Rubric | points |
# |---|---|
# | the plot: same start, calls (not steps) on the axis, labelled | 2 |
# | the slopes are read off and compared with the orders 1, 2 and 2 | 1 |
# | the argument: Heun pays two calls a step; with few calls the order says little, the size of the error decides | 2 |

# %% nbgrader={"grade_id": "experiment_code", "solution": true} tags=["nbval-ignore-output"]
# Your code: measure and draw.
### BEGIN SOLUTION
fine = sample_2m(ring, start, karras_levels(1000, 0.05, 3.0)[:-1])
distances = {name: [] for name in ("Euler", "Heun", "DPM-Solver++ (2M)")}
counts = (8, 16, 32, 64, 128)
for calls in counts:
    sigmas, half = karras_levels(calls + 1, 0.05, 3.0)[:-1], karras_levels(calls // 2 + 1, 0.05, 3.0)[:-1]
    ends = follow(euler_step, sigmas, start)[-1], follow(heun_step, half, start)[-1], sample_2m(ring, start, sigmas)
    for name, end in zip(distances, ends):
        distances[name].append((end - fine).norm(dim=1).mean().item())
figure, axis = plt.subplots(figsize=(5, 3.2), constrained_layout=True)
for (name, values), colour in zip(distances.items(), ("#6b7280", "#2563eb", "#dc2626")):
    axis.loglog(counts, values, marker="o", color=colour, label=name)
axis.set(xlabel="calls of the denoiser", ylabel="mean distance to the fine run")
axis.legend()
plt.show()
### END SOLUTION

# %% [markdown] nbgrader={"grade_id": "experiment_answer", "solution": true, "grade": true, "points": 5}
# ### BEGIN SOLUTION
# For many calls Euler's curve falls with slope -1, the other two with about -2. Heun's steps cost two calls, so with
# the same number of calls its steps are twice as long, and 2M lies below it. With 8 calls Heun is even worse than Euler:
# there the order says little. With 10 calls I would take 2M; with 100 both methods of order 2 are good enough. "Twice as
# many steps" is not the price: the denoiser's calls are, and Heun makes two a step.
# ### END SOLUTION
