# %% [markdown]
# # Lab 10 · Latent diffusion, start to finish
#
# | | |
# |---|---|
# | Goals | put a first stage, a flow-matching loss and a sampler together; redraw a picture, repair another |
# | Chapters | 14 (flow matching), 16 (latent diffusion), 17 (image-to-image, inpainting) |
# | Time | about 85 minutes |
# | Points | 25: six tasks with tests (20), one experiment graded by hand (5) |
# | You need | two CPU cores, no network; the whole notebook runs in less than half a minute |
#
# At the end your code will draw little suns over coloured skies, by way of latents with an eighth of the numbers. From
# above: data, samples, a picture redrawn with more and more freedom, pictures with a hole, and the same repaired.
#
# ![Five rows of small pictures of pale discs over coloured skies](expected.png)
#
# **How it works.** Replace each `# YOUR CODE HERE` (and the line below it) by your own code. Under each task stand
# tests that say *what* is wrong; more tests run when the lab is graded, on other sizes, types and edge cases. A task is
# graded alone: an error in task 1 does not cost points in task 5. Keep the helpers of a task in its cell. Folded hints
# go one step at a time: try for five minutes before you open the first.
#
# **Notation.** Pictures $x$ have three channels and $24 \times 24$ pixels, latents $z_0$ are maps of shape `(B, C, h,
# w)`. Time runs from $t = 0$ (data) to $t = 1$ (noise): $z_t = (1 - t) z_0 + t \varepsilon$. The network is told $z_t$
# and $t$, shape `(B,)`, and predicts the velocity $u = \varepsilon - z_0$. A sampler walks from $t = 1$ down to 0. A
# function that is given a `generator` draws everything random from it.

# %% nbgrader={"grade_id": "setup", "locked": true}
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

torch.set_num_threads(1)
SIZE, PATCH, CHANNELS = 24, 4, 6


def suns(n: int, generator: torch.Generator) -> Tensor:
    """n pictures (n, 3, 24, 24) in [-1, 1]: a pale disc over a sky from blue to red, which darkens downwards."""
    hour = torch.rand(n, 1, 1, 1, generator=generator)
    blue, red = torch.tensor([[0.1, 0.4, 0.9], [0.9, 0.2, 0.3]])[:, None, :, None, None]
    sky = torch.lerp(blue, red, hour)
    height = torch.linspace(0, 1, SIZE).view(1, 1, SIZE, 1)
    ground = (2 * sky * (1 - 0.8 * height) - 1).expand(n, 3, SIZE, SIZE)
    disc = torch.tensor([1.0, 0.9, 0.4]).view(1, 3, 1, 1)
    place = 7 + 10 * torch.rand(n, 2, 1, 1, 1, generator=generator)
    radius = 3.5 + 2 * torch.rand(n, 1, 1, 1, generator=generator)
    rows, columns = torch.arange(SIZE).view(1, 1, SIZE, 1), torch.arange(SIZE).view(1, 1, 1, SIZE)
    distance = ((rows - place[:, 0]) ** 2 + (columns - place[:, 1]) ** 2).sqrt()
    inside = (radius - distance + 0.5).clamp(0, 1)
    return ground + inside * (disc - ground)


