# %% [markdown]
# # Lab 09 · Guidance and cross-attention
#
# | | |
# |---|---|
# | Goals | let places of a picture look at words; turn the dial called guidance scale, and see what it takes |
# | Chapter | 15 (conditioning); 09 for attention |
# | Time | about 80 minutes |
# | Points | 25: five tasks with tests (20), one experiment graded by hand (5) |
# | You need | two CPU cores, no network; the whole notebook runs in less than half a minute |
#
# At the end your guidance will have drawn the blue class at four scales, with a *perfect* denoiser. At scale 0 the
# question is ignored; at 1 one gets the blue data, exactly; beyond, obedience is bought with variety.
#
# ![Four panels of points on clusters of three colours: spread over all, on blue, huddled at its rim](expected.png)
#
# **How it works.** Replace each `# YOUR CODE HERE` (and the line below it) by your own code. Under each task stand
# tests that say *what* is wrong; more tests run when the lab is graded, on other sizes, types and edge cases. A task is
# graded alone: an error in task 2 does not cost points in task 5. Keep the helpers of a task in its cell. Folded hints
# go one step at a time: try for five minutes before you open the first.
#
# **Notation.** $\hat x_0(x, c)$ is a network's guess of the clean data, told the class $c$; $\hat x_0(x) = \hat x_0(x,
# \varnothing)$ the guess of the same network, told the *null* class. $w$ is the guidance scale: $w = 1$ is the
# conditional model. Here $x_t = x_0 + \sigma \varepsilon$, so a level is named by its $\sigma$.

# %% nbgrader={"grade_id": "setup", "locked": true}
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

torch.set_num_threads(1)

CLASSES, NULL, STD = 3, 3, 0.22
MEANS = torch.tensor([[-1.5, 0.5], [-0.4, 1.1], [-0.35, -0.3], [1.3, 0.7], [0.3, 0.2], [0.7, -1.1],
                      [-1.3, -0.9], [-0.2, -1.6], [0.6, 1.6]])
OWNER = torch.arange(9) // 3                            # three parts for each class


def seeded(seed: int) -> torch.Generator:
    """A source of random numbers of its own."""
    return torch.Generator().manual_seed(seed)


