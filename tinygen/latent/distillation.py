"""A latent diffusion model that needs few steps: trained to reach in one step what its teacher reaches in many.

Progressive distillation (Salimans and Ho 2022, arXiv:2202.00512), from trajectories of the teacher that are computed once
(Luhman and Luhman 2021, arXiv:2101.02388), with guidance inside (Meng et al. 2023, arXiv:2210.03142).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..data import Batch, CachedBatches
from ..diffusion import guided, jump, time_grid, trajectory
from ..errors import TinygenError
from ..models import load_model, read_facts
from .pipeline import LatentDiffusion

INSIDE = ("sampler", "guidance_scale", "guidance_interval", "negative_prompt")


class DistilledDiffusion(nn.Module):
    """A `LatentDiffusion` whose denoiser jumps from each of `steps` + 1 times to the next, guidance included.

    It offers what its inner `model` offers, but samples in `steps` calls of the network only. It was taught to obey a label
    or a text, not both at once. In a recipe, `model` is the name of the teacher, whose architecture is taken.
    """

    def __init__(self, model: LatentDiffusion, steps: int = 2):
        super().__init__()
        if steps < 1:
            raise TinygenError(f"a distilled model needs at least 1 step, not {steps}")
        self.model, self.steps = model, steps

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)

    @staticmethod
    def complete(config: dict[str, Any], data) -> dict[str, Any]:
        """A recipe's model arguments, with the architecture of the model that `model` names."""
        if not isinstance(config.get("model"), str):
            return config
        facts = read_facts(config["model"])
        inner = facts["config"]["model"] if facts["kind"] == "distilled" else {"kind": facts["kind"], "config": facts["config"]}
        if inner["kind"] != "latent-diffusion":
            raise TinygenError(f"{config['model']} is of kind {facts['kind']!r}: only latent diffusion can be distilled")
        return config | {"model": inner}

    @torch.no_grad()
    def generate(self, n: int, labels: Tensor | None = None, generator: torch.Generator | None = None, *,
                 prompts: Sequence[str] | None = None, steps: int | None = None, strength: float = 1.0, **options) -> Tensor:
        """`n` images (n, 3, S, S) in [-1, 1], as `LatentDiffusion.generate`, in the steps that were learned.

        `strength` (with `init`) must be a multiple of 1 / steps. TinygenError for other steps, and for what is in the weights:
        sampler, guidance scale, negative prompt.
        """
        if given := [name for name in INSIDE if name in options]:
            raise TinygenError(f"{given[0]} is inside the weights of a distilled model: leave it out")
        calls = round(strength * self.steps)
        if calls < 1 or abs(calls - strength * self.steps) > 1e-6:
            known = ", ".join(f"{i / self.steps:g}" for i in range(1, self.steps + 1))
            raise TinygenError(f"a model distilled to {self.steps} steps knows the strengths {known}, not {strength:g}")
        if steps not in (None, calls):
            raise TinygenError(f"this model was distilled to {calls} steps, not {steps}: leave steps out")
        return self.model.generate(n, labels, generator, prompts=prompts, steps=calls, sampler="euler", guidance_scale=1.0,
                                   strength=strength, **options)

    img2img, inpaint = LatentDiffusion.img2img, LatentDiffusion.inpaint     # the same code, around this `generate`