class FirstStage:
    """A linear first stage: each 4 by 4 patch becomes the six numbers that describe patches best (their PCA)."""

    def __init__(self, images: Tensor):
        patches = self.patches(images)
        self.centre = patches.mean(0)
        self.basis = torch.linalg.svd(patches[:20_000] - self.centre, full_matrices=False).Vh[:CHANNELS]

    def patches(self, images: Tensor) -> Tensor:
        return F.pixel_unshuffle(images, PATCH).permute(0, 2, 3, 1).flatten(0, 2)

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, 24, 24) -> latents (B, 6, 6, 6), of any scale."""
        side = images.shape[-1] // PATCH
        return ((self.patches(images) - self.centre) @ self.basis.T).view(-1, side, side, CHANNELS).permute(0, 3, 1, 2)

    def decode(self, latents: Tensor) -> Tensor:
        """(B, 6, 6, 6) -> (B, 3, 24, 24)."""
        patches = latents.permute(0, 2, 3, 1) @ self.basis + self.centre
        return F.pixel_shuffle(patches.permute(0, 3, 1, 2), PATCH).clamp(-1, 1)


# %% [markdown]
# ## Task 1 · Latents of unit variance (easy, 3 points)
#
# Noise has mean 0 and standard deviation 1; what is mixed with it should have too. Measure both, channel by channel,
# over all pictures and places.
#
# <details><summary>Hint 1</summary>
#
# `latents.mean((0, 2, 3))` is one number a channel. Which shape lets it be subtracted from `(B, C, h, w)`?
#
# </details>

# %% nbgrader={"grade_id": "latent_statistics", "solution": true}
def latent_statistics(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel, (C, 1, 1) each, of latents (N, C, h, w)."""
    ### BEGIN SOLUTION
    mean = latents.mean((0, 2, 3))
    std = latents.std((0, 2, 3))
    return mean[:, None, None], std[:, None, None]
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_latent_statistics", "grade": true, "points": 3}
scale = torch.tensor([1.0, 10.0, 0.1]).view(1, 3, 1, 1)
shift = torch.tensor([0.0, 5.0, -2.0]).view(1, 3, 1, 1)
latents = shift + scale * torch.randn(500, 3, 4, 4, generator=torch.Generator().manual_seed(0))
mean, std = latent_statistics(latents)
assert mean.shape == std.shape == (3, 1, 1), (
    f"(3, 1, 1) twice is asked for, not {tuple(mean.shape)} and {tuple(std.shape)}")
normal = (latents - mean) / std
assert normal.mean((0, 2, 3)).abs().max() < 0.01, "after normalising, every channel has mean 0: is it each channel's own?"
assert (normal.std((0, 2, 3)) - 1).abs().max() < 0.01, (
    f"after normalising, every channel has standard deviation 1; yours have "
    f"{[round(s, 2) for s in normal.std((0, 2, 3)).tolist()]}: is it the deviation and not the variance, of each "
    "channel on its own?")
### BEGIN HIDDEN TESTS
for shape in ((3, 1, 2, 2), (5, 4, 3, 6)):
    latents = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 1
    mean, std = latent_statistics(latents)
    for channel in range(shape[1]):
        values = latents[:, channel].flatten().tolist()
        centre = sum(values) / len(values)
        spread = (sum((v - centre) ** 2 for v in values) / len(values)) ** 0.5
        assert abs(mean[channel].item() - centre) < 1e-6, f"wrong mean for latents of shape {shape}"
        assert abs(std[channel].item() / spread - 1) < 0.05, f"wrong standard deviation for latents of shape {shape}"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 2 · The loss (medium, 4 points)
#
# $$ L = \mathbb E_{t, \varepsilon} \big\| (\varepsilon - z_0) - u_\theta(z_t, t) \big\|^2, \qquad
#    z_t = (1 - t) z_0 + t \varepsilon, \quad t \sim U(0, 1) $$
#
# (a mean over the batch and over all elements; one $t$ for each element of the batch)
#
# <details><summary>Hint 1</summary>
#
# `t` is `(B,)`, the latents are `(B, C, h, w)`: `t.view(-1, 1, 1, 1)` multiplies.
#
# </details>

# %% nbgrader={"grade_id": "flow_loss", "solution": true}
def flow_loss(model, z0: Tensor, generator: torch.Generator) -> Tensor:
    """The loss, a scalar with gradient. model(z_t (B, C, h, w), t (B,)) -> velocity (B, C, h, w)."""
    ### BEGIN SOLUTION
    t = torch.rand(len(z0), generator=generator)
    eps = torch.randn(z0.shape, generator=generator)
    level = t.view(-1, 1, 1, 1)
    z_t = (1 - level) * z0 + level * eps
    return (eps - z0 - model(z_t, t)).square().mean()
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_flow_loss", "grade": true, "points": 4}
z0, seen = torch.randn(2000, 2, 2, 2, generator=torch.Generator().manual_seed(0)), []


def perfect(z_t: Tensor, t: Tensor) -> Tensor:
    """Knows z0, and so the noise, and so the velocity."""
    seen.append(t)
    eps = (z_t - (1 - t.view(-1, 1, 1, 1)) * z0) / t.view(-1, 1, 1, 1).clamp(min=1e-6)
    return eps - z0