def data(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points (n, 2) of the mixture, and their classes (n,)."""
    part = torch.randint(9, (n,), generator=generator)
    return MEANS[part] + STD * torch.randn(n, 2, generator=generator), OWNER[part]


def log_shares(x: Tensor, sigma: float) -> Tensor:
    """log p(part | x_t = x): (B, 9)."""
    off = x[:, None] - MEANS
    return (-off.square().sum(-1) / (2 * (STD**2 + sigma**2))).log_softmax(1)


def exact_guess(x: Tensor, sigma: float, labels: Tensor) -> Tensor:
    """E[x0 | x_t = x, class], (B, 2), for labels (B,); NULL: of all classes."""
    other = (OWNER != labels[:, None]) & (labels[:, None] != NULL)
    shares = log_shares(x, sigma).masked_fill(other, -torch.inf).softmax(1)
    shrink = STD**2 / (STD**2 + sigma**2)
    return (shares[..., None] * (MEANS + shrink * (x[:, None] - MEANS))).sum(1)


def log_class(x: Tensor, sigma: float, c: int) -> Tensor:
    """log p(class c | x_t = x), (B,): a perfect classifier of noisy points."""
    return log_shares(x, sigma)[:, OWNER == c].logsumexp(1)


def sample(guess, n: int, seed: int = 1, steps: int = 40) -> Tensor:
    """n points (n, 2), by Euler's method; guess(x, sigma) -> x0."""
    root = torch.linspace(20 ** (1 / 5), 0.02 ** (1 / 5), steps) ** 5
    x = 20 * torch.randn(n, 2, generator=seeded(seed))
    with torch.no_grad():
        for now, then in zip(root.tolist(), [*root[1:].tolist(), 0.0]):
            x = x + (then - now) * (x - guess(x, now)) / now
    return x


# %% [markdown]
# ## Task 1 · Let it be looked at (hard, 5 points)
#
# Each place $i$ of a picture asks a question $q_i$; each word $j$ has a key $k_j$ and a value $v_j$. In every head
#
# $$ h_i = \sum_j a_{ij}\, v_j, \qquad
#    a_{ij} = \frac{\exp(q_i \cdot k_j / \sqrt d)}{\sum_{j'} \exp(q_i \cdot k_{j'} / \sqrt d)}, $$
#
# with $d = C / \text{heads}$. Head 0 has the first $d$ channels of $q$, $k$ and $v$, head 1 the next $d$, and so on;
# their results stand side by side in the output. Words of padding (`mask` False) are never looked at: the sum in the
# denominator skips them as well.
#
# <details><summary>Hint 1</summary>
#
# Write it for one head first: `scores = q @ k.transpose(-1, -2) / math.sqrt(d)`, `scores.softmax(-1) @ v`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# For many heads: `(B, N, C)` → `.unflatten(-1, (heads, d))` → `.transpose(1, 2)` gives `(B, heads, N, d)`; at the end
# the same back. (A loop over heads with slices is as good.)
#
# </details>
#
# <details><summary>Hint 3</summary>
#
# The exponential of which number is 0? Put it in the place of the scores of hidden words *before* the softmax.
#
# </details>

# %% nbgrader={"grade_id": "cross_attention", "solution": true}
def cross_attention(places: Tensor, words: Tensor, to_q: Tensor, to_k: Tensor, to_v: Tensor, heads: int,
                    mask: Tensor) -> Tensor:
    """(B, N, C): what each place reads from the words.

    places: (B, N, C); words: (B, M, E); q = places @ to_q (C, C), k = words @ to_k (E, C), v = words @ to_v (E, C);
    mask: (B, M) bool, True where a word may be looked at (at least one of each row).
    """
    ### BEGIN SOLUTION
    d = places.shape[-1] // heads
    q, k, v = (t.unflatten(-1, (heads, d)).transpose(1, 2) for t in (places @ to_q, words @ to_k, words @ to_v))
    scores = q @ k.transpose(-1, -2) / math.sqrt(d)
    scores = scores.masked_fill(~mask[:, None, None, :], -torch.inf)
    return (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_cross_attention", "grade": true, "points": 3}
places, words, everything = torch.randn(2, 5, 4), torch.randn(2, 3, 6), torch.ones(2, 3, dtype=torch.bool)
to_q, to_k, to_v = torch.randn(4, 4), torch.randn(6, 4), torch.randn(6, 4)
out = cross_attention(places, words, to_q, to_k, to_v, 2, everything)
assert out.shape == (2, 5, 4), f"5 places of 4 channels stay (2, 5, 4), not {tuple(out.shape)}"
blank = cross_attention(places, words, 0 * to_q, to_k, to_v, 2, everything)
torch.testing.assert_close(blank, (words @ to_v).mean(1, keepdim=True).expand(2, 5, 4), msg=(
    "a place whose question is 0 looks at all words alike and reads the mean of their values: is the softmax over the "
    "words, and are heads put back in order?"))
one = torch.eye(2)
read = cross_attention(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[3.0, 0.0], [0.0, 1.0]]]), one, one, one, 1,
                       torch.ones(1, 2, dtype=torch.bool))[0, 0]
share = 1 / (1 + math.exp(-3 / math.sqrt(2)))
assert abs(read[1] - (1 - share)) < 1e-4, (
    f"scores 3 / sqrt(2) and 0: the second word gets {1 - share:.4f} of the attention, not {read[1]:.4f}: is the score "
    "divided by sqrt(d), and only once?")
### BEGIN HIDDEN TESTS
for n, m, channels, width, heads in ((3, 2, 6, 5, 1), (2, 5, 8, 3, 4), (4, 4, 6, 6, 3)):
    places, words = torch.randn(2, n, channels), torch.randn(2, m, width)
    to_q, to_k, to_v = torch.randn(channels, channels), torch.randn(width, channels), torch.randn(width, channels)
    out = cross_attention(places, words, to_q, to_k, to_v, heads, torch.ones(2, m, dtype=torch.bool))
    d = channels // heads
    for b in range(2):
        for i in range(n):
            for c in range(channels):
                first = c // d * d
                question = [float(places[b, i] @ to_q[:, first + j]) for j in range(d)]
                scores = [sum(question[j] * float(words[b, word] @ to_k[:, first + j]) for j in range(d)) / math.sqrt(d)
                          for word in range(m)]
                top = max(scores)
                powers = [math.exp(score - top) for score in scores]
                expected = sum(p * float(words[b, word] @ to_v[:, c]) for word, p in enumerate(powers)) / sum(powers)
                assert abs(out[b, i, c] - expected) < 1e-3, (
                    f"{heads} heads, place {i}, channel {c}: {expected:.4f}, not {out[b, i, c]:.4f}: head h has "
                    "channels h * d to (h + 1) * d, and scores are divided by sqrt(d), d = C / heads")
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_cross_attention_mask", "grade": true, "points": 2}
places, words = torch.randn(2, 5, 4), torch.randn(2, 4, 6)
to_q, to_k, to_v = torch.randn(4, 4), torch.randn(6, 4), torch.randn(6, 4)
seen = torch.tensor([[True, True, False, False], [True, False, True, True]])
out = cross_attention(places, words, to_q, to_k, to_v, 2, seen)
alone = torch.cat([cross_attention(places[b:b + 1], words[b:b + 1, seen[b]], to_q, to_k, to_v, 2,
                                   seen[b:b + 1, seen[b]]) for b in range(2)])
