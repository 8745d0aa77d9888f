# %% [markdown]
# # Lab 02 · The bound and the variational autoencoder
#
# | | |
# |---|---|
# | Goals | write the evidence lower bound term by term, train with it, and mend a model that has forgotten its latents |
# | Chapters | 02 (probability), 05 (autoencoders and VAEs) |
# | Time | about 75 minutes |
# | Points | 25: six tasks with tests (20), one experiment graded by hand (5) |
# | You need | two CPU cores, no network; the whole notebook runs in less than half a minute |
#
# At the end a small network will have found out, from pictures alone, that a spot has two coordinates. Left: pictures
# and what the model makes of them. Right: the decoder's pictures on a grid of latents; the spot wanders over the frame.
#
# ![Pairs of pictures with a bright spot and their reconstructions; beside them a grid of decoded spots](expected.png)
#
# **How it works.** Replace each `# YOUR CODE HERE` (and the line below it) by your own code. Under each task stand
# tests that say *what* is wrong; more tests run when the lab is graded, on other sizes, types and edge cases. A task is
# graded alone: an error in task 2 does not cost points in task 4. Keep the helpers of a task in its cell. Folded hints
# go one step at a time: try for five minutes before you open the first.
#
# **Notation.** A picture $x$ has $n$ pixels. The prior of the latent $z$ is $\mathcal N(0, I)$. The encoder returns the
# mean $\mu$ and the *logarithm of the variance*, $\log s^2$ (`logvar`), of $q(z \mid x) = \mathcal N(\mu,
# \operatorname{diag} s^2)$; the decoder returns the mean of $p(x \mid z) = \mathcal N(d(z), \sigma^2 I)$. All terms are
# in nats and for *one picture*: sums over its pixels or latents, one number for each picture of a batch.

# %% nbgrader={"grade_id": "setup", "locked": true}
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

torch.set_num_threads(1)
SIZE = 14


def spots(n: int, generator: torch.Generator) -> Tensor:
    """n pictures (n, 196) in [0, 1] of one round spot: two numbers, its place, say all about a picture."""
    place = 3 + (SIZE - 7) * torch.rand(n, 2, 1, 1, generator=generator)
    rows = torch.arange(SIZE).view(1, SIZE, 1)
    columns = torch.arange(SIZE).view(1, 1, SIZE)
    distance = (rows - place[:, 0]) ** 2 + (columns - place[:, 1]) ** 2
    return torch.exp(-distance / 5).flatten(1)


# %% [markdown]
# ## Task 1 · What the code costs (easy, 3 points)
#
# $$ \mathrm{KL}\big(\mathcal N(\mu, \operatorname{diag} s^2) \,\|\, \mathcal N(0, I)\big)
#    = \tfrac12 \sum_j \big(\mu_j^2 + s_j^2 - 1 - \log s_j^2\big) $$
#
# <details><summary>Hint 1</summary>
#
# You are given $\log s^2$. How do you get $s^2$ from it?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The sum is over all latents of one picture: `.flatten(1).sum(1)` works for `(B, d)` and for maps `(B, C, h, w)`.
#
# </details>

