"""`meadow`: the scenes of `shapes` in a landscape, a style that no model of `shapes` has seen.

The ground is exchanged after the drawing: two pictures of one scene, on a white and on a black ground, tell how much of
the ground every pixel shows (triangulation matting: Smith and Blinn 1996, "Blue screen matting").
"""

import numpy as np
import torch

from tinygen.data import captions, shapes
from tinygen.data.imageset import ImageSet
from tinygen.errors import TinygenError, nearest

SPLITS = {"train": (64, 21), "test": (500, 22)}     # size, seed
# height (0 ... 31) and colour of the sky there, straight lines between; from row 20 on the grass
SKY = ((0, (138, 180, 228)), (19, (246, 226, 150)))
GRASS = ((20, (150, 200, 146)), (31, (160, 204, 156)))


def landscape() -> np.ndarray:
    """The sky and the grass, int32 (3, 32): one colour for every row, from the top."""
    rows = np.arange(shapes.SIZE)
    place, colours = zip(*(SKY + GRASS))
    return np.stack([np.interp(rows, place, channel) for channel in zip(*colours)]).astype(np.int32)


def caption_without_ground(factors) -> str:
    """What is left of a scene's sentence when the ground is not mentioned: "a large red star at the top"."""
    sentence = captions.caption_of(factors).split()
    thing = sentence.index(captions.OBJECTS[int(factors[0])])
    place = captions.POSITIONS[int(factors[3])]
    where = {"centre": "", "left": " on the left", "right": " on the right"}.get(place, f" at the {place}")
    return " ".join(sentence[:thing + 1]) + where


def generate_meadow(n: int, seed: int = SPLITS["train"][1], split: str = "train") -> ImageSet:
    """n scenes in a landscape, an ImageSet like those of `shapes` (objects and colours of its training split).

    The captions do not mention the ground; factors 4 and 5 (background and texture) mean nothing here and are 0.
    TinygenError for an unknown split.
    """
    if split not in SPLITS:
        raise TinygenError(f"meadow has no split {split!r}{nearest(split, SPLITS)}")
    words = shapes.random_words(n, seed, "train")
    factors = shapes.sample_factors(words, "train")
    factors[:, 4:] = 0
    ground = list(shapes.GROUND_RGB)
    on = {}
    for name in ("white", "black"):
        factors[:, 4] = ground.index(name)
        on[name] = shapes.draw_scenes(words, factors).astype(np.int32)                      # (n, 3, 32, 32)
    shade = np.stack([shapes.draw(words[:, field], 9) - 4 for field in (12, 13, 14)], 1)    # of the grounds drawn
    there = {name: (np.array(shapes.GROUND_RGB[name]) + shade)[:, :, None, None] for name in on}
    seen = (on["white"] - on["black"]) / (there["white"] - there["black"])                  # 1 - coverage, times shadow
    images = on["black"] + (landscape()[None, :, :, None] - there["black"]) * seen
    factors[:, 4] = 0
    return ImageSet(f"meadow:{split}", torch.from_numpy(np.clip(np.rint(images), 0, 255).astype(np.uint8)),
                    torch.from_numpy(factors[:, 0].copy()), captions.OBJECTS,
                    tuple(caption_without_ground(row) for row in factors), torch.from_numpy(factors),
                    dict(captions.FACTOR_NAMES))