class DistillationObjective(nn.Module):
    """Trains a `DistilledDiffusion` on trajectories of its teacher, whose weights it starts from.

    teacher: zoo:NAME or a run folder. trajectories: how many are computed, for labels, captions or nothing (a share of
    `unconditional`) of as many examples. teacher_steps, sampler, guidance_scale: how; a teacher that is itself distilled
    takes its own steps, with the guidance that is in them. TinygenError where the student's steps do not divide the teacher's.
    """

    def __init__(self, model: DistilledDiffusion, teacher: str, trajectories: int = 8000, teacher_steps: int = 16,
                 sampler: str = "dpmpp_2m", guidance_scale: float = 2.5, unconditional: float = 0.1):
        super().__init__()
        source, _ = load_model(teacher, next(model.parameters()).device)
        if isinstance(source, DistilledDiffusion):
            source, teacher_steps, sampler, guidance_scale = source.model, source.steps, "euler", 1.0
        if teacher_steps % model.steps:
            raise TinygenError(f"{model.steps} steps of the student do not divide {teacher_steps} steps of the teacher")
        model.model.load_state_dict(source.state_dict())
        self.model, self.trajectories, self.unconditional = model, trajectories, unconditional
        self.teacher_steps, self.sampler, self.guidance_scale = teacher_steps, sampler, guidance_scale
        self.times = time_grid(model.denoiser.path, model.steps).float()                # (K + 1,)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Denoiser and text encoder together."""
        return {"denoiser": [p for p in self.model.parameters() if p.requires_grad]}

    @torch.no_grad()
    def batches(self, data, *, flip: bool = False, seed: int = 0, **options) -> CachedBatches:
        """Let the teacher sample once for every example. The model *is* the teacher here: no step has been taken."""
        data, model = data.subset(range(min(self.trajectories, len(data)))), self.model.eval()
        generator = torch.Generator(data.images.device).manual_seed(seed)
        self.choose(data, generator)
        times, every = time_grid(model.denoiser.path, self.teacher_steps), self.teacher_steps // model.steps
        parts = []
        for index in torch.arange(len(data), device=data.images.device).split(100):
            noise = torch.randn(len(index), *model.first_stage.latent_shape, generator=generator, device=index.device)
            denoise = guided(model.denoiser.x0, self.told(index), model.condition(len(index)), self.guidance_scale)
            noise = noise * model.denoiser.path.coefficients(1.0)[1]
            parts.append(trajectory(denoise, model.denoiser.path, noise, times, every, self.sampler))
        cache = torch.cat(parts)[None]                                                  # (1, N, K + 1, C, h, w)
        return CachedBatches(data, cache, flip=False, seed=seed, **options)

    def choose(self, data, generator: torch.Generator) -> None:
        """What each example is told: its label or its caption, at random, or nothing."""
        model, u = self.model, torch.rand(len(data), generator=generator, device=data.images.device)
        both = bool(model.num_classes) and model.tokenizer is not None
        border = (1 - self.unconditional) / (2 if both else 1)
        if model.num_classes:
            self.labels = torch.where(u < border, data.labels, model.num_classes)       # (N,)
        if model.tokenizer is not None:
            tokens = model.tokenizer(["", *data.captions]).to(u.device)                 # (N + 1, L)
            by_text = u >= 1 - border if both else u < border
            self.tokens = torch.where(by_text[:, None], tokens[1:], tokens[:1])

    def told(self, index: Tensor) -> dict[str, Tensor]:
        """The condition of the examples `index` (B,), as the denoiser takes it."""
        told = {"labels": self.labels[index]} if self.model.num_classes else {}
        if self.model.tokenizer is not None:
            told["context"], told["context_mask"] = self.model.text_encoder(self.tokens[index])
        return told

    def losses(self, batch: Batch, progress) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """One loss: the squared error of every jump of B trajectories (B, K + 1, C, h, w), per unit of time."""
        count, path = self.model.steps, self.model.denoiser.path
        start, end = (states.flatten(0, 1) for states in (batch.images[:, :-1], batch.images[:, 1:]))   # (B K, C, h, w)
        t, s = (times.to(start).repeat(len(batch.labels)) for times in (self.times[:-1], self.times[1:]))
        told = {key: value.repeat_interleave(count, 0) for key, value in self.told(batch.index).items()}
        error = (jump(start, self.model.denoiser.x0(start, t, **told), t, s, path) - end).square().flatten(1).mean(1)
        loss = (error / (t - s).square()).mean()
        yield "denoiser", loss, {"jump": loss}

    def compile_model(self) -> None:
        """torch.compile the network, which is where the time goes."""
        self.model.denoiser.network.compile()

    def preview(self, model: DistilledDiffusion, batch: Batch) -> Tensor:
        """Two samples of each of ten classes, or of nothing."""
        labels = torch.arange(20, device=batch.labels.device) % min(10, model.num_classes) if model.num_classes else None
        return model.generate(20, labels, torch.Generator(batch.labels.device).manual_seed(0))
