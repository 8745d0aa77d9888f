"""What the widgets draw, as plain functions: numbers in, a picture and a line of text out."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from ..data import to_float
from ..diffusion import SAMPLERS, guided, time_grid
from ..gan import discriminator_loss, generator_loss
from .grids import figure_to_array, grid, labelled_grid

Scene = tuple[np.ndarray, str]                                                  # uint8 (height, width, 3), caption
CENTRES = 2 * torch.tensor([[math.cos(a), math.sin(a)] for a in torch.arange(8) * math.pi / 4])     # (8, 2)


def _axis(size: float = 3.6, limit: float | None = 3.2):
    figure = Figure(figsize=(size, size), dpi=80, layout="constrained", facecolor="white")
    axis = figure.subplots()
    axis.set(xticks=(), yticks=(), aspect="equal")
    if limit:
        axis.set(xlim=(-limit, limit), ylim=(-limit, limit))
    return figure, axis


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class RingGame:
    """A GAN whose data are eight Gaussians on a ring, played a few steps at a time.

    loss: see `tinygen.gan.generator_loss`; rate_g, rate_d: learning rates of generator and discriminator.
    """

    def __init__(self, loss: str = "non-saturating", rate_g: float = 1e-3, rate_d: float = 3e-3, seed: int = 0):
        self.loss, self.steps, self.generator = loss, 0, _seeded(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.g, self.d = (nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, n))
                              for n in (2, 1))
        self.adams = [torch.optim.Adam(network.parameters(), lr=rate, betas=(0.5, 0.9), fused=True)
                      for network, rate in ((self.g, rate_g), (self.d, rate_d))]

    def fake(self, n: int) -> Tensor:
        """Points of the generator (n, 2)."""
        return self.g(torch.randn(n, 2, generator=self.generator))

    def real(self, n: int) -> Tensor:
        """Points of the data (n, 2)."""
        which = torch.randint(8, (n,), generator=self.generator)
        return CENTRES[which] + 0.1 * torch.randn(n, 2, generator=self.generator)

    def play(self, steps: int) -> None:
        """`steps` updates of the discriminator and of the generator, in turn."""
        for _ in range(steps):
            fake = self.fake(64)
            for network, objective in ((1, lambda: discriminator_loss(self.loss, self.d(self.real(64)),
                                                                      self.d(fake.detach()))),
                                       (0, lambda: generator_loss(self.loss, self.d(fake)))):
                self.adams[network].zero_grad()
                objective().backward()
                self.adams[network].step()
        self.steps += steps

    @torch.no_grad()
    def scene(self) -> Scene:
        """The discriminator's logits as colours, the modes as circles, 500 points of the generator; modes hit."""
        points, line = self.fake(500), torch.linspace(-3.2, 3.2, 60)
        plane = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)                      # (60, 60, 2)
        near = (torch.cdist(points, CENTRES) < 0.3).float().mean(0)                                 # (8,)
        figure, axis = _axis()
        axis.imshow(self.d(plane)[..., 0], extent=(-3.2, 3.2, -3.2, 3.2), origin="lower", cmap="RdBu", alpha=0.5)
        axis.scatter(*CENTRES.T, s=90, facecolors="none", edgecolors="black")
        axis.scatter(*points.T, s=3, color="#15803d")
        found = f"{int((near > 0.01).sum())} of 8 modes hit, {near.sum():.0%} of the points on one"
        return figure_to_array(figure), f"step {self.steps}: {found}"


def lloyd(points: Tensor, k: int, steps: int, seed: int = 0) -> tuple[Tensor, float]:
    """Lloyd's algorithm from k of the points (N, d): the codebook (k, d) after `steps`, its mean squared distance."""
    points = points.double()
    codes = points[torch.randperm(len(points), generator=_seeded(seed))[:k]]
    for _ in range(steps):
        owner = torch.cdist(points, codes).argmin(1)                            # (N,)
        sums, counts = torch.zeros_like(codes).index_add_(0, owner, points), torch.bincount(owner, minlength=len(codes))
        codes = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], codes)
    return codes, torch.cdist(points, codes).amin(1).square().mean().item()


