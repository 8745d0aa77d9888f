"""Images out of a model: samples and reconstructions."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import TinygenError
from .common import Device, Guidance, Label, Model, Negative, Prompt, Sampler, Seed, Steps, check_file, count


def sample(model: Model, n: Annotated[int, count("How many images.")],
           out: Annotated[Path, typer.Option(help="FILE.npz: images uint8 (N, 32, 32, 3), labels, and "
                                             "FILE.png, the first 100; .png: a grid; .gif: denoising.")],
           label: Label = None, prompt: Prompt = None, steps: Steps = None, sampler: Sampler = None,
           guidance: Guidance = None, seed: Seed = 0, negative: Negative = None, device: Device = None) -> None:
    """Draw images from a GAN, a token prior or a latent diffusion model."""
    check_file(out, (".npz", ".png", ".gif"))
    if label is not None and prompt is not None:
        raise TinygenError("give --label or --prompt, not both")
    from ..models import load_model
    from ..train import choose_device
    from .drawing import conditions, draw, sampling_options
    from .files import SHEET, sheet_beside, write_gif, write_npz, write_png

    network, info = load_model(model, choose_device(device))
    given = {"steps": steps, "sampler": sampler, "guidance": guidance, "negative": negative}
    options = sampling_options(network, info, given)
    told = conditions(network, info, n, label, prompt, options)
    animated = out.suffix.lower() == ".gif"
    if animated and info["kind"] != "latent-diffusion":
        raise TinygenError(f"a model of kind {info['kind']!r} does not denoise: write a .png or .npz, not {out.name}")
    frames = draw(network, n, told, options, seed, animated)              # uint8 (n, 3, S, S) each
    classes = info.get("class_names", ()) if "labels" in told and label is None else ()
    if animated:
        write_gif(out, frames, classes)
    elif out.suffix.lower() == ".png":
        write_png(out, frames[-1], classes)
    else:
        write_npz(out, frames[-1], told.get("labels"))
        write_png(sheet_beside(out), frames[-1][:SHEET], classes)
    print(f"{out}: {n} images of {model}, seed {seed}")


def reconstruct(model: Model, data: Annotated[str, typer.Option(help="An image set, such as cifar10:test.")],
                n: Annotated[int, count("How many images: the first N of the set.")],
                out: Annotated[Path, typer.Option(help="FILE.npz: reconstructions uint8 (N, 32, 32, 3), labels, "
                                                  "and FILE.png, the first 100; .png: originals, reconstructions.")],
                device: Device = None) -> None:
    """Send images through a first stage (VQGAN, KL autoencoder) and back."""
    check_file(out, (".npz", ".png"))
    from ..data import load
    from ..models import load_model
    from ..train import choose_device
    from .drawing import reconstructions
    from .files import SHEET, sheet_beside, write_npz, write_pairs

    network, info = load_model(model, choose_device(device))
    if not callable(getattr(network, "reconstruct", None)):
        raise TinygenError(f"a model of kind {info['kind']!r} does not reconstruct: name a first stage (kind vq or kl)")
    originals = load(data)
    if n > len(originals):
        raise TinygenError(f"{originals.name} has {len(originals)} images; ask for no more than that with --n")
    originals = originals.subset(range(n))
    images, decibels = reconstructions(network, originals.images)
    if out.suffix.lower() == ".png":
        write_pairs(out, originals.images, images)
    else:
        write_npz(out, images, originals.labels)
        write_pairs(sheet_beside(out), originals.images[:SHEET], images[:SHEET])
    print(f"{out}: {n} images of {originals.name} through {model}, PSNR {decibels:.2f} dB")
