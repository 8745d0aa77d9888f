# %% [markdown]
# # Lab 04 · The VQ layer: straight-through, moving average, restart, FSQ
#
# | | |
# |---|---|
# | Goals | write a vector-quantisation layer part by part, and keep its codebook alive |
# | Chapter | 07 (VQ-VAE) |
# | Time | about 85 minutes |
# | Points | 25: six tasks with tests (20), one experiment graded by hand (5) |
# | You need | two CPU cores, no network; the whole notebook runs in less than half a minute |
#
# At the end your layer sits between an encoder and a decoder, and 64 integers stand for a picture. Top: pictures.
# Middle: what is left of them when the codebook has collapsed. Bottom: the same network with your layer.
#
# ![Three rows of small pictures: originals, coarse reconstructions with few colours, better ones](expected.png)
#
# **How it works.** Replace each `# YOUR CODE HERE` (and the line below it) by your own code. Under each task stand
# tests that say *what* is wrong; more tests run when the lab is graded, on other sizes, types and edge cases. A task is
# graded alone: an error in task 2 does not cost points in task 5. Keep the helpers of a task in its cell. Folded hints
# go one step at a time: try for five minutes before you open the first.
#
# **Notation.** An encoder's output is a map of latents `z`, of shape `(B, D, h, w)`; each of its $B h w$ latents $z_i$
# is a vector of $D$ channels. The codebook $e_1, \dots, e_K$ is `codebook`, of shape `(K, D)`; `codes` are int64 and
# counted from 0. $N_k$ is `count`, $m_k$ is `total`, $\gamma$ is `decay`. $\mathrm{sg}[\cdot]$ is a stop-gradient:
# `detach`.

# %% nbgrader={"grade_id": "setup", "locked": true}
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

torch.set_num_threads(1)

# %% [markdown]
# ## Task 1 · From a map of latents to a map of codes (easy, 4 points)
#
# Each latent is replaced by its nearest code, $k_i = \arg\min_k \|z_i - e_k\|^2$. A latent is what stands at one place
# of the map, in all its channels: a *column* of `z`, not a piece of its memory.
#
# <details><summary>Hint 1</summary>
#
# `z.reshape(-1, D)` runs and gives rows of the right length. What is in the first row, if `z[b, d, i, j]` is the
# number 1000 b + 100 d + 10 i + j?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# First move the channels to the end, `z.permute(0, 2, 3, 1)`, then flatten; afterwards go back in the opposite order.
#
# </details>

# %% nbgrader={"grade_id": "quantise", "solution": true}
def quantise(z: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """The map of nearest codes as vectors, (B, D, h, w) like z, and as integers, (B, h, w) int64.

    z: (B, D, h, w); codebook: (K, D), the same dtype.
    """
    ### BEGIN SOLUTION
    rows = z.permute(0, 2, 3, 1)
    distance = codebook.square().sum(1) - 2 * rows @ codebook.T
    codes = distance.argmin(dim=-1)
    return codebook[codes].permute(0, 3, 1, 2), codes
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_quantise", "grade": true, "points": 4}
book = torch.tensor([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 7.0]])
wanted = torch.tensor([[[0, 1, 2, 3], [3, 3, 1, 0]], [[2, 2, 0, 1], [1, 3, 2, 0]]])
z = torch.stack([torch.stack([book[wanted[b], d] for d in range(3)]) for b in range(2)]) + 0.1
z_q, codes = quantise(z, book)
assert codes.shape == (2, 2, 4), f"a map (2, 3, 2, 4) has the codes (2, 2, 4), one a place; not {tuple(codes.shape)}"
assert z_q.shape == z.shape, f"z_q has the shape of z, {tuple(z.shape)}, not {tuple(z_q.shape)}"
assert codes.dtype == torch.int64, f"codes are int64, not {codes.dtype}"
assert torch.equal(codes, wanted), (
    f"{(codes != wanted).sum()} of 16 codes are wrong, though every latent is near its code: is a latent the column "
    "z[b, :, i, j], and is the smallest squared distance taken, with the lengths of the codes in it?")
assert (z_q - z).abs().max() < 0.11, (
    "the codes are right, but z_q[b, :, i, j] is not the code of that place: do the channels go back to axis 1?")
