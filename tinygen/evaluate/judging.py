"""What the judging network sees in a set of images, remembered on disk for sets that do not change."""

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ..data import ImageSet, to_float
from ..data.cifar10 import data_root
from ..errors import TinygenError
from ..models import load_model, model_folder, write_atomically
from .frechet import Gaussian
from .making import Watch, unwatched

STATISTICS = "statistics.safetensors"       # beside the weights of a judge


@dataclass
class Judged:
    """Features (N, D) float32 and the most likely class of every head {head: (N,) int64}, on the CPU."""

    features: Tensor
    predicted: dict[str, Tensor]

    def __getitem__(self, rows) -> "Judged":
        return Judged(self.features[rows], {head: classes[rows] for head, classes in self.predicted.items()})

    def __len__(self) -> int:
        return len(self.features)


@torch.no_grad()
def judge_images(judge: nn.Module, images: Tensor, batch_size: int = 250, watch: Watch = unwatched) -> Judged:
    """uint8 (N, 3, 32, 32) on any device -> what `judge` (a Classifier, put in eval mode) sees in them."""
    device = next(judge.parameters()).device
    judge.eval()
    features, predicted = [], {head: [] for head in judge.heads}
    for part in images.split(batch_size):
        features.append(judge.features(to_float(part.to(device))))             # (B, D)
        for head, logits in judge.split(judge.logits(features[-1])).items():
            predicted[head].append(logits.argmax(dim=1).cpu())
        features[-1] = features[-1].float().cpu()
        watch("judging", min(len(features) * batch_size, len(images)), len(images), None)
    return Judged(torch.cat(features), {head: torch.cat(parts) for head, parts in predicted.items()})


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 (hexadecimal) of every tensor of the model, with its name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def judge_set(judge: nn.Module, data: ImageSet, batch_size: int = 250, root: str | Path | None = None,
              watch: Watch = unwatched) -> Judged:
    """`judge_images` of a whole set, kept in a file named after the SHA-256 of the judge's weights and of the data.

    The file lies under the data root (`root`, as in `tinygen.data.load`). A damaged file is computed again; where
    nothing can be written, nothing is kept.
    """
    path = data_root(root) / "judged" / f"{weights_sha256(judge)[:20]}-{data.sha256()[:20]}.safetensors"
    with contextlib.suppress(OSError, SafetensorError, KeyError):
        tensors = load_file(path)
        return Judged(tensors["features"], {head: tensors[f"predicted.{head}"] for head in judge.heads})
    judged = judge_images(judge, data.images, batch_size, watch)
    tensors = {"features": judged.features}
    tensors |= {f"predicted.{head}": classes for head, classes in judged.predicted.items()}
    with contextlib.suppress(TinygenError, OSError):
        write_atomically(path, save(tensors))
    return judged


def reference_statistics(data_name: str) -> Gaussian:
    """What zoo:<data_name>-judge sees in the training split: mean and covariance, for an FD without the data.

    TinygenError where the zoo has none, and where they belong to other weights of the judge.
    """
    judge, _ = load_model(f"zoo:{data_name}-judge")
    path = model_folder(f"zoo:{data_name}-judge") / STATISTICS
    if not path.exists():
        raise TinygenError(f"the zoo has no {STATISTICS} of {data_name}: evaluate with the data")
    with safe_open(path, "pt") as file:
        if file.metadata()["judge_sha256"] != weights_sha256(judge):
            raise TinygenError(f"{path} was made with another judge: python -m tinygen.publish {data_name}-judge makes it anew")
        return Gaussian(file.get_tensor("mean"), file.get_tensor("covariance"))
