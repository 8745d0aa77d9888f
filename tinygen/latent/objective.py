"""Training a latent diffusion model: latents are computed once, then only the denoiser and the text encoder are trained."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..data import Batch, CachedBatches, to_float
from .pipeline import LatentDiffusion
from .text import START


@torch.no_grad()
def cache_latents(first_stage: nn.Module, images: Tensor, flip: bool, batch_size: int = 500) -> Tensor:
    """uint8 (N, 3, S, S) -> latents (V, N, C, h, w): of the images and, with `flip`, of their mirror images."""
    variants = []
    for mirrored in ((False, True) if flip else (False,)):
        parts = (to_float(part.flip(-1) if mirrored else part) for part in images.split(batch_size))
        variants.append(torch.cat([first_stage.to_latent(part) for part in parts]))
    return torch.stack(variants)


class LatentDiffusionObjective(nn.Module):
    """The denoiser's loss on cached latents, with labels and captions each left out at random so that guidance is possible.

    label_dropout, caption_dropout: probabilities, independent of each other, so that a model that knows both can be asked by
    class, by text, by both or by neither.
    """

    def __init__(self, model: LatentDiffusion, label_dropout: float = 0.1, caption_dropout: float = 0.1):
        super().__init__()
        self.model, self.label_dropout, self.caption_dropout = model, label_dropout, caption_dropout

    @property
    def pipeline(self) -> LatentDiffusion:
        """Where the denoiser is: the model itself (of an adapter: its base)."""
        return self.model

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Denoiser and text encoder together."""
        return {"denoiser": [p for p in self.model.parameters() if p.requires_grad]}

    def batches(self, data, *, flip: bool = True, **options) -> CachedBatches:
        """Encode `data` once, store the latents' statistics in the model, and return normalised latents."""
        latents = cache_latents(self.model.first_stage, data.images, flip)                  # (V, N, C, h, w)
        self.model.latent_mean.copy_(latents.mean((0, 1, 3, 4))[:, None, None])
        self.model.latent_std.copy_(latents.std((0, 1, 3, 4))[:, None, None])
        latents.sub_(self.model.latent_mean).div_(self.model.latent_std)
        self.read_captions(data)
        return CachedBatches(data, latents, flip=flip, **options)

    def read_captions(self, data) -> None:
        """Turn the captions of `data` into tokens, if the model knows text."""
        if self.pipeline.tokenizer is not None:
            self.captions = data.captions[:10]
            self.tokens = self.pipeline.tokenizer(data.captions).to(data.images.device)        # (N, L)

    def tell(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """What the network is told about a batch: labels and captions, each left out at random."""
        n, device, told, model = len(batch.labels), batch.labels.device, {}, self.pipeline
        left_out = lambda p: torch.rand(n, generator=generator, device=device) < p
        if model.num_classes:
            told["labels"] = torch.where(left_out(self.label_dropout), model.num_classes, batch.labels)
        if model.tokenizer is not None:
            tokens = self.tokens[batch.index]
            null = torch.zeros_like(tokens[0]).index_fill_(0, torch.zeros(1, dtype=torch.long, device=device), START)
            tokens = torch.where(left_out(self.caption_dropout)[:, None], null, tokens)
            told["context"], told["context_mask"] = model.text_encoder(tokens)
        return told

    def losses(self, batch: Batch, progress) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """One loss: the denoiser's, on latents (B, C, h, w)."""
        told = self.tell(batch, progress.generator)
        loss, _ = self.pipeline.denoiser.loss(batch.images, progress.generator, **told)
        yield "denoiser", loss, {"denoising": loss}

    def compile_model(self) -> None:
        """torch.compile the network, which is where the time goes."""
        self.pipeline.denoiser.network.compile()

    def preview(self, model: LatentDiffusion, batch: Batch) -> Tensor:
        """Two samples of each of ten classes, then one for each of ten captions."""
        generator, device = torch.Generator(batch.labels.device).manual_seed(0), batch.labels.device
        rows = []
        if model.num_classes:
            labels = torch.arange(20, device=device) % min(10, model.num_classes)
            rows.append(model.generate(20, labels, generator, steps=16))
        if model.tokenizer is not None:
            rows.append(model.generate(len(self.captions), generator=generator, prompts=self.captions, steps=16))
        return torch.cat(rows) if rows else model.generate(20, generator=generator, steps=16)
