# %% [markdown]
# # Capstone · Train, measure and defend a model of your own
#
# | | |
# |---|---|
# | Goals | a model of your own, a number that can be believed, and answers to hard questions about both |
# | Chapters | the one of your model (04, 08, 09, 13 or 16), and 19 (evaluation) |
# | Time | two weeks, 20 to 30 hours; this notebook itself runs in half a minute at its smoke size |
# | Points | 50: five tasks with tests (12), five answers graded by hand (38) |
# | You need | two CPU cores for `shapes`; a GPU helps for `cifar10` |
#
# You train a generator, compare it with a baseline, hand in its samples, and defend it in a conversation of fifteen
# minutes. Below you see how far a baseline is from real images, and what a model looks like that was trained for
# twenty steps only, to test the plumbing. Yours will stand between the two, or beyond the baseline.
#
# ![Samples of real images, of the baseline and of a model after twenty steps, and their FD with error bars](expected.png)
#
# **What you hand in**
# 1. this notebook, with your code, your numbers and your answers;
# 2. `samples.npz`: 1000 images as `tinygen sample MODEL --n 1000 --out samples.npz` writes them, or the run folder of
#    your model. They are measured again by `tinygen course leaderboard add`: the number on the board is the one that
#    the instructor's machine finds, with N = 1000 and the whole training split as reference. Yours is shown beside it.
#
# **Rules.** Train on the training split of `shapes` or `cifar10` only, never on test images. Every piece of the library
# may be used; a first stage of the zoo too, if you say so. Weights of a zoo model with a new name are no model of your
# own. The judge (`zoo:shapes-judge` or `zoo:cifar10-judge`) must not be part of any loss or of guidance. You may read
# everything and ask everybody; what is not yours is named.
#
# | Rubric (graded by hand) | points |
# |---|---|
# | **Plan**: a hypothesis that can fail, written before the first run, and the run that would refute it | 4 |
# | **Model**: trained to the end, its losses and samples shown, one choice compared with its alternative; a changed recipe 5, a new part 9 | 9 |
# | **Measurement**: equal N and reference for all, three seeds or more, error bars, nearest training images shown | 8 |
# | **Defence**: three of the questions below, asked about your own code, loss curves and samples | 11 |
# | **Honesty**: claim and board agree within the error bars; failures and borrowed parts named; the worst samples shown | 6 |
#
# A model below the baseline that is understood gets more points than one above it that is not.
#
# **How it works.** Replace each `# YOUR CODE HERE` (and the line below it) by your own code. The five tasks are your
# measuring tools: write them first. Under each stand tests that say *what* is wrong; more tests run when it is graded,
# each task for itself.

# %% nbgrader={"grade_id": "setup", "locked": true}
import math
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

torch.set_num_threads(1)
DATA, N, SEEDS = "shapes", 100, (0, 1, 2)               # smoke size; hand in with N = 1000


def seeded(seed: int) -> torch.Generator:
    """A source of random numbers of its own."""
    return torch.Generator().manual_seed(seed)


# %% [markdown]
# ## Plan (4 points, graded by hand)
#
# Before you train: which model, on which images? What do you expect of it, as a number or an order ("with EMA the FD is
# lower by more than two standard errors")? Which run would show that you are wrong, and what does it cost?

# %% [markdown] nbgrader={"grade_id": "plan_answer", "solution": true, "grade": true, "points": 4}
# ### BEGIN SOLUTION
# Full marks: a hypothesis about one cause ("spectral norm in the discriminator lowers the FD of a DCGAN on shapes at
# equal steps"), the pair of runs that differ in this one thing, the number of seeds, the time of one run measured on a
# short one, and what will be concluded from each of the three results (better, worse, not to be told apart).
# Two points: a plan without an outcome that would refute it. One point: "I train a model and improve it".
# ### END SOLUTION

