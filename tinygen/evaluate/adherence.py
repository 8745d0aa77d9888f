"""Do samples show what was asked for? The judging network says so."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import TinygenError


def label_head(heads: Mapping[str, int], data) -> str:
    """The head that judges the labels of `data` (an ImageSet): "class", or the factor with the classes' names."""
    for head in heads:
        if head == "class" or data.factor_names.get(head) == data.class_names:
            return head
    raise TinygenError(f"the judge has no head for the classes of {data.name}: name a judge trained on it")


def class_adherence(predicted: Tensor, asked: Tensor) -> float:
    """Share of samples that the judge gives the label asked for: (N,), (N,) int64 -> [0, 1]. A perfect model reaches
    no more than the judge's own accuracy."""
    return (predicted == asked).double().mean().item()


def prompt_adherence(predicted: Mapping[str, Tensor], asked: Tensor,
                     factor_names: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """Share of samples that show what the prompt asks for, factor by factor and "all" at once.

    predicted {factor: (N,) int64}; asked (N, F) int64 with a column for every entry of `factor_names`, -1 where the
    prompt does not say: such cells are fulfilled for "all", and left out of their own factor's share.
    -> {factor: [0, 1], "all": [0, 1]}; factors for which the judge has no head are left out.
    """
    right = {name: (predicted[name] == asked[:, column]) | (asked[:, column] < 0)
             for column, name in enumerate(factor_names) if name in predicted}              # (N,) bool each
    if not right:
        raise TinygenError("the judge has no head for any factor of the prompts: name a judge trained on them")
    rates = {}
    for column, name in enumerate(factor_names):
        said = asked[:, column] >= 0
        if name in right and said.any():
            rates[name] = right[name][said].double().mean().item()
    rates["all"] = torch.stack(list(right.values())).all(dim=0).double().mean().item()
    return rates
