"""The standard FID, for comparing with papers: needs the weights of the Inception network, which we do not ship."""

import hashlib
import urllib.request
from pathlib import Path

import torch
from torch import Tensor

from ..errors import TinygenError


def inception_weights(patience: float = 15.0) -> Path:
    """The file of Inception weights that torch-fidelity uses, downloaded once into torch's hub folder.

    TinygenError, after `patience` seconds without an answer, that says which file to put where.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3 as url
    except ImportError as error:
        raise TinygenError("standard FID needs torch-fidelity: install it, or use our FD") from error
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.exists():
        try:
            with urllib.request.urlopen(url, timeout=patience) as answer:
                content = answer.read()
            if not hashlib.sha256(content).hexdigest().startswith(path.stem.rpartition("-")[2]):
                raise OSError("the download is damaged")
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".part")
            temporary.write_bytes(content)
            temporary.rename(path)
        except OSError as error:
            raise TinygenError(f"standard FID needs the Inception weights, which cannot be fetched ({error}): download "
                               f"{url} elsewhere and put it at {path}, or use our FD, which needs nothing") from error
    return path


def standard_fid(images_a: Tensor, images_b: Tensor, batch_size: int = 50, device: str | torch.device = "cpu") -> float:
    """FID (Heusel et al. 2017, arXiv:1706.08500) of two uint8 sets (N, 3, H, W), in torch-fidelity's Inception network.

    Comparable with papers only at their N (usually 50,000) and their reference. TinygenError where the weights cannot
    be had or hold anything but tensors.
    """
    path = inception_weights()
    try:
        torch.load(path, map_location="cpu", weights_only=True)                 # refuses code, torch-fidelity does not
    except Exception as error:
        raise TinygenError(f"{path} is damaged or no file of weights: delete it and run again") from error
    from torchmetrics.image.fid import FrechetInceptionDistance
    fid = FrechetInceptionDistance(feature=2048).to(device)
    for images, real in ((images_a, True), (images_b, False)):
        for part in images.split(batch_size):
            fid.update(part.to(device), real=real)
    return fid.compute().item()
