"""The vocabulary of the scenes, and sentences for their factors and back."""

import torch
from torch import Tensor

from tinygen.errors import TinygenError, nearest

OBJECTS = ("circle", "square", "triangle", "star", "heart", "ring",
           "cross", "crescent", "diamond", "arrow", "flower", "cloud")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "white", "black")
SIZES = ("small", "medium", "large")
POSITIONS = ("centre", "left", "right", "top", "bottom")
BACKGROUNDS = ("blue", "green", "yellow", "pink", "purple", "orange", "gray", "white", "black")
TEXTURES = ("plain", "gradient", "striped", "checkered", "dotted")
FACTOR_NAMES = {"object": OBJECTS, "colour": COLOURS, "size": SIZES, "position": POSITIONS,
                "background": BACKGROUNDS, "texture": TEXTURES}
PLACES = ("on", "on the left of", "on the right of", "at the top of", "at the bottom of")
SMALL_WORDS = ("a", "an", "on", "at", "of", "the", "background")


def caption_of(factors) -> str:
    """The sentence for one row of factors (6 indices, in the order of `FACTOR_NAMES`).

    Such as "a large red star at the top of a blue striped background"; the centre is not mentioned.
    """
    thing, colour, size, position, background, texture = (int(f) for f in factors)
    ground = f"{BACKGROUNDS[background]} {TEXTURES[texture]}" if texture else f"plain {BACKGROUNDS[background]}"
    article = "an" if ground[0] in "aeiou" else "a"
    return f"a {SIZES[size]} {COLOURS[colour]} {OBJECTS[thing]} {PLACES[position]} {article} {ground} background"


def parse_caption(text: str) -> Tensor:
    """The factors that a sentence asks for: int64 (6,), -1 for one that it does not name; no place means the centre.

    Size and colour stand before the object, everything else after it; `parse_caption(caption_of(f))` is `f`.
    TinygenError for a sentence without an object, or with a word that no caption has.
    """
    words = text.lower().replace(",", " ").replace(".", " ").replace("center", "centre").replace("grey", "gray").split()
    known = {*SMALL_WORDS, *(name for names in FACTOR_NAMES.values() for name in names)}
    for word in words:
        if word not in known:
            raise TinygenError(f"the captions have no word {word!r}{nearest(word, known)}")
    things = [i for i, word in enumerate(words) if word in OBJECTS]
    if len(things) != 1:
        raise TinygenError(f"the prompt {text!r} must name exactly one object of: {', '.join(OBJECTS)}")
    before, after = words[:things[0]], words[things[0] + 1:]
    where = {"object": [words[things[0]]], "colour": before, "size": before,
             "position": after, "background": after, "texture": after}
    factors = [next((names.index(word) for word in where[name] if word in names), -1)
               for name, names in FACTOR_NAMES.items()]
    factors[3] = max(factors[3], 0)
    return torch.tensor(factors)
