"""Quantisers: a learned codebook (VectorQuantizer) and none (FSQ). Both work in float32, whatever autocast says."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn


class Quantized(NamedTuple):
    """What a quantiser returns: `z_q` (B, D, h, w), straight-through; `codes` (B, h, w) int64; `losses` by name."""

    z_q: Tensor
    codes: Tensor
    losses: dict[str, Tensor]


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """The value of `z_q` with the gradient of `z`: d(out)/dz is taken to be 1 (Bengio et al. 2013, arXiv:1308.3432)."""
    return z + (z_q - z).detach()


def sum_over_processes(x: Tensor) -> Tensor:
    """`x` summed over all processes of a distributed run; `x` itself where there is only one."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(x)
    return x


def from_first_process(x: Tensor) -> Tensor:
    """The first process's `x`, on every process."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.broadcast(x, src=0)
    return x


class VectorQuantizer(nn.Module):
    """Nearest-neighbour quantiser with a learned codebook (van den Oord et al. 2017, arXiv:1711.00937).

    Args:
        codebook_size: number K of codes.
        code_channels: their dimension D; small (4 to 16) keeps all of them in use (Yu et al. 2021, arXiv:2110.04627).
        decay: gamma of the moving-average update, k-means on mini-batches with forgetting; 0 is Lloyd's step.
            None learns the codebook by the gradient of a codebook loss instead.
        l2_normalize: compare directions only: latents and codes are put on the unit sphere.
        restart_below: a code whose moving-average count falls below this share of the mean count is dead and is moved
            to a random latent of the batch (Dhariwal et al. 2020, arXiv:2005.00341). 0 never restarts.
    The first training batch initialises the codebook with latents of its own, drawn at random.
    Under several processes the moving-average update is that of the whole batch, and initial and restarted codes are
    latents of the first process's share of it, itself a random part: the codebook is the same on every process.
    """

    def __init__(self, codebook_size: int = 512, code_channels: int = 8, decay: float | None = 0.97,
                 l2_normalize: bool = False, restart_below: float = 0.03):
        super().__init__()
        self.codebook_size, self.code_channels = codebook_size, code_channels
        self.decay, self.l2_normalize, self.restart_below = decay, l2_normalize, restart_below
        codebook = torch.randn(codebook_size, code_channels)
        if decay is None:
            self.codebook = nn.Parameter(codebook)
        else:
            self.register_buffer("codebook", codebook)
            self.register_buffer("code_sum", torch.zeros(codebook_size, code_channels))     # m_k
        self.register_buffer("code_count", torch.zeros(codebook_size))                      # N_k
        self.register_buffer("initialized", torch.tensor(False))
        self._known = False                                     # that it is initialised: to ask a GPU takes time

    def codes_to_latents(self, codes: Tensor) -> Tensor:
        """(B, h, w) int64 -> (B, D, h, w)."""
        return F.embedding(codes, self.normalized(self.codebook)).permute(0, 3, 1, 2)

    def normalized(self, x: Tensor) -> Tensor:
        """`x` (..., D) as it is compared: on the unit sphere where the quantiser is l2-normalised."""
        return F.normalize(x, dim=-1) if self.l2_normalize else x

    def nearest(self, flat: Tensor) -> Tensor:
        """(N, D) -> (N,) int64: argmin_k |z - e_k|^2, with |z|^2 left out because it does not depend on k."""
        codebook = self.normalized(self.codebook)
        return torch.addmm(codebook.square().sum(1), flat, codebook.T, alpha=-2.0).argmin(1)

    def forward(self, z: Tensor, generator: torch.Generator | None = None) -> Quantized:
        """(B, D, h, w) -> Quantized; `generator` draws initial and restarted codes. In training the codebook moves."""
        with torch.autocast(z.device.type, enabled=False):
            z = self.normalized(z.float().permute(0, 2, 3, 1))                              # (B, h, w, D)
            flat = z.detach().flatten(0, 2)                                                 # (N, D)
            if self.training and self.is_new():
                self.initialize(flat, generator)
            codes = self.nearest(flat)
            codebook = self.codebook.clone() if self.decay is None else self.codebook       # restarts write into it
            z_q = F.embedding(codes, self.normalized(codebook)).view_as(z)
            losses = {"commitment": F.mse_loss(z, z_q.detach())}
            if self.decay is None:
                losses["codebook"] = F.mse_loss(z_q, z.detach())
            if self.training:
                self.update(flat, codes, generator)
            return Quantized(straight_through(z, z_q).permute(0, 3, 1, 2), codes.view(z.shape[:-1]), losses)

    def is_new(self) -> bool:
        """Whether no code has been chosen from data yet."""
        self._known = self._known or bool(self.initialized)
        return not self._known

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._known = False

    @torch.no_grad()
    def initialize(self, flat: Tensor, generator: torch.Generator | None) -> None:
        """Codebook <- random latents of this batch (N, D)."""
        self.codebook.copy_(from_first_process(self.draw(flat, generator)))
        self.code_count.fill_(1.0)
        if self.decay is not None:
            self.code_sum.copy_(self.codebook)
        self.initialized.fill_(True)

    def draw(self, flat: Tensor, generator: torch.Generator | None) -> Tensor:
        """K rows of `flat` (N, D), without repetition as long as there are enough of them."""
        order = torch.randperm(len(flat), generator=generator, device=flat.device)
        return flat[order.repeat(-(-self.codebook_size // len(flat)))[:self.codebook_size]]

    @torch.no_grad()
    def update(self, flat: Tensor, codes: Tensor, generator: torch.Generator | None) -> None:
        """One step of k-means with forgetting, then restarts.

        N_k <- gamma N_k + (1 - gamma) n_k, with n_k the latents nearest to code k; m_k <- gamma m_k + (1 - gamma) times
        their sum; e_k = m_k / N_k. A code that was not chosen for so long that N_k has vanished stays where it is.
        """
        count = flat.new_zeros(self.codebook_size).index_add_(0, codes, flat.new_ones(len(codes)))
        count = sum_over_processes(count)                                                   # n_k
        decay = 0.97 if self.decay is None else self.decay
        self.code_count.mul_(decay).add_(count, alpha=1 - decay)
        if self.decay is not None:
            total = sum_over_processes(torch.zeros_like(self.codebook).index_add_(0, codes, flat))
            self.code_sum.mul_(decay).add_(total, alpha=1 - decay)
            mean = self.code_sum / self.code_count.clamp_min(1e-6)[:, None]
            self.codebook.copy_(torch.where(self.code_count[:, None] > 1e-6, mean, self.codebook))
        if self.restart_below > 0:
            mean_count = count.sum() / self.codebook_size
            dead = self.code_count < self.restart_below * mean_count                        # (K,)
            fresh = from_first_process(self.draw(flat, generator))
            self.codebook.copy_(torch.where(dead[:, None], fresh, self.codebook))
            new_count = torch.where(dead, mean_count * max(self.restart_below, 0.25), self.code_count)
            if self.decay is not None:
                self.code_sum.copy_(torch.where(dead[:, None], fresh * new_count[:, None], self.code_sum))
            self.code_count.copy_(new_count)


class FSQ(nn.Module):
    """Finite scalar quantisation (Mentzer et al. 2023, arXiv:2309.15505): every channel is rounded to a few levels.

    No codebook is learned and there is no codebook loss. `levels`, e.g. (8, 8, 8), gives D = 3 channels, K = 512 codes.
    """

    def __init__(self, levels: tuple[int, ...] = (8, 8, 8)):
        super().__init__()
        if min(levels) < 2:
            raise ValueError(f"every level must be at least 2, not {tuple(levels)}")
        self.code_channels = len(levels)
        self.codebook_size = int(torch.tensor(levels).prod())
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("basis", torch.tensor([1, *levels[:-1]]).cumprod(0), persistent=False)

    def bound(self, z: Tensor) -> Tensor:
        """(..., D) real -> (..., D) within half a step of the integers -L/2 .. L/2 - 1 (even L), symmetric (odd)."""
        half = (self.levels - 1) * (1 + 1e-3) / 2
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)
        shift = (offset / half).atanh()
        return (z + shift).tanh() * half - offset

    def codes_to_latents(self, codes: Tensor) -> Tensor:
        """(B, h, w) int64 -> (B, D, h, w) in [-1, 1]: the digits of the code in a mixed-radix system."""
        digits = codes[..., None] // self.basis % self.levels                               # (B, h, w, D)
        half = self.levels // 2
        return ((digits - half) / half).permute(0, 3, 1, 2)

    def forward(self, z: Tensor, generator: torch.Generator | None = None) -> Quantized:
        """(B, D, h, w) -> Quantized, without losses; `generator` is not used."""
        with torch.autocast(z.device.type, enabled=False):
            bounded = self.bound(z.float().permute(0, 2, 3, 1))                             # (B, h, w, D)
            rounded = straight_through(bounded, bounded.round())
            half = self.levels // 2
            codes = ((rounded.detach().long() + half) * self.basis).sum(-1)
            return Quantized((rounded / half).permute(0, 3, 1, 2), codes, {})