### BEGIN HIDDEN TESTS
for seed, (B, D, h, w, K) in enumerate(((1, 1, 3, 2, 5), (3, 4, 2, 5, 9), (2, 6, 1, 1, 1), (2, 5, 4, 3, 40))):
    for dtype in (torch.float32, torch.float64):
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(B, D, h, w, generator=generator, dtype=dtype)
        book = 1.5 * torch.randn(K, D, generator=generator, dtype=dtype) + 0.5
        kept = z.clone(), book.clone()
        z_q, codes = quantise(z, book)
        assert torch.equal(z, kept[0]) and torch.equal(book, kept[1]), "quantise must not change its arguments"
        assert z_q.shape == z.shape and z_q.dtype == dtype, f"for z {tuple(z.shape)}, {dtype}: z_q is like z"
        for b in range(B):
            for i in range(h):
                for j in range(w):
                    away = [(z[b, :, i, j] - e).norm().item() for e in book]
                    assert away[codes[b, i, j]] < min(away) + 1e-4, (
                        f"z {tuple(z.shape)}, K = {K}: the latent at {(b, i, j)} has a nearer code")
                    assert torch.equal(z_q[b, :, i, j], book[codes[b, i, j]]), (
                        f"z {tuple(z.shape)}, K = {K}: z_q at {(b, i, j)} is not the code whose number you give")
### END HIDDEN TESTS

# %% [markdown]
# ## Task 2 · Straight through (easy, 2 points)
#
# Choosing has no derivative. So the layer passes on
#
# $$ \hat z = z + \mathrm{sg}[e - z] , $$
#
# which has the value of the code $e$, and is, for differentiation, the latent $z$.
#
# <details><summary>Hint 1</summary>
#
# Three things must hold: the value is that of the codes; the gradient that comes in goes out to `z` unchanged; nothing
# goes to the codes. Write the formula down and test all three.
#
# </details>

# %% nbgrader={"grade_id": "straight_through", "solution": true}
def straight_through(z: Tensor, e: Tensor) -> Tensor:
    """The value of e with the gradient of z; z and e have one shape, any."""
    ### BEGIN SOLUTION
    return z + (e - z).detach()
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_straight_through", "grade": true, "points": 2}
z, e = torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 3, 4, requires_grad=True)
out = straight_through(z, e)
torch.testing.assert_close(out.detach(), e.detach(), rtol=1e-4, atol=1e-5, msg="the value must be that of the codes, e")
assert out.requires_grad, "no gradient comes back at all: is too much detached?"
incoming = torch.randn(2, 3, 4)
to_z, to_e = torch.autograd.grad((out * incoming).sum(), (z, e), allow_unused=True)
assert to_z is not None and to_z.any(), "no gradient reaches z: the encoder would never learn"
torch.testing.assert_close(to_z, incoming, msg="what comes in must go out to z unchanged")
assert to_e is None or not to_e.any(), (
    "a gradient reaches the codes: the reconstruction loss would move the codebook past its own rule")
### BEGIN HIDDEN TESTS
z = torch.randn(7, dtype=torch.float64, requires_grad=True)
out = straight_through(z, 5 * torch.randn(7, dtype=torch.float64))
(out ** 3).sum().backward()
assert out.dtype == torch.float64, "float64 stays float64"
torch.testing.assert_close(z.grad, 3 * out.detach() ** 2, msg=(
    "for the loss sum(out ** 3) z receives 3 e^2, the slope *at the code*, not at the latent"))
### END HIDDEN TESTS

# %% [markdown]
# ## Task 3 · Two losses, two recipients (easy, 3 points)
#
# $$ \text{codebook loss} = \frac{1}{N D} \sum_i \big\|\mathrm{sg}[z_i] - e_{k_i}\big\|^2 , \qquad
#    \text{commitment loss} = \frac{1}{N D} \sum_i \big\|z_i - \mathrm{sg}[e_{k_i}]\big\|^2 . $$
#
# $N$ is the number of latents. The two have the same value. They differ in who is told to move. ($\beta$ comes later,
# in the training loop.)
#
# <details><summary>Hint 1</summary>
#
# The codebook loss is a message to the codes, the commitment loss one to the encoder. What is the constant in each?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The sum has $N D$ terms and is divided by $N D$: which reduction of `F.mse_loss` is that?
#
# </details>