loss = flow_loss(perfect, z0, torch.Generator().manual_seed(1))
assert loss.shape == (), f"the loss is one number, not a tensor of shape {tuple(loss.shape)}"
assert loss < 0.01, (
    f"a network that knows the noise has loss 0, not {loss:.2f}: the noise that is mixed in and the noise of the target "
    "must be the same, data belong to t = 0, noise to t = 1, and u = eps - z0")
assert seen[0].shape == (2000,), f"one time for each element of the batch: (2000,), not {tuple(seen[0].shape)}"
assert seen[0].min() < 0.05 and seen[0].max() > 0.95 and abs(seen[0].mean().item() - 0.5) < 0.05, (
    "the times should be uniform between 0 and 1")
blind = flow_loss(lambda z, t: torch.zeros_like(z), z0, torch.Generator().manual_seed(2)).item()
assert abs(blind - 2) < 0.1, (
    f"a network that always says 0 has the loss E(eps^2) + E(z0^2) = 2, not {blind:.2f}: mean over all elements, target "
    "eps - z0")
### BEGIN HIDDEN TESTS
again = [flow_loss(lambda z, t: z, z0, torch.Generator().manual_seed(3)).item() for _ in range(2)]
assert again[0] == again[1], "generators with the same seed must give the same loss: draw everything from `generator`"
offset = flow_loss(lambda z, t: torch.ones_like(z), z0, torch.Generator().manual_seed(2)).item()
assert abs(offset - 3) < 0.15, f"a network that always says 1 has the loss 3, not {offset:.2f}: is it the square?"
weight = torch.ones((), requires_grad=True)
flow_loss(lambda z, t: weight * z, torch.randn(8, 1, 3, 5), torch.Generator().manual_seed(4)).backward()
assert weight.grad is not None and weight.grad.abs() > 0, "no gradient reaches the network: is something detached?"
taken = []
flow_loss(lambda z, t: taken.append((z, t)) or z, torch.zeros(4000, 1, 4, 4), torch.Generator().manual_seed(5))
spread = taken[0][0].flatten(1).std(1)
assert (spread - taken[0][1]).abs().mean() < 0.15, (
    "of data that are 0 only t eps is left: the network should see noise of standard deviation t, and be told that t")
### END HIDDEN TESTS

# %% [markdown]
# ## Task 3 · From noise to a latent (medium, 4 points)
#
# Euler's method for $\dot z = u(z, t)$, from a time `start` down to 0 in equal steps:
#
# $$ z \leftarrow z + (t_{\text{next}} - t)\, u_\theta(z, t) . $$
#
# <details><summary>Hint 1</summary>
#
# `torch.linspace(start, 0, steps + 1)` has all the times. Is $t_{\text{next}} - t$ positive or negative?
#
# </details>

# %% nbgrader={"grade_id": "integrate", "solution": true}
@torch.no_grad()
def integrate(model, z: Tensor, start: float, steps: int, after=None) -> Tensor:
    """z (B, C, h, w) at time `start` -> z at time 0, in `steps` steps; `z` itself is not changed.

    model(z, t (B,)) -> velocity; after, if given: after each step z becomes after(z, t), t the time reached (a float).
    """
    ### BEGIN SOLUTION
    times = torch.linspace(start, 0, steps + 1).tolist()
    for t, t_next in zip(times[:-1], times[1:]):
        z = z + (t_next - t) * model(z, torch.full((len(z),), t))
        if after is not None:
            z = after(z, t_next)
    return z
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_integrate", "grade": true, "points": 4}
eps, target = torch.randn(2, 5, 1, 2, 2, generator=torch.Generator().manual_seed(0))
straight = lambda z, t: (z - target) / t.view(-1, 1, 1, 1)
for steps in (1, 7):
    end = integrate(straight, eps, 1.0, steps)
    assert end is not None and end.shape == eps.shape, "the result has the shape of z"
    torch.testing.assert_close(end, target, atol=1e-4, rtol=1e-3, msg=(
        f"where all paths are straight, {steps} Euler step(s) lead exactly to the data: check the sign of the step, and "
        "that the network is told the time at which the step begins"))
seen, reached = [], []
integrate(lambda z, t: seen.append(t) or torch.zeros_like(z), eps, 0.8, 4, lambda z, t: reached.append(float(t)) or z)
assert len(seen) == 4, f"4 steps ask the network 4 times, not {len(seen)} times"
assert seen[0].shape == (5,), f"t has one entry for each element of the batch: (5,), not {tuple(seen[0].shape)}"
assert abs(seen[0][0].item() - 0.8) < 1e-5, f"the first step begins at `start`, 0.8, not at {seen[0][0]:.2f}"
assert len(reached) == 4 and abs(reached[-1]) < 1e-6 and abs(reached[0] - 0.6) < 1e-5, (
    f"`after` is told the times reached, 0.6, 0.4, 0.2 and 0, not {[round(t, 2) for t in reached]}")