torch.testing.assert_close(out, alone, rtol=1e-4, atol=1e-5, msg=(
    "with padding the result differs from that without: True means that a word may be looked at, and a hidden word "
    "must be missing from the softmax's denominator, too"))
other = torch.where(seen[..., None], words, torch.randn(2, 4, 6))
assert torch.allclose(out, cross_attention(places, other, to_q, to_k, to_v, 2, seen), atol=1e-5), (
    "a hidden word changes the result: the mask is ignored or upside down")
### BEGIN HIDDEN TESTS
for visible in (0, 1, 2):
    single = torch.zeros(3, 3, dtype=torch.bool)
    single[:, visible] = True
    places, words = torch.randn(3, 2, 6), torch.randn(3, 3, 4)
    to_q, to_k, to_v = 3 * torch.randn(6, 6), torch.randn(4, 6), torch.randn(4, 6)
    out = cross_attention(places, words, to_q, to_k, to_v, 3, single)
    expected = torch.stack([torch.stack([words[b, visible] @ to_v] * 2) for b in range(3)])
    torch.testing.assert_close(out, expected, rtol=1e-3, atol=1e-4, msg=(
        f"only word {visible} may be looked at: every place reads exactly its value"))
### END HIDDEN TESTS

# %% [markdown]
# What attention does not see is *order*: the next cell exchanges words.

# %% tags=["nbval-ignore-output"]
places, words = torch.randn(1, 5, 4, generator=seeded(3)), torch.randn(1, 4, 4, generator=seeded(4))
visible, one = torch.ones(1, 4, dtype=torch.bool), torch.eye(4)
change = cross_attention(places, words[:, [3, 1, 0, 2]], one, one, one, 2, visible) \
    - cross_attention(places, words, one, one, one, 2, visible)
print(f"largest change when the words are exchanged: {change.abs().max():.1e}")

# %% [markdown]
# ## Task 2 · The dial (medium, 4 points)
#
# $$ \hat x_0^{\,w} = \hat x_0(x) + w\, \big( \hat x_0(x, c) - \hat x_0(x) \big) $$
#
# Only inside an interval of levels, $\sigma_{\text{lo}} \le \sigma \le \sigma_{\text{hi}}$; elsewhere the conditional
# guess is used as it is. Both guesses come from **one** call of the network on a batch of twice the size (this is how
# it is done: one large call is cheaper than two). At $w = 1$ and outside the interval the second half is not needed:
# call the network with the B rows only.
#
# <details><summary>Hint 1</summary>
#
# `torch.cat([x, x])` and `torch.cat([labels, null])`; `.chunk(2)` takes the answer apart. In which order?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Check the convention: what does your formula say at $w = 0$, and at $w = 1$?
#
# </details>

# %% nbgrader={"grade_id": "guided_guess", "solution": true}
def guided_guess(network, x: Tensor, sigma: float, labels: Tensor, null: Tensor, scale: float,
                 interval: tuple[float, float] = (0.0, math.inf)) -> Tensor:
    """The guided guess, shape of x. network(x (R, ...), sigma, labels (R,)) -> guesses (R, ...), for any number R.

    x: (B, ...); labels, null: (B,) int64, what to move towards, and what from (the null class, or a negative one).
    """
    ### BEGIN SOLUTION
    if scale == 1 or not interval[0] <= sigma <= interval[1]:
        return network(x, sigma, labels)
    both = network(torch.cat([x, x]), sigma, torch.cat([labels, null]))
    conditional, unconditional = both.chunk(2)
    return unconditional + scale * (conditional - unconditional)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_guided_guess", "grade": true, "points": 3}
