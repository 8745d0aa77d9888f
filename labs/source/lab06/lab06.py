# %% [markdown]
# # Lab 06 · A prior over codes: attention, a causal transformer, sampling
#
# | | |
# |---|---|
# | Goals | write attention, the likelihood of a sequence and a sampler, and see why the future must be masked |
# | Chapters | 09 (sampling from codes) |
# | Time | about 80 minutes |
# | Points | 25: six tasks with tests (20), one experiment graded by hand (5) |
# | You need | two CPU cores, no network; the whole notebook runs in less than half a minute |
#
# At the end a small transformer will have learned the grammar of woven patterns, code by code. Left: data. Middle: what
# an untrained prior draws. Right: what your code draws.
#
# ![Three sheets of little patterns of four colours: striped data, coloured noise, and striped samples](expected.png)
#
# **How it works.** Replace each `# YOUR CODE HERE` (and the line below it) by your own code. Under each task stand
# tests that say *what* is wrong; more tests run when the lab is graded, on other sizes, types and edge cases. A task is
# graded alone: an error in task 1 does not cost points in task 5. Keep the helpers of a task in its cell. Folded hints
# go one step at a time: try for five minutes before you open the first.
#
# **Notation.** A picture is a sequence of $L$ codes $c_1, \dots, c_L$ of an alphabet of $K$, read row by row. The model
# gives $\log p(c_i \mid c_1, \dots, c_{i-1})$ for all $i$ at once: row $i$ of its logits, shape `(B, L, K)`, predicts
# $c_i$. What it reads is the same sequence moved by one, with a start token, number $K$, in front.

# %% nbgrader={"grade_id": "setup", "locked": true}
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.colors import ListedColormap
from torch import Tensor, nn

torch.set_num_threads(1)
SIDE, K = 5, 4
COLOURS = ListedColormap(["#1e3a8a", "#f59e0b", "#dc2626", "#f1f5f9"])


def weaves(n: int, generator: torch.Generator) -> Tensor:
    """n patterns (n, 25) of codes 0 to 3: rows, columns or diagonals in two colours, two of each in turn."""
    rows, columns = torch.arange(SIDE).view(1, SIDE, 1), torch.arange(SIDE).view(1, 1, SIDE)
    kind = torch.randint(3, (n, 1, 1), generator=generator)
    phase = torch.randint(4, (n, 1, 1), generator=generator)
    place = torch.where(kind == 0, rows + 0 * columns, torch.where(kind == 1, columns + 0 * rows, rows + columns))
    pair = torch.rand(n, K, generator=generator).argsort(1)[:, :2]
    second = (place + phase) // 2 % 2
    return pair.gather(1, second.flatten(1))


# %% [markdown]
# ## Task 1 · Attention (medium, 4 points)
#
# $$ \operatorname{out}_i = \sum_j a_{ij} v_j, \qquad
#    a_{ij} = \operatorname{softmax}_j \Big( \frac{q_i \cdot k_j}{\sqrt d} + m_{ij} \Big) $$
#
# $m_{ij}$ is 0 where position $i$ may look at position $j$, and $-\infty$ where it may not; $d$ is the number of
# channels of a query.
#
# <details><summary>Hint 1</summary>
#
# All products at once: `q @ k.transpose(-1, -2)` is `(..., L, L)`. $d$ is the last size of `q`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `scores.masked_fill(~allowed, -math.inf)` before the softmax. Over which of the two positions does it run?
#
# </details>

