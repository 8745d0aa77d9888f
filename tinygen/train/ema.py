"""The moving average of a model's weights."""

import copy

import torch
from torch import nn


class EMA:
    """Averaged copy of `model`: p <- d p + (1 - d) p_model, with d = min(decay, (1 + step) / (10 + step)).

    Buffers (codebooks, latent statistics) are copied, not averaged. Frozen parameters are shared with the model.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        frozen = {id(p): p for p in model.parameters() if not p.requires_grad}
        self.model = copy.deepcopy(model, memo=frozen).eval().requires_grad_(False)
        self.pairs = [(a, p) for a, p in zip(self.model.parameters(), model.parameters()) if a is not p]
        self.buffers = list(zip(self.model.buffers(), model.buffers()))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the model's weights after optimiser step `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_([a for a, _ in self.pairs], [p for _, p in self.pairs], 1 - decay)
        for average, buffer in self.buffers:
            average.copy_(buffer)