table = torch.tensor([1.0, 5.0, -2.0, 0.5])                              # this network adds a number for each class


def simple(x: Tensor, sigma: float, labels: Tensor) -> Tensor:
    """x + table[labels]."""
    return x + table[labels].view(-1, *[1] * (x.ndim - 1))


x, labels, null = torch.zeros(2, 2), torch.tensor([0, 1]), torch.tensor([3, 3])
for scale, wanted, why in ((1.0, [1.0, 5.0], "scale 1 is the conditional guess"),
                           (0.0, [0.5, 0.5], "scale 0 is the guess with the null class"),
                           (3.0, [2.0, 14.0], "scale 3 goes three times the way from null to condition")):
    found = guided_guess(simple, x, 1.0, labels, null, scale)[:, 0].tolist()
    assert all(abs(a - b) < 1e-5 for a, b in zip(found, wanted)), f"{why}: {wanted} here, not {found}"
outside = guided_guess(simple, x, 5.0, labels, null, 3.0, (0.5, 2.0))[:, 0].tolist()
assert outside == [1.0, 5.0], f"outside the interval the conditional guess [1, 5] is used, not {outside}"
### BEGIN HIDDEN TESTS
for shape in ((4, 2), (3, 1, 5, 5), (6,)):
    x = torch.randn(shape)
    told, avoid = torch.randint(4, shape[:1]), torch.randint(4, shape[:1])       # a negative class for each row
    for scale, sigma in ((7.5, 0.5), (-1.0, 1.0), (2.0, 2.0), (0.5, 0.1), (4.0, 2.1)):
        found = guided_guess(simple, x, sigma, told, avoid, scale, (0.5, 2.0))
        used = scale if sigma in (0.5, 1.0, 2.0) else 1.0
        for row in range(shape[0]):
            c, n = table[told[row]].item(), table[avoid[row]].item()
            wanted = x[row] + (1 - used) * n + used * c
            torch.testing.assert_close(found[row], wanted, rtol=1e-4, atol=1e-4, msg=(
                f"scale {scale}, sigma {sigma}, interval 0.5 to 2 (ends included), x of shape {shape}: wrong guess"))
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_guided_guess_calls", "grade": true, "points": 1}
calls = []


def watched(x: Tensor, sigma: float, labels: Tensor) -> Tensor:
    """Writes down how many rows it is asked about."""
    calls.append(len(x))
    assert len(labels) == len(x), f"{len(x)} rows of x, but {len(labels)} labels"
    return x * labels.view(-1, 1)


x, labels, null = torch.ones(3, 2), torch.tensor([0, 1, 2]), torch.full((3,), 3)
result = guided_guess(watched, x, 1.0, labels, null, 2.0)
assert calls == [6], f"with guidance: one call with twice the rows, [6], not {calls}"
assert abs(result[2, 0] - 1) < 1e-5, f"labels 2 and 3 at scale 2 give 3 + 2 * (2 - 3) = 1, not {result[2, 0]:.2f}"
### BEGIN HIDDEN TESTS
for scale, interval, wanted in ((1.0, (0.0, math.inf), [3]), (4.0, (2.0, 3.0), [3])):
    calls.clear()
    guided_guess(watched, x, 1.0, labels, null, scale, interval)
    assert calls == wanted, f"scale {scale}, sigma 1, interval {interval}: calls with {wanted} rows, not {calls}"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 3 · Taming the size (easy, 3 points)
#
# Large scales make guesses too large. `rescale` keeps the direction and takes back the size: with the standard
# deviations of each guess *over everything but the batch*, and a share $\varphi$ between 0 and 1,
#
# $$ \hat x_0' = \hat x_0^{\,w}\, \Big( \varphi\,
#    \frac{\operatorname{std}\, \hat x_0(x, c)}{\operatorname{std}\, \hat x_0^{\,w}} + 1 - \varphi \Big) . $$
#
# A guess without any deviation (a grey picture) must not give NaN: take at least $10^{-8}$ in the denominator.
#
# <details><summary>Hint 1</summary>
#
# `x.std(dim=(1, 2, 3), keepdim=True)` is one number for each picture, and broadcasts.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# For any number of dimensions: `dim=tuple(range(1, x.ndim))`.
#
# </details>

