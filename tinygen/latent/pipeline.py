"""Latent diffusion (Rombach et al. 2022, arXiv:2112.10752): first stage + denoiser + conditioners = one pipeline."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..diffusion import Denoiser, DiT, UNet, build_path, guided, sample
from ..diffusion.objectives import randn
from ..errors import TinygenError, nearest
from .text import TextEncoder, Tokenizer

NETWORKS = {"unet": UNet, "dit": DiT}


class LatentDiffusion(nn.Module):
    """Generates images by denoising the latents of a frozen first stage, conditioned on a class, on a text, on both or on nothing.

    Args:
        first_stage: see tinygen.autoencoder and tinygen.vq. Latents are diffused *before* quantisation.
        network: "unet" or "dit"; network_options are its further arguments (channels, ...).
        num_classes: 0 for no classes.
        words: vocabulary of the captions; None for no text.
        text_length, text_channels, text_depth: see TextEncoder.
        path, path_options, prediction, density, weighting: see tinygen.diffusion.Denoiser.
    The per-channel mean and standard deviation of the latents are stored in the model (`latent_mean`, `latent_std`), so that the
    denoiser sees data of zero mean and unit variance.
    """

    def __init__(self, first_stage: nn.Module, network: str = "unet", network_options: dict[str, Any] | None = None,
                 num_classes: int = 10, words: Sequence[str] | None = None, text_length: int = 16, text_channels: int = 64,
                 text_depth: int = 2, path: str = "flow", path_options: dict[str, Any] | None = None,
                 prediction: str = "flow", density: str = "logit-normal", weighting: str = "simple"):
        super().__init__()
        if network not in NETWORKS:
            raise TinygenError(f"unknown network {network!r}{nearest(network, NETWORKS)}")
        self.first_stage = first_stage.requires_grad_(False).eval()
        self.num_classes = num_classes
        channels, size, _ = first_stage.latent_shape
        self.tokenizer = Tokenizer(words, text_length) if words else None
        self.text_encoder = TextEncoder(len(self.tokenizer), text_length, text_channels, text_depth) if words else None
        net = NETWORKS[network](in_channels=channels, image_size=size, num_classes=num_classes,
                                context_channels=text_channels if words else 0, **(network_options or {}))
        self.denoiser = Denoiser(net, build_path(path, **(path_options or {})), prediction, density=density, weighting=weighting)
        self.register_buffer("latent_mean", torch.zeros(channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(channels, 1, 1))

    @staticmethod
    def complete(config: dict[str, Any], data) -> dict[str, Any]:
        """A recipe's model arguments with what only the data can tell: `words: captions` becomes the vocabulary."""
        if config.get("words") == "captions":
            config = config | {"words": Tokenizer.vocabulary(data.captions)}
        return config

    def train(self, mode: bool = True) -> "LatentDiffusion":
        """The first stage always stays in eval mode."""
        super().train(mode)
        self.first_stage.eval()
        return self

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> normalised latents (B, C, h, w)."""
        return (self.first_stage.to_latent(images) - self.latent_mean) / self.latent_std

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents (B, C, h, w) -> images (B, 3, S, S) in [-1, 1]."""
        return self.first_stage.from_latent(latents * self.latent_std + self.latent_mean)

    def condition(self, n: int, labels: Tensor | None = None, prompts: Sequence[str] | None = None) -> dict[str, Tensor]:
        """What the network is told about `n` images; a label or prompt that is None is the null one."""
        told, device = {}, self.latent_mean.device
        if labels is not None and not self.num_classes:
            raise TinygenError("this model knows no classes; leave the label out")
        if prompts is not None and self.tokenizer is None:
            raise TinygenError("this model knows no text; ask for a label instead of a prompt")
        if self.num_classes:
            if labels is not None and not 0 <= int(labels.min()) <= int(labels.max()) <= self.num_classes:
                raise TinygenError(f"labels must be from 0 to {self.num_classes - 1} ({self.num_classes}: no class)")
            null = torch.full((n,), self.num_classes, device=device)
            told["labels"] = null if labels is None else labels.to(device)
        if self.tokenizer is not None:
            prompts = [""] * n if prompts is None else list(prompts)
            distinct = list(dict.fromkeys(prompts))                             # encode every distinct prompt once
            context, mask = self.text_encoder(self.tokenizer(distinct).to(device))
            rows = torch.tensor([distinct.index(prompt) for prompt in prompts], device=device)
            told |= {"context": context[rows], "context_mask": mask[rows]}
        return told

    @torch.no_grad()
    def generate(self, n: int, labels: Tensor | None = None, generator: torch.Generator | None = None, *,
                 prompts: Sequence[str] | None = None, negative_prompt: str = "", steps: int = 24,
                 sampler: str = "dpmpp_2m", guidance_scale: float = 2.0, guidance_interval: tuple[float, float] = (0.0, 1.0),
                 init: Tensor | None = None, strength: float = 1.0, callback=None, decode: bool = True, **options: float) -> Tensor:
        """`n` images (n, 3, S, S) in [-1, 1]; with `decode` False their normalised latents (n, C, h, w).

        labels (n,) int64 and prompts (n texts) condition; guidance_scale 1 is no guidance (Ho and Salimans 2022, arXiv:2207.12598);
        `negative_prompt` takes the place of the empty text in it. `callback(step, t, latents, x0)` sees every step.
        init: normalised latents (n, C, h, w) to start from, noised to time `strength` (see img2img).
        """
        if not 0 < strength <= 1:
            raise TinygenError(f"strength must be above 0 and at most 1, not {strength}")
        told = self.condition(n, labels, prompts)
        null = self.condition(n, None, [negative_prompt] * n if self.tokenizer or negative_prompt else None)
        if labels is None and prompts is None and not negative_prompt:
            guidance_scale = 1.0
        denoise = guided(self.denoiser.x0, told, null, guidance_scale, guidance_interval)
        latents = sample(denoise, self.denoiser.path, (n, *self.first_stage.latent_shape), steps, sampler, generator,
                         x_init=init, t_start=strength, callback=callback, device=self.latent_mean.device, **options)
        return self.decode(latents) if decode else latents

    @torch.no_grad()
    def img2img(self, images: Tensor, strength: float = 0.6, generator: torch.Generator | None = None, **options) -> Tensor:
        """SDEdit (Meng et al. 2022, arXiv:2108.01073): noise `images` (n, 3, S, S) to time `strength`, then denoise.

        strength near 0 keeps the picture, 1 forgets it; options as in `generate`.
        """
        return self.generate(len(images), generator=generator, init=self.encode(images), strength=strength, **options)

    @torch.no_grad()
    def inpaint(self, images: Tensor, mask: Tensor, generator: torch.Generator | None = None, **options) -> Tensor:
        """Repaint where `mask` (n, 1, S, S), bool, is True and keep `images` (n, 3, S, S) elsewhere.

        After every step the known latents, noised to the same time, are put back (Lugmayr et al. 2022, arXiv:2201.09865, without
        its resampling); at the end the known pixels are. A latent is known where all of its pixels are.
        """
        known_latents, size = self.encode(images), self.first_stage.latent_shape[1]
        unknown = torch.nn.functional.adaptive_max_pool2d(mask.float(), size) > 0            # (n, 1, h, w)
        noise = randn(known_latents.shape, generator, known_latents.device)

        def put_back(step: int, t: float, latents: Tensor, x0: Tensor) -> Tensor:
            alpha, sigma = self.denoiser.path.coefficients(t)
            return torch.where(unknown, latents, alpha * known_latents + sigma * noise)

        painted = self.generate(len(images), generator=generator, callback=put_back, **options)
        return torch.where(mask, painted, images)