### BEGIN HIDDEN TESTS
growth = lambda z, t: z                      # dz/dt = z: exact answer z e^(-start), Euler's (1 - start / steps)^steps
for start, steps in ((1.0, 10), (0.5, 3)):
    end = integrate(growth, eps, start, steps)
    torch.testing.assert_close(end, eps * (1 - start / steps) ** steps, rtol=1e-4, atol=1e-5, msg=(
        f"for the velocity z, {steps} Euler steps from {start} multiply z by (1 - {start} / {steps})^{steps}"))
before = eps.clone()
integrate(growth, eps, 1.0, 3)
assert torch.equal(eps, before), "integrate must not change its argument"
halved = integrate(lambda z, t: torch.zeros_like(z), eps, 1.0, 3, lambda z, t: z / 2)
torch.testing.assert_close(halved, eps / 8, msg="what `after` returns takes the place of z, after every step")
along = integrate(lambda z, t: t.view(-1, 1, 1, 1) * torch.ones_like(z), eps, 1.0, 4)
torch.testing.assert_close(along, eps - 0.625, msg="the velocity is asked for at the beginning of each step")
### END HIDDEN TESTS

# %% [markdown]
# ## Task 4 · Image-to-image (easy, 3 points)
#
# SDEdit (Meng and others, 2022): do not begin with noise but with a picture, noised to the time `strength`; then
# integrate from there to 0, in `steps` steps.
#
# <details><summary>Hint 1</summary>
#
# The path of task 2 says what a latent looks like at time `strength`. Task 3 does the rest.
#
# </details>

# %% nbgrader={"grade_id": "img2img", "solution": true}
@torch.no_grad()
def img2img(model, z0: Tensor, strength: float, steps: int, generator: torch.Generator) -> Tensor:
    """Latents like z0 (B, C, h, w): the same at strength 0, forgotten at strength 1."""
    ### BEGIN SOLUTION
    noise = torch.randn(z0.shape, generator=generator)
    noised = (1 - strength) * z0 + strength * noise
    return integrate(model, noised, strength, steps)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_img2img", "grade": true, "points": 3}
z0 = torch.full((400, 1, 2, 2), 3.0)
began = []
still = lambda z, t: began.append((z, t)) or torch.zeros_like(z)
out = img2img(still, z0, 0.25, 4, torch.Generator().manual_seed(0))
assert out is not None and out.shape == z0.shape, "the result has the shape of z0"
first, time = began[0]
assert abs(time[0].item() - 0.25) < 1e-5, f"integration begins at the strength, 0.25, not at {time[0]:.2f}"
assert abs(first.mean().item() - 2.25) < 0.1, (
    f"at time 0.25 three quarters of the data are left: mean 2.25, not {first.mean():.2f}")
assert abs(first.std().item() - 0.25) < 0.03, (
    f"at time 0.25 the noise has standard deviation 0.25, not {first.std():.2f}")
assert len(began) == 4, f"all 4 steps are spent between the strength and 0; you ask the network {len(began)} times"
### BEGIN HIDDEN TESTS
whole = lambda z, t: (z - 1.0) / t.view(-1, 1, 1, 1).clamp(min=1e-6)
torch.testing.assert_close(img2img(whole, z0, 0.7, 5, torch.Generator()), torch.ones_like(z0), atol=1e-3, rtol=1e-3,
                           msg="a model that knows only the latent 1 ends there")
began.clear()
same = [img2img(still, z0, 1.0, 1, torch.Generator().manual_seed(s)) for s in (5, 5, 6)]
assert torch.equal(same[0], same[1]) and not torch.equal(same[0], same[2]), "all noise comes from `generator`"
assert began[0][0].mean().abs() < 0.1, "at strength 1 nothing of the picture is left"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 5 · Inpainting (medium, 3 points)
#
# Draw what is missing so that it fits what is there: start from noise and integrate as usual, but after each step put
# back the known latents, *noised to the time that was reached*, with one and the same noise throughout: the one that
# the walk starts from.
#
# <details><summary>Hint 1</summary>
#
# `integrate` has an argument for this: a function `(z, t) -> z`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.where(missing, z, (1 - t) * z0 + t * noise)`.
#
# </details>