# %% nbgrader={"grade_id": "rescale", "solution": true}
def rescale(guided: Tensor, conditional: Tensor, share: float) -> Tensor:
    """The guided guess (B, ...), rescaled by the share phi (0 to 1) towards the size of the conditional one."""
    ### BEGIN SOLUTION
    axes = tuple(range(1, guided.ndim))
    wanted, found = conditional.std(dim=axes, keepdim=True), guided.std(dim=axes, keepdim=True)
    factor = wanted / found.clamp(min=1e-8)
    return guided * (share * factor + 1 - share)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_rescale", "grade": true, "points": 3}
small = torch.randn(2, 3, 4, 4)
large = small * torch.tensor([3.0, 5.0]).view(2, 1, 1, 1)
whole, half = rescale(large, small, 1.0), rescale(large, small, 0.5)
assert whole.shape == (2, 3, 4, 4), f"the shape stays (2, 3, 4, 4), it is not {tuple(whole.shape)}"
torch.testing.assert_close(rescale(large, small, 0.0), large, msg="phi = 0 changes nothing")
torch.testing.assert_close(whole, small, rtol=1e-3, atol=1e-4, msg=(
    "guesses that are 3 and 5 times too large come back with phi = 1: is there one factor for each picture, standard "
    "deviation of the conditional guess over that of the guided one?"))
torch.testing.assert_close(half, small * torch.tensor([2.0, 3.0]).view(2, 1, 1, 1), rtol=1e-3, atol=1e-4, msg=(
    "phi = 0.5 brings factors 3 and 5 to 2 and 3, half of the way"))
### BEGIN HIDDEN TESTS
for shape in ((5, 2), (3, 7, 2), (2, 3, 4, 4)):
    guided, conditional = 1 + 3 * torch.randn(shape), 2 * torch.randn(shape) - 4
    kept = guided.clone()
    for share in (0.3, 0.7, 1.0):
        found = rescale(guided, conditional, share)
        for row in range(shape[0]):
            deviations = []
            for numbers in (conditional[row].flatten().tolist(), guided[row].flatten().tolist()):
                mean = math.fsum(numbers) / len(numbers)
                deviations.append(math.sqrt(math.fsum((v - mean) ** 2 for v in numbers)))
            factor = share * deviations[0] / deviations[1] + 1 - share
            torch.testing.assert_close(found[row], kept[row] * factor, rtol=1e-3, atol=1e-4, msg=(
                f"guesses of shape {shape} that are not centred, phi = {share}: picture {row} should be multiplied by "
                f"{factor:.3f}: the standard deviation is taken around the mean"))
    assert torch.equal(guided, kept), "rescale must not change its arguments"
grey = rescale(torch.zeros(2, 1, 3, 3), torch.zeros(2, 1, 3, 3), 0.7)
assert grey.isfinite().all() and (grey == 0).all(), "a guess without deviation gives NaN: 1e-8 in the denominator"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 4 · With a classifier (medium, 4 points)
#
# Before classifier-free guidance there was a classifier of *noisy* pictures. By Bayes' rule and Tweedie's formula
#
# $$ \hat x_0^{\,w} = \hat x_0(x) + w\, \sigma^2\, \nabla_x \log p(c \mid x) . $$
#
# With a perfect classifier and $w = 1$ this *is* the conditional guess. Samplers run under `torch.no_grad()`; yet you
# need a gradient. And the guess that you return must not hang on a graph, `x` must not be changed, and the classifier's
# own weights must get no gradients.
#
# <details><summary>Hint 1</summary>
#
# `with torch.enable_grad():` works inside `torch.no_grad()`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Make a copy that asks for gradients, `x.detach().clone().requires_grad_()`. Each row's logarithm depends on its own
# row only: the gradient of the *sum* over rows has every row's gradient.
#
# </details>

