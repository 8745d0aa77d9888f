"""`shapes`: procedural scenes of one object on a textured background, with the exact factors of every image.

All in integers, from the raw words of a PCG64 generator: a seed gives the same bytes on every machine.
"""

import numpy as np
import torch

from tinygen.data import captions, raster
from tinygen.data.imageset import ImageSet
from tinygen.errors import TinygenError, nearest

SPLITS = {"train": (20_000, 1), "test": (2_000, 2), "heldout": (2_000, 3)}  # size, seed
SIZE = 32
# pairs that never occur in train or test: one for every object
HELD_OUT = (("circle", "green"), ("square", "pink"), ("triangle", "purple"), ("star", "blue"), ("heart", "yellow"),
            ("ring", "red"), ("cross", "orange"), ("crescent", "white"), ("diamond", "cyan"), ("arrow", "black"),
            ("flower", "red"), ("cloud", "purple"))
OBJECT_RGB = {"red": (226, 56, 58), "orange": (245, 130, 32), "yellow": (252, 208, 44), "green": (52, 158, 82),
              "cyan": (40, 190, 205), "blue": (42, 98, 214), "purple": (130, 62, 178), "pink": (244, 122, 172),
              "white": (246, 246, 242), "black": (42, 44, 54)}
GROUND_RGB = {"blue": (138, 180, 228), "green": (160, 204, 156), "yellow": (246, 226, 150), "pink": (246, 196, 208),
              "purple": (196, 178, 228), "orange": (248, 196, 146), "gray": (168, 174, 182), "white": (234, 234, 230),
              "black": (62, 66, 78)}
DIFFERENCE = 110      # at least this far apart in RGB
RADIUS = (31, 39, 48)  # of small, medium, large objects, in quarters of a pixel
REACH = (30, 23, 15)   # from the centre to left, right, top, bottom, for each size, in quarters of a pixel
DIRECTION = np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)])  # (x, y) of each position
FIELDS = 16            # random words an image
CONTRAST = {"plain": 0, "gradient": 24, "striped": 16, "checkered": 16, "dotted": 16}  # grey levels
CHUNK = 100            # images painted at once: they fit the cache


def allowed_backgrounds() -> list[list[int]]:
    """For each object colour the backgrounds that it stands out from: another name, and far enough in RGB."""
    far = DIFFERENCE ** 2
    return [[g for g, (ground, there) in enumerate(GROUND_RGB.items())
             if ground != colour and sum((a - b) ** 2 for a, b in zip(here, there)) >= far]
            for colour, here in OBJECT_RGB.items()]


def allowed_pairs(split: str) -> np.ndarray:
    """The (object, colour) pairs of a split, int64 (P, 2)."""
    held_out = {(captions.OBJECTS.index(o), captions.COLOURS.index(c)) for o, c in HELD_OUT}
    every = [(o, c) for o in range(len(captions.OBJECTS)) for c in range(len(captions.COLOURS))]
    return np.array([pair for pair in every if (pair in held_out) == (split == "heldout")])


def draw(word: np.ndarray, count) -> np.ndarray:
    """Random 64-bit words -> integers 0 ... count - 1."""
    return ((word >> np.uint64(32)) * np.asarray(count, np.uint64) >> np.uint64(32)).astype(np.int64)


def random_words(n: int, seed: int, split: str) -> np.ndarray:
    """uint64 (n, FIELDS); row i does not depend on n."""
    if split not in SPLITS:
        raise TinygenError(f"shapes has no split {split!r}{nearest(split, SPLITS)}")
    stream = np.random.PCG64(np.random.SeedSequence((seed, list(SPLITS).index(split))))
    return stream.random_raw(n * FIELDS).reshape(n, FIELDS)


def sample_factors(words: np.ndarray, split: str) -> np.ndarray:
    """Factors of every row, int64 (n, 6), in the order of `captions.FACTOR_NAMES`, from its first five words."""
    pairs = allowed_pairs(split)
    grounds = allowed_backgrounds()
    counts = np.array([len(g) for g in grounds])
    table = np.array([g + [0] * (max(counts) - len(g)) for g in grounds])  # (colours, most)
    thing, colour = pairs[draw(words[:, 0], len(pairs))].T
    background = table[colour, draw(words[:, 1], counts[colour])]
    size, position, texture = (draw(words[:, 2 + k], len(names))
                               for k, names in enumerate((captions.SIZES, captions.POSITIONS, captions.TEXTURES)))
    return np.stack([thing, colour, size, position, background, texture], axis=1)


def random_prompts(n: int, seed: int = 0, split: str = "test") -> list[str]:
    """n captions of random scenes of a split."""
    return [captions.caption_of(row) for row in sample_factors(random_words(n, seed, split), split)]


def generate_shapes(n: int, seed: int = 1, split: str = "train") -> ImageSet:
    """n scenes of a split (train, test or heldout): the first n of an endless sequence that `seed` gives.

    uint8 images (n, 3, 32, 32), label = object, six factors, one caption each. TinygenError for an unknown split.
    """
    words = random_words(n, seed, split)
    factors = sample_factors(words, split)  # (n, 6)
    images, factors = torch.from_numpy(draw_scenes(words, factors)), torch.from_numpy(factors)
    return ImageSet(f"shapes:{split}", images, factors[:, 0].clone(), captions.OBJECTS,
                    tuple(captions.caption_of(row) for row in factors.tolist()), factors, dict(captions.FACTOR_NAMES))