# %% [markdown]
# ## Task 1 · A number and its error (easy, 2 points)
#
# A model is measured with $k$ seeds. Of the numbers $v_1, \dots, v_k$ report the mean $\bar v$ and its standard error,
#
# $$ e = \sqrt{ \frac{1}{k\,(k - 1)} \sum_i (v_i - \bar v)^2 } . $$
#
# <details><summary>Hint 1</summary>
#
# The unbiased variance divides by $k - 1$. The error of a *mean* of $k$ numbers is smaller than their spread: by how
# much?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.tensor(values).double().std()` is the root of the unbiased variance.
#
# </details>

# %% nbgrader={"grade_id": "mean_and_error", "solution": true}
def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Mean and standard error of the mean of at least two numbers."""
    ### BEGIN SOLUTION
    count = len(values)
    mean = sum(values) / count
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    return mean, math.sqrt(variance / count)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_mean_and_error", "grade": true, "points": 2}
mean, error = mean_and_error([1.0, 2.0, 3.0, 6.0])      # squared distances from 3: 4, 1, 0, 9
assert abs(mean - 3) < 1e-9, f"the mean of 1, 2, 3, 6 is 3, not {mean}"
assert abs(error - math.sqrt(14 / 3 / 4)) < 1e-9, (
    f"the standard error of the mean of 1, 2, 3, 6 is sqrt(14 / 3 / 4) = 1.080, not {error:.3f}"
    + (": that is the spread of the four, not the error of their mean" if abs(error - math.sqrt(14 / 3)) < 1e-6 else "")
    + (": divide by k - 1" if abs(error - math.sqrt(14 / 16)) < 1e-6 else ""))
### BEGIN HIDDEN TESTS
for count in (2, 3, 10):
    values = (5 + torch.randn(count, generator=seeded(count), dtype=torch.float64)).tolist()
    mean, error = mean_and_error(values)
    pairs = math.fsum((a - b) ** 2 for a in values for b in values) / 2 / count          # = sum of squares about the mean
    assert abs(mean - math.fsum(values) / count) < 1e-6, f"the mean of {count} numbers is wrong: {mean}"
    assert abs(error - math.sqrt(pairs / count / (count - 1))) < 1e-6, (
        f"the standard error of {count} numbers should be {math.sqrt(pairs / count / (count - 1)):.4f}, not {error:.4f}")
### END HIDDEN TESTS

# %% [markdown]
# ## Task 2 · Better, or lucky? (easy, 2 points)
#
# Two models, each measured with several seeds; lower is better. Say that *ours* beats *theirs* only if its mean is lower
# by more than **two standard errors of the difference**. The errors of two independent numbers add in squares.
#
# <details><summary>Hint 1</summary>
#
# Use your `mean_and_error` twice.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The difference has the error $\sqrt{e_1^2 + e_2^2}$, which is less than $e_1 + e_2$.
#
# </details>

# %% nbgrader={"grade_id": "beats", "solution": true}
def beats(ours: list[float], theirs: list[float]) -> bool:
    """Is the mean of `ours` lower than that of `theirs` by more than two standard errors of the difference?"""
    ### BEGIN SOLUTION
    mean_ours, error_ours = mean_and_error(ours)
    mean_theirs, error_theirs = mean_and_error(theirs)
    return mean_theirs - mean_ours > 2 * math.hypot(error_ours, error_theirs)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_beats", "grade": true, "points": 2}
low, high = [9.0, 10.0, 11.0], [13.0, 14.0, 15.0]       # means 10 and 14, errors 0.577 each: 4 against 2 * 0.816
assert beats(low, high), "10 +- 0.58 beats 14 +- 0.58: lower is better"
assert not beats(high, low), "14 does not beat 10: lower is better, and the sign of the difference counts"
assert not beats(low, [9.5, 10.5, 11.5]), "10 +- 0.58 and 10.5 +- 0.58: the difference is smaller than its error, no win"
assert beats(low, [11.0, 12.0, 13.0]), (
    "10 +- 0.577 and 12 +- 0.577: the difference of 2 exceeds 2 * sqrt(0.577^2 + 0.577^2) = 1.63: errors add in squares")
assert not beats(low, [10.4, 11.4, 12.4]), (
    "10 +- 0.577 and 11.4 +- 0.577: the difference of 1.4 is more than two errors of *one* of them, but less than two of "
    "the difference, 1.63")
### BEGIN HIDDEN TESTS
for shift in (0.2, 1.0, 1.55, 1.70, 2.2, 5.0):
    other = [value + shift for value in low]
    assert bool(beats(low, other)) == (shift > 2 * math.sqrt(2 / 3)), (
        f"a difference of {shift} with two standard errors of 1.633: {'a win' if shift > 1.633 else 'no win'}")
    assert not beats(other, low), f"a mean higher by {shift} never wins"
assert bool(beats([10.0, 10.0], [11.0, 11.0, 11.2])) and not beats([10.0, 14.0], [13.0, 13.2]), (
    "models measured with unlike numbers of seeds and unlike errors: each has its own error")
### END HIDDEN TESTS

# %% [markdown]
# ## Task 3 · From the network to the file (easy, 2 points)
#
# Networks draw floats in $[-1, 1]$, channels first, and sometimes a little beyond. The file wants bytes, channels last.
# Round to the *nearest* byte: $-1 \mapsto 0$, $1 \mapsto 255$.
#
# <details><summary>Hint 1</summary>
#
# Which linear map takes -1 to 0 and 1 to 255? And what becomes of 203.9, and of 280, when they are converted to bytes?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Map, then round, then limit to 0 and 255, then convert, in this order. `permute` exchanges axes; `view` and `reshape`
# only read the same numbers in other lines.
#
# </details>

# %% nbgrader={"grade_id": "to_entry", "solution": true}
def to_entry(samples: Tensor) -> np.ndarray:
    """Images (N, 3, H, W), float around [-1, 1] -> uint8 (N, H, W, 3)."""
    ### BEGIN SOLUTION
    levels = (samples.double() + 1) * 127.5
    bytes_ = levels.round().clamp(0, 255).to(torch.uint8)
    return bytes_.permute(0, 2, 3, 1).contiguous().numpy()
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_to_entry", "grade": true, "points": 2}
picture = torch.full((1, 3, 2, 4), -1.0)
picture[0, 0], picture[0, 1, 0, 3] = 1.0, 1.2                                # red; one pixel yellow, and beyond the range
entry = to_entry(picture)
assert isinstance(entry, np.ndarray) and entry.dtype == np.uint8, "a NumPy array of uint8 is wanted: `.numpy()`"
assert entry.shape == (1, 2, 4, 3), f"(1, 3, 2, 4) becomes (1, 2, 4, 3), not {entry.shape}"
assert entry[0, 1, 1].tolist() == [255, 0, 0], (
    f"a red pixel is 255, 0, 0, not {entry[0, 1, 1].tolist()}: `permute`, not `view`; -1 is 0 and 1 is 255")
assert entry[0, 0, 3].tolist() == [255, 255, 0], (
    f"1.2 is limited to 255, not {entry[0, 0, 3, 1]}: bytes begin again at 0; and height stays before width")
grey = to_entry(torch.full((1, 3, 1, 1), 0.6))[0, 0, 0, 0]
assert grey == 204, f"0.6 is level 204, not {grey}"
### BEGIN HIDDEN TESTS
samples = 1.3 * torch.randn(2, 3, 4, 5, generator=seeded(3))
kept, entry = samples.clone(), to_entry(samples)
assert torch.equal(samples, kept), "to_entry must not change its argument"
for n, c, y, x in ((0, 0, 0, 0), (1, 2, 3, 4), (0, 1, 2, 4), (1, 0, 3, 1), (0, 2, 1, 3), (1, 1, 0, 2)):
    wanted = min(max(round((samples[n, c, y, x].item() + 1) * 127.5), 0), 255)
    assert int(entry[n, y, x, c]) == wanted, f"{samples[n, c, y, x]:.3f} is level {wanted}, not {entry[n, y, x, c]}"
levels = torch.arange(256).double() / 127.5 - 1
assert to_entry(levels.float().reshape(1, 1, 16, 16).repeat(1, 3, 1, 1))[0, :, :, 1].ravel().tolist() == list(range(256)), (
    "all 256 levels must come back: round to the nearest one")
### END HIDDEN TESTS

# %% [markdown]
# ## Task 4 · Drawn, or remembered? (medium, 3 points)
#
# The first question of every defence. A sample counts as a copy if a training image, **or its mirror image**, lies
# within a root mean square difference of `threshold`, with pixels in $[-1, 1]$. Give the share of copies.
#
# <details><summary>Hint 1</summary>
#
# Bytes cannot be negative: 3 - 5 is 254. Convert before you subtract.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `flip(3)` mirrors left and right in (N, 3, H, W). Put both sets of training images into one.
#
# </details>
#
# <details><summary>Hint 3</summary>
#
# `torch.cdist(a.flatten(1), b.flatten(1))` is the root of the *sum* over pixels and channels. How many are they?
#
# </details>

# %% nbgrader={"grade_id": "share_of_copies", "solution": true}
def share_of_copies(samples: Tensor, train: Tensor, threshold: float = 0.05) -> float:
    """Share of `samples` that repeat an image of `train` or its mirror image. Both uint8, (N, 3, H, W), (M, 3, H, W)."""
    ### BEGIN SOLUTION
    both = torch.cat([train, train.flip(3)])
    x, y = samples.flatten(1).float() / 127.5, both.flatten(1).float() / 127.5
    rms = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist") / math.sqrt(x.shape[1])
    return (rms.min(dim=1).values < threshold).double().mean().item()
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_share_of_copies", "grade": true, "points": 3}
train = torch.randint(40, 216, (30, 3, 8, 8), generator=seeded(1), dtype=torch.uint8)
fresh = torch.randint(40, 216, (10, 3, 8, 8), generator=seeded(2), dtype=torch.uint8)
share = share_of_copies(torch.cat([train[:5], fresh[:5]]), train)
assert abs(share - 0.5) < 1e-6, f"5 of 10 samples are training images: the share is 0.5, not {share}"
share = share_of_copies(train[:4].flip(3), train)
assert abs(share - 1) < 1e-6, f"mirror images (left and right) of training images are copies: the share is 1, not {share}"
assert share_of_copies(train[:4].flip(2), train) == 0, "an image upside down is no copy here: mirror left and right only"
for offset, wanted in ((4, 1), (-4, 1), (9, 0), (-9, 0)):                    # 4 levels are 0.031, 9 levels 0.071
    share = share_of_copies((train[:4].int() + offset).to(torch.uint8), train)
    assert abs(share - wanted) < 1e-6, (
        f"all pixels {offset} levels away: RMS {abs(offset) / 127.5:.3f}, so the share is {wanted}, not {share}: floats "
        "before you subtract; pixels in [-1, 1]; the mean over pixels, then its root")
### BEGIN HIDDEN TESTS
for n, m, side, threshold in ((6, 4, 4, 0.5), (9, 12, 5, 0.62), (5, 3, 3, 0.7)):
    samples, train = (torch.randint(256, (k, 3, side, side), generator=seeded(10 * k + side), dtype=torch.uint8)
                      for k in (n, m))
    close = 0
    for sample in samples.int():
        gaps = [((sample - other).double() / 127.5).square().mean().sqrt().item()
                for image in train.int() for other in (image, image.flip(2))]
        close += min(gaps) < threshold
    share = share_of_copies(samples, train, threshold)
    assert abs(share - close / n) < 1e-6, f"{close} of {n} samples lie within {threshold}, not {share * n:.1f}"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 5 · A rival's progress (medium, 3 points)
#
# A rival shows five versions of a model; the last ones have the lowest FD of all. The next cells hold the code behind
# the report, and its whole log.

# %% nbgrader={"grade_id": "broken_run", "locked": true}
TRIES = {"v1": 1, "v2": 3, "v3": 10, "v4": 30, "v5": 100}                    # version: samples that were drawn and measured


def measured(version: str, seed: int) -> float:
    """The FD of 1000 samples of that version, drawn with that seed (made up, but with the spread of real ones)."""
    return 12 + 0.8 * torch.randn((), generator=seeded(1000 * int(version[1:]) + seed)).item()


def rivals_report(version: str) -> float:
    """What the rival prints."""
    return min(measured(version, seed) for seed in range(TRIES[version]))


# %% tags=["nbval-ignore-output"]
print("version  tries  reported FD  first seed  mean of the first hundred  N     reference")
for version, tries in TRIES.items():
    hundred = [measured(version, seed) for seed in range(100)]
    print(f"{version:8} {tries:4} {rivals_report(version):11.2f} {hundred[0]:11.2f} {sum(hundred) / 100:18.2f}"
          f"{'':12}1000  all 20000 training images")

# %% [markdown]
# Which sentence is the cause?
#
# - **a** Every version was trained for longer than the one before.
# - **b** FD falls as N grows, and N was raised from version to version.
# - **c** The best of more and more seeds is reported; the model does not change.
# - **d** The reference became smaller, so that it is easier to be near to it.
#
# Set `cause` to its letter. Then write the honest report: every seed that was tried counts, none is left out.
#
# <details><summary>Hint 1</summary>
#
# Which column changes most from the first line to the last? Which would change if the model were better?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The mean does not fall with the number of tries. Its error does.
#
# </details>

# %% nbgrader={"grade_id": "report", "solution": true}
cause = ""                                               # a, b, c or d


def report(measure, seeds: list[int]) -> tuple[float, float, int]:
    """(mean FD, its standard error, number of seeds) of a model; `measure(seed)` draws and measures once; k > 1."""
    ### BEGIN SOLUTION
    values = [measure(seed) for seed in seeds]
    return *mean_and_error(values), len(values)


cause = "c"
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_cause", "grade": true, "points": 1}
assert cause in ("a", "b", "c", "d"), "set `cause` to one of the four letters"
### BEGIN HIDDEN TESTS
assert cause == "c", f"the log speaks against {cause!r}: N, reference and the mean stay, the number of tries grows"
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_report", "grade": true, "points": 2}
calls = []


def counted(seed):
    calls.append(seed)
    return {3: 10.0, 5: 12.0, 8: 17.0}[seed]


mean, error, count = report(counted, [3, 5, 8])
assert calls == [3, 5, 8], f"each seed is measured once, in order: 3, 5, 8, not {calls}"
assert abs(mean - 13) < 1e-9, f"10, 12 and 17 have the mean 13, not {mean}: neither the best nor the middle one"
assert abs(error - math.sqrt(26 / 2 / 3)) < 1e-9, f"their standard error is sqrt(26 / 2 / 3) = 2.082, not {error:.3f}"
assert count == 3, f"three seeds were tried, not {count}: say so"
### BEGIN HIDDEN TESTS
few, many = (report(lambda seed: measured("v1", seed), list(range(k))) for k in (5, 60))
assert abs(many[0] - 12) < 0.4 and many[1] < few[1] < 1.0 and many[2] == 60, (
    f"with 60 seeds of a model of FD 12 the report says {many[0]:.2f} +- {many[1]:.2f} ({many[2]} seeds); with five the "
    f"error is {few[1]:.2f}: the mean stays, its error falls")
### END HIDDEN TESTS

# %% [markdown]
# ## The baseline, and real images
#
# The instruments are ready. The reference here is 2000 training images, copies are looked for among 1000, and N is
# 100: a smoke size, so that this page runs in seconds. With so few samples FD is far too high for everybody; only equal
# N can be compared. For the numbers that you hand in use `tinygen evaluate MODEL --data shapes --n 1000 --seed S`, three
# seeds or more.

# %%
from tinygen.data import load, to_float, to_uint8
from tinygen.evaluate import Gaussian, frechet_distance, judge_images
from tinygen.models import load_model

training, testing = load(f"{DATA}:train"), load(f"{DATA}:test")
judge = load_model(f"zoo:{DATA}-judge")[0]
reference = Gaussian.fit(judge_images(judge, training.images[:2000]).features)


def fd(images: Tensor) -> float:
    """The distance of uint8 images (N, 3, 32, 32) to the reference, at the smoke size."""
    return frechet_distance(Gaussian.fit(judge_images(judge, images).features), reference)


@torch.no_grad()
def draw(network, seed: int, **options) -> Tensor:
    """N samples, uint8 (N, 3, 32, 32): classes 0, 1, 2, ... in turn."""
    labels = torch.arange(N) % len(training.class_names)
    return to_uint8(network.generate(N, labels=labels, generator=seeded(seed), **options))


# %%
baseline = load_model(f"zoo:{DATA}-ldm")[0]
samples = {"real test images": [testing.images[i * N:(i + 1) * N] for i in SEEDS],
           "baseline": [draw(baseline, seed, steps=5) for seed in SEEDS]}
scores = {who: [fd(images) for images in sets] for who, sets in samples.items()}
print("real test images beat the baseline:", beats(scores["real test images"], scores["baseline"]))
print("copies among the baseline's samples:", share_of_copies(samples["baseline"][0], training.images[:1000]))

# %% [markdown]
# ## Your model (9 points, graded by hand)
#
# At the smoke size: twenty steps of a recipe, to see that training, sampling and measuring work together. Then train in
# earnest, from a terminal (`tinygen train my-recipe.yaml --out runs/mine`), and load the result here. Leave `mine` as a
# network with `generate`.

# %% nbgrader={"grade_id": "my_model", "solution": true} tags=["nbval-ignore-output"]
# Your code: `mine`, a trained network in eval mode.
### BEGIN SOLUTION
from tinygen.train import Trainer, load_recipe

place = Path(tempfile.mkdtemp())
recipe = load_recipe(f"{DATA}-dcgan", tier="cpu", overrides=["train.steps=20", "train.batch_size=16", "train.ema=0.8"])
mine = Trainer(recipe, place / "run", device="cpu", data=training, quiet=True).run().eval()
### END SOLUTION

# %% tags=["nbval-ignore-output", "expected-picture"]
samples["mine"] = [draw(mine, seed) for seed in SEEDS]
scores["mine"] = [fd(images) for images in samples["mine"]]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.6), width_ratios=(3, 1), constrained_layout=True)
strip = torch.cat([torch.cat(list(sets[0][:12]), dim=2) for sets in samples.values()], dim=1)
left.imshow(strip.permute(1, 2, 0))
left.set_yticks([16 + 32 * i for i in range(3)], list(samples))
left.set_xticks([])
for place_, (who, values) in enumerate(scores.items()):
    mean, error = mean_and_error(values)
    right.errorbar(place_, mean, yerr=2 * error, fmt="o", capsize=6, color="#2563eb")
    right.annotate(f"{mean:.0f}", (place_, mean), xytext=(8, 0), textcoords="offset points", va="center")
right.set_xticks(range(3), ["real", "baseline", "mine"])
right.set(yscale="log", ylabel=f"FD, N = {N}", xlim=(-0.5, 2.7))
plt.show()
print("mine beats the baseline:", beats(scores["mine"], scores["baseline"]))

# %% [markdown]
# Now write about your model: what it is, what you changed and why, its losses, the alternative to your one choice and
# its result. Show samples that were *not* chosen: the first ones.

# %% [markdown] nbgrader={"grade_id": "model_answer", "solution": true, "grade": true, "points": 9}
# ### BEGIN SOLUTION
# Full marks (9): a new part (a loss, a network, a sampler, a conditioner) of the student's own hand, trained to the
# end, curves of every term, first samples, and the pair of runs that differ in this part. Five: a recipe with other
# numbers, well argued, with its pair. Three: one run, no alternative. Zero: a model of the zoo.
# ### END SOLUTION

# %% [markdown]
# ## The measurement (8 points, graded by hand)
#
# A table with your model, its alternative, the baseline and real images: FD, precision and recall, mean and standard
# error over three seeds or more, with N and the reference in its title. The share of copies, and a picture of your ten
# samples that are nearest to training images, beside those images. One sentence: which differences are larger than two
# standard errors?

# %% [markdown] nbgrader={"grade_id": "measurement_answer", "solution": true, "grade": true, "points": 8}
# ### BEGIN SOLUTION
# Table with N and reference, all rows alike 2; seeds and errors 2; real images measured, not assumed, 1; copies and
# nearest neighbours shown 2; a conclusion that claims no more than `beats` allows 1. Whoever chose a checkpoint by the
# number that is reported, or left out a seed, gets none of the first four.
# ### END SOLUTION

# %% [markdown]
# ## Handing in
#
# Write the file, and let the instructor's own reader look at it (wrong types, shapes and labels are refused).

# %%
from tinygen.course.entry import read_samples

file = Path(tempfile.mkdtemp()) / "samples.npz"         # yours: Path("samples.npz")
labels = np.arange(N) % len(training.class_names)
np.savez_compressed(file, images=to_entry(to_float(samples["mine"][0])), labels=labels)
images, labelled = read_samples(file, N, len(training.class_names))
print(f"{len(images)} images, classes in turn: {labelled}; nothing was lost: {torch.equal(images, samples['mine'][0])}")
print("copies among my samples:", share_of_copies(images, training.images[:1000]))

# %% [markdown]
# ## The defence (11 points, graded by hand)
#
# Three of these, asked by the instructor in front of your curves and samples; prepare notes for all of them below.
#
# 1. Show the line where the loss is computed. Which equation is it? What would its sign, or a missing `detach`, do?
# 2. Which of your curves tells that training is over? Which one looks as if, and does not?
# 3. Here are your ten worst samples. What do they have in common?
# 4. How do you know that these samples are not training images? What would your test miss?
# 5. Your FD has this error. How many seeds, or samples, would halve it?
# 6. Precision up, recall down: which knob does that, and did you turn it?
# 7. What in your result comes from the first stage, what from the generator? How did you tell?
# 8. Change one thing that makes it worse, and say in advance by how much.
# 9. What did you try that did not work, and why is it not in the table?
# 10. Which number in your table would you trust least?

# %% [markdown] nbgrader={"grade_id": "defence_answer", "solution": true, "grade": true, "points": 11}
# ### BEGIN SOLUTION
# Three questions, three points each: answered from the own code and plots 3, in general terms 2, after help 1. Two
# points more for a prediction made in the conversation (question 8, or "what happens with half of the steps?") that
# the next run confirms, or whose failure is explained. Who cannot find the own loss in the code gets at most 3 in all.
# ### END SOLUTION

# %% [markdown]
# ## Honesty (6 points, graded by hand)
#
# Your claim for the board (the mean FD of $k$ seeds at N = 1000, with its standard error $e$), what you took from others,
# what failed, your worst samples. The board measures once: its number has an error $\sqrt k$ times as large as your
# mean's, and may lie $2 e \sqrt{k + 1}$ from your claim.

# %% [markdown] nbgrader={"grade_id": "honesty_answer", "solution": true, "grade": true, "points": 6}
# ### BEGIN SOLUTION
# The board's number, one measurement against a mean of $k$, lies within two standard errors of their difference,
# $2 e \sqrt{k + 1}$, of the claim 2 (a claim that is too good by more: 0 of 6);
# borrowed code, weights and ideas named 1; at least one failed attempt with its numbers 2; worst samples shown 1.
# ### END SOLUTION