# %% nbgrader={"grade_id": "classifier_guess", "solution": true}
def classifier_guess(x: Tensor, guess: Tensor, log_probability, sigma: float, w: float) -> Tensor:
    """The guided guess, shape of x, without a graph; also under torch.no_grad().

    x: (B, ...); guess: the unconditional guess, (B, ...); log_probability(x) -> log p(c | x), (B,), differentiable.
    """
    ### BEGIN SOLUTION
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        slope, = torch.autograd.grad(log_probability(leaf).sum(), leaf)
    return (guess + w * sigma**2 * slope).detach()
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_classifier_guess", "grade": true, "points": 3}
x = torch.tensor([[1.0, 2.0], [-3.0, 0.5]])
found = classifier_guess(x, torch.zeros(2, 2), lambda x: -x.square().sum(1) / 2, 2.0, 0.5)
assert found.shape == (2, 2), f"the guess has the shape of x, (2, 2), not {tuple(found.shape)}"
torch.testing.assert_close(found.detach(), -2 * x, msg=(
    f"log p = -|x|^2 / 2 has the gradient -x; with sigma = 2 and w = 0.5 the push is 0.5 * 4 * (-x) = -2 x; you have "
    f"{[round(v, 2) for v in (found / x)[0].tolist()]} times x: sigma squared, the sign, a sum over rows (no mean)?"))
assert not found.requires_grad, "the guess must not hang on a graph: detach it"
### BEGIN HIDDEN TESTS
points = 2 * torch.randn(40, 2)
for sigma, c in ((0.3, 0), (1.0, 1), (4.0, 2)):
    nothing = torch.full((40,), NULL)
    found = classifier_guess(points, exact_guess(points, sigma, nothing), lambda x: log_class(x, sigma, c), sigma, 1.0)
    torch.testing.assert_close(found, exact_guess(points, sigma, torch.full((40,), c)), rtol=1e-2, atol=1e-3, msg=(
        f"with the perfect classifier, w = 1 and sigma = {sigma} the result must be the conditional guess"))
picture = torch.randn(3, 2, 4, 4)
found = classifier_guess(picture, picture, lambda x: (2 * x).flatten(1).sum(1), 0.5, 3.0)
torch.testing.assert_close(found, picture + 1.5, msg="x may have any number of dimensions: the push is 3 * 0.25 * 2")
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_classifier_guess_quiet", "grade": true, "points": 1}
x = torch.tensor([[1.0, 2.0], [-3.0, 0.5]])
try:
    with torch.no_grad():
        found = classifier_guess(x, torch.zeros(2, 2), lambda x: -x.square().sum(1) / 2, 1.0, 1.0)
except RuntimeError as error:
    raise AssertionError("under torch.no_grad() there is no gradient: see torch.enable_grad") from error
assert torch.allclose(found.detach(), -x), f"under torch.no_grad() the result should be -x, not {found.tolist()}"
assert not x.requires_grad and x.grad is None, "x itself was made to ask for gradients: work on a copy"
### BEGIN HIDDEN TESTS
weight = torch.ones(2, requires_grad=True)                              # the classifier has parameters
kept = x.clone()
found = classifier_guess(x, x, lambda x: (weight * x).sum(1), 1.0, 2.0)
assert weight.grad is None, "the classifier's weights got gradients: ask for the gradient of x only"
assert torch.equal(x, kept) and torch.allclose(found, kept + 2), "x must not be changed"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 5 · A class that does not listen (medium, 4 points)
#
# To know both guesses, a network is trained with labels that are dropped now and then: the null class takes their
# place. A colleague wrote the function below. The network trains well; guidance works for two of the three classes, and
# does nothing at all for the other one.

# %% nbgrader={"grade_id": "broken_run", "locked": true}
def broken_drop(labels: Tensor, null: int, probability: float, generator: torch.Generator) -> Tensor:
    """The labels, dropped with the probability."""
    keep = torch.rand(len(labels), generator=generator) >= probability
    return labels * keep


class Network(nn.Module):
    """Points (B, 2), a level sigma (a number, or (B, 1)), labels (B,) -> a guess of the clean points (B, 2)."""

    def __init__(self, width: int = 96):
        super().__init__()
        self.table = nn.Embedding(CLASSES + 1, 16)
        self.layers = nn.Sequential(nn.Linear(2 + 2 + 16, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
                                    nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2))

    def forward(self, x: Tensor, sigma, labels: Tensor) -> Tensor:
        sigma = torch.as_tensor(sigma).expand(len(x), 1)
        scaled, level = x / (1 + sigma**2).sqrt(), sigma.log()
        out = self.layers(torch.cat([scaled, level / 2, level.cos(), self.table(labels)], dim=1))
        return x / (1 + sigma**2) + out * sigma / (1 + sigma**2).sqrt()


