"""What a classifier is trained on: cross entropy, summed over its heads."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import Batches, ImageSet
from ..errors import TinygenError
from .classifier import Classifier


class ClassifierObjective(nn.Module):
    """Cross entropy summed over the heads of `model`, with label smoothing (Szegedy et al. 2016, arXiv:1512.00567).

    A head named like one of the data's factors learns that factor, any other head the labels. Losses are in nats.
    """

    def __init__(self, model: Classifier, label_smoothing: float = 0.1):
        super().__init__()
        self.model, self.label_smoothing = model, label_smoothing
        self.targets: Tensor | None = None                                  # (N, heads) int64, set by `batches`

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """One optimiser for everything."""
        return {"classifier": list(self.model.parameters())}

    def batches(self, data: ImageSet, **options) -> Batches:
        """Batches of `data` (an ImageSet), whose factors or labels become the targets of the heads.

        Raises TinygenError where a head has another number of classes than the data. Mirroring (`flip`) changes
        factors such as "left": switch it off in the recipes of such data.
        """
        self.targets = head_targets(self.model.heads, data)                     # (N, heads)
        return Batches(data, **options)

    def losses(self, batch, progress) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """One step: the summed cross entropy, and the accuracy of every head on this batch."""
        targets = self.targets.to(batch.labels.device)[batch.index.to(batch.labels.device)]    # (B, heads)
        loss, scalars = 0.0, {}
        for column, (head, logits) in enumerate(self.model.split(self.model(batch.images)).items()):
            target = targets[:, column]
            loss = loss + F.cross_entropy(logits.float(), target, label_smoothing=self.label_smoothing)
            scalars[f"accuracy_{head}"] = (logits.detach().argmax(dim=1) == target).float().mean()
        yield "classifier", loss, {"cross_entropy": loss.detach(), **scalars}

    def preview(self, model, batch) -> None:
        """A classifier makes no pictures."""
        return None

    def after_step(self, batch, progress) -> None:
        """Nothing to do between steps."""


def head_targets(heads: dict[str, int], data: ImageSet) -> Tensor:
    """What `heads` should say of `data`: (N, heads) int64, a factor where there is one of that name, else the label."""
    factors = list(data.factor_names)
    columns = []
    for head, classes in heads.items():
        names = data.factor_names[head] if head in factors else data.class_names
        if len(names) != classes:
            raise TinygenError(f"head {head!r} has {classes} classes but {data.name} has {len(names)} of them: "
                               f"give the classifier heads {{{head!r}: {len(names)}}}")
        columns.append(data.factors[:, factors.index(head)] if head in factors else data.labels)
    return torch.stack(columns, dim=1)
