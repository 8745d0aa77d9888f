"""A perceptual distance between images: how far apart a frozen classifier finds them."""

import torch
from torch import Tensor, nn

from .classifier import Classifier


def unit_normalise(maps: Tensor, epsilon: float = 1e-8) -> Tensor:
    """(B, C, h, w) -> length 1 over C at every place; epsilon is inside the root, whose slope at 0 is infinite."""
    return maps / (maps.square().sum(dim=1, keepdim=True) + epsilon).sqrt()


class PerceptualLoss(nn.Module):
    """Squared distance between unit-normalised feature maps, averaged over places and then over layers.

    d(x, y) = mean_l 1/(h_l w_l) sum_{h,w} || f_l(x) / |f_l(x)| - f_l(y) / |f_l(y)| ||^2, in [0, 2] as maps are >= 0.
    This is LPIPS (Zhang et al. 2018, arXiv:1801.03924) *without* its learned channel weights, in our own small network:
    its numbers compare with each other only. The network is frozen and stays in eval mode; gradients reach images only.
    """

    def __init__(self, classifier: Classifier):
        super().__init__()
        self.classifier = classifier.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "PerceptualLoss":
        """Never leaves eval mode: the statistics of the batch norms must not move."""
        return super().train(False)

    @staticmethod
    def compare(maps: list[Tensor], others: list[Tensor]) -> Tensor:
        """The classifier's maps of two batches, lists of (B, C, h, w) -> distance of every pair (B,), in fp32."""
        layers = [(unit_normalise(a.float()) - unit_normalise(b.float())).square().sum(dim=1).mean(dim=(1, 2))     # (B,)
                  for a, b in zip(maps, others, strict=True)]
        return torch.stack(layers).mean(dim=0)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two batches (B, 3, 32, 32) in [-1, 1] -> distance of every pair (B,). Take `.mean()` for a loss."""
        return self.compare(self.classifier.maps(x), self.classifier.maps(y))
