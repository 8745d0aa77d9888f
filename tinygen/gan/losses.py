"""Adversarial losses on logits: each is minimised, `softplus(a) = log(1 + exp(a))`, and D = sigmoid(logit)."""

import torch.nn.functional as F
from torch import Tensor

from ..errors import TinygenError, nearest

GENERATOR_LOSSES = {
    # E log(1 - D(G(z))): Goodfellow et al. 2014, arXiv:1406.2661, equation 1
    "saturating": lambda fake: -F.softplus(fake).mean(),
    # -E log D(G(z)): the same paper, section 3
    "non-saturating": lambda fake: F.softplus(-fake).mean(),
    # Lim and Ye 2017, arXiv:1705.02894
    "hinge": lambda fake: -fake.mean(),
    # Arjovsky et al. 2017, arXiv:1701.07875
    "wasserstein": lambda fake: -fake.mean(),
}
DISCRIMINATOR_LOSSES = {
    # -E log D(x) - E log(1 - D(G(z))); the saturating and the non-saturating game differ in the generator's loss only
    "saturating": lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean(),
    "non-saturating": lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean(),
    # no pull on logits beyond a margin of 1
    "hinge": lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
    # for a critic that is kept (nearly) 1-Lipschitz
    "wasserstein": lambda real, fake: fake.mean() - real.mean(),
}


def generator_loss(kind: str, fake_logits: Tensor) -> Tensor:
    """The generator's loss, a scalar, of the logits (any shape) given to generated images; fp32 whatever the input.

    kind: "saturating", "non-saturating", "hinge" or "wasserstein". Raises TinygenError for any other.
    """
    check_kind(kind)
    return GENERATOR_LOSSES[kind](fake_logits.float())


def discriminator_loss(kind: str, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The discriminator's loss, a scalar, of the logits (any shape) given to real and to generated images; fp32.

    kind: as in `generator_loss`. The means over the two sets are taken apart, so they may differ in size.
    """
    check_kind(kind)
    return DISCRIMINATOR_LOSSES[kind](real_logits.float(), fake_logits.float())


def check_kind(kind: str) -> None:
    """Raise TinygenError, naming the nearest loss, for a `kind` that does not exist."""
    if kind not in GENERATOR_LOSSES:
        raise TinygenError(f"unknown adversarial loss {kind!r}{nearest(str(kind), GENERATOR_LOSSES)}")
