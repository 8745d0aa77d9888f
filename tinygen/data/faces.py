"""`faces`: drawn portraits with the exact attributes of every face; nobody's likeness.

Unlike in photographs, all attributes are drawn independently: there is no correlation for a model to pick up. All in
integers, from the raw words of a PCG64 generator: a seed gives the same bytes on every machine.
"""

import numpy as np
import torch

from tinygen.data.imageset import ImageSet
from tinygen.data.shapes import draw
from tinygen.errors import TinygenError, nearest

SPLITS = {"train": (12_000, 11), "test": (2_000, 12)}  # size, seed
SIZE, STEP = 32, 14  # pixels a side; units a pixel
MIDDLE = (256, 226)  # of the picture, in units: (x, y)
FIELDS = 24          # random words a face
CHUNK = 200          # faces painted at once
SKIN_RGB = {"light": (250, 218, 194), "tan": (228, 178, 134), "brown": (168, 114, 76), "dark": (104, 68, 48)}
HAIR_RGB = {"black": (38, 34, 38), "brown": (106, 66, 38), "blond": (232, 194, 92), "red": (190, 78, 34),
            "gray": (162, 164, 170)}
GROUND_RGB = {"blue": (142, 188, 232), "green": (164, 210, 160), "yellow": (248, 226, 142), "pink": (246, 190, 206),
              "purple": (190, 176, 230)}
SHIRT_RGB = ((214, 64, 62), (52, 96, 178), (58, 140, 92), (242, 242, 236), (70, 72, 84), (240, 150, 52))
FACTORS = {"expression": ("smiling", "serious", "surprised", "sad"), "skin": tuple(SKIN_RGB), "hair": tuple(HAIR_RGB),
           "style": ("short", "long", "curly", "bald"), "glasses": ("none", "glasses", "sunglasses"),
           "beard": ("none", "beard"), "background": tuple(GROUND_RGB)}


def face_caption(factors) -> str:
    """The sentence for one row of factors (7 indices, in the order of `FACTORS`).

    Such as "a smiling face with tan skin and long red hair and glasses on a blue background". Of a bald face without a
    beard it does not say the colour of the hair.
    """
    expression, skin, hair, style, glasses, beard, ground = (
        names[int(k)] for names, k in zip(FACTORS.values(), factors, strict=True))
    parts = [f"{skin} skin", "a bald head" if style == "bald" else f"{style} {hair} hair",
             *([glasses] if glasses != "none" else []),
             *([f"a {hair} beard" if style == "bald" else "a beard"] if beard != "none" else [])]
    return f"a {expression} face with {' and '.join(parts)} on a {ground} background"


def generate_faces(n: int, seed: int = 11, split: str = "train") -> ImageSet:
    """n faces of a split (train or test): the first n of an endless sequence that `seed` gives.

    uint8 images (n, 3, 32, 32), label = expression, seven independent factors, one caption each. TinygenError for an
    unknown split.
    """
    if split not in SPLITS:
        raise TinygenError(f"faces has no split {split!r}{nearest(split, SPLITS)}")
    stream = np.random.PCG64(np.random.SeedSequence((seed, list(SPLITS).index(split), 77)))
    words = stream.random_raw(n * FIELDS).reshape(n, FIELDS)
    factors = np.stack([draw(words[:, k], len(names)) for k, names in enumerate(FACTORS.values())], axis=1)
    images = np.empty((n, 3, SIZE, SIZE), np.uint8)
    for start in range(0, n, CHUNK):
        images[start:start + CHUNK] = paint(factors[start:start + CHUNK], words[start:start + CHUNK, len(FACTORS):])
    factors = torch.from_numpy(factors)
    return ImageSet(f"faces:{split}", torch.from_numpy(images), factors[:, 0].clone(), FACTORS["expression"],
                    tuple(face_caption(row) for row in factors.tolist()), factors, dict(FACTORS))


def column(values):
    """A number, or one number an image (n,) -> something that broadcasts against (n, 32, 32)."""
    return values[:, None, None].astype(np.int32) if isinstance(values, np.ndarray) else values


def units(centre: int) -> np.ndarray:
    """Where the 32 pixels' middles lie, int32 (32,): 14 units apart, `centre` in the middle of the picture."""
    return (2 * np.arange(SIZE, dtype=np.int32) - SIZE + 1) * STEP // 2 + centre


