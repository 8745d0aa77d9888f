"""Anti-aliased silhouettes in integer arithmetic: the same bytes on every machine.

A sprite is one (object, radius, angle). It is tested once on a grid of SUB x SUB points a pixel, then averaged over
boxes of one pixel (its coverage) and of several (its blur, from which shadows and bevels are made). Placing a sprite
at any quarter of a pixel is then one look-up a pixel.
"""

import numpy as np

SUB = 4        # grid points a pixel, in x and in y
WINDOW = 128   # grid points a side of a sprite: 32 pixels
UNIT = 1024    # a silhouette fits a circle of this radius, about
BLUR = 12      # grid points a side of the blurring box: 3 pixels

# 4096 * cos and sin of 0, 4, 8, 12 degrees
COS = (4096, 4086, 4056, 4006)
SIN = (0, 286, 570, 852)

# corners on a circle of radius UNIT, y down
STAR = ((0, -1024), (241, -331), (974, -316), (389, 127), (602, 828), (0, 410),
        (-602, 828), (-389, 127), (-974, -316), (-241, -331))
PETALS = ((0, -640), (609, -198), (376, 518), (-376, 518), (-609, -198))


def disc(x, y, cx, cy, radius):
    return (x - cx) ** 2 + (y - cy) ** 2 <= radius * radius


def box(x, y, left, top, right, bottom):
    return (x >= left) & (x <= right) & (y >= top) & (y <= bottom)


def polygon(x, y, corners):
    """Inside or not, by the even-odd rule: the number of edges that a ray to the right crosses."""
    inside = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1]):
        if ay != by:
            right = (bx - ax) * (y - ay) - (x - ax) * (by - ay)  # of the edge: its sign, times that of by - ay
            inside ^= ((y >= ay) != (y >= by)) & ((right > 0) == (by > ay))
    return inside


def silhouette(name, x, y):
    """Which of the points (x, y), in units of UNIT, y down, lie in the object."""
    match name:
        case "circle":
            return disc(x, y, 0, 0, 960)
        case "square":
            return box(x, y, -830, -830, 830, 830)
        case "triangle":
            return polygon(x, y, ((0, -980), (1000, 760), (-1000, 760)))
        case "star":
            return polygon(x, y, tuple((cx * 9 // 8, cy * 9 // 8 + 60) for cx, cy in STAR))
        case "heart":
            lobes = disc(x, y, -470, -330, 530) | disc(x, y, 470, -330, 530)
            return lobes | polygon(x, y, ((-848, 42), (0, -330), (848, 42), (0, 930)))
        case "ring":
            return disc(x, y, 0, 0, 1000) & ~disc(x, y, 0, 0, 520)
        case "cross":
            return box(x, y, -340, -980, 340, 980) | box(x, y, -980, -340, 980, 340)
        case "crescent":
            return disc(x, y, -60, 0, 1020) & ~disc(x, y, 400, -200, 840)
        case "diamond":
            return polygon(x, y, ((0, -1120), (740, 0), (0, 1120), (-740, 0)))
        case "arrow":
            return polygon(x, y, ((0, -1060), (900, -60), (-900, -60))) | box(x, y, -340, -60, 340, 980)
        case "flower":
            petals = np.logical_or.reduce([disc(x, y, cx, cy, 405) for cx, cy in PETALS])
            return (petals | disc(x, y, 0, 0, 420)) & ~disc(x, y, 0, 0, 210)
        case "cloud":
            puffs = disc(x, y, -570, 210, 430) | disc(x, y, -130, -230, 570) | disc(x, y, 560, 120, 520)
            return puffs | box(x, y, -570, 100, 560, 640)
    raise ValueError(name)


def boxed(values, width):
    """Sums over the width x width boxes around each point: integers (W, W) -> (W, W), 0 near the border."""
    for _ in range(2):
        total = np.cumsum(values, axis=0)
        total[width:] -= total[:-width].copy()
        values = np.roll(total, 1 + width // 2 - width, axis=0).T
    return values


def sprite_bank(names, objects, radii, angles):
    """Coverage (0 ... 16) and blur (0 ... 255) of S sprites, each uint8 (S, WINDOW, WINDOW).

    names: of the objects; objects, radii (grid points) and angles (steps of 4 degrees, -3 ... 3): integers (S,).
    """
    grid = 2 * np.arange(WINDOW) - WINDOW + 1  # twice the distance to the middle
    x, y = grid[None, :], grid[:, None]
    coverage, blur = np.empty((2, len(objects), WINDOW, WINDOW), np.uint8)
    for s, (thing, radius, angle) in enumerate(zip(objects, radii, angles)):
        cos, sin = COS[abs(angle)], SIN[abs(angle)] * (1 if angle >= 0 else -1)
        scale = 2 * 4096 * radius // UNIT
        mask = silhouette(names[thing], (cos * x + sin * y) // scale, (cos * y - sin * x) // scale)
        coverage[s] = boxed(mask, SUB)
        blur[s] = boxed(boxed(mask, BLUR), BLUR) * 255 // BLUR ** 4
    return coverage, blur
