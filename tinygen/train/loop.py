"""The one training loop: it owns optimisers, precision, clipping, averages, checkpoints; objectives the mathematics."""

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from ..data import ImageSet
from ..errors import TinygenError
from ..models import save_model
from .budget import Clock, steps_within
from .checkpoint import find_checkpoint, load_checkpoint, restore, save_checkpoint
from .ema import EMA
from .interrupt import Interrupt
from .log import Log
from .precision import can_compile, choose_device, choose_precision
from .recipe import Recipe, difference
from .setup import learning_rate, make_optimizers, model_info, save_preview, set_up


class Progress(NamedTuple):
    """Where a run stands; `generator` is the only source of randomness of a loss, seeded from (seed, step, process)."""

    step: int
    total: int
    generator: torch.Generator

    @property
    def fraction(self) -> float:
        """Share of the run that is over, in [0, 1)."""
        return self.step / self.total


class Trainer:
    """Trains `recipe` into the run folder `out`.

    Args:
        recipe: see load_recipe.
        out: run folder; gets model.safetensors, model.json, log.jsonl, previews/, tensorboard/ and checkpoint/.
        device: "cpu", "cuda", "cuda:1", "mps"; the best there is by default.
        minutes: time budget; turned into a number of steps by a short warm-up and corrected by the clock (see budget). A
            resumed run keeps the number it had.
        resume: continue from the checkpoint in `out`.
        data: an image set to use in place of the recipe's.
        quiet: no progress bar.
    TinygenError for a folder in use or not writable, for a checkpoint of another recipe, and when a loss is not finite.
    """

    def __init__(self, recipe: Recipe, out: str | Path, *, device: str | None = None, minutes: float | None = None,
                 resume: bool = False, data: ImageSet | None = None, quiet: bool = False):
        self.recipe, self.config, self.out = recipe, recipe.train, Path(out)
        self.minutes, self.resume, self.quiet = minutes, resume, quiet
        if not resume and (find_checkpoint(self.out) or (self.out / "model.json").exists()):
            raise TinygenError(f"{self.out} already holds a run; add --resume to continue it, or choose another --out")
        if resume and not find_checkpoint(self.out):
            raise TinygenError(f"{self.out} has no checkpoint to resume from; leave out --resume to start afresh")
        target = choose_device(device)
        precision = choose_precision(target, self.config.precision)
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):  # forget the last run
            AcceleratorState._reset_state(reset_partial_state=True)
        self.accelerator = Accelerator(mixed_precision="no" if precision == "fp32" else precision,
                                       cpu=target.type == "cpu")
        own = target.index is not None and self.accelerator.num_processes == 1         # several processes: a GPU for each
        self.device = target if own else self.accelerator.device
        if own and target.type == "cuda":
            torch.cuda.set_device(target)
        self.data, self.objective, self.model_config = set_up(recipe, self.device, data)
        self.batches = self.objective.batches(
            self.data, batch_size=self.config.batch_size, seed=self.config.seed, flip=self.config.flip,
            shift=self.config.shift, rank=self.accelerator.process_index, world_size=self.accelerator.num_processes)
        self.optimizers = make_optimizers(self.objective, self.config, self.device)
        self.prepared = {name: self.accelerator.prepare_optimizer(o) for name, o in self.optimizers.items()}
        self.ema = EMA(self.objective.model, self.config.ema) if self.config.ema else None
        self.generator = torch.Generator(self.device)
        if self.config.compile and can_compile(self.device):
            getattr(self.objective, "compile_model", self.objective.model.compile)()
        self.step, self.total, self.seconds = 0, self.config.steps, 0.0

    @property
    def model(self) -> nn.Module:
        """What is saved: the averaged model where there is one."""
        return self.ema.model if self.ema else self.objective.model

    def progress(self, step: int) -> Progress:
        """Seed everything for `step`; dropout and the like use the global generator, losses their own."""
        seed = ((self.config.seed * 1_000_003 + step) * 1_009 + self.accelerator.process_index) % 2**63
        torch.manual_seed(seed)
        self.generator.manual_seed(seed + 1)
        return Progress(step, self.total, self.generator)

    def train_step(self, progress: Progress) -> dict[str, Tensor]:
        """One batch: for every loss that the objective yields, backward, average over processes, clip, step."""
        batch, scalars = self.batches[progress.step], {}
        rate = learning_rate(self.config, progress.step, progress.total)
        losses = self.objective.losses(batch, progress)
        while True:
            with self.accelerator.autocast():
                item = next(losses, None)
            if item is None:
                break
            name, loss, terms = item
            optimizer = self.optimizers[name]
            self.accelerator.backward(loss)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            self.average_gradients(parameters)
            norm = self.accelerator.clip_grad_norm_(parameters, self.config.clip or float("inf"))
            if self.accelerator.scaler is not None:                         # fp16 leaves out a step that overflows
                norm = norm.nan_to_num(0.0, 0.0)
            terms[f"gradient_{name}"] = norm
            for group in optimizer.param_groups:
                group["lr"] = rate * self.config.lr_scale.get(name, 1.0)
            self.prepared[name].step()
            self.prepared[name].zero_grad(set_to_none=True)
            scalars |= {key: value.detach() for key, value in terms.items()}
        if hasattr(self.objective, "after_step"):
            self.objective.after_step(batch, progress)
        if self.ema:
            self.ema.update(progress.step)
        return scalars

    def average_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Mean of the gradients over processes, in one message.

        (DistributedDataParallel wants one forward pass a step; a GAN, or an adaptive weight, has several.)
        """
        if self.accelerator.num_processes == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = torch.cat([g.flatten() for g in gradients])
        torch.distributed.all_reduce(flat)
        flat /= self.accelerator.num_processes
        for p, g, mean in zip(parameters, gradients, flat.split([g.numel() for g in gradients])):
            p.grad = torch.empty_like(p).copy_(mean.view_as(g))             # fused kernels want the parameter's layout

    def run(self) -> nn.Module:
        """Train to the end, save the model, return it in eval mode. Ctrl-C saves, then KeyboardInterrupt."""
        if self.resume:
            self.restore()
        elif self.minutes:
            self.total = steps_within(self, self.minutes)
        self.objective.train()
        main = self.accelerator.is_main_process
        log = Log(self.out, self.recipe.name, self.total, self.config.batch_size, first_step=self.step,
                  seconds=self.seconds, quiet=self.quiet or not main, write=main)
        with log, Interrupt() as interrupt:
            clock = Clock(None if self.resume else self.minutes)
            while self.step < self.total:
                scalars = self.train_step(self.progress(self.step))
                self.step += 1
                self.total = log.total = clock.steps(self)
                last = self.step == self.total
                due = lambda every: every and self.step % every == 0
                log.add(self.step, scalars)
                if last or due(self.config.log_every):
                    self.seconds = log.flush(learning_rate(self.config, self.step - 1, self.total))
                if due(self.config.preview_every) or (last and self.config.preview_every):
                    self.preview(log)
                stop = self.agree(interrupt.asked)
                if due(self.config.checkpoint_every) or last or stop:
                    self.checkpoint(log)
                if stop:
                    raise KeyboardInterrupt
        self.save()
        return self.model.eval()

    def agree(self, asked: bool) -> bool:
        """Whether to stop after this step. Several processes must agree: they vote every `log_every` steps."""
        if self.accelerator.num_processes == 1:
            return asked
        if self.step % max(1, self.config.log_every):
            return False
        votes = torch.tensor(float(asked), device=self.device)
        torch.distributed.all_reduce(votes)
        return bool(votes)

    def checkpoint(self, log: Log) -> None:
        """Write a checkpoint, unless a loss since the last one was not finite."""
        self.seconds = log.flush(learning_rate(self.config, self.step - 1, self.total))
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            facts = {"recipe": asdict(self.recipe), "step": self.step, "total": self.total, "seconds": self.seconds,
                     "scaler": scaler.state_dict() if scaler else None}
            save_checkpoint(self.out, self.objective, self.ema.model if self.ema else None, self.optimizers, facts)
        self.accelerator.wait_for_everyone()

    def restore(self) -> None:
        """Take up the checkpoint in `out`."""
        tensors, facts = load_checkpoint(self.out)
        if other := difference(self.recipe, facts["recipe"]):
            key, stored, mine = other
            raise TinygenError(f"the checkpoint in {self.out} was made with {key} = {stored!r}, not {mine!r}; "
                               "choose another --out or the same recipe")
        restore(tensors, self.objective, self.ema.model if self.ema else None, self.optimizers, self.out)
        if self.accelerator.scaler and facts["scaler"]:
            self.accelerator.scaler.load_state_dict(facts["scaler"])
        self.step, self.total, self.seconds = facts["step"], facts["total"], facts["seconds"]

    @torch.no_grad()
    def preview(self, log: Log) -> None:
        """Let the objective draw something, and keep it as a PNG and in TensorBoard."""
        if not self.accelerator.is_main_process or not hasattr(self.objective, "preview"):
            return
        self.model.eval()
        images = self.objective.preview(self.model, self.batches[0])
        self.objective.train(self.objective.training)      # each knows which parts stay in eval mode
        if images is not None:
            save_preview(images, self.out / "previews" / f"{self.step:07d}.png")
            log.image(images)

    def save(self) -> None:
        """Write the trained model."""
        if self.accelerator.is_main_process:
            facts = {"steps": self.total, "batch_size": self.config.batch_size,
                     "images_seen": self.total * self.config.batch_size, "seconds": round(self.seconds, 1),
                     "seed": self.config.seed, "device": self.device.type,
                     "train": asdict(self.config), "objective": self.recipe.objective}
            info = model_info(self.data, self.recipe, facts)
            save_model(self.out, self.model, self.recipe.kind, self.model_config, info)
        self.accelerator.wait_for_everyone()


def train(recipe: Recipe, out: str | Path, **options) -> nn.Module:
    """Trainer(recipe, out, **options).run(): the trained model in eval mode."""
    return Trainer(recipe, out, **options).run()