def train(drop, iterations: int = 1500) -> Network:
    """Adam on the squared error of the guess, weighted by 1 + 1 / sigma^2."""
    torch.manual_seed(0)
    network, generator = Network(), seeded(0)
    optimiser = torch.optim.Adam(network.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, iterations)
    for _ in range(iterations):
        clean, labels = data(256, generator)
        sigma = (1.4 * torch.randn(256, 1, generator=generator) - 0.3).exp()
        noisy = clean + sigma * torch.randn(256, 2, generator=generator)
        told = drop(labels, NULL, 0.25, generator)
        loss = ((network(noisy, sigma, told) - clean).square() * (1 + sigma**2) / sigma**2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network


# %% tags=["nbval-ignore-output"]
def log(network: nn.Module, null: int) -> None:
    """For each class: what guidance from `null` does."""
    print("class  recognised at scale 1, 3   deviation at scale 1, 3   |guess - null guess|")
    for c in range(CLASSES):
        labels, other = torch.full((500,), c), torch.full((500,), null)
        drawn = [sample(lambda x, sigma, w=w: guided_guess(network, x, sigma, labels, other, w), 500)
                 for w in (1.0, 3.0)]
        right = [log_class(points, 0.0, c).exp().mean().item() for points in drawn]
        wide = [points.std(dim=0).mean().item() for points in drawn]
        noisy = torch.randn(500, 2, generator=seeded(5))
        with torch.no_grad():
            apart = (network(noisy, 0.7, labels) - network(noisy, 0.7, other)).norm(dim=1).mean().item()
        print(f"{c:5} {right[0]:15.2f} {right[1]:8.2f} {wide[0]:20.2f} {wide[1]:6.2f} {apart:18.3f}")


print("the colleague's network, which takes 0 for the null class:")
log(train(broken_drop), null=0)

# %% [markdown]
# What is the cause?
#
# - **a** Labels are dropped too often: the network forgets the classes.
# - **b** The scale is too large for this class.
# - **c** A dropped label cannot be told from a real class: one number means two things.
# - **d** All labels of a batch are dropped together.
#
# Set `cause` to its letter, and write the function as it should be: each label, independently of the others, becomes
# `null` with the given probability.
#
# <details><summary>Hint 1</summary>
#
# Which class is it? What does `labels * keep` make of a dropped label? What else has this number?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.where(condition, a, b)`; one random number for each label.
#
# </details>

# %% nbgrader={"grade_id": "drop_labels", "solution": true}
cause = ""          # "a", "b", "c" or "d"


def drop_labels(labels: Tensor, null: int, probability: float, generator: torch.Generator) -> Tensor:
    """The labels (B,) int64, each replaced by `null` with the probability; generator: for all randomness."""
    ### BEGIN SOLUTION
    drop = torch.rand(len(labels), generator=generator) < probability
    return torch.where(drop, null, labels)


cause = "c"
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_cause", "grade": true, "points": 1}
assert drop_labels(torch.arange(3), 3, 0.5, seeded(0)) is not None and cause in list("abcd"), (
    "set `cause` to a, b, c or d, and write drop_labels")
### BEGIN HIDDEN TESTS
assert cause == "c", (
    "too much dropping, or whole batches, would touch all classes alike, and here even scale 1 does badly. Look at the "
    "class whose guess does not differ from the null guess at all: which label does it have?")
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_drop_labels", "grade": true, "points": 3}
labels = torch.arange(9000) % 3
kept = labels.clone()
told = drop_labels(labels, 3, 0.25, seeded(1))
assert torch.equal(labels, kept), "drop_labels must not change its argument"
assert told.shape == (9000,) and told.dtype == torch.int64, (
    f"the result is (9000,) int64 like the labels, not {tuple(told.shape)} {told.dtype}")
assert ((told == labels) | (told == 3)).all(), "a label stays what it is or becomes null, 3; yours become others"
share = (told == 3).double().mean().item()
assert abs(share - 0.25) < 0.03, (
    f"a quarter of the labels should be dropped, not {share:.2f}"
    + (": each label for itself, not the whole batch" if share in (0, 1) else ""))
### BEGIN HIDDEN TESTS
for null, probability in ((7, 0.1), (3, 0.6), (1000, 0.25)):
    told = drop_labels(labels, null, probability, seeded(2))
    for c in range(3):
        share = (told[labels == c] == null).double().mean().item()
        assert abs(share - probability) < 0.05, (
            f"of class {c} {share:.2f} became null = {null}, with probability {probability}")
    pairs = (told[:-1] == null) & (told[1:] == null)
    assert abs(pairs.double().mean() - probability**2) < 0.05, "labels are dropped in groups: draw one for each"
    assert torch.equal(told, drop_labels(labels, null, probability, seeded(2))), (
        "generators with the same seed must give the same labels: draw with `generator`")
assert torch.equal(drop_labels(labels, 3, 0.0, seeded(3)), labels), "with probability 0 nothing is dropped"
assert (drop_labels(labels, 3, 1.0, seeded(3)) == 3).all(), "with probability 1 everything is dropped"
### END HIDDEN TESTS

# %% [markdown]
# The same training with your function, and a null class of its own:

# %% tags=["nbval-ignore-output"]
network = train(drop_labels)
log(network, null=NULL)

# %% [markdown]
# And the reward: the dial, with the perfect denoiser.

# %% tags=["nbval-ignore-output", "expected-picture"]
blue, nothing = torch.zeros(600, dtype=torch.int64), torch.full((600,), NULL)
points, owner = data(1500, seeded(6))
figure, axes = plt.subplots(1, 4, figsize=(11.5, 3.1), sharey=True, constrained_layout=True)
for axis, scale in zip(axes, (0.0, 1.0, 3.0, 8.0)):
    for c, colour in enumerate(("#93c5fd", "#fca5a5", "#fcd34d")):
        axis.scatter(*points[owner == c].T, s=6, color=colour, alpha=0.5, linewidths=0)
    drawn = sample(lambda x, sigma, w=scale: guided_guess(exact_guess, x, sigma, blue, nothing, w), 600)
    axis.scatter(*drawn.T, s=4, color="#1e3a8a")
    axis.set(title=f"blue, guidance scale {scale:g}", aspect="equal", xlim=(-3, 2.4), ylim=(-2.5, 2.6))
plt.show()

# %% [markdown]
# ## Experiment · What does obedience cost? (5 points, graded by hand)
#
# With the trained network or the exact one, draw 500 points of class 0 (blue) at five scales or more between 0 and 8.
# Plot over the scale: how many are recognised (`log_class(points, 0.0, c).exp().mean()`), and their standard deviation.
# Repeat with guidance in an interval of your choice, say $0.3 \le \sigma \le 2$. Then argue in three or four
# sentences: which scale would you ship, what does the interval save, and why can the samples at scale 8 *not* be
# described as "the most typical points of the class"?
#
# | Rubric | points |
# |---|---|
# | two curves over at least five scales, with and without interval, axes labelled | 2 |
# | a scale is recommended from the numbers: where recognition has levelled off and deviation has not collapsed | 1 |
# | the argument: guidance flees from other classes to a rim with few data; widths shrink exponentially | 2 |

# %% nbgrader={"grade_id": "experiment_code", "solution": true} tags=["nbval-ignore-output"]
# Your code: the sweep, the plot.
### BEGIN SOLUTION
told, other = torch.zeros(500, dtype=torch.int64), torch.full((500,), NULL)
dial = [0.0, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0]
figure, axes = plt.subplots(1, 2, figsize=(9, 3), constrained_layout=True)
for where in ((0.0, math.inf), (0.3, 2.0)):
    clouds = [sample(lambda x, sigma, w=w: guided_guess(network, x, sigma, told, other, w, where), 500) for w in dial]
    axes[0].plot(dial, [log_class(cloud, 0.0, 0).exp().mean() for cloud in clouds], marker="o", label=f"{where}")
    axes[1].plot(dial, [cloud.std(dim=0).mean() for cloud in clouds], marker="o", label=f"{where}")
for axis, title in zip(axes, ("recognised", "standard deviation")):
    axis.set(xlabel="guidance scale", title=title, ylim=(0, None))
    axis.legend()
plt.show()
### END SOLUTION

# %% [markdown] nbgrader={"grade_id": "experiment_answer", "solution": true, "grade": true, "points": 5}
# ### BEGIN SOLUTION
# From scale 0 to 1 recognition rises most; beyond 1.5 or 2 it has levelled off while the deviation goes on falling, so
# I would ship a scale between 1 and 2. The interval leaves the high levels alone, where the large decisions (which
# part?) are made: variety is kept longer. At scale 8 points are not typical: guidance pushes away from the other
# classes, so they gather at the far rim of the class where data are few, and the width falls exponentially in $w$.
# ### END SOLUTION