def ellipse(cx, cy, rx, ry) -> np.ndarray:
    """How much of every pixel lies in an ellipse: 0 ... 256, int32 (n or 1, 32, 32)."""
    x, y = units(MIDDLE[0])[None, None, :] - column(cx), units(MIDDLE[1])[None, :, None] - column(cy)
    rx, ry = column(rx), column(ry)
    level = (x * x << 12) // (rx * rx) + (y * y << 12) // (ry * ry)          # 4096 on the border
    # near the border the distance to it is about (1 - level / 4096) / 2 radii
    return np.clip(128 + ((4096 - level) * np.minimum(rx, ry) >> 9), 0, 256)


def below(y0) -> np.ndarray:
    """How much of every pixel lies below the height y0: 0 ... 256, (n or 1, 32, 32)."""
    y = units(MIDDLE[1])[None, :, None] - column(y0)
    return np.clip(128 + 256 // STEP * y, 0, 256) + np.zeros((1, 1, SIZE), np.int32)


def both(a, b):
    """What is covered by both."""
    return a * b >> 8


def lay(canvas, colour, cover):
    """Paint `colour` (n, 3) over canvas (n, 3, 32, 32), in place, where cover (n, 32, 32) says so (0 ... 256)."""
    colour = np.asarray(colour, np.int32)
    colour = colour[:, :, None, None] if colour.ndim == 2 else colour[None, :, None, None]
    canvas += (colour - canvas) * cover[:, None] >> 8


def paint(factors, words) -> np.ndarray:
    """n faces, uint8 (n, 3, 32, 32), layer by layer from the background to the glasses."""
    expression, skin_k, hair_k, style, glasses, beard, ground_k = factors.T

    def jitter(field: int, reach: int) -> np.ndarray:
        return draw(words[:, field], 2 * reach + 1) - reach  # (n,), -reach ... reach

    def tinted(table, rows, field: int) -> np.ndarray:
        return np.array(list(table), np.int64)[rows] + jitter(field, 9)[:, None]

    skin, hair = tinted(SKIN_RGB.values(), skin_k, 0), tinted(HAIR_RGB.values(), hair_k, 1)
    shirt = tinted(SHIRT_RGB, draw(words[:, 2], len(SHIRT_RGB)), 3)
    cx, cy = 256 + jitter(4, 12), 252 + jitter(5, 10)
    rx, ry = 116 + jitter(6, 9), 142 + jitter(7, 9)
    eye_gap, eye_y = 48 + jitter(8, 5), cy - 8 + jitter(9, 6)
    mouth_y, mouth_w = cy + 74 + jitter(10, 5), 46 + jitter(11, 7)
    line = cy - 74 + jitter(12, 12)                                           # where the hair begins
    part = cx + jitter(13, 40)
    iris = np.array(((70, 46, 34), (58, 98, 150), (66, 112, 70)), np.int64)[draw(words[:, 14], 3)]
    dark_skin, darker_hair = skin * 3 // 4, hair * 3 // 4

    def only(rows, cover):
        return cover * column(rows)

    canvas = np.zeros((len(factors), 3, SIZE, SIZE), np.int32)
    rise = 14 - np.arange(SIZE, dtype=np.int32)[None, None, :, None]          # lighter above, darker below
    canvas += tinted(GROUND_RGB.values(), ground_k, 15)[:, :, None, None].astype(np.int32) + rise

    curly, long, bald = style == 2, style == 1, style == 3
    behind = np.maximum(ellipse(cx, cy - 20, rx + 34, ry + 8), both(
        ellipse(cx, cy + 96, rx + 30, 190), below(cy)))
    lay(canvas, darker_hair, only(long, behind))
    lay(canvas, darker_hair, only(curly, ellipse(cx, cy - 46, rx + 62, ry + 18)))
    for k in range(8):                                                        # curls stand out around the head
        dx, dy = ((-158, -36), (-132, -118), (-70, -176), (0, -196), (70, -176), (132, -118), (158, -36), (0, -150))[k]
        lay(canvas, hair, only(curly, ellipse(cx + dx, cy + dy + 8, 46, 46)))

    shoulders = ellipse(cx, 560, 206, 150)
    lay(canvas, shirt, shoulders)
    lay(canvas, dark_skin, both(ellipse(cx, cy + 140, 52, 74), below(cy + 60)))
    for side in (-1, 1):
        lay(canvas, dark_skin, ellipse(cx + side * (rx - 2), cy + 12, 24, 34))
    lay(canvas, skin, ellipse(cx, cy, rx, ry))
    light = both(ellipse(cx - 30, cy - 30, rx * 3 // 4, ry * 3 // 4), np.int32(70))
    lay(canvas, np.minimum(skin * 9 // 8 + 6, 255), light)
    head = ellipse(cx, cy, rx, ry)

    jaw = both(head, below(cy + 34)) - both(both(head, below(cy + 34)), ellipse(cx, cy + 20, rx * 3 // 4, 62))
    lay(canvas, hair, only(beard == 1, np.maximum(jaw, both(ellipse(cx, mouth_y - 18, mouth_w + 20, 17), head))))

    cap = ellipse(cx, cy - 8, rx + 12, ry + 14)                               # the hair on top of the head
    above = 256 - below(line)
    fringe = 256 - ellipse(part, line + 92, rx - 4, 118)
    top = both(cap, np.maximum(above - 60, 0) * 256 // 196)
    lay(canvas, hair, only(~bald, both(top, np.maximum(fringe, above // 2))))
    sides = both(both(cap, 256 - below(line + 60)), 256 - ellipse(part, line + 104, rx - 2, 116))
    lay(canvas, hair, only(~bald, sides))
    for side in (-1, 1):                                                      # locks in front of the ears
        lay(canvas, hair, only(long, both(ellipse(cx + side * (rx + 6), cy + 60, 30, 150), below(cy - 60))))
        lay(canvas, hair, only(curly, ellipse(cx + side * (rx + 4), cy - 40, 40, 60)))
    shine = only(~bald, both(ellipse(cx - 44, line - 22, 46, 22), np.int32(70)))
    lay(canvas, np.minimum(hair * 5 // 4 + 40, 255), shine)

    for side in (-1, 1):                                                      # eyes and brows
        ex = cx + side * eye_gap
        open_ = 24 + 8 * (expression == 2)
        lay(canvas, (252, 252, 250), ellipse(ex, eye_y, 30, open_))
        lay(canvas, iris, ellipse(ex, eye_y + 2, 17, 19))
        lay(canvas, (22, 20, 22), ellipse(ex, eye_y + 2, 9, 11))
        brow = eye_y - 44 - 12 * (expression == 2)
        inner, outer = ellipse(ex - side * 16, brow - 8 * (expression == 3), 20, 8), \
            ellipse(ex + side * 14, brow + 10 * (expression == 3), 22, 8)
        lay(canvas, np.minimum(darker_hair, dark_skin), np.maximum(inner, outer))
    lay(canvas, dark_skin, both(ellipse(cx + 4, cy + 34, 15, 11), np.int32(190)))

    lip, inside = (168, 60, 62), (92, 26, 34)
    w = mouth_w
    smile = both(ellipse(cx, mouth_y - 10, w + 4, 40), below(mouth_y - 8))
    lay(canvas, inside, only(expression == 0, smile))
    lay(canvas, (250, 248, 244), only(expression == 0, both(smile, 256 - below(mouth_y + 8))))
    lay(canvas, lip, only(expression == 1, ellipse(cx, mouth_y, w - 4, 10)))
    lay(canvas, inside, only(expression == 2, ellipse(cx, mouth_y + 6, 26, 34)))
    frown = both(ellipse(cx, mouth_y + 30, w, 38), 256 - below(mouth_y + 18))
    frown = both(frown, 256 - ellipse(cx, mouth_y + 44, w - 2, 38))
    lay(canvas, lip, only(expression == 3, frown))

    rims, dark = (36, 38, 46), (24, 24, 30)
    for side in (-1, 1):
        ex = cx + side * (eye_gap + 3)
        outer, inner = ellipse(ex, eye_y, 48, 44), ellipse(ex, eye_y, 33, 29)
        lay(canvas, rims, only(glasses == 1, outer - both(outer, inner)))
        lay(canvas, dark, only(glasses == 2, ellipse(ex, eye_y + 4, 50, 40)))
        lay(canvas, (110, 120, 140), only(glasses == 2, ellipse(ex - 14, eye_y - 8, 16, 8)))
    lay(canvas, rims, only(glasses > 0, both(ellipse(cx, eye_y - 10, 22, 10), np.int32(230))))
    return np.clip(canvas, 0, 255).astype(np.uint8)