# %% nbgrader={"grade_id": "inpaint", "solution": true}
@torch.no_grad()
def inpaint(model, z0: Tensor, missing: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    """Latents (B, C, h, w) that are z0 where `missing` (B, 1, h, w) bool is False, and drawn where it is True."""
    ### BEGIN SOLUTION
    noise = torch.randn(z0.shape, generator=generator)

    def put_back(z: Tensor, t: float) -> Tensor:
        known = (1 - t) * z0 + t * noise
        return torch.where(missing, z, known)

    return integrate(model, noise, 1.0, steps, put_back)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_inpaint", "grade": true, "points": 3}
z0 = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
missing = torch.zeros(3, 1, 4, 4, dtype=torch.bool)
missing[:, :, :2] = True
states = []
model = lambda z, t: states.append((z, t)) or (z - 5.0) / t.view(-1, 1, 1, 1).clamp(min=1e-6)
out = inpaint(model, z0, missing, 5, torch.Generator().manual_seed(1))
assert out is not None and out.shape == z0.shape, "the result has the shape of z0"
torch.testing.assert_close(out[:, :, 2:], z0[:, :, 2:], msg="where nothing is missing, the result is z0 exactly")
torch.testing.assert_close(out[:, :, :2], torch.full((3, 2, 2, 4), 5.0), atol=1e-3, rtol=1e-3, msg=(
    "where something is missing, the model decides: this one knows only the latent 5"))
noise, (later, time) = states[0][0], states[2]
torch.testing.assert_close(later[:, :, 2:], (1 - time[0]) * z0[:, :, 2:] + time[0] * noise[:, :, 2:], msg=(
    "on the way the known part must be as noisy as the rest: (1 - t) z0 + t noise, t the time that was reached, with the "
    "noise that the walk began with"))
### BEGIN HIDDEN TESTS
assert abs(states[0][1][0].item() - 1) < 1e-6 and len(states) == 5, "the walk begins at t = 1 and has `steps` steps"
assert abs(noise.std().item() - 1) < 0.2, "the walk begins with noise of standard deviation 1, everywhere"
everything, nothing = torch.ones(3, 1, 4, 4).bool(), torch.zeros(3, 1, 4, 4).bool()
torch.testing.assert_close(inpaint(model, z0, nothing, 3, torch.Generator()), z0, msg="nothing missing: z0 comes back")
free = inpaint(lambda z, t: z, z0, everything, 4, torch.Generator().manual_seed(2))
torch.testing.assert_close(free, 0.75**4 * torch.randn(z0.shape, generator=torch.Generator().manual_seed(2)), msg=(
    "everything missing: an ordinary sample"))
### END HIDDEN TESTS

# %% [markdown]
# ## Task 6 · A run that went wrong (medium, 3 points)
#
# A colleague wrote the pipeline below. The loss is as low as yours will be, and the samples are dull: little contrast,
# false colours, a visible grid of patches. The next cell repeats the run.

# %% nbgrader={"grade_id": "broken_run", "locked": true}
class Denoiser(nn.Module):
    """Velocity (B, C, h, w) of latents (B, C, h, w) at times t (B,), by way of a guess of the data.

    From z_t = (1 - t) z_0 + t eps follows u = (z_t - z_0) / t: a network with fewer units than the latents have numbers
    can guess z_0, which has little in it, but could not let the noise through.
    """

    def __init__(self, shape: tuple[int, ...] = (CHANNELS, SIZE // PATCH, SIZE // PATCH), width: int = 160):
        super().__init__()
        size, self.shape = shape[0] * shape[1] * shape[2], shape
        self.first, self.last = nn.Linear(size, width), nn.Linear(width, size)
        self.time = nn.Sequential(nn.Linear(8, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(),
                                                  nn.Linear(2 * width, width)) for _ in range(3))

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        angle = t[:, None] * 2.0 ** torch.arange(4)
        told = self.time(torch.cat([angle.sin(), angle.cos()], dim=1))
        h = self.first(z.flatten(1))
        for block in self.blocks:
            h = h + block(h + told)
        guess = self.last(h).unflatten(1, self.shape)
        return (z - guess) / t.clamp(min=0.1).view(-1, 1, 1, 1)


def train(model: nn.Module, loss, latents: Tensor, iterations: int = 1200) -> nn.Module:
    """Adam on loss(model, batch, generator); prints the mean loss of the last 100 iterations."""
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), lr=4e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, iterations)
    values = []
    for _ in range(iterations):
        batch = latents[torch.randint(len(latents), (64,), generator=generator)]
        optimiser.zero_grad()
        value = loss(model, batch, generator)
        value.backward()
        optimiser.step()
        schedule.step()
        values.append(value.detach())
    print(f"loss {torch.stack(values[-100:]).mean():.3f}")
    return model


def broken_decode(decode, z: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """From normalised latents to pictures."""
    return decode(z)


# %% tags=["nbval-ignore-output"]
images = suns(6000, torch.Generator().manual_seed(0))
first_stage = FirstStage(images)
latents = first_stage.encode(images)
mean, std = latent_statistics(latents)
normal = (latents - mean) / std
torch.manual_seed(0)
model = train(Denoiser(), flow_loss, normal)
drawn = integrate(model, torch.randn(200, *normal.shape[1:], generator=torch.Generator().manual_seed(1)), 1.0, 20)
print(f"std of the latents, channel by channel:        {[round(s, 2) for s in std.flatten().tolist()]}")
print(f"std of the drawn latents:                      {[round(s, 2) for s in drawn.std((0, 2, 3)).tolist()]}")
broken = broken_decode(first_stage.decode, drawn, mean, std)
print(f"std of the pixels: data {images.std():.2f}, reconstructions {first_stage.decode(latents).std():.2f}, "
      f"samples {broken.std():.2f}")

# %% [markdown]
# What is the cause?
#
# - **a** The network was trained too briefly.
# - **b** The first stage loses contrast and colours.
# - **c** The drawn latents are decoded in the units of the network, not in those of the first stage.
# - **d** Too few sampling steps.
#
# Set `cause` to its letter, and write `decode_latents`.
#
# <details><summary>Hint 1</summary>
#
# Compare the two lists of standard deviations, and the reconstructions' number with the samples'.
#
# </details>

# %% nbgrader={"grade_id": "decode_latents", "solution": true}
cause = ""          # "a", "b", "c" or "d"


def decode_latents(decode, z: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Pictures of normalised latents z (B, C, h, w); decode wants latents as the first stage made them.

    mean, std: (C, 1, 1), of the first stage's latents.
    """
    ### BEGIN SOLUTION
    latents = z * std + mean
    return decode(latents)


cause = "c"
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_cause_of_grey", "grade": true, "points": 1}
assert decode_latents(lambda z: z, torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1), torch.ones(1, 1, 1)) is not None and \
    cause in list("abcd"), "set `cause` to a, b, c or d, and write decode_latents"
### BEGIN HIDDEN TESTS
assert cause == "c", (
    "the log speaks against it: the drawn latents have the spread of what was trained on, and the reconstructions their "
    "colours")
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_decode_latents", "grade": true, "points": 2}
raw = torch.tensor([4.0, -1.0]).view(1, 2, 1, 1) + torch.tensor([3.0, 0.5]).view(1, 2, 1, 1) * torch.randn(50, 2, 3, 3)
mean, std = raw.mean((0, 2, 3))[:, None, None], raw.std((0, 2, 3))[:, None, None]
handed = []
decode_latents(lambda z: handed.append(z) or z, (raw - mean) / std, mean, std)
assert handed, "call `decode`"
torch.testing.assert_close(handed[0], raw, rtol=1e-3, atol=1e-3, msg=(
    "what was normalised must be brought back before it is decoded: first the scale or first the shift?"))
### BEGIN HIDDEN TESTS
z = torch.randn(2, 3, 2, 2, dtype=torch.float64)
mean, std = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1).double(), torch.tensor([0.1, 1.0, 10.0]).view(3, 1, 1).double()
out = decode_latents(lambda z: z.flatten(1).sum(1), z, mean, std)
exact = [sum(z[b, c, i, j].item() * std[c].item() + mean[c].item() for c in range(3) for i in range(2) for j in range(2))
         for b in range(2)]
torch.testing.assert_close(out, torch.tensor(exact, dtype=torch.float64), msg="return what `decode` returns")
### END HIDDEN TESTS

# %% [markdown]
# Now the reward: the same network, your pipeline.

# %% tags=["nbval-ignore-output", "expected-picture"]
shape = (10, *normal.shape[1:])
fresh = suns(10, torch.Generator().manual_seed(11))
mean, std = latent_statistics(latents)
z = (first_stage.encode(fresh) - mean) / std
samples = integrate(model, torch.randn(shape, generator=torch.Generator().manual_seed(3)), 1.0, 30)
redrawn = torch.cat([img2img(model, z[:1], s, 30, torch.Generator().manual_seed(4)) if s else z[:1]
                     for s in torch.linspace(0, 1, 10).tolist()])
missing = torch.zeros(10, 1, 6, 6, dtype=torch.bool)
missing[:, :, 1:4, 1:4] = True
repaired = inpaint(model, z, missing, 30, torch.Generator().manual_seed(5))
hole = F.interpolate(missing.float(), scale_factor=PATCH).bool()
rows = {"data": fresh, "samples": decode_latents(first_stage.decode, samples, mean, std),
        "strength\n0 to 1": decode_latents(first_stage.decode, redrawn, mean, std),
        "with a hole": fresh.masked_fill(hole, 0.9),
        "repaired": decode_latents(first_stage.decode, repaired, mean, std)}
figure, axes = plt.subplots(len(rows), 1, figsize=(7.4, 4), constrained_layout=True)
for axis, (title, pictures) in zip(axes, rows.items()):
    strip = F.pad(pictures, (1, 1, 1, 1), value=1.0).permute(2, 0, 3, 1).reshape(SIZE + 2, -1, 3)
    axis.imshow((strip + 1) / 2)
    axis.set(xticks=[], yticks=[])
    axis.set_ylabel(title, rotation=0, ha="right", va="center")
plt.show()

# %% [markdown]
# ## Experiment · How many steps, and how strong? (5 points, graded by hand)
#
# Redraw twenty fresh pictures with strengths 0.2, 0.4, 0.6, 0.8 and 1 (20 steps). For each strength report two numbers:
# the mean squared difference to the original, and the mean squared distance of each result to the *nearest* of 2000
# training pictures. Plot both against the strength. Then argue in two or three sentences: which strength would you
# recommend for "the same picture, a little different", and what do the two curves say about it?
#
# | Rubric | points |
# |---|---|
# | both numbers, for twenty pictures and five strengths | 2 |
# | a plot with named axes | 1 |
# | the argument: small strengths keep, large ones forget; the second number says whether the result still is a sun | 2 |

# %% nbgrader={"grade_id": "experiment_code", "solution": true} tags=["nbval-ignore-output"]
# Your code: redraw, measure, plot.
### BEGIN SOLUTION
mean, std = latent_statistics(latents)
originals = suns(20, torch.Generator().manual_seed(12))
z = (first_stage.encode(originals) - mean) / std
strengths, changed, strange = (0.2, 0.4, 0.6, 0.8, 1.0), [], []
for strength in strengths:
    result = decode_latents(first_stage.decode, img2img(model, z, strength, 20, torch.Generator().manual_seed(6)),
                            mean, std)
    changed.append((result - originals).square().mean().item())
    distances = torch.cdist(result.flatten(1), images[:2000].flatten(1)) ** 2 / images[0].numel()
    strange.append(distances.amin(1).mean().item())
plt.figure(figsize=(4.5, 3))
plt.plot(strengths, changed, "o-", color="#2563eb", label="to the original")
plt.plot(strengths, strange, "o-", color="#dc2626", label="to the nearest training picture")
plt.xlabel("strength")
plt.ylabel("mean squared difference")
plt.legend()
plt.show()
### END SOLUTION

# %% [markdown] nbgrader={"grade_id": "experiment_answer", "solution": true, "grade": true, "points": 5}
# ### BEGIN SOLUTION
# The difference to the original grows with the strength, slowly at first: up to about 0.4 the place and the colours
# survive, and details change. Near 1 it is almost the difference of two unrelated pictures (0.3). The distance to the
# nearest training picture rises little, from about 0.016 to 0.025; for fresh pictures it is 0.010, and 0.015 when they
# have passed through the first stage. So results are suns at every strength, if a little ragged. I would take 0.4.
# ### END SOLUTION