# %% nbgrader={"grade_id": "vq_losses", "solution": true}
def vq_losses(z: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
    """(codebook loss, commitment loss), both scalars; z and e: latents and their codes, one shape, any."""
    ### BEGIN SOLUTION
    codebook_loss = F.mse_loss(e, z.detach())
    commitment_loss = F.mse_loss(z, e.detach())
    return codebook_loss, commitment_loss
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_vq_losses", "grade": true, "points": 3}
z, e = torch.full((2, 3, 2, 2), 1.0, requires_grad=True), torch.full((2, 3, 2, 2), 3.0, requires_grad=True)
losses = vq_losses(z, e)
assert all(isinstance(loss, Tensor) and loss.ndim == 0 for loss in losses), "both losses are tensors without axes"
assert all(abs(loss.item() - 4) < 1e-4 for loss in losses), (
    f"all differences are 2, so both losses are 4, not {losses[0].item():.2f} and {losses[1].item():.2f}: a mean over "
    "all N D numbers")
slopes = [torch.autograd.grad(loss, (z, e), allow_unused=True, retain_graph=True) if loss.requires_grad else (None,) * 2
          for loss in losses]
told = [["nobody", "z", "e", "both"][sum(2 ** i for i in (0, 1) if to[i] is not None and to[i].any())] for to in slopes]
assert told == ["e", "z"], (
    f"the codebook loss tells the codes e to move, the commitment loss the latents z; yours tell {told[0]} and "
    f"{told[1]}: which of the two is detached in which?")
### BEGIN HIDDEN TESTS
for shape in ((5,), (4, 3), (2, 4, 3, 5)):
    z = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    e = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    codebook_loss, commitment_loss = vq_losses(z, e)
    value = sum((a - b) ** 2 for a, b in zip(z.flatten().tolist(), e.flatten().tolist())) / z.numel()
    assert abs(codebook_loss.item() - value) < 1e-6 and abs(commitment_loss.item() - value) < 1e-6, (
        f"for shape {shape} both losses are {value:.4f}, not {codebook_loss.item():.4f}, {commitment_loss.item():.4f}")
    (3 * codebook_loss + 7 * commitment_loss).backward()
    apart = (z - e).detach() / z.numel()
    torch.testing.assert_close(e.grad, -6 * apart, msg=f"the gradient of the codebook loss is wrong for shape {shape}")
    torch.testing.assert_close(z.grad, 14 * apart, msg=f"the gradient of the commitment loss is wrong for {shape}")
### END HIDDEN TESTS

# %% [markdown]
# ## Task 4 · The moving average (medium, 4 points)
#
# The codes want to be the means of their latents. A batch is too small to tell them, so running totals are kept:
#
# $$ N_k \leftarrow \gamma N_k + (1 - \gamma)\, n_k, \qquad
#    m_k \leftarrow \gamma\, m_k + (1 - \gamma) \sum_{i : k_i = k} z_i, \qquad e_k \leftarrow \frac{m_k}{N_k} , $$
#
# with $n_k$ the number of latents of this batch that chose code $k$. With $\gamma = 0$ this is Lloyd's step of k-means.
# No smoothing of the counts, please: it pulls rare codes towards the origin. A code with $N_k < 10^{-6}$ has no mean
# worth the name; it stays where it is.
#
# The old codebook is an argument only for the sake of such codes.
#
# <details><summary>Hint 1</summary>
#
# Chapter 06 (and lab 03) computes counts and sums of a batch: `torch.bincount` with `minlength`, and `index_add_`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The update is no part of the graph: decorate the function with `torch.no_grad()`, or detach `z`. In `torch.where(N >
# 1e-6, ..., ...)` the count `N` wants a second axis.
#
# </details>

# %% nbgrader={"grade_id": "ema_update", "solution": true}
def ema_update(z: Tensor, codes: Tensor, count: Tensor, total: Tensor, codebook: Tensor,
               decay: float) -> tuple[Tensor, Tensor, Tensor]:
    """New (count (K,), total (K, D), codebook (K, D)), without gradient; none of the arguments is changed.

    z: (N, D) latents of a batch; codes: (N,) int64, the codes they chose; count, total, codebook: as they were.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        batch_count = torch.bincount(codes, minlength=len(count)).to(count)
        batch_total = torch.zeros_like(total).index_add_(0, codes, z)
        count = decay * count + (1 - decay) * batch_count
        total = decay * total + (1 - decay) * batch_total
        mean = total / count.clamp(min=1e-6)[:, None]
        return count, total, torch.where(count[:, None] >= 1e-6, mean, codebook)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_ema_update", "grade": true, "points": 4}
book, z = torch.tensor([[0.0, 0.0], [4.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
count, total, moved = ema_update(z, torch.tensor([0, 0, 1]), torch.ones(2), book.clone(), book, 0.5)
assert count.shape == (2,) and total.shape == moved.shape == (2, 2), "count is (K,), total and codebook are (K, D)"
assert (count - torch.tensor([1.5, 1.0])).abs().max() < 1e-5, (
    f"by hand (chapter 07, section 8) the counts become 1.5 and 1, not {[round(v, 3) for v in count.tolist()]}: "
    "is the batch's share 1 - decay?")
assert (total - torch.tensor([[0.5, 0.5], [3.5, 0.0]])).abs().max() < 1e-5, (
    f"by hand the totals become (0.5, 0.5) and (3.5, 0), not {total.tolist()}: a *sum* over the latents of each code")
assert (moved - torch.tensor([[1 / 3, 1 / 3], [3.5, 0.0]])).abs().max() < 1e-5, (
    f"by hand the codes become (1/3, 1/3) and (3.5, 0), not {moved.tolist()}: new total over new count, no smoothing")
assert book.tolist() == [[0, 0], [4, 0]], "the codebook that is given must not be changed"
### BEGIN HIDDEN TESTS
z = torch.randn(6, 2, requires_grad=True)
results = ema_update(2 * z, torch.zeros(6, dtype=torch.int64), torch.ones(3), torch.ones(3, 2), torch.ones(3, 2), 0.9)
assert not any(result.requires_grad for result in results), "the update is no part of the graph: detach, or no_grad"
count, total, moved = ema_update(torch.ones(4, 2), torch.tensor([1, 1, 1, 1]), torch.zeros(3), torch.zeros(3, 2),
                                 torch.full((3, 2), 8.0), 0.0)
assert not moved.isnan().any() and moved[0].tolist() == moved[2].tolist() == [8, 8], (
    "a code with a count of 0 stays where it was, here at (8, 8); yours: " + str(moved.tolist()))
for seed, (N, K, D, decay) in enumerate(((30, 4, 3, 0.8), (10, 12, 2, 0.97), (50, 5, 1, 0.0))):
    generator = torch.Generator().manual_seed(seed)
    weights = [[] for _ in range(K)]                     # every latent ever seen, with its age: the unrolled sums
    count, total = torch.zeros(K, dtype=torch.float64), torch.zeros(K, D, dtype=torch.float64)
    book = torch.randn(K, D, generator=generator, dtype=torch.float64)
    first = book.clone()
    for step in range(6):
        z = torch.randn(N, D, generator=generator, dtype=torch.float64)
        codes = torch.randint(max(K - step, 1), (N,), generator=generator)
        for i in range(N):
            weights[codes[i]].append((step, z[i]))
        kept = count.clone(), total.clone(), book.clone(), z.clone()
        before = count, total, book
        count, total, book = ema_update(z, codes, count, total, book, decay)
        assert all(torch.equal(a, b) for a, b in zip((*before, z), kept)), "ema_update must not change its arguments"
        assert book.dtype == total.dtype == torch.float64, "float64 stays float64"
    for k in range(K):
        number = sum((1 - decay) * decay ** (5 - step) for step, _ in weights[k])
        assert abs(count[k].item() - number) < 1e-6, f"decay {decay}: the count of code {k} is {number:.4f}"
        if decay and weights[k]:
            mean = sum(decay ** (5 - step) * row for step, row in weights[k]) * (1 - decay) / number
            assert (book[k] - mean).abs().max() < 1e-5, (
                f"decay {decay}: code {k} is the mean of all latents that chose it, weighted by decay ** age")
        if not weights[k]:
            assert torch.equal(book[k], first[k]), f"decay {decay}: code {k} was never chosen, and moved"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 5 · A run that went wrong (hard, 4 points)
#
# A code that nobody chooses never moves: it is dead. The known cure is to restart it, to put it onto a random latent of
# the batch as soon as its running count falls below a share, `restart_below`, of the batch's mean count, $N / K$. A
# colleague built that in. The next cells run it on latents that do not even move, and print, for some batches, how many
# codes were restarted, the usage (the share of codes chosen at least once in that batch) and the mean squared error.

# %% nbgrader={"grade_id": "broken_run", "locked": true}
def broken_restart(z: Tensor, count: Tensor, total: Tensor, codebook: Tensor, restart_below: float,
                   generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Codes whose count is below restart_below * N / K are put onto random latents of the batch."""
    dead = count < restart_below * len(z) / len(count)
    codebook = codebook.clone()
    codebook[dead] = z[torch.randperm(len(z), generator=generator)[:int(dead.sum())]]
    alive = (~dead).to(count)
    return count * alive, total * alive[:, None], codebook


def run_codebook(batches: list[Tensor], codebook: Tensor, choose, update, restart, decay: float = 0.97) -> list[tuple]:
    """Moving averages with restarts; a row (codes restarted, usage, mean squared error) for every batch (N, D)."""
    generator, rows = torch.Generator().manual_seed(0), []
    count, total = torch.ones(len(codebook)), codebook.clone()
    for z in batches:
        e, codes = choose(z.T[None, :, :, None], codebook)
        codes, error = codes.flatten(), (e[0, :, :, 0].T - z).square().mean().item()
        count, total, codebook = update(z, codes, count, total, codebook, decay)
        dead = int((count < 0.1 * len(z) / len(count)).sum())
        count, total, codebook = restart(z, count, total, codebook, 0.1, generator)
        rows.append((dead, len(codes.unique()) / len(codebook), error))
    return rows


# %% tags=["nbval-ignore-output"]
torch.manual_seed(0)
batches = list(3 + torch.randn(200, 1024, 4))
tiny = (2 * torch.rand(64, 4) - 1) / 64                                 # the popular start: a cluster at the origin
for batch, (dead, used, error) in enumerate(run_codebook(batches, tiny, quantise, ema_update, broken_restart), 1):
    if batch in (1, 2, 10, 30, 60, 100, 150, 200):
        print(f"batch {batch:3}: {dead:2} of 64 codes restarted, usage {used:.2f}, mean squared error {error:.3f}")

# %% [markdown]
# What is the cause?
#
# - **a** The threshold is too low: dead codes are never found.
# - **b** The codebook starts at the wrong scale; no restart can mend that.
# - **c** A restarted code begins with a count of 0. One batch cannot lift it over the threshold: it is dead again.
# - **d** The restarted codes are put where there are no latents.
#
# Set `cause` to its letter, and write `restart` so that a restarted code has a (short) past: its count becomes a
# quarter of the batch's mean count, $\frac14 \frac NK$, its total that count times its new place. Two codes are never
# put onto the same latent.
#
# <details><summary>Hint 1</summary>
#
# The restarts are many, and the usage is high. So are codes found, and are they put where latents are? What, then, is
# true of a code one batch after its restart?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# There are 1024 latents a batch and 64 codes, so 16 each. Take a restarted code that 16 latents choose in the next
# batch, with a decay of 0.97. What is its count then, and where is the threshold?
#
# </details>

# %% nbgrader={"grade_id": "restart", "solution": true}
cause = ""          # "a", "b", "c" or "d"


def restart(z: Tensor, count: Tensor, total: Tensor, codebook: Tensor, restart_below: float,
            generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """New (count (K,), total (K, D), codebook (K, D)), dead codes restarted; none of the arguments is changed.

    z: (N, D), N >= K, latents of a batch. A code is dead if its count is below restart_below * N / K.
    """
    ### BEGIN SOLUTION
    mean_count = len(z) / len(count)
    dead = count < restart_below * mean_count
    count, total, codebook = count.clone(), total.clone(), codebook.clone()
    fresh = z[torch.randperm(len(z), generator=generator)[:int(dead.sum())]].detach()
    count[dead] = mean_count / 4
    codebook[dead] = fresh
    total[dead] = fresh * mean_count / 4
    return count, total, codebook


cause = "c"
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_cause", "grade": true, "points": 1}
z = torch.randn(8, 2)
result = restart(z, torch.ones(2), torch.ones(2, 2), torch.ones(2, 2), 0.1, torch.Generator().manual_seed(0))
assert result is not None and cause in list("abcd"), "set `cause` to a, b, c or d, and write restart"
### BEGIN HIDDEN TESTS
assert cause == "c", (
    "that cause would leave another trace: the log shows that dead codes are found, and put onto latents that choose "
    "them (usage is high), and that as many are dead again a batch later")
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_restart", "grade": true, "points": 3}
z = torch.arange(40.0)[:, None].repeat(1, 2)
book = torch.full((5, 2), -70.0)
book[1], book[3] = 12.0, 30.0
old = torch.tensor([0.1, 20.0, 0.7, 9.0, 0.0])                          # the mean count is 40 / 5 = 8
count, total, moved = restart(z, old, old[:, None] * book, book, 0.1, torch.Generator().manual_seed(0))
assert count.shape == (5,) and total.shape == moved.shape == (5, 2), "count is (K,), total and codebook are (K, D)"
assert (book[0] == -70).all() and old[0] == 0.1, "restart must not change its arguments: clone them first"
assert (moved[1] == 12).all() and (moved[3] == 30).all() and count[1] == 20 and count[3] == 9, (
    "codes 1 and 3, with counts 20 and 9, are alive: nothing of theirs may change")
assert (moved[[0, 2, 4]] > -1).all(), (
    "codes 0, 2 and 4 have counts below 0.1 * 40 / 5 = 0.8 and are dead, but one of them is still in its old place")
assert all((z == code).all(1).any() for code in moved[[0, 2, 4]]), "a dead code is put exactly onto a latent of `z`"
assert (count[[0, 2, 4]] - 2).abs().max() < 1e-5, (
    f"a restarted code gets a quarter of the mean count 8: 2, not {[round(v, 2) for v in count[[0, 2, 4]].tolist()]}")
assert (total / count[:, None] - moved).abs().max() < 1e-4, (
    "total / count must be the codebook for every code, the restarted too: or the next update moves it back")
### BEGIN HIDDEN TESTS
again = [restart(z, old, old[:, None] * book, book, 0.1, torch.Generator().manual_seed(7))[2] for _ in range(2)]
assert torch.equal(*again), "generators with the same seed must give the same codes: draw everything from `generator`"
places = torch.stack([restart(z, old, old[:, None] * book, book, 0.1, torch.Generator().manual_seed(s))[2][[0, 2, 4], 0]
                      for s in range(400)])
assert all(len(row.unique()) == 3 for row in places), "two dead codes were put onto the same latent"
shares = torch.bincount(places.flatten().long(), minlength=40) / 1200
assert 0.008 < shares.min() and shares.max() < 0.05, (
    f"each of 40 latents should be drawn in 2.5 % of the cases; yours in {shares.min():.1%} to {shares.max():.1%}")
for seed, (N, K, share) in enumerate(((64, 64, 0.5), (90, 7, 1.2), (30, 3, 0.0))):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(N, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    old = torch.rand(K, generator=generator, dtype=torch.float64) * 2 * N / K
    book = 9 + torch.randn(K, 3, generator=generator, dtype=torch.float64)
    kept = [tensor.clone() for tensor in (old, old[:, None] * book, book)]
    count, total, moved = restart(latents, kept[0], kept[1], kept[2], share, generator)
    assert all(map(torch.equal, kept, (old, old[:, None] * book, book))), "restart must not change its arguments"
    assert not (moved.requires_grad or total.requires_grad), "restarted codes must be no part of the graph: detach z"
    for k in range(K):
        if old[k].item() < share * N / K:
            assert (latents == moved[k]).all(1).any() and abs(count[k].item() - N / K / 4) < 1e-6, (
                f"N = {N}, K = {K}, restart_below {share}: code {k} is dead, and not properly restarted")
        else:
            assert torch.equal(moved[k], book[k]) and count[k] == old[k], (
                f"N = {N}, K = {K}, restart_below {share}: code {k} is alive and was changed")
    assert (total / count[:, None] - moved).abs().max() < 1e-4, "total / count must be the codebook for every code"
### END HIDDEN TESTS

# %% [markdown]
# The same run, mended:

# %% tags=["nbval-ignore-output"]
for batch, (dead, used, error) in enumerate(run_codebook(batches, tiny, quantise, ema_update, restart), 1):
    if batch in (1, 2, 10, 30, 60, 100, 150, 200):
        print(f"batch {batch:3}: {dead:2} of 64 codes restarted, usage {used:.2f}, mean squared error {error:.3f}")

# %% [markdown]
# ## Task 6 · No codebook at all: FSQ (medium, 3 points)
#
# Finite scalar quantisation rounds each channel to a few integers. Here every number of levels is *odd*, which spares
# us a shift:
#
# $$ f_L(z) = \tfrac{L - 1}{2} \tanh z , \qquad \hat z = \mathrm{round}\big(f_L(z)\big) \Big/ \tfrac{L - 1}{2} , $$
#
# so $\hat z$ lies in $[-1, 1]$, at $L$ places. With the digits $a_j = \mathrm{round}(f_{L_j}(z_j)) + \frac{L_j - 1}{2}
# \in \{0, \dots, L_j - 1\}$ the code is read as hours, minutes and seconds are, the *first* channel being the seconds:
#
# $$ k = \sum_j a_j \prod_{i < j} L_i . $$
#
# The gradient passes the rounding straight through, and the $\tanh$ as it is.
#
# <details><summary>Hint 1</summary>
#
# Move the channels to the end, as in task 1. Then a tensor of $D$ halves $(L_j - 1) / 2$ multiplies channel by channel.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# For `levels = (3, 5, 7)` the places are worth 1, 3 and 15. Straight-through belongs around `round`, not around all.
#
# </details>

# %% nbgrader={"grade_id": "fsq", "solution": true}
def fsq(z: Tensor, levels: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The quantised map in [-1, 1], (B, D, h, w), with gradient, and the codes, (B, h, w) int64.

    z: (B, D, h, w); levels: D odd numbers, at least 3.
    """
    ### BEGIN SOLUTION
    half = torch.tensor([(L - 1) / 2 for L in levels], dtype=z.dtype)
    bounded = z.permute(0, 2, 3, 1).tanh() * half
    rounded = bounded + (bounded.round() - bounded).detach()
    worth = torch.tensor([math.prod(levels[:j]) for j in range(len(levels))])
    codes = ((bounded.detach().round() + half).long() * worth).sum(dim=-1)
    return (rounded / half).permute(0, 3, 1, 2), codes
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_fsq", "grade": true, "points": 3}
z = torch.tensor([[-9.0, 9.0, 0.0, 0.0], [9.0, -9.0, 0.0, 0.6]]).view(1, 2, 2, 2)
z_q, codes = fsq(z, (3, 5))
assert z_q.shape == z.shape and codes.shape == (1, 2, 2), (
    f"z_q is (1, 2, 2, 2) and codes (1, 2, 2), not {tuple(z_q.shape)} and {tuple(codes.shape)}")
assert codes.dtype == torch.int64, f"codes are int64, not {codes.dtype}"
assert z_q.abs().max() < 1.001, f"z_q lies between -1 and 1; yours reaches {z_q.abs().max():.1f}: divide by (L - 1) / 2"
places = z_q[0, 1].flatten().tolist()
assert max(abs(a - b) for a, b in zip(places, (1, -1, 0, 0.5))) < 1e-3, (
    f"the second channel (5 levels) goes to 1, -1, 0, 0.5, not {[round(v, 2) for v in places]}: 2 tanh(0.6) = 1.07")
assert codes.flatten().tolist() == [12, 2, 7, 10], (
    f"the codes are 12, 2, 7, 10, not {codes.flatten().tolist()}: digits are counted from 0, the first channel is "
    "worth 1, the second 3")
### BEGIN HIDDEN TESTS
for seed, levels in enumerate(((3,), (5, 3), (3, 5, 7), (9, 3, 3, 5))):
    for dtype in (torch.float32, torch.float64):
        generator = torch.Generator().manual_seed(seed)
        z = (2 * torch.randn(2, len(levels), 3, 4, generator=generator, dtype=dtype)).requires_grad_()
        z_q, codes = fsq(z, levels)
        assert z_q.dtype == dtype, f"for a {dtype} map z_q is {dtype}, not {z_q.dtype}"
        assert z_q.requires_grad, "no gradient reaches z: round() has none of its own"
        (z_q * torch.arange(1.0, 1 + z.numel()).view(z.shape).to(dtype)).sum().backward()
        slope = torch.arange(1.0, 1 + z.numel()).view(z.shape).to(dtype) * (1 - z.detach().tanh() ** 2)
        torch.testing.assert_close(z.grad, slope, rtol=1e-3, atol=1e-3, msg=(
            f"levels {levels}: the gradient of z is that of tanh z, the rounding passed straight through"))
        for b, i, j in ((0, 0, 0), (1, 2, 3), (0, 1, 2), (1, 0, 1)):
            number, worth = 0, 1
            for channel, L in enumerate(levels):
                digit = round((L - 1) / 2 * math.tanh(z[b, channel, i, j].item())) + (L - 1) // 2
                assert abs(z_q[b, channel, i, j].item() - (2 * digit / (L - 1) - 1)) < 1e-4, (
                    f"levels {levels}: channel {channel} of {(b, i, j)} is at the wrong place")
                number, worth = number + digit * worth, worth * L
            assert codes[b, i, j].item() == number, (
                f"levels {levels}: the code at {(b, i, j)} is {number}, not {codes[b, i, j].item()}")
grid = torch.cartesian_prod(torch.linspace(-4, 4, 41), torch.linspace(-4, 4, 41)).T.reshape(1, 2, 41, 41)
found = fsq(grid, (5, 3))[1].unique().tolist()
assert found == list(range(15)), f"levels (5, 3) give the codes 0 to 14, all of them; yours: {found}"
### END HIDDEN TESTS

# %% [markdown]
# Now the reward: your functions as a layer, between two small networks. Pictures of simple shapes are cut into patches
# of 4 x 4 pixels; each patch becomes one latent, one code, 64 codes a picture.

# %% nbgrader={"grade_id": "laboratory", "locked": true}
class Layer(nn.Module):
    """A VQ layer of the given functions, (N, D) -> ((N, D), codes, commitment loss); restart_below 0: no restarts."""

    def __init__(self, K: int, D: int, restart_below: float, scale: float, functions: dict):
        super().__init__()
        self.codebook = scale * torch.randn(K, D)
        self.count, self.total = torch.ones(K), self.codebook.clone()
        self.restart_below, self.functions = restart_below, functions

    def forward(self, z: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        f = self.functions
        e, codes = f["quantise"](z.T[None, :, :, None], self.codebook)
        e, codes = e[0, :, :, 0].T, codes.flatten()
        commitment = f["vq_losses"](z, e)[1]
        if self.training:
            flat = z.detach()
            state = f["ema_update"](flat, codes, self.count, self.total, self.codebook, 0.9)
            if self.restart_below:
                state = f["restart"](flat, *state, self.restart_below, generator)
            self.count, self.total, self.codebook = state
        return f["straight_through"](z, e), codes, commitment


def to_patches(images: Tensor) -> Tensor:
    """uint8 (N, 3, 32, 32) -> float in [-1, 1], (64 N, 48)."""
    return F.unfold(images.float() / 127.5 - 1, kernel_size=4, stride=4).transpose(1, 2).reshape(-1, 48)


def to_images(patches: Tensor) -> Tensor:
    """(64 N, 48) -> (N, 32, 32, 3) in [0, 1], for imshow."""
    images = F.fold(patches.view(-1, 64, 48).transpose(1, 2), (32, 32), kernel_size=4, stride=4)
    return ((images + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1)


def train(layer: nn.Module, patches: Tensor, D: int, beta: float = 0.25, epochs: int = 4) -> dict:
    """Encoder, layer, decoder, trained on patches (N, 48); the networks, and the counts of the last epoch's codes."""
    generator = torch.Generator().manual_seed(0)
    encoder = nn.Sequential(nn.Linear(48, 64), nn.SiLU(), nn.Linear(64, D))
    decoder = nn.Sequential(nn.Linear(D, 64), nn.SiLU(), nn.Linear(64, 48))
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=4e-3)
    for _ in range(epochs):
        counts = torch.zeros(len(layer.codebook))
        for rows in torch.randperm(len(patches), generator=generator).split(512):
            x = patches[rows]
            z, codes, commitment = layer(encoder(x), generator)
            optimiser.zero_grad()
            (F.mse_loss(decoder(z), x) + beta * commitment).backward()
            optimiser.step()
            counts += torch.bincount(codes, minlength=len(counts))
    layer.eval()
    return {"encoder": encoder, "layer": layer, "decoder": decoder, "counts": counts}


@torch.no_grad()
def judge(run: dict, patches: Tensor) -> tuple[Tensor, float, float, float]:
    """(reconstructed patches, PSNR in decibels, usage, perplexity) of a trained run."""
    y = run["decoder"](run["layer"](run["encoder"](patches), torch.Generator())[0])
    p = run["counts"] / run["counts"].sum()
    usage, perplexity = (p > 0).float().mean().item(), torch.exp(-torch.xlogy(p, p).sum()).item()
    return y, 10 * math.log10(4 / F.mse_loss(y, patches).item()), usage, perplexity


# %% tags=["nbval-ignore-output", "expected-picture"]
from tinygen.data import generate_shapes

train_patches = to_patches(generate_shapes(400, 1, "train").images)
test_patches = to_patches(generate_shapes(10, 2, "test").images)
functions = {"quantise": quantise, "vq_losses": vq_losses, "ema_update": ema_update, "restart": restart,
             "straight_through": straight_through}
rows = {"pictures": test_patches}
for name, restart_below, scale in (("collapsed", 0.0, 1 / 256), ("yours", 0.1, 1.0)):
    torch.manual_seed(0)
    run = train(Layer(256, 8, restart_below, scale, functions), train_patches, 8)
    y, psnr, used, perplexity = judge(run, test_patches)
    rows[f"{name}\n{psnr:.1f} dB\nusage {used:.2f}"] = y
    print(f"{name}: PSNR {psnr:.1f} dB, usage {used:.2f}, perplexity {perplexity:.0f} of 256")
figure, axes = plt.subplots(3, 10, figsize=(9.6, 3.1), constrained_layout=True)
for line, (title, patches) in zip(axes, rows.items()):
    for axis, picture in zip(line, to_images(patches)):
        axis.imshow(picture)
        axis.set(xticks=[], yticks=[])
    line[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=9)
plt.show()

# %% [markdown]
# ## Experiment · What keeps a codebook alive? (5 points, graded by hand)
#
# Train the layer with $K$ = 32, 128 and 512, each once without restarts from the small start (`scale = 1 / K`) and
# once with `restart_below = 0.1` and `scale = 1`. Draw PSNR on test patches and perplexity against $\log_2 K$, and give
# usage for all six runs. Then argue in two or three sentences: what does doubling $K$ buy in each case, why do unused
# codes not come back by themselves, and which of usage and perplexity would you log, if you could log only one?
#
# | Rubric | points |
# |---|---|
# | two plots with both series, axes labelled, on patches that were not trained on | 1 |
# | usage and perplexity of all six runs, counted over an epoch and not a batch | 2 |
# | the argument: no latents, no update; the rate that is paid for; one number defended with its blind spot | 2 |

# %% nbgrader={"grade_id": "experiment_code", "solution": true} tags=["nbval-ignore-output"]
# Your code: train six layers, measure, draw.
### BEGIN SOLUTION
sizes, many = (32, 128, 512), to_patches(generate_shapes(100, 3, "test").images)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8), constrained_layout=True)
for name, restart_below in (("small start, no restarts", 0.0), ("restarts", 0.1)):
    found = []
    for K in sizes:
        torch.manual_seed(0)
        layer = Layer(K, 8, restart_below, 1.0 if restart_below else 1 / K, functions)
        found.append(judge(train(layer, train_patches, 8, epochs=3), many)[1:])
        print(f"{name}, K = {K}: PSNR {found[-1][0]:.1f} dB, usage {found[-1][1]:.2f}, perplexity {found[-1][2]:.0f}")
    left.plot([math.log2(K) for K in sizes], [row[0] for row in found], marker="o", label=name)
    right.plot([math.log2(K) for K in sizes], [row[2] for row in found], marker="o", label=name)
left.set(xlabel="bits a token", ylabel="PSNR on test patches (dB)")
right.set(xlabel="bits a token", ylabel="perplexity", yscale="log")
left.legend()
plt.show()
### END SOLUTION

# %% [markdown] nbgrader={"grade_id": "experiment_answer", "solution": true, "grade": true, "points": 5}
# ### BEGIN SOLUTION
# Without restarts a larger codebook is paid for but hardly used: perplexity and PSNR stay where they are. With
# restarts perplexity grows with K, and so does PSNR, though the last two doublings buy little. A code that no latent
# chooses gets no sum and no count, so the update leaves it where it is; the codes in use have moved to the latents
# and stay nearer to them. If only one number is logged: perplexity, because it falls when codes die *and* when a few
# codes take all the traffic, while usage counts a code that was chosen once like one that was chosen a million times.
# Its blind spot: it does not say whether codes are unused or only rare.
# ### END SOLUTION
