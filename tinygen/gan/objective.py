"""A GAN as an objective with two groups of parameters: the discriminator's step, then the generator's."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..data import Batch, Batches
from ..errors import TinygenError, nearest
from .augment import diff_augment
from .losses import check_kind, discriminator_loss, generator_loss
from .networks import Discriminator, Generator
from .regularisers import gradient_penalty, r1_penalty

REGULARISERS = ("none", "r1", "gradient-penalty")


class GANObjective(nn.Module):
    """Trains a Generator against a DCGAN discriminator that is built here; only the generator is saved.

    Args:
        model: the generator; its num_classes and image_size are the discriminator's too.
        loss: "non-saturating", "saturating", "hinge" or "wasserstein".
        regulariser: "none", "r1" or "gradient-penalty", added to the discriminator's loss times regulariser_weight.
        regulariser_every: compute it on every k-th step only, then k times as heavy (arXiv:1912.04958, lazy).
        generator_every: step the generator on every k-th batch (5 for WGAN-GP).
        augment: differentiable augmentation of everything that the discriminator sees.
        discriminator_channels, spectral_norm: see Discriminator.
    Raises TinygenError for an unknown loss or regulariser, or a period below 1.
    """

    def __init__(self, model: Generator, loss: str = "non-saturating", regulariser: str = "none",
                 regulariser_weight: float = 1.0, regulariser_every: int = 1, generator_every: int = 1,
                 augment: bool = False, discriminator_channels: int = 64, spectral_norm: bool = False):
        super().__init__()
        check_kind(loss)
        if regulariser not in REGULARISERS:
            raise TinygenError(f"unknown regulariser {regulariser!r}{nearest(str(regulariser), REGULARISERS)}")
        if min(regulariser_every, generator_every) < 1:
            raise TinygenError("regulariser_every and generator_every must be at least 1")
        self.model = model
        self.discriminator = Discriminator(discriminator_channels, model.num_classes, model.image_size, spectral_norm)
        self.loss, self.regulariser, self.regulariser_weight = loss, regulariser, regulariser_weight
        self.regulariser_every, self.generator_every, self.augment = regulariser_every, generator_every, augment

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """One optimiser for each network."""
        return {"generator": list(self.model.parameters()), "discriminator": list(self.discriminator.parameters())}

    def batches(self, data, **options) -> Batches:
        """Images, augmented as the recipe says."""
        return Batches(data, **options)

    def losses(self, batch: Batch, progress) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """The discriminator's loss on real and generated images, then the generator's on the same noise and labels."""
        random = progress.generator
        labels = batch.labels if self.model.num_classes else None
        z = torch.randn(len(batch.images), self.model.latent_channels, generator=random, device=batch.images.device)
        generator_turn = progress.step % self.generator_every == 0
        with torch.set_grad_enabled(generator_turn):
            images = self.model(z, labels)                                      # (B, 3, S, S)

        real, fake = self.view(batch.images, random), self.view(images.detach(), random)
        real_logits, fake_logits = self.discriminator(real, labels), self.discriminator(fake, labels)     # (B,) each
        loss = discriminator_loss(self.loss, real_logits, fake_logits)
        scalars = {"discriminator": loss.detach(), "logits_real": real_logits.detach().float().mean(),
                   "logits_fake": fake_logits.detach().float().mean()}
        if self.regulariser != "none" and progress.step % self.regulariser_every == 0:
            penalty = self.penalty(real, fake, labels, random)
            scalars[self.regulariser.replace("-", "_")] = penalty.detach()
            loss = loss + self.regulariser_weight * self.regulariser_every * penalty
        yield "discriminator", loss, scalars

        if generator_turn:
            self.discriminator.requires_grad_(False)                            # it passes gradients on, it keeps none
            logits = self.discriminator(self.view(images, random), labels)
            self.discriminator.requires_grad_(True)
            loss = generator_loss(self.loss, logits)
            yield "generator", loss, {"generator": loss.detach()}

    def view(self, images: Tensor, random: torch.Generator) -> Tensor:
        """What the discriminator sees of `images`: the images, or an augmentation of them."""
        return diff_augment(images, random) if self.augment else images

    def penalty(self, real: Tensor, fake: Tensor, labels: Tensor | None, random: torch.Generator) -> Tensor:
        """The chosen regulariser, unweighted."""
        critic = lambda x: self.discriminator(x, labels)
        return r1_penalty(critic, real) if self.regulariser == "r1" else gradient_penalty(critic, real, fake, random)

    def preview(self, model: nn.Module, batch: Batch) -> Tensor:
        """Eight images of every class, or 64, from noise that is the same every time: rows run through the classes."""
        device = batch.images.device
        labels = torch.arange(model.num_classes, device=device).repeat(8) if model.num_classes else None
        fixed = torch.Generator(device).manual_seed(0)
        return model.generate(64 if labels is None else len(labels), labels, fixed)

    def after_step(self, batch: Batch, progress) -> None:
        """Nothing to do between steps."""
