"""What LoRA and ControlNet have in common: a few weights of their own beside a frozen pipeline that is named, not stored."""

from typing import Any

from torch import nn

from ..errors import TinygenError
from ..models import load_model, read_facts
from .pipeline import LatentDiffusion


class Adapter(nn.Module):
    """A small model beside a frozen latent diffusion, its base. Only its own weights are trained, averaged and saved.

    base: "zoo:NAME" or a run folder. base_sha256: of the weights that the adapter was trained with (None: not known yet);
    TinygenError where `base` has others, or is no latent diffusion.
    """

    def __init__(self, base: str, base_sha256: str | None = None):
        super().__init__()
        pipeline, facts = load_model(base)
        if facts["kind"] != "latent-diffusion":
            raise TinygenError(f"{base} is of kind {facts['kind']!r}: name a model of kind 'latent-diffusion' as the base")
        if base_sha256 not in (None, facts["sha256"]):
            raise TinygenError(f"this adapter was trained beside other weights than those of {base}; train it again")
        self.base_facts = facts
        self._base = (pipeline.requires_grad_(False),)                           # in a tuple: no submodule of this module

    @staticmethod
    def complete(config: dict[str, Any], data) -> dict[str, Any]:
        """A recipe's model arguments with the hash of the base's weights."""
        return config | {"base_sha256": read_facts(config["base"])["sha256"]} if "base" in config else config

    @property
    def pipeline(self) -> LatentDiffusion:
        """The frozen base with the adapter in place, on the adapter's device."""
        return self._base[0].to(next(self.parameters()).device)

    @property
    def num_classes(self) -> int:
        """Of the base."""
        return self._base[0].num_classes

    @property
    def tokenizer(self):
        """Of the base; None where it knows no text."""
        return self._base[0].tokenizer

    @property
    def first_stage(self) -> nn.Module:
        """Of the base."""
        return self.pipeline.first_stage
