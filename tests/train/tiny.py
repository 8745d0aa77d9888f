"""Recipes that train in a second, and the program of other processes: `tiny.py KIND MODELS OUT [kill after STEP]`."""

import os
import signal
import sys
import threading
from pathlib import Path

import torch

from safetensors.torch import save_file

from tinygen.data import ImageSet
from tinygen.models import build, save_model
from tinygen.train import Recipe, TrainConfig, Trainer

CAPTIONS = ("a dark square", "a bright square", "a square")
FSQ = {"levels": [5, 5], "channels": 8, "image_size": 16}
VQ = {"codebook_size": 16, "code_channels": 2, "channels": 8, "image_size": 16}
MODELS = {
    "vq": VQ,
    "fsq": FSQ,
    "gan": {"latent_channels": 4, "channels": 4, "num_classes": 3, "image_size": 16},
    "classifier": {"arch": "residual", "heads": {"class": 3}, "width": 4},
    "latent-diffusion": {"num_classes": 3, "words": "captions", "text_channels": 8, "text_length": 6, "text_depth": 1,
                         "network_options": {"channels": 8, "channel_mults": [1], "blocks": 1, "dropout": 0.1}},
}
FIRST = {"latent_channels": 2, "channels": 8, "image_size": 16}
PIPELINE = {"num_classes": 3, "network_options": {"channels": 8, "channel_mults": [1], "blocks": 1},
            "first_stage": {"kind": "kl", "config": FIRST}}
OBJECTIVES = {
    "decoder": {"samples": 12, "steps": 2, "discriminator_channels": 4},
    "vq": {"perceptual_weight": 0.1, "adversarial_weight": 0.1, "adversarial_start": 0.1, "adversarial_full": 0.6,
           "discriminator_channels": 4},
    "gan": {"discriminator_channels": 4, "generator_every": 2, "regulariser": "r1", "spectral_norm": True,
            "augment": True},
}


STEPS = {"fsq": 4, "vq": 40, "latent-diffusion": 60, "decoder": 6}                      # of two processes


def dataset(kind: str = "vq", n: int = 24) -> ImageSet:
    """Squares of random grey and noise: (n, 3, 16, 16), 32 x 32 for the classifier; 3 classes by brightness."""
    generator, size = torch.Generator().manual_seed(0), 32 if kind == "classifier" else 16
    labels = torch.randint(3, (n,), generator=generator)
    noise = torch.randint(40, (n, 3, size, size), generator=generator)
    images = (noise + 90 * labels[:, None, None, None]).to(torch.uint8)
    captions = tuple(CAPTIONS[label] for label in labels.tolist())
    return ImageSet("tiny:train", images, labels, ("dark", "bright", "any"), captions,
                    torch.zeros(n, 0, dtype=torch.long), {})


def prepare(folder: Path) -> None:
    """The trained models that recipes name: a first stage, a network for the perceptual loss, a pipeline."""
    torch.manual_seed(7)
    for name, kind, config in (("first", "kl", FIRST), ("pipeline", "latent-diffusion", PIPELINE),
                               ("features", "classifier", {"arch": "plain", "heads": {"class": 3}, "width": 4})):
        save_model(folder / name, build(kind, config), kind, config, {"data": "tiny"})


def recipe(kind: str, models: Path, **train) -> Recipe:
    """A tiny recipe; `train` changes its TrainConfig."""
    config = {"steps": 8, "batch_size": 8, "lr": 3e-3, "ema": 0.9, "log_every": 1, "preview_every": 0,
              "checkpoint_every": 3, "precision": "fp32", "flip": kind != "fsq"} | train
    return Recipe(name=f"tiny-{kind}", kind={"fsq": "vq", "decoder": "latent-diffusion"}.get(kind, kind), data="tiny",
                  model=MODELS.get(kind, {}), objective=OBJECTIVES.get(kind, {}),
                  trains="decoder" if kind == "decoder" else None, start=str(models / "pipeline") if kind == "decoder" else None,
                  first_stage=str(models / "first") if kind == "latent-diffusion" else None,
                  perceptual=str(models / "features") if kind in ("vq", "decoder") else None, train=TrainConfig(**config))


def main(kind: str, models: str, out: str, kill_after: str = "") -> None:
    torch.set_num_threads(1)
    wanted = recipe(kind, Path(models), steps=24 if kill_after else STEPS[kind])
    trainer = Trainer(wanted, out, device="cpu", data=dataset(kind), quiet=True)
    if kill_after:
        step = trainer.train_step

        def deadly(progress):
            if progress.step == int(kill_after):                         # some instant of this step, or of a later one
                threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGKILL)).start()
            return step(progress)

        trainer.train_step = deadly
    trainer.run()
    if trainer.accelerator.num_processes > 1:                            # what every process has at the end
        state = {name: value.contiguous() for name, value in trainer.objective.state_dict().items()}
        save_file(state, f"{out}-{trainer.accelerator.process_index}.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
