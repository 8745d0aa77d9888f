"""Every public name of the library's parts belongs to the chapter that introduces it, which uses it in a code cell."""

import importlib
import re
from pathlib import Path

import jupytext
import pytest
import rules

INTRODUCED = {
    "tinygen.gan": {
        "03": "discriminator_loss generator_loss",
        "04": "Discriminator GANObjective Generator apply_spectral_norm diff_augment gradient_penalty power_iteration r1_penalty",
        "08": "PatchDiscriminator",
    },
    "tinygen.autoencoder": {"05": "Decoder DiagonalGaussian Encoder KLAutoencoder"},
    "tinygen.vq": {
        "07": "FSQ Quantized VectorQuantizer count_codes perplexity straight_through usage",
        "08": "VQAutoencoder VQGANObjective adaptive_weight",
        "09": "PriorObjective TokenPrior",
    },
}


@pytest.mark.parametrize("module", INTRODUCED)
def test_every_public_name_has_its_chapter(module):
    named = [name for names in INTRODUCED[module].values() for name in names.split()]
    assert sorted(named) == sorted(importlib.import_module(module).__all__)
    for chapter, names in INTRODUCED[module].items():
        source, = Path(rules.__file__).parent.glob(f"{chapter}-*.md")
        code = "\n".join(cell.source for cell in rules.code_cells(jupytext.read(source, fmt="md:myst")))
        missing = [name for name in names.split() if not re.search(rf"\b{name}\b", code)]
        assert missing == [], f"chapter {chapter}"