# %% nbgrader={"grade_id": "attend", "solution": true}
def attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Attention, (..., L, e), of queries and keys (..., L, d) and values (..., L, e).

    allowed: (L, L) bool, True where position i (row) may look at position j (column); None: everywhere.
    """
    ### BEGIN SOLUTION
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    return scores.softmax(dim=-1) @ v
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_attend", "grade": true, "points": 3}
q, k, v = torch.zeros(2, 5, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 3)
mean = attend(q, k, v)
assert mean is not None and mean.shape == (2, 5, 3), "the result has a row for each query, as wide as the values"
torch.testing.assert_close(mean, v.mean(1, keepdim=True).expand(2, 5, 3), msg=(
    "queries of zeros look everywhere alike: the result should be the mean of the values"))
one, big = torch.eye(4)[None], torch.arange(4.0).view(1, 4, 1)
sharp = attend(200 * one, one, big)
torch.testing.assert_close(sharp, big, atol=1e-3, rtol=0, msg=(
    "query i is the i-th key, two hundred times: it should see the i-th value alone; is the softmax over the keys?"))
wide = attend(torch.ones(1, 2, 64), torch.stack([torch.zeros(64), torch.full((64,), math.log(3) / 8)])[None],
              torch.tensor([[[0.0], [1.0]]]))[0, 0].item()
assert abs(wide - 0.75) < 1e-3, (
    f"the scores 0 and 8 log 3, divided by sqrt(64), give the weights 1/4 and 3/4; you have {wide:.2f} for the second"
    + (": divide by the root of d, not by d" if abs(wide - 0.534) < 0.01 else ": is the score divided by sqrt(d)?"))
### BEGIN HIDDEN TESTS
for shape, width in (((1, 3, 2), 2), ((2, 6, 5), 4), ((2, 3, 4, 7), 7)):
    generator = torch.Generator().manual_seed(width)
    q, k = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    v = torch.randn(*shape[:-1], width, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(attend(q, k, v), F.scaled_dot_product_attention(q, k, v), msg=(
        f"wrong for queries of shape {shape} and values of width {width}"))
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_attend_mask", "grade": true, "points": 1}
v = torch.randn(1, 4, 2)
alone = attend(torch.randn(1, 4, 3), torch.randn(1, 4, 3), v, torch.eye(4, dtype=torch.bool))
torch.testing.assert_close(alone, v, msg="positions that may look at themselves only see their own value")
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(0)
q, k, v = torch.randn(3, 2, 5, 4, generator=generator, dtype=torch.float64)
allowed = torch.tensor([[1, 0, 0, 0, 0], [1, 1, 0, 0, 1], [0, 1, 1, 0, 0], [1, 1, 1, 1, 0], [0, 0, 1, 0, 1]]).bool()
torch.testing.assert_close(attend(q, k, v, allowed), F.scaled_dot_product_attention(q, k, v, attn_mask=allowed), msg=(
    "wrong with a mask: rows are queries, columns are keys; a forbidden key has no weight, and the rest add up to 1"))
### END HIDDEN TESTS

# %% [markdown]
# ## Task 2 · No look ahead (easy, 2 points)
#
# Position $i$ may see itself and what came before. (Why itself? Remember what the model reads: the sequence moved by
# one.)
#
# <details><summary>Hint 1</summary>
#
# A lower triangle of ones: `torch.tril`.
#
# </details>

# %% nbgrader={"grade_id": "causal_mask", "solution": true}
def causal_mask(length: int) -> Tensor:
    """(length, length) bool: True where position i (row) may look at position j (column)."""
    ### BEGIN SOLUTION
    ones = torch.ones(length, length, dtype=torch.bool)
    return torch.tril(ones)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_causal_mask", "grade": true, "points": 2}
mask = causal_mask(4)
assert mask is not None and mask.shape == (4, 4) and mask.dtype == torch.bool, "a (4, 4) tensor of bool is asked for"
assert mask.diagonal().all(), "a position may look at itself: it holds the code before the one that is predicted"
assert not mask[0, 1:].any(), "the first position may look at nothing but itself"
assert mask[3].all(), "the last position may look at everything"
### BEGIN HIDDEN TESTS
for length in (1, 2, 7):
    expected = torch.tensor([[j <= i for j in range(length)] for i in range(length)])
    assert torch.equal(causal_mask(length), expected), f"wrong for {length} positions: row i, column j, True for j <= i"
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "transformer", "locked": true}
class Block(nn.Module):
    """Attention, then two layers on each position; both are added to what was there."""

    def __init__(self, width: int, heads: int = 2):
        super().__init__()
        self.heads, self.norms = heads, nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, attention, allowed: Tensor | None) -> Tensor:
        q, k, v = self.qkv(self.norms[0](x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(attention(q, k, v, allowed).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norms[1](x))


class Prior(nn.Module):
    """Logits (B, L, K) of codes (B, L): row i predicts code i. attention: your attend; mask: your causal_mask."""

    def __init__(self, attention, mask, length: int = SIDE**2, width: int = 32, depth: int = 2):
        super().__init__()
        self.attention, self.mask = attention, mask
        self.tokens, self.positions = nn.Embedding(K + 1, width), nn.Parameter(0.1 * torch.randn(length, width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, K))

    def forward(self, codes: Tensor) -> Tensor:
        read = torch.cat([torch.full_like(codes[:, :1], K), codes[:, :-1]], dim=1)      # moved by one; K: the start
        x = self.tokens(read) + self.positions[:read.shape[1]]
        allowed = self.mask(read.shape[1])
        for block in self.blocks:
            x = block(x, self.attention, allowed)
        return self.head(x)


# %% [markdown]
# ## Task 3 · How probable is a picture? (easy, 3 points)
#
# $$ \log p(c) = \sum_{i=1}^L \log p(c_i \mid c_1, \dots, c_{i-1}) $$
#
# In nats for a picture. In bits for a code it is $-\log p(c) / (L \log 2)$: a uniform model needs $\log_2 K$ bits.
#
# <details><summary>Hint 1</summary>
#
# `log_softmax` over the alphabet, then pick the entry of the code that is there: `gather`.
#
# </details>

# %% nbgrader={"grade_id": "log_likelihood", "solution": true}
def log_likelihood(logits: Tensor, codes: Tensor) -> Tensor:
    """log p in nats, (B,), of codes (B, L) int64 under logits (B, L, K), of any size."""
    ### BEGIN SOLUTION
    log_p = logits.log_softmax(dim=-1)
    chosen = log_p.gather(-1, codes[..., None])[..., 0]
    return chosen.sum(dim=1)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_log_likelihood", "grade": true, "points": 3}
flat = log_likelihood(torch.zeros(3, 5, 8), torch.randint(8, (3, 5)))
assert flat is not None and flat.shape == (3,), "one number for each of the 3 sequences is asked for"
assert abs(flat[0].item() + 5 * math.log(8)) < 1e-4, (
    f"five codes of a uniform alphabet of 8 have log p = -5 log 8 = -10.40, not {flat[0]:.2f}"
    + (": a sum over the codes, not a mean" if abs(flat[0].item() + math.log(8)) < 1e-3 else "")
    + (": minus a loss" if flat[0] > 0 else ""))
sure = log_likelihood(torch.tensor([[[0.0, 50.0], [50.0, 0.0]]]), torch.tensor([[1, 0]])).item()
assert abs(sure) < 1e-3, f"codes that are certain have log p = 0, not {sure:.2f}: does each code pick its own logit?"
### BEGIN HIDDEN TESTS
for batch, length, alphabet in ((1, 1, 2), (4, 9, 5), (3, 20, 50)):
    generator = torch.Generator().manual_seed(length)
    logits = 3 * torch.randn(batch, length, alphabet, generator=generator, dtype=torch.float64) + 700
    codes = torch.randint(alphabet, (batch, length), generator=generator)
    exact = [sum(float(row[c] - row.max() - math.log(sum(math.exp(float(z - row.max())) for z in row)))
                 for row, c in zip(logits[b], codes[b].tolist())) for b in range(batch)]
    torch.testing.assert_close(log_likelihood(logits, codes), torch.tensor(exact, dtype=torch.float64), msg=(
        f"wrong for {batch} sequences of {length} codes out of {alphabet}, with logits around 700"))
### END HIDDEN TESTS

# %% [markdown]
# ## Task 4 · Temperature and top-k (medium, 3 points)
#
# Divide the logits by the temperature; then keep the `top_k` largest and forbid the rest ($-\infty$). `None` keeps all.
#
# <details><summary>Hint 1</summary>
#
# `logits.topk(k).values[..., -1:]` is the smallest logit that is kept.
#
# </details>

# %% nbgrader={"grade_id": "adjust", "solution": true}
def adjust(logits: Tensor, temperature: float = 1.0, top_k: int | None = None) -> Tensor:
    """Logits (..., K) made sharper (temperature below 1) or flatter, all but the top_k largest of a row at -inf."""
    ### BEGIN SOLUTION
    logits = logits / temperature
    if top_k is not None:
        smallest = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < smallest, -math.inf)
    return logits
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_adjust", "grade": true, "points": 3}
logits = torch.tensor([[0.0, 1.0, 3.0, 2.0]])
cold, hot = adjust(logits, 0.5), adjust(logits, 2.0)
assert cold is not None and cold.shape == (1, 4), "the result has the shape of the logits"
spread = (cold.softmax(-1)[0, 2] / cold.softmax(-1)[0, 3]).log().item()
assert abs(spread - 2) < 1e-4, (
    f"at temperature 0.5 a logit's lead of 1 becomes 2, not {spread:.2f}: divide the logits, not the probabilities")
assert (hot.softmax(-1)[0, 2] / hot.softmax(-1)[0, 3]).log().item() < 1, "a high temperature makes the draw flatter"
two = adjust(logits, 1.0, 2)
assert torch.isinf(two[0, :2]).all() and (two[0, :2] < 0).all(), "with top_k = 2 the two smallest are at -inf"
assert two.softmax(-1)[0, 2:].sum() > 0.999, "with top_k = 2 the two largest share all of the probability"
assert torch.equal(logits, torch.tensor([[0.0, 1.0, 3.0, 2.0]])), "adjust must not change its argument"
### BEGIN HIDDEN TESTS
for shape, temperature, top_k in (((7,), 0.3, 1), ((2, 5), 1.7, 3), ((2, 3, 6), 0.9, 6), ((4, 8), 2.5, None)):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)
    found = adjust(logits, temperature, top_k).softmax(-1).reshape(-1, shape[-1])
    for row, probabilities in zip(logits.reshape(-1, shape[-1]).tolist(), found):
        kept = sorted(range(len(row)), key=lambda i: -row[i])[:top_k or len(row)]
        weights = [math.exp(z / temperature) if i in kept else 0.0 for i, z in enumerate(row)]
        expected = torch.tensor(weights, dtype=torch.float64) / sum(weights)
        torch.testing.assert_close(probabilities, expected, msg=(
            f"wrong probabilities for logits of shape {shape}, temperature {temperature}, top_k {top_k}"))
### END HIDDEN TESTS

# %% [markdown]
# ## Task 5 · Draw a picture, code by code (medium, 4 points)
#
# For $i = 1, \dots, L$: ask the model for its logits given what has been drawn, adjust them (task 4), draw $c_i$, write
# it down. The model wants a whole sequence; what stands at $i$ and behind does not matter to row $i$. Why?
#
# <details><summary>Hint 1</summary>
#
# Start from a tensor of zeros `(n, length)` and fill it column by column.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.multinomial(probabilities, 1, generator=generator)` draws one code for each row, shape `(n, 1)`.
#
# </details>

# %% nbgrader={"grade_id": "draw", "solution": true}
@torch.no_grad()
def draw(model, n: int, length: int, generator: torch.Generator, temperature: float = 1.0,
         top_k: int | None = None) -> Tensor:
    """n sequences (n, length) int64. model(codes (n, length)) -> logits (n, length, K): row i predicts code i."""
    ### BEGIN SOLUTION
    codes = torch.zeros(n, length, dtype=torch.int64)
    for i in range(length):
        logits = adjust(model(codes)[:, i], temperature, top_k)
        codes[:, i:i + 1] = torch.multinomial(logits.softmax(-1), 1, generator=generator)
    return codes
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_draw", "grade": true, "points": 4}
def counter(codes: Tensor) -> Tensor:
    """Always the code after the last one, modulo 5; any first code."""
    last = torch.cat([codes.new_full((len(codes), 1), -1), codes[:, :-1]], dim=1)
    logits = 60.0 * F.one_hot((last + 1) % 5, 5)
    logits[:, 0] = 0.0
    return logits


drawn = draw(counter, 400, 8, torch.Generator().manual_seed(0))
assert drawn is not None and drawn.shape == (400, 8) and drawn.dtype == torch.int64, "(400, 8) of int64 is asked for"
assert drawn[:, 0].unique().numel() == 5, "the first code is free: all five should come; are draws random, per picture?"
assert torch.equal(drawn[:, 1:], (drawn[:, :-1] + 1) % 5), (
    "this model always counts on; yours does not: is what was drawn handed to the model, and is it row i that "
    "predicts code i?")
again = draw(counter, 400, 8, torch.Generator().manual_seed(0))
assert torch.equal(drawn, again), "generators with the same seed must give the same pictures"
### BEGIN HIDDEN TESTS
chain = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.3, 0.4, 0.3]]).log()
first = torch.tensor([0.5, 0.3, 0.2]).log()
markov = lambda codes: torch.cat([first.expand(len(codes), 1, 3), chain[codes[:, :-1]]], dim=1)
drawn = draw(markov, 20_000, 3, torch.Generator().manual_seed(1))
for place, expected in ((0, first.exp()), (1, first.exp() @ chain.exp()), (2, first.exp() @ chain.exp() @ chain.exp())):
    share = torch.bincount(drawn[:, place], minlength=3) / 20_000
    assert (share - expected).abs().max() < 0.02, (
        f"of a chain whose code {place + 1} has the probabilities {[round(p, 2) for p in expected.tolist()]} "
        f"you draw {[round(p, 2) for p in share.tolist()]}")
best = draw(markov, 50, 4, torch.Generator().manual_seed(2), top_k=1)
assert torch.equal(best, torch.tensor([0, 0, 0, 0]).expand(50, 4)), "top_k = 1 takes the most probable code each time"
cold = draw(markov, 4000, 1, torch.Generator().manual_seed(3), temperature=0.5)[:, 0]
share, expected = (cold == 0).float().mean().item(), 0.25 / (0.25 + 0.09 + 0.04)
assert abs(share - expected) < 0.04, f"at temperature 0.5 code 0 should come first in {expected:.0%}, not {share:.0%}"
assert draw(markov, 2, 1, torch.Generator()).shape == (2, 1), "a sequence of one code is possible"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 6 · A run that went wrong (medium, 4 points)
#
# A colleague's prior reached a loss that nobody had seen before, and draws rubbish. The next two cells repeat the
# run: training loss in bits a code, and the share of drawn patterns that are weaves.

# %% nbgrader={"grade_id": "broken_run", "locked": true}
def broken_loss(model, codes: Tensor) -> Tensor:
    """Nats a code: the mean of -log p(c_i | ...)."""
    read = model.tokens(codes) + model.positions
    for block in model.blocks:
        read = block(read, model.attention, model.mask(codes.shape[1]))
    return F.cross_entropy(model.head(read).flatten(0, 1), codes.flatten())


def train(model, loss, data: Tensor, iterations: int = 500):
    """Adam on loss(model, codes)."""
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 8e-3, iterations)
    for _ in range(iterations):
        codes = data[torch.randint(len(data), (48,), generator=generator)]
        optimiser.zero_grad()
        value = loss(model, codes)
        value.backward()
        optimiser.step()
        schedule.step()
    print(f"last training loss {value.item() / math.log(2):.2f} bits a code (a uniform model needs {math.log2(K):.0f})")
    return model


ALL_WEAVES = {tuple(row) for row in weaves(5000, torch.Generator().manual_seed(7)).tolist()}


def are_weaves(codes: Tensor) -> Tensor:
    """(n,) bool: which of the patterns (n, 25) are exactly one of the weaves."""
    return torch.tensor([tuple(row) in ALL_WEAVES for row in codes.tolist()])


# %% tags=["nbval-ignore-output"]
torch.manual_seed(0)
data = weaves(4000, torch.Generator().manual_seed(0))
broken = train(Prior(attend, causal_mask), broken_loss, data, iterations=150)
print(f"weaves among what it draws: {are_weaves(draw(broken, 100, 25, torch.Generator().manual_seed(1))).float().mean():.0%}")

# %% [markdown]
# What is the cause?
#
# - **a** The attention has no mask: position $i$ sees the codes behind it.
# - **b** The sequence that is read is not moved by one: position $i$ holds the very code that it should predict.
# - **c** The temperature is too high when drawing.
# - **d** The model is too small for the patterns.
#
# Set `cause` to its letter, and write `prior_loss`, the mean of $-\log p$ over all codes of the batch, in nats a code.
#
# <details><summary>Hint 1</summary>
#
# The mask is used: look at the arguments of `block`. What does `broken_loss` do with `codes` that `Prior.forward` does
# not?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `model(codes)` moves the sequence itself. Then you have a function for the likelihood already.
#
# </details>

# %% nbgrader={"grade_id": "prior_loss", "solution": true}
cause = ""          # "a", "b", "c" or "d"


def prior_loss(model, codes: Tensor) -> Tensor:
    """Nats a code, a scalar with gradient; codes (B, L) int64; model(codes) -> logits (B, L, K), row i for code i."""
    ### BEGIN SOLUTION
    nats = -log_likelihood(model(codes), codes)
    return nats.mean() / codes.shape[1]


cause = "b"
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_cause_of_copying", "grade": true, "points": 1}
assert prior_loss(lambda codes: torch.zeros(*codes.shape, 4), torch.zeros(2, 3, dtype=torch.int64)) is not None and \
    cause in list("abcd"), "set `cause` to a, b, c or d, and write prior_loss"
### BEGIN HIDDEN TESTS
assert cause == "b", (
    "look again: the mask is handed to every block, no temperature touches a training loss, and a model that is too "
    "small has a high loss, not one near 0")
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_prior_loss", "grade": true, "points": 3}
flat = prior_loss(lambda codes: torch.zeros(*codes.shape, 4), torch.randint(4, (6, 10)))
assert flat is not None and flat.shape == (), "the loss is one number"
assert abs(flat.item() - math.log(4)) < 1e-4, (
    f"a uniform model of 4 codes has a loss of log 4 = 1.386 nats a code, not {flat.item():.3f}: mean over pictures "
    "and codes, in nats, with its sign")
handed = []
prior_loss(lambda codes: handed.append(codes) or torch.zeros(*codes.shape, 4), torch.arange(4)[None])
assert torch.equal(handed[0], torch.arange(4)[None]), "hand the model the codes as they are: it moves them itself"
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(3)
logits = torch.randn(5, 7, 3, generator=generator, requires_grad=True)
codes = torch.randint(3, (5, 7), generator=generator)
loss = prior_loss(lambda codes: logits, codes)
exact = sum(-logits[b, i].log_softmax(0)[codes[b, i]].item() for b in range(5) for i in range(7)) / 35
assert abs(loss.item() - exact) < 1e-4, f"row i of the logits predicts code i: the loss should be {exact:.3f}"
assert loss.requires_grad, "no gradient reaches the model: is something detached?"
### END HIDDEN TESTS

# %% [markdown]
# Now the reward: the same network with your loss.

# %% tags=["nbval-ignore-output", "expected-picture"]
torch.manual_seed(0)
untrained = Prior(attend, causal_mask)
noise = draw(untrained, 40, 25, torch.Generator().manual_seed(1))
torch.manual_seed(0)
prior = train(Prior(attend, causal_mask), prior_loss, data, iterations=500)
drawn = draw(prior, 200, 25, torch.Generator().manual_seed(1))
print(f"weaves among what it draws: {are_weaves(drawn).float().mean():.0%}")
figure, axes = plt.subplots(1, 3, figsize=(9, 2.2), constrained_layout=True)
for axis, (title, codes) in zip(axes, {"data": data, "untrained prior": noise, "your prior": drawn}.items()):
    tiles = F.pad(codes[:40].float().view(4, 10, SIDE, SIDE), (0, 1, 0, 1), value=math.nan)
    axis.imshow(tiles.transpose(1, 2).reshape(4 * (SIDE + 1), -1), cmap=COLOURS, vmin=0, vmax=K - 1)
    axis.set(title=title, xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Experiment · What temperature costs (5 points, graded by hand)
#
# Draw 200 patterns at each of the temperatures 0.3, 0.7, 1, 1.5 and 2.5. For each, measure the share of weaves and the
# number of *different* weaves among them, and plot both against the temperature. Then argue in two or three sentences:
# which temperature is right for this model, what is lost on either side, and which of the two losses would a person who
# looks at a sheet of pictures notice?
#
# | Rubric | points |
# |---|---|
# | both numbers, from at least 200 patterns for each temperature | 2 |
# | a plot with named axes | 1 |
# | the argument: 1 is the learned distribution; colder repeats, hotter breaks the grammar; repetition is hard to see | 2 |

# %% nbgrader={"grade_id": "experiment_code", "solution": true} tags=["nbval-ignore-output"]
# Your code: draw, measure, plot.
### BEGIN SOLUTION
temperatures, shares, kinds = (0.3, 0.7, 1.0, 1.5, 2.5), [], []
for temperature in temperatures:
    found = draw(prior, 200, 25, torch.Generator().manual_seed(2), temperature)
    good = found[are_weaves(found)]
    shares.append(len(good) / 200)
    kinds.append(len(good.unique(dim=0)))
figure, axes = plt.subplots(1, 2, figsize=(7, 2.6), constrained_layout=True)
for axis, values, title in ((axes[0], shares, "share of weaves"), (axes[1], kinds, "different weaves of 200")):
    axis.plot(temperatures, values, "o-", color="#2563eb")
    axis.set(xlabel="temperature", title=title, ylim=(0, None))
plt.show()
### END SOLUTION

# %% [markdown] nbgrader={"grade_id": "experiment_answer", "solution": true, "grade": true, "points": 5}
# ### BEGIN SOLUTION
# The model was trained to give the data's probabilities, and temperature 1 draws from them. Below, the small
# preferences that it learned by chance are raised to a power: some weaves come again and again and others never. A
# mistake that it prefers comes again and again too, so the share of weaves need not grow: here it is lower at 0.3
# than at 0.7 (with other seeds it is higher). Above, codes that break the grammar get a share at each of 25 places, and
# one of them spoils a pattern. A broken pattern is seen at once; what never comes is seen only by counting.
# ### END SOLUTION