# %% nbgrader={"grade_id": "gaussian_kl", "solution": true}
def gaussian_kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL in nats, (B,), of the Gaussians with `mean` and `logvar` (B, ...) from the standard normal."""
    ### BEGIN SOLUTION
    per_latent = 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
    return per_latent.flatten(1).sum(1)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_gaussian_kl", "grade": true, "points": 3}
nothing = gaussian_kl(torch.zeros(3, 4), torch.zeros(3, 4))
assert nothing is not None and nothing.shape == (3,), (
    f"one number for each of the 3 pictures is asked for, not {None if nothing is None else tuple(nothing.shape)}")
assert nothing.abs().max() < 1e-6, (
    f"the standard normal is at distance 0 from itself, not {nothing[0]:.2f}: is the -1 there?")
shifted = gaussian_kl(torch.full((1, 4), 2.0), torch.zeros(1, 4)).item()
assert abs(shifted - 8) < 1e-4, (
    f"four latents with mean 2 and variance 1 cost 4 * 2^2 / 2 = 8 nats, not {shifted:.2f}"
    + (": a sum over the latents, not a mean" if abs(shifted - 2) < 1e-3 else "")
    + (": where is the 1/2?" if abs(shifted - 16) < 1e-3 else ""))
wide = gaussian_kl(torch.zeros(1, 1), torch.full((1, 1), math.log(4.0))).item()
assert abs(wide - 0.5 * (4 - 1 - math.log(4))) < 1e-4, (
    f"mean 0 and variance 4 cost (4 - 1 - log 4) / 2 = 0.807 nats, not {wide:.3f}: logvar is the logarithm of the "
    "variance, not of the standard deviation, and it is q that stands first in the KL")
### BEGIN HIDDEN TESTS
for shape in ((5, 1), (2, 7), (3, 2, 4, 4)):
    mean, logvar = torch.randn(2, *shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)
    q = torch.distributions.Normal(mean, logvar.mul(0.5).exp())
    exact = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(gaussian_kl(mean, logvar), exact, rtol=1e-6, atol=1e-8, msg=(
        f"wrong for latents of shape {shape}: compare with the formula, latent by latent"))
### END HIDDEN TESTS

# %% [markdown]
# ## Task 2 · A sample that gradients pass through (easy, 2 points)
#
# $$ z = \mu + s \odot \varepsilon, \qquad \varepsilon \sim \mathcal N(0, I) $$
#
# The noise is an argument, so that the function can be tested, and the gradient reaches $\mu$ and $s$.
#
# <details><summary>Hint 1</summary>
#
# $s$ is the standard deviation. How do you get it from $\log s^2$ without computing a square root?
#
# </details>

# %% nbgrader={"grade_id": "reparameterise", "solution": true}
def reparameterise(mean: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    """z, the shape of `mean`; mean, logvar and the noise eps have the same shape (B, ...)."""
    ### BEGIN SOLUTION
    return mean + (0.5 * logvar).exp() * eps
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_reparameterise", "grade": true, "points": 2}
mean, logvar = torch.full((40_000, 1), 3.0), torch.full((40_000, 1), math.log(4.0))
z = reparameterise(mean, logvar, torch.randn(40_000, 1, generator=torch.Generator().manual_seed(0)))
assert z is not None and z.shape == (40_000, 1), "z has the shape of the mean"
assert abs(z.mean().item() - 3) < 0.1, f"samples around mean 3 have mean 3, not {z.mean():.2f}"
assert abs(z.std().item() - 2) < 0.1, (
    f"variance 4 means standard deviation 2; your samples have {z.std():.2f}"
    + (": that is the variance" if z.std() > 3 else ": logvar is the logarithm of the variance"))
m, v = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
sampled = reparameterise(m, v, torch.ones(2, 3))
assert sampled.requires_grad, "no gradient reaches mean and logvar: is something detached, or under no_grad?"
sampled.sum().backward()
assert m.grad is not None and torch.allclose(m.grad, torch.ones(2, 3)), "dz/dmean is 1: does the gradient reach it?"
assert v.grad is not None and torch.allclose(v.grad, torch.full((2, 3), 0.5)), (
    "dz/dlogvar is s eps / 2, here 0.5: does the gradient reach it?")
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(4)
for shape in ((4, 2), (2, 3, 4, 4)):
    mean, logvar, eps = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    kept = eps.clone()
    expected = torch.tensor([m + math.sqrt(math.exp(v)) * e for m, v, e in
                             zip(mean.flatten().tolist(), logvar.flatten().tolist(), eps.flatten().tolist())])
    z = reparameterise(mean, logvar, eps)
    torch.testing.assert_close(z.flatten().float(), expected, msg=(
        f"wrong for shape {shape}: use the noise that you are given, with its sign"))
    assert torch.equal(eps, kept), "reparameterise must not change its arguments"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 3 · How well a picture is explained (easy, 3 points)
#
# $$ -\log p(x \mid z) = \frac{1}{2 \sigma^2} \sum_{i=1}^n \big(x_i - d_i(z)\big)^2 + \frac n2 \log(2 \pi \sigma^2) $$
#
# <details><summary>Hint 1</summary>
#
# How many pixels has one picture, whatever the shape of the batch? `x[0].numel()`.
#
# </details>

# %% nbgrader={"grade_id": "gaussian_nll", "solution": true}
def gaussian_nll(x: Tensor, decoded: Tensor, sigma: float) -> Tensor:
    """-log N(x; decoded, sigma^2 I) in nats, (B,), of pictures x (B, ...) and their means `decoded` (B, ...)."""
    ### BEGIN SOLUTION
    squares = (x - decoded).square().flatten(1).sum(1)
    normaliser = 0.5 * x[0].numel() * math.log(2 * math.pi * sigma**2)
    return squares / (2 * sigma**2) + normaliser
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_gaussian_nll", "grade": true, "points": 3}
x = torch.zeros(2, 10)
perfect = gaussian_nll(x, x, 1.0)
assert perfect is not None and perfect.shape == (2,), "one number for each of the 2 pictures is asked for"
assert abs(perfect[0].item() - 9.189) < 1e-2, (
    f"a perfect mean still costs n/2 log(2 pi sigma^2), 9.189 nats for 10 pixels and sigma 1; not {perfect[0]:.3f}")
off = (gaussian_nll(x, x + 3, 1.0) - perfect)[0].item()
assert abs(off - 45) < 1e-2, (
    f"ten pixels that are 3 off cost 10 * 9 / 2 = 45 nats more, not {off:.2f}"
    + (": a sum over the pixels, not a mean" if off < 10 else "") + (": where is the 1/2?" if off > 80 else ""))
sharp = (gaussian_nll(x, x + 3, 0.5) - gaussian_nll(x, x, 0.5))[0].item()
assert abs(sharp - 180) < 1e-2, (
    f"with sigma 0.5 the same error costs 45 / 0.25 = 180 nats, not {sharp:.1f}: the square of sigma divides")
### BEGIN HIDDEN TESTS
for shape, sigma in (((3, 5), 0.3), ((2, 3, 4, 4), 1.7), ((6, 1), 0.05)):
    x, decoded = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = -torch.distributions.Normal(decoded, sigma).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(gaussian_nll(x, decoded, sigma), exact, rtol=1e-6, atol=1e-8, msg=(
        f"wrong for pictures of shape {shape} and sigma {sigma}"))
### END HIDDEN TESTS

# %% [markdown]
# ## Task 4 · The evidence lower bound (medium, 4 points)
#
# $$ \log p(x) \;\ge\; \mathbb E_{q(z \mid x)} \log p(x \mid z) - \mathrm{KL}\big(q(z \mid x) \,\|\, p(z)\big) $$
#
# Estimate the expectation with one sample for each picture; take the KL in closed form. Your functions of tasks 1 to 3
# do the work.
#
# <details><summary>Hint 1</summary>
#
# Encode, sample with `eps`, decode, and put the two terms together. Which of them enters with a minus?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `gaussian_nll` is already *minus* a logarithm.
#
# </details>

# %% nbgrader={"grade_id": "elbo", "solution": true}
def elbo(x: Tensor, encode, decode, sigma: float, eps: Tensor) -> Tensor:
    """The bound in nats, (B,), estimated with one sample for each picture of x (B, n).

    encode(x) -> (mean (B, d), logvar (B, d)); decode(z (B, d)) -> (B, n); eps: noise (B, d).
    """
    ### BEGIN SOLUTION
    mean, logvar = encode(x)
    z = reparameterise(mean, logvar, eps)
    return -gaussian_nll(x, decode(z), sigma) - gaussian_kl(mean, logvar)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_elbo", "grade": true, "points": 4}
# A linear model whose log p(x) is known: z ~ N(0, 1), x = w z + sigma eps.
w, sigma = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), 0.7
x = torch.tensor([[0.5, -1.0, 0.3], [2.0, 1.0, -1.0]], dtype=torch.float64)
covariance = torch.outer(w, w) + sigma**2 * torch.eye(3, dtype=torch.float64)
log_p = torch.distributions.MultivariateNormal(torch.zeros(3, dtype=torch.float64), covariance).log_prob(x)
variance = 1 / (1 + w @ w / sigma**2)                                       # of the exact posterior of z
exact = lambda x: (variance * (x @ w)[:, None] / sigma**2, torch.full((len(x), 1), math.log(variance)).double())
worse = lambda x: (exact(x)[0] + 0.3, exact(x)[1] + 1.0)
decode = lambda z: z * w
eps = torch.randn(40_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
one = elbo(x, exact, decode, sigma, eps[:2])
assert one is not None and one.shape == (2,), "one number for each of the 2 pictures is asked for"
for row in range(2):
    bounds = elbo(x[row:row + 1].expand(40_000, 3), exact, decode, sigma, eps)
    error = 5 * bounds.std().item() / 200
    assert abs(bounds.mean().item() - log_p[row].item()) < error, (
        f"with the exact posterior the bound is tight: its mean should be log p(x) = {log_p[row]:.3f}, and is "
        f"{bounds.mean():.3f}; check the signs of the two terms, and that you decode the sample and not the mean")
    loose = elbo(x[row:row + 1].expand(40_000, 3), worse, decode, sigma, eps).mean().item()
    assert loose < log_p[row].item() - 0.05, "with another q the bound must lie below log p(x): is the KL subtracted?"
### BEGIN HIDDEN TESTS
for row in range(2):                     # the gap is KL(q || exact posterior), for the worse q too
    mean, logvar = worse(x[row:row + 1])
    gap = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, logvar.mul(0.5).exp()),
        torch.distributions.Normal(exact(x[row:row + 1])[0], math.sqrt(variance))).item()
    bounds = elbo(x[row:row + 1].expand(40_000, 3), worse, decode, sigma, eps)
    assert abs(bounds.mean().item() - (log_p[row].item() - gap)) < 5 * bounds.std().item() / 200, (
        f"below log p(x) the bound should lie by KL(q || posterior) = {gap:.3f}, and lies by "
        f"{log_p[row].item() - bounds.mean().item():.3f}")
still = elbo(x, exact, decode, sigma, torch.zeros(2, 1, dtype=torch.float64))
moved = elbo(x, exact, decode, sigma, torch.ones(2, 1, dtype=torch.float64))
assert (still - moved).abs().min() > 1e-3, "the noise must reach the decoder"
alone = torch.cat([elbo(x[row:row + 1], exact, decode, sigma, torch.ones(1, 1).double()) for row in range(2)])
torch.testing.assert_close(moved, alone, msg="a picture's bound must not depend on the rest of the batch")
### END HIDDEN TESTS

# %% [markdown]
# ## Task 5 · A tighter bound from more samples (medium, 4 points)
#
# With $M$ samples $z_m$ from $q$ and their weights $w_m = p(x, z_m) / q(z_m \mid x)$,
#
# $$ \log p(x) \;\ge\; \mathbb E \log \frac 1M \sum_{m=1}^M w_m , $$
#
# and the bound grows with $M$ (Burda, Grosse and Salakhutdinov, 2016). The weights come as logarithms, and in pictures
# of 200 pixels they are numbers like $e^{-700}$ or $e^{700}$: nothing that a float can hold.
#
# <details><summary>Hint 1</summary>
#
# $\log \sum e^{a_m} = a^* + \log \sum e^{a_m - a^*}$ for any $a^*$. Which $a^*$ is safe? Or: which function of PyTorch
# does it?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# What is left is $-\log M$.
#
# </details>

# %% nbgrader={"grade_id": "importance_bound", "solution": true}
def importance_bound(log_weights: Tensor) -> Tensor:
    """log of the mean weight, (B,), for log_weights (B, M): M samples for each of B pictures."""
    ### BEGIN SOLUTION
    count = log_weights.shape[1]
    return torch.logsumexp(log_weights, dim=1) - math.log(count)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_importance_bound", "grade": true, "points": 4}
equal = importance_bound(torch.full((2, 8), -3.0))
assert equal is not None and equal.shape == (2,), "one number for each of the 2 pictures is asked for"
assert torch.allclose(equal, torch.tensor(-3.0), atol=1e-5), (
    f"eight equal weights e^-3 have the mean e^-3; its logarithm is -3, not {equal[0]:.3f}: a mean, not a sum")
two = importance_bound(torch.tensor([[0.0, math.log(3.0)]])).item()
assert abs(two - math.log(2)) < 1e-5, (
    f"the weights 1 and 3 have the mean 2, so the answer is log 2 = 0.693, not {two:.3f}"
    + (": that is the mean of the logarithms, which is the ELBO again" if abs(two - 0.549) < 1e-2 else ""))
for big in (900.0, -900.0):
    value = importance_bound(torch.tensor([[big, big + math.log(3.0)]])).item()
    assert abs(value - big - math.log(2)) < 1e-2, (
        f"weights e^{big:.0f} and 3 e^{big:.0f} give {value}, not {big + math.log(2):.3f}: an exponential that cannot "
        "be held has to be avoided")
### BEGIN HIDDEN TESTS
for shape in ((1, 1), (3, 5), (5, 3), (2, 100)):
    log_weights = 4 * torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    kept = log_weights.clone()
    exact = [math.log(sum(math.exp(a) for a in row) / shape[1]) for row in log_weights.tolist()]
    torch.testing.assert_close(importance_bound(log_weights), torch.tensor(exact, dtype=torch.float64), msg=(
        f"wrong for log_weights of shape {shape}: pictures are rows, samples are columns"))
    assert torch.equal(log_weights, kept), "importance_bound must not change its argument"
mixed = importance_bound(torch.tensor([[-1500.0, -1500.0], [1200.0, -1200.0]], dtype=torch.float64))
torch.testing.assert_close(mixed, torch.tensor([-1500.0, 1200.0 - math.log(2)], dtype=torch.float64), msg=(
    "every picture needs its own shift: one row is near e^-1500, the other near e^1200"))
### END HIDDEN TESTS

# %% [markdown]
# ## Task 6 · A run that went wrong (medium, 4 points)
#
# A colleague trained the autoencoder below on the spots. The loss fell at once and then stood still; every
# reconstruction is the same grey cloud. The next two cells repeat the run and print what was logged.

# %% nbgrader={"grade_id": "broken_run", "locked": true}
class VAE(nn.Module):
    """encode: (B, 196) -> mean, logvar (B, 2); decode: (B, 2) -> (B, 196)."""

    def __init__(self, width: int = 64):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(SIZE**2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
                                     nn.Linear(width, 4))
        self.decoder = nn.Sequential(nn.Linear(2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
                                     nn.Linear(width, SIZE**2))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.encoder(x).chunk(2, dim=1)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)


def broken_loss(x: Tensor, decoded: Tensor, mean: Tensor, logvar: Tensor, sigma: float) -> Tensor:
    """What was minimised."""
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1)
    return F.mse_loss(decoded, x) + kl.mean()


def train(model: VAE, loss, data: Tensor, sigma: float = 0.1, iterations: int = 500) -> VAE:
    """Adam on loss(x, decoded, mean, logvar, sigma)."""
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3, fused=True)
    for _ in range(iterations):
        x = data[torch.randint(len(data), (64,), generator=generator)]
        mean, logvar = model.encode(x)
        z = mean + (0.5 * logvar).exp() * torch.randn(mean.shape, generator=generator)
        optimiser.zero_grad()
        loss(x, model.decode(z), mean, logvar, sigma).backward()
        optimiser.step()
    return model


# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def log(model: VAE, data: Tensor) -> None:
    """What the latents hold, and what the decoder makes of them."""
    mean, logvar = model.encode(data)
    decoded = model.decode(mean)
    print(f"mean squared error {F.mse_loss(decoded, data):.4f} (of the mean picture: {data.var(0).mean():.4f})")
    print(f"KL of a picture {0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1).mean():.3f} nats")
    print(f"spread of the latents' means {mean.std(0).tolist()[0]:.3f} and {mean.std(0).tolist()[1]:.3f}; "
          f"mean of their variances {logvar.exp().mean():.3f}")


torch.manual_seed(0)
data = spots(4000, torch.Generator().manual_seed(0))
log(train(VAE(), broken_loss, data), data)

# %% [markdown]
# What is the cause?
#
# - **a** The learning rate is too high: the encoder jumps about.
# - **b** No gradient reaches the encoder, because its mean and its `logvar` are detached.
# - **c** The error is a *mean* over 196 pixels, the KL a *sum* over the latents: the KL weighs far too much.
# - **d** Two latents are too few for the place of a spot.
#
# Set `cause` to its letter, and write `vae_loss`, minus the evidence lower bound, averaged over the batch. Its
# reconstruction term is that of task 3 with the given `sigma`.
#
# <details><summary>Hint 1</summary>
#
# The variances are 1 and the means 0, to three digits: the encoder gives up on purpose. What would (b) look like?
# (Log a fresh `VAE()`, which nobody has trained.) And how many nats does the reconstruction term of task 3 have to
# offer, compared to `F.mse_loss`?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `gaussian_nll` and `gaussian_kl` are both in nats for a picture. Add them; then the mean over the batch.
#
# </details>

# %% nbgrader={"grade_id": "vae_loss", "solution": true}
cause = ""          # "a", "b", "c" or "d"


def vae_loss(x: Tensor, decoded: Tensor, mean: Tensor, logvar: Tensor, sigma: float) -> Tensor:
    """Minus the bound in nats for a picture, averaged over the batch: a scalar with gradient.

    x, decoded: (B, n); mean, logvar: (B, d).
    """
    ### BEGIN SOLUTION
    nats = gaussian_nll(x, decoded, sigma) + gaussian_kl(mean, logvar)
    return nats.mean()


cause = "c"
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_cause_of_collapse", "grade": true, "points": 1}
assert vae_loss(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 1), torch.zeros(2, 1), 1.0) is not None and \
    cause in list("abcd"), "set `cause` to a, b, c or d, and write vae_loss"
### BEGIN HIDDEN TESTS
assert cause == "c", (
    "that cause would look different in the log: an encoder without gradient, or one that jumps about, does not bring "
    "all means to 0 and all variances to 1, and a place has two coordinates")
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_vae_loss", "grade": true, "points": 3}
x = torch.zeros(4, 196)
base = vae_loss(x, x, torch.zeros(4, 2), torch.zeros(4, 2), 1.0)
assert base is not None and base.shape == (), "the loss is one number, a mean over the batch"
off = (vae_loss(x, x + 1, torch.zeros(4, 2), torch.zeros(4, 2), 1.0) - base).item()
assert abs(off - 98) < 0.1, (
    f"196 pixels that are 1 off cost 196 / 2 = 98 nats for a picture with sigma 1, not {off:.2f}: a sum over pixels, a "
    "mean over the batch")
coded = (vae_loss(x, x, torch.full((4, 2), 2.0), torch.zeros(4, 2), 1.0) - base).item()
assert abs(coded - 4) < 0.01, (
    f"two latents with mean 2 cost 2 * 2^2 / 2 = 4 nats for a picture, not {coded:.2f}: is the KL in the loss, with "
    "weight 1 and averaged over the batch?")
sharp = (vae_loss(x, x + 1, torch.zeros(4, 2), torch.zeros(4, 2), 0.1)
         - vae_loss(x, x, torch.zeros(4, 2), torch.zeros(4, 2), 0.1)).item()
assert abs(sharp - 9800) < 10, f"with sigma 0.1 the same error costs 9800 nats, not {sharp:.0f}: is the error divided by 2 sigma^2?"
### BEGIN HIDDEN TESTS
for batch, pixels, latents, sigma in ((3, 5, 2, 0.3), (7, 20, 6, 1.4)):
    generator = torch.Generator().manual_seed(batch)
    x, decoded = torch.randn(2, batch, pixels, generator=generator, dtype=torch.float64)
    mean, logvar = torch.randn(2, batch, latents, generator=generator, dtype=torch.float64)
    normal = torch.distributions.Normal
    exact = (-normal(decoded, sigma).log_prob(x).sum(1) + torch.distributions.kl_divergence(
        normal(mean, logvar.mul(0.5).exp()), normal(0.0, 1.0)).sum(1)).mean()
    torch.testing.assert_close(vae_loss(x, decoded, mean, logvar, sigma), exact, rtol=1e-6, atol=1e-8, msg=(
        f"wrong for a batch of {batch} with {pixels} pixels and {latents} latents"))
weights = torch.ones(2, 3, requires_grad=True)
loss = vae_loss(torch.zeros(2, 3), weights, weights, weights, 0.5)
assert loss.requires_grad, "no gradient reaches the networks: is something detached?"
### END HIDDEN TESTS

# %% [markdown]
# Now the reward: the same network with your loss. Then walk over its latents.

# %% tags=["nbval-ignore-output", "expected-picture"]
torch.manual_seed(0)
model = train(VAE(), vae_loss, data, iterations=1200)
log(model, data)
fresh = spots(6, torch.Generator().manual_seed(5))
with torch.no_grad():
    copies = model.decode(model.encode(fresh)[0])
    quantiles = torch.distributions.Normal(0.0, 1.0).icdf(torch.linspace(0.06, 0.94, 8))
    walk = model.decode(torch.cartesian_prod(quantiles, quantiles))
sheet = lambda pictures, columns: (F.pad(pictures.view(-1, columns, SIZE, SIZE), (0, 1, 0, 1), value=0.4)
                                   .transpose(1, 2).reshape(-1, columns * (SIZE + 1)))
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=(1.6, 1), constrained_layout=True)
for axis, picture, title in ((axes[0], sheet(torch.cat([fresh, copies]), 6), "above: new pictures; below: reconstructions"),
                             (axes[1], sheet(walk, 8), "decoded grid of latents")):
    axis.imshow(picture, cmap="magma", vmin=0, vmax=1)
    axis.set(title=title, xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Experiment · What a nat buys (5 points, graded by hand)
#
# Train with $\sigma$ = 0.05, 0.2, 0.8 and 3 (same network, same number of iterations). For each, report the *rate* (mean
# KL of a picture, in nats) and the *distortion* (mean squared error of the reconstructions of fresh pictures), and draw
# the four points. Then argue in two or three sentences: what does $\sigma$ decide, and where is the collapse of task 6
# on this curve?
#
# | Rubric | points |
# |---|---|
# | rate and distortion, measured on pictures that were not trained on | 2 |
# | a plot of the four points with named axes | 1 |
# | the argument: $\sigma$ sets the price of an error in nats; `broken_loss` is a bound with $\sigma^2 = n / 2$ | 2 |

# %% nbgrader={"grade_id": "experiment_code", "solution": true} tags=["nbval-ignore-output"]
# Your code: train, measure, draw.
### BEGIN SOLUTION
fresh = spots(1000, torch.Generator().manual_seed(9))
rates, distortions = [], []
for sigma in (0.05, 0.2, 0.8, 3.0):
    torch.manual_seed(0)
    trained = train(VAE(), vae_loss, data, sigma)
    with torch.no_grad():
        mean, logvar = trained.encode(fresh)
        rates.append(gaussian_kl(mean, logvar).mean().item())
        distortions.append(F.mse_loss(trained.decode(mean), fresh).item())
    print(f"sigma {sigma}: rate {rates[-1]:.2f} nats, distortion {distortions[-1]:.4f}")
plt.figure(figsize=(4.5, 3))
plt.plot(rates, distortions, "o-", color="#2563eb")
plt.xlabel("rate: KL of a picture, nats")
plt.ylabel("distortion: mean squared error")
plt.show()
### END SOLUTION

# %% [markdown] nbgrader={"grade_id": "experiment_answer", "solution": true, "grade": true, "points": 5}
# ### BEGIN SOLUTION
# The weight of the squared error is $1 / 2\sigma^2$: $\sigma$ says how many nats an error is worth. With a small one
# the model pays many nats to describe the place exactly; with a large one an error costs less than the code that would
# avoid it, and the rate falls to 0: the decoder draws the mean picture. In `broken_loss` a squared error weighs
# $1 / n$ beside a KL of weight 1: that is the bound with $2\sigma^2 = n$, so $\sigma^2 = 98$ and $\sigma \approx 10$.
# It lies beyond the last point of the curve, where nothing is described.
# ### END SOLUTION
