"""The decoder of a latent diffusion model, trained on until its samples, and not only its reconstructions, fool a critic."""

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from ..data import Batch, Batches
from ..data.batches import seeded_generator
from ..errors import TinygenError
from ..vq import VQGANObjective
from .pipeline import LatentDiffusion


class DecoderObjective(VQGANObjective):
    """VQGANObjective for the decoder inside a LatentDiffusion, with a critic that compares photographs and *samples*.

    The denoiser's latents are not quite the encoder's: a decoder that has only met those passes the difference on. Here it
    still has to reconstruct, so that it paints what the latents say, but the critic is shown what it makes of latents
    that the model itself drew, at one setting of the sampler. Everything but the decoder stays as it is. Looking at generated images
    through a frozen network: Sauer et al. 2023, arXiv:2311.17042 (ADD); training on what the sampler will feed in: Yin et al. 2024,
    arXiv:2405.14867 (DMD2). Both train the denoiser, with a teacher beside the critic.

    Args:
        model: the pipeline, with a trained denoiser.
        perceptual: frozen classifier, for the perceptual loss and for the critic.
        samples: how many latents are drawn (by every process), once, before the training, and again when a run is resumed.
        steps, guidance_scale: how they are drawn; classes or, of a model that knows none, captions of the data are asked in turn.
        pixel_weight, perceptual_weight, adversarial_weight, adversarial_full, critic, discriminator_channels: see VQGANObjective.
    """

    def __init__(self, model: LatentDiffusion, perceptual: nn.Module | None = None, *, samples: int = 10_000, steps: int = 16,
                 guidance_scale: float = 2.0, pixel_weight: float = 1.0, perceptual_weight: float = 0.3,
                 adversarial_weight: float = 1.0, adversarial_full: float = 0.1, critic: str = "features",
                 discriminator_channels: int = 48):
        model.requires_grad_(False)
        model.first_stage.decoder.requires_grad_(True)
        if samples < 1:
            raise TinygenError(f"samples must be at least 1, not {samples}")
        super().__init__(model, perceptual, pixel_weight=pixel_weight, perceptual_weight=perceptual_weight,
                         adversarial_weight=adversarial_weight, adversarial_start=0.0, adversarial_full=adversarial_full,
                         critic=critic, discriminator_channels=discriminator_channels, decoder_only=True)
        self.samples, self.sampling = samples, {"steps": steps, "guidance_scale": guidance_scale}

    @property
    def first_stage(self) -> nn.Module:
        """The autoencoder inside the pipeline."""
        return self.model.first_stage

    @torch.no_grad()
    def batches(self, data, *, seed: int = 0, rank: int = 0, **options) -> Batches:
        """Draw the samples' latents, then return images, augmented."""
        model, device = self.model.eval(), data.images.device
        generator, parts = seeded_generator(seed, 3, rank), []
        console = Console(stderr=True)
        for rows in track(torch.arange(self.samples).split(500), f"{self.samples:,} latents", console=console,
                          transient=True, disable=bool(rank) or not console.is_terminal):
            told = {"labels": (rows % model.num_classes).to(device)} if model.num_classes else \
                {"prompts": [data.captions[row % len(data)] for row in rows.tolist()]} if model.tokenizer else {}
            latents = model.generate(len(rows), generator=generator, decode=False, **told, **self.sampling)
            latents = latents * model.latent_std + model.latent_mean
            parts.append(self.first_stage.quantizer(latents).z_q if hasattr(self.first_stage, "quantizer") else latents)
        self.latents = torch.cat(parts)                                                     # (samples, C, h, w)
        return super().batches(data, seed=seed, rank=rank, **options)

    def painted(self, reconstruction: Tensor, progress) -> Tensor:
        """As many decoded samples as there are reconstructions."""
        rows = torch.randint(len(self.latents), (len(reconstruction),), generator=progress.generator, device=self.latents.device)
        return self.first_stage.decoder(self.latents[rows]).float()

    def preview(self, model: LatentDiffusion, batch: Batch) -> Tensor:
        """Up to ten originals, their reconstructions, up to ten samples, (30, 3, S, S) at most."""
        images = batch.images[:10]
        return torch.cat([images, model.first_stage.reconstruct(images), model.first_stage.decoder(self.latents[:10]).clamp(-1, 1)])