def draw_scenes(words: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The pictures uint8 (n, 3, 32, 32) of scenes with these factors (n, 6); words (n, FIELDS) move and tint a little."""
    def jitter(field: int, reach: int) -> np.ndarray:
        return draw(words[:, field], 2 * reach + 1) - reach  # (n,), -reach ... reach

    radius = np.array(RADIUS)[factors[:, 2]] + 2 * jitter(5, 1)
    sprites, which = np.unique(np.stack([factors[:, 0], radius, jitter(6, 3)]), axis=1, return_inverse=True)
    bank = raster.sprite_bank(captions.OBJECTS, *sprites)
    centre = DIRECTION[factors[:, 3]] * np.array(REACH)[factors[:, 2], None] + np.stack([jitter(7, 3), jitter(8, 3)], 1)
    tint = np.stack([jitter(field, 8) for field in (9, 10, 11)], 1)
    shade = np.stack([jitter(field, 4) for field in (12, 13, 14)], 1)
    columns = (factors, which.reshape(-1), radius, centre, tint, shade, draw(words[:, 15], 1 << 12))
    images = np.empty((len(words), 3, SIZE, SIZE), np.uint8)
    for start in range(0, len(words), CHUNK):
        images[start:start + CHUNK] = paint(*bank, *(column[start:start + CHUNK] for column in columns))
    return images


def look_up(bank, which, centre, dx=0, dy=0):
    """The sprites as the pixels see them: int32 (n, 32, 32); (dx, dy) moves them, in quarters of a pixel."""
    pixels = np.arange(SIZE) * raster.SUB + raster.SUB // 2
    x = np.clip(pixels - centre[:, :1] - dx, 0, raster.WINDOW - 1)  # (n, 32)
    y = np.clip(pixels - centre[:, 1:] - dy, 0, raster.WINDOW - 1)
    rows = (which[:, None] * raster.WINDOW + y) * raster.WINDOW
    return bank.reshape(-1).take(rows[:, :, None] + x[:, None, :]).astype(np.int32)


def wave(t):
    """A soft square wave of period 32: -64 ... 64."""
    return np.clip(np.abs((t & 31) - 16) * 16 - 128, -64, 64)


def texture_of(name, bits):
    """Lightness of n backgrounds of one texture: int32 (n, 32, 32), -64 ... 64, placed by 12 random bits (n,)."""
    line = np.arange(SIZE, dtype=np.int32)
    x, y, bits = line[None, None, :], line[None, :, None], bits.astype(np.int32)[:, None, None]
    left, up, turn, mirror = bits & 16, bits >> 5 & 16, bits >> 10 & 1, 1 - (bits >> 10 & 2)  # half periods
    match name:
        case "gradient":
            return mirror * (4 * np.where(turn, x, y) - 62)
        case "striped":
            return wave(4 * x + 4 * mirror * y + left)
        case "checkered":
            return wave(2 * x + left) * wave(2 * y + up) >> 6
        case "dotted":
            u, v = (4 * x + left & 31) - 16, (4 * y + up & 31) - 16
            return np.clip(180 - 2 * (u * u + v * v), -64, 64)
    return np.zeros((len(bits), SIZE, SIZE), np.int32)


def paint(coverage, blur, factors, which, radius, centre, tint, shade, bits):
    """n images, uint8 (n, 3, 32, 32): a background, the object's shadow on it, the object lit from the top left."""
    light = np.empty((len(factors), SIZE, SIZE), np.int32)
    for k, name in enumerate(captions.TEXTURES):
        rows = factors[:, 5] == k
        light[rows] = texture_of(name, bits[rows]) * CONTRAST[name] >> 6
    ground = np.array(list(GROUND_RGB.values()), np.int32)[factors[:, 4]] + shade
    ground = ground[:, :, None, None] + light[:, None]  # (n, 3, 32, 32)
    ground -= ground * look_up(blur, which, centre, 3, 6)[:, None] * 3 >> 11

    span = np.arange(SIZE) * raster.SUB + raster.SUB // 2 - SIZE * raster.SUB // 2
    x = ((span - centre[:, :1]) * 64 // radius[:, None]).astype(np.int32)[:, None, :]  # 64 is the radius of the object
    y = ((span - centre[:, 1:]) * 64 // radius[:, None]).astype(np.int32)[:, :, None]
    bevel = look_up(blur, which, centre, -3, -4) - look_up(blur, which, centre, 3, 4)
    spot = np.maximum(60 - ((x + 24) ** 2 + (y + 28) ** 2 >> 5) * 4 // 3, 0)
    lit = np.clip(spot + (bevel >> 2) - (x + y >> 3), -60, 90)[:, None]
    thing = (np.array(list(OBJECT_RGB.values()), np.int32)[factors[:, 1]] + tint)[:, :, None, None]
    thing = thing + (np.where(lit > 0, 255 - thing, thing) * lit * 13 >> 11)  # towards white, or towards black
    cover = look_up(coverage, which, centre)[:, None]  # 16: all of the pixel
    return np.clip(ground + ((thing - ground) * cover >> 4), 0, 255).astype(np.uint8)