def voronoi(points: Tensor, k: int, steps: int, seed: int = 0) -> Scene:
    """Points in the plane (N, 2), k codes after `steps` of Lloyd's algorithm, and the cell of each code."""
    codes, distortion = lloyd(points, k, steps, seed)
    limit = points.abs().max().item() * 1.05
    line = torch.linspace(-limit, limit, 240, dtype=torch.float64)
    plane = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).flatten(0, 1)            # (57600, 2)
    cells = torch.cdist(plane, codes).argmin(1).view(240, 240)
    figure, axis = _axis(limit=limit)
    axis.imshow(cells % 20, extent=(-limit, limit) * 2, origin="lower", cmap="tab20", vmin=0, vmax=19, alpha=0.4)
    axis.scatter(*points.T, s=4, color="#374151")
    axis.scatter(*codes.T, s=60, color="#dc2626", edgecolors="white")
    return figure_to_array(figure), f"{k} codes after {steps} steps: mean squared distance {distortion:.4f}"


def palette(image: Tensor, k: int, steps: int, seed: int = 0) -> Scene:
    """An image (3, S, S), the same in k colours found by Lloyd's algorithm, and these colours, the commonest first."""
    image = image if image.is_floating_point() else to_float(image)
    pixels, size = image.flatten(1).T.double(), image.shape[-1]                 # (S S, 3)
    codes, distortion = lloyd(pixels, k, steps, seed)
    owner = torch.cdist(pixels, codes).argmin(1)
    order = torch.bincount(owner, minlength=len(codes)).argsort(descending=True)
    strips = codes[order][torch.arange(size) * len(codes) // size].T[:, None].expand(3, size, size)
    pictures = torch.stack([image.double(), codes[owner].T.view(3, size, size), strips]).float()
    psnr = 10 * math.log10(4 / max(distortion / 3, 1e-9))                       # the range -1 ... 1 is 2 wide
    return grid(pictures, 3, scale=5), f"{k} colours, {math.log2(k):.1f} bits a pixel instead of 24: PSNR {psnr:.1f} dB"


@torch.no_grad()
def swapped_code(model, codes: Tensor, row: int, column: int, code: int) -> Scene:
    """What a VQ autoencoder decodes from codes (h, w), from the same with one code swapped, and the difference."""
    edited = codes.clone()
    edited[row, column] = code
    before, after = model.decode_codes(torch.stack([codes, edited]))
    change = (after - before).abs().amax(0)                                     # (S, S)
    pictures = torch.stack([before, after, (change / 2 * 2 - 1).expand_as(before)])
    touched = (change > 0.02).float().mean()
    return labelled_grid(pictures, 3, column_titles=("decoded", "one code swapped", "change"), scale=5), \
        f"row {row}, column {column}: code {int(codes[row, column])} -> {code}; {touched:.0%} of the pixels change"


def noised(path, images: Tensor, t: float, seed: int = 0) -> Scene:
    """Images (n, 3, S, S) in [-1, 1] above the same at time t of a path; alpha, sigma and the signal-to-noise ratio."""
    alpha, sigma = path.coefficients(t)
    noisy = alpha * images + sigma * torch.randn(images.shape, generator=_seeded(seed))
    ratio = f"{20 * math.log10(alpha / sigma):.1f} dB" if alpha > 0 and sigma > 0 else "infinite" if alpha else "zero"
    return grid(torch.cat([images, noisy.clamp(-1, 1)]), len(images), scale=3), \
        f"t = {t:.2f}: alpha = {alpha:.3f}, sigma = {sigma:.3f}, signal to noise {ratio}"


def race(model, labels: Tensor, steps: int, seed: int = 0, guidance_scale: float = 3.0) -> Scene:
    """The same noise and classes, every sampler with `steps` calls of the network (Heun: half as many steps)."""
    rows = {name: max(1, steps // 2) if name == "heun" else steps for name in SAMPLERS}
    drawn = [model.generate(len(labels), labels, _seeded(seed), steps=n, sampler=name, guidance_scale=guidance_scale)
             for name, n in rows.items()]
    return labelled_grid(torch.cat(drawn), len(labels), tuple(rows)), f"{steps} calls of the network for each row"


def guidance(model, label: int, scale: float, n: int = 8, steps: int = 8, seed: int = 0) -> Scene:
    """n pictures of one class at one guidance scale; always from the same noise."""
    drawn = model.generate(n, torch.full((n,), label), _seeded(seed), steps=steps, guidance_scale=scale)
    clipped = (drawn.abs() > 0.98).float().mean()
    return grid(drawn, n, scale=2), f"guidance scale {scale:g} (1: none); {clipped:.0%} of the values at the limit"


@torch.no_grad()
def between(model, label: int, u: float, seeds: tuple[int, int] = (0, 1), steps: int = 8, scale: float = 3.0) -> Scene:
    """Pictures from two noises and, in the middle, from the noise a share u of the way between them on a circle."""
    a, b = (torch.randn(model.first_stage.latent_shape, generator=_seeded(seed)) for seed in seeds)
    middle = math.cos(u * math.pi / 2) * a + math.sin(u * math.pi / 2) * b      # variance 1 on the whole way
    told, null = model.condition(3, torch.full((3,), label)), model.condition(3)
    denoiser = model.denoiser
    noise = torch.stack([a, middle, b]) * denoiser.path.coefficients(1.0)[1]
    latents = SAMPLERS["dpmpp_2m"](guided(denoiser.x0, told, null, scale), denoiser.path, noise,
                                   time_grid(denoiser.path, steps))
    titles = (f"seed {seeds[0]}", f"u = {u:.2f}", f"seed {seeds[1]}")
    return labelled_grid(model.decode(latents), 3, column_titles=titles, scale=4), "only the middle picture moves"


@torch.no_grad()
def attention(model, prompt: str, steps: int = 8, scale: float = 4.0,
              seed: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    """One picture (3, S, S) for a prompt, and where each word was looked at, {word: (s, s)}.

    The maps are the weights of the cross-attention layers, averaged over heads, layers and steps; the words' weights
    and the start token's add up to 1 at every place.
    """
    seen: list[Tensor] = []

    def look(module, inputs, output) -> None:
        x, context, mask = inputs
        q, k = (t.unflatten(-1, (module.heads, -1)).transpose(1, 2)
                for t in (module.to_q(x), module.to_kv(context).chunk(2, dim=-1)[0]))               # (B, heads, N, d)
        scores = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).masked_fill(~mask[:, None, None, :], -math.inf)
        seen.append(scores.softmax(-1)[0].mean(0))                              # (N, L), of the conditional half

    hooks = [module.cross.register_forward_hook(look) for module in model.denoiser.modules()
             if getattr(module, "cross", None) is not None]
    try:
        image = model.generate(1, None, _seeded(seed), prompts=[prompt], steps=steps, guidance_scale=scale)[0]
    finally:
        for hook in hooks:
            hook.remove()
    finest = max(len(weights) for weights in seen)
    maps = torch.stack([weights for weights in seen if len(weights) == finest]).mean(0)             # (N, L)
    words, side = model.tokenizer.encode(prompt), math.isqrt(finest)
    texts = [model.tokenizer.words[token - 2] for token in words if token > 1]
    return image, {f"{i} {word}": maps[:, i].view(side, side) for i, word in enumerate(texts, start=1)}


def attended(model, prompt: str, seed: int = 0) -> Scene:
    """The picture for a prompt, then one picture for each word: bright where the network looked at it most."""
    image, maps = attention(model, prompt, seed=seed)
    lit = [image / 2 - 0.5 + F.interpolate((m / m.max())[None, None], image.shape[-2:], mode="bilinear")[0]
           for m in maps.values()]
    titles = ("picture", *(name.partition(" ")[2] for name in maps))
    return labelled_grid(torch.stack([image, *lit]).clamp(-1, 1), len(titles), column_titles=titles, scale=2), prompt
