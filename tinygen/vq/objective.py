"""The VQGAN objective (Esser et al. 2021, arXiv:2012.09841): reconstruct, look alike, and fool a critic."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import Batch, Batches
from ..errors import TinygenError
from ..features import PerceptualLoss
from ..gan import FeatureDiscriminator, PatchDiscriminator, discriminator_loss, generator_loss
from .quantizers import sum_over_processes
from .usage import count_codes, perplexity, usage


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last_weight: Tensor, maximum: float = 1.0) -> Tensor:
    """|grad of the reconstruction loss| / |grad of the adversarial loss| at the last layer, clamped to [0, maximum].

    Equation 7 of arXiv:2012.09841, in float32 and over the batch of all processes: it lets both losses pull equally
    hard at the decoder. Both losses are enlarged, which cancels, lest half-precision activations lose their gradients.
    """
    norms = []
    for loss in (reconstruction, adversarial):
        gradient, = torch.autograd.grad(1024.0 * loss, last_weight, retain_graph=True)
        norms.append(sum_over_processes(gradient.float()).norm())
    return (norms[0] / (norms[1] + 1e-6)).clamp(0.0, maximum).detach()


class VQGANObjective(nn.Module):
    """Trains a first stage (VQAutoencoder or KLAutoencoder); with `adversarial_weight` 0 it is the plain VQ-VAE or VAE.

    Args:
        model: the first stage.
        perceptual: frozen classifier for the perceptual loss, or None.
        pixel_weight, perceptual_weight: weights of the error of the pixels and of the perceptual distance.
        pixel_loss: error of the pixels, "mse" (squared) or "l1" (absolute, as in arXiv:2012.09841's code).
        commitment_weight, codebook_weight, kl_weight: weights of what the first stage returns. The KL is in nats per
            image and is divided by the number of pixel values, so that it is commensurate with the mean squared error.
        adversarial_weight: the generator's adversarial loss is multiplied by this, the adaptive weight and a ramp.
        adversarial_start, adversarial_full: fractions of the run between which the ramp grows from 0 to 1. The
            discriminator itself learns from the first step on, so that it never meets the decoder unprepared.
        adaptive_maximum: upper bound of the adaptive weight.
        critic: what the discriminator judges, "patches" of pixels or the "features" that `perceptual` sees.
        discriminator_channels, discriminator_layers: see PatchDiscriminator (FeatureDiscriminator has no layers to choose).
        decoder_only: encoder and quantiser stay as they are, so that models of their latents stay valid.
    """

    def __init__(self, model: nn.Module, perceptual: nn.Module | None = None, *, pixel_weight: float = 1.0,
                 pixel_loss: str = "mse", perceptual_weight: float = 0.0, commitment_weight: float = 0.25, codebook_weight: float = 1.0,
                 kl_weight: float = 1e-2, adversarial_weight: float = 0.0, adversarial_start: float = 0.2,
                 adversarial_full: float = 0.5, adaptive_maximum: float = 1.0, critic: str = "patches",
                 discriminator_channels: int = 32, discriminator_layers: int = 1, decoder_only: bool = False):
        super().__init__()
        if critic not in ("patches", "features"):
            raise TinygenError(f"unknown critic {critic!r}: use 'patches' or 'features'")
        self.sees_features = bool(adversarial_weight) and critic == "features"
        if (perceptual_weight or self.sees_features) and perceptual is None:
            what = "perceptual_weight" if perceptual_weight else "a critic of features"
            raise ValueError(f"{what} needs a perceptual network: name one in the recipe")
        self.model, self.decoder_only = model, decoder_only
        for part in self.kept():
            part.eval().requires_grad_(False)
        self.perceptual = PerceptualLoss(perceptual) if perceptual_weight or self.sees_features else None
        self.discriminator = None
        if self.sees_features:
            with torch.no_grad():
                maps = perceptual.maps(torch.zeros(1, 3, 32, 32, device=next(perceptual.parameters()).device))
            self.discriminator = FeatureDiscriminator([m.shape[1] for m in maps], discriminator_channels)
        elif adversarial_weight:
            self.discriminator = PatchDiscriminator(discriminator_channels, discriminator_layers)
        if pixel_loss not in ("mse", "l1"):
            raise TinygenError(f"unknown pixel_loss {pixel_loss!r}: use 'mse' or 'l1'")
        self.pixel_loss, self.pixel_weight, self.perceptual_weight = pixel_loss, pixel_weight, perceptual_weight
        self.latent_weights = {"commitment": commitment_weight, "codebook": codebook_weight, "kl": kl_weight}
        self.adversarial_weight, self.adaptive_maximum = adversarial_weight, adaptive_maximum
        self.adversarial_start, self.adversarial_full = adversarial_start, adversarial_full
        if hasattr(self.first_stage, "codebook_size"):
            self.register_buffer("epoch_counts", torch.zeros(self.first_stage.codebook_size))

    @property
    def first_stage(self) -> nn.Module:
        """The autoencoder that is trained: here, the model itself."""
        return self.model

    def kept(self) -> list[nn.Module]:
        """The parts of the first stage that are not trained: with `decoder_only`, encoder and quantiser."""
        return [getattr(self.first_stage, name) for name in ("encoder", "quantizer")
                if self.decoder_only and hasattr(self.first_stage, name)]

    def train(self, mode: bool = True) -> "VQGANObjective":
        """What is not trained stays in eval mode: a codebook that follows its latents moves without gradients."""
        super().train(mode)
        for part in self.kept():
            part.eval()
        return self

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The autoencoder's (or its decoder's) parameters and, where there is one, the discriminator's."""
        groups = {"autoencoder": [p for p in self.model.parameters() if p.requires_grad]}
        return groups | ({"discriminator": list(self.discriminator.parameters())} if self.discriminator else {})

    def batches(self, data, **options) -> Batches:
        """Images, augmented."""
        batches = Batches(data, **options)
        self.steps_per_epoch = batches.steps_per_epoch
        return batches

    def compile_model(self) -> None:
        """torch.compile encoder and decoder; not the quantiser, which looks at values, nor the last layer, where the adaptive
        weight goes backward twice."""
        self.first_stage.encoder.compile()
        self.first_stage.decoder.layers.compile()

    def ramp(self, fraction: float) -> float:
        """Share of the adversarial weight that is in force after `fraction` of the run."""
        width = max(self.adversarial_full - self.adversarial_start, 1e-9)
        return min(1.0, max(0.0, (fraction - self.adversarial_start) / width))

    def painted(self, reconstruction: Tensor, progress) -> Tensor:
        """What the critic judges, (B, 3, S, S); here, the reconstructions (B, 3, S, S) themselves."""
        return reconstruction

    def logits(self, views: list[Tensor]) -> list[Tensor]:
        """What the discriminator says of images (one view) or of the maps of their features (L views): logits (B, 1, h, w), one each."""
        return self.discriminator(views) if self.sees_features else [self.discriminator(view) for view in views]

    def losses(self, batch: Batch, progress) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """First the autoencoder's loss, then the discriminator's on the same images."""
        x = batch.images                                                                    # (B, 3, S, S)
        reconstruction, extra = self.first_stage(x, progress.generator)
        reconstruction = reconstruction.float()
        painted = self.painted(reconstruction, progress)
        real, fake = [x], [painted]                                                         # what the critic sees of them
        terms = {"mse": F.mse_loss(reconstruction, x)}
        if self.pixel_loss == "l1":
            terms["l1"] = F.l1_loss(reconstruction, x)
        loss = self.pixel_weight * terms[self.pixel_loss]
        if self.perceptual is not None:
            see = self.perceptual.classifier.maps
            maps, maps_of_x = see(reconstruction), see(x)
            terms["perceptual"] = self.perceptual.compare(maps, maps_of_x).mean()
            loss = loss + self.perceptual_weight * terms["perceptual"]
            if self.sees_features:
                real, fake = maps_of_x, maps if painted is reconstruction else see(painted)
        scalars = dict(terms) | {"psnr": -10 * torch.log10(terms["mse"].detach() / 4)}      # range 2, so peak^2 = 4
        if self.discriminator is not None and (ramp := self.ramp(progress.fraction)) > 0:
            self.discriminator.requires_grad_(False)
            adversarial = torch.stack([generator_loss("hinge", logits) for logits in self.logits(fake)]).mean()
            weight = adaptive_weight(loss, adversarial, self.first_stage.decoder.last_weight, self.adaptive_maximum)
            loss = loss + self.adversarial_weight * ramp * weight * adversarial
            self.discriminator.requires_grad_(True)
            scalars |= {"adversarial": adversarial, "adaptive_weight": weight, "ramp": torch.tensor(ramp)}
        if "codes" in extra:
            scalars |= self.count(extra.pop("codes"), progress)
        for name, value in extra.items():
            share = x[0].numel() if name == "kl" else 1
            loss = loss + self.latent_weights[name] / share * value
            scalars[name] = value
        yield "autoencoder", loss, scalars
        if self.discriminator is not None:
            pairs = list(zip(self.logits(real), self.logits([view.detach() for view in fake]), strict=True))
            loss = torch.stack([discriminator_loss("hinge", real, fake) for real, fake in pairs]).mean()
            means = torch.stack([torch.stack([part.float().mean() for part in pair]) for pair in pairs]).mean(0)
            yield "discriminator", loss, {"discriminator": loss, "logits_real": means[0], "logits_fake": means[1]}

    @torch.no_grad()
    def count(self, codes: Tensor, progress) -> dict[str, Tensor]:
        """Usage and perplexity since the epoch began, over all processes."""
        if progress.step % self.steps_per_epoch == 0:
            self.epoch_counts.zero_()
        self.epoch_counts += sum_over_processes(count_codes(codes, len(self.epoch_counts)))
        return {"usage": usage(self.epoch_counts), "perplexity": perplexity(self.epoch_counts)}

    def preview(self, model: nn.Module, batch: Batch) -> Tensor:
        """Ten originals above their reconstructions, (20, 3, S, S)."""
        images = batch.images[:10]
        return torch.cat([images, model.reconstruct(images)])
