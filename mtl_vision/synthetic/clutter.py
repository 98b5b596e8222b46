"""Small things: on tables, cabinets and shelves, or (the last four) on the floor with their back at y = 0.

Each is a list of solids whose lowest point is z = 0.
"""

from collections.abc import Callable, Sequence

import numpy as np

from mtl_vision.synthetic import paints
from mtl_vision.synthetic.scene import Paint, Piece, Point, Rng, ball, box, cylinder, moved


def books_lying(rng: Rng) -> Piece:
    pile, z = [], 0.0
    for _ in range(rng.integers(2, 6)):
        w, d, h = rng.uniform(0.2, 0.3), rng.uniform(0.15, 0.22), rng.uniform(0.025, 0.055)
        pile.append(box("books", paints.binding(rng), (0, 0, z), (w, d, h), rng.uniform(-0.3, 0.3)))
        z += h
    return pile


def books_standing(rng: Rng, width: float = 0.35, depth: float = 0.2, height: float = 0.3) -> Piece:
    """A row of upright books that fills about `width`."""
    row, x = [], -width / 2
    while True:
        w, d, h = rng.uniform(0.025, 0.065), depth * rng.uniform(0.7, 0.95), height * rng.uniform(0.7, 1.0)
        if x + w > width / 2:
            return row
        row.append(box("books", paints.binding(rng), (x + w / 2, 0, 0), (w, d, h)))
        x += w + 0.002


def vase(rng: Rng) -> Piece:
    r, h = rng.uniform(0.04, 0.08), rng.uniform(0.1, 0.2)
    paint = paints.bright(rng)
    neck = cylinder("objects", paint, (0, 0, 1.6 * h), (0.9 * r, 0.9 * r, 0.6 * h))
    return [ball("objects", paint, (0, 0, 0), (2 * r, 2 * r, 1.8 * h)), neck]


def bowl(rng: Rng) -> Piece:
    r = rng.uniform(0.08, 0.14)
    fruit = paints.bright(rng)
    spots = [(r * 0.5 * np.cos(a), r * 0.5 * np.sin(a)) for a in (0.3, 2.4, 4.5)]
    return [
        cylinder("objects", paints.bright(rng), (0, 0, 0), (2 * r, 2 * r, 0.06)),
        *(ball("objects", fruit, (x, y, 0.03), (0.08, 0.08, 0.08)) for x, y in spots),
    ]


def cup(rng: Rng) -> Piece:
    return [cylinder("objects", paints.bright(rng), (0, 0, 0), (0.08, 0.08, 0.1))]


def carton(rng: Rng) -> Piece:
    size = (rng.uniform(0.12, 0.3), rng.uniform(0.12, 0.22), rng.uniform(0.08, 0.25))
    return [box("objects", paints.bright(rng), (0, 0, 0), size, rng.uniform(-0.3, 0.3))]


def table_lamp(rng: Rng) -> Piece:
    h, r = rng.uniform(0.2, 0.35), rng.uniform(0.1, 0.15)
    stem = paints.metal(rng)
    return [
        ball("objects", stem, (0, 0, 0), (0.13, 0.13, 0.1)),
        cylinder("objects", stem, (0, 0, 0.05), (0.03, 0.03, h)),
        cylinder("objects", lampshade(rng), (0, 0, h), (2 * r, 2 * r, 1.5 * r)),
    ]


def lampshade(rng: Rng) -> Paint:
    return Paint((1.0, 0.92, 0.75), (0.95, 0.8, 0.55), "plain", glow=float(rng.choice([0.0, 0.9, 1.3])))


LOW_THINGS = (books_lying, bowl, cup, carton)
SMALL_THINGS = (*LOW_THINGS, books_lying, books_standing, vase, table_lamp)


def clutter(rng: Rng, top: Point, most: int = 3, kinds: Sequence[Callable[[Rng], Piece]] = SMALL_THINGS) -> Piece:
    """A few small things side by side on a top of this width and depth at this height (metres)."""
    width, depth, height = top
    n = int(rng.integers(0, min(most, int(width / 0.4)) + 1))
    things: Piece = []
    for i in range(n):
        x = width * ((i + 0.5) / n - 0.5) + rng.uniform(-0.04, 0.04)
        y = rng.uniform(-0.5, 0.5) * max(depth - 0.3, 0.0)
        things += moved(paints.pick(rng, kinds)(rng), (x, y, height))
    return things


def floor_lamp(rng: Rng) -> Piece:
    h, stem = rng.uniform(1.3, 1.6), paints.metal(rng)
    return [
        cylinder("objects", stem, (0, 0.22, 0), (0.28, 0.28, 0.03)),
        cylinder("objects", stem, (0, 0.22, 0.03), (0.03, 0.03, h)),
        cylinder("objects", lampshade(rng), (0, 0.22, h - 0.1), (0.38, 0.38, 0.28)),
    ]


def plant(rng: Rng) -> Piece:
    leaf = paints.paint_of(rng, paints.vary(rng, (0.25, 0.5, 0.22), 0.2), "leaves", (0.1, 0.25, 0.08))
    h = rng.uniform(0.5, 1.0)
    crown = [
        ball("objects", leaf, (rng.uniform(-0.15, 0.15), 0.3 + rng.uniform(-0.1, 0.1), 0.35 + h * f), (s, s, 1.3 * s))
        for f, s in zip((0.05, 0.3, 0.55), rng.uniform(0.25, 0.42, 3), strict=True)
    ]
    stem = Paint((0.35, 0.25, 0.15), (0.25, 0.2, 0.1), "wood")
    pot = cylinder("objects", paints.bright(rng), (0, 0.3, 0), (0.34, 0.34, 0.32))
    return [pot, cylinder("objects", stem, (0, 0.3, 0.3), (0.04, 0.04, h * 0.6)), *crown]


def boxes(rng: Rng) -> Piece:
    brown, (w, d, h) = paints.paint_of(rng, paints.vary(rng, (0.68, 0.52, 0.34)), "plain"), rng.uniform(0.3, 0.5, 3)
    low = box("objects", brown, (0, 0.3, 0), (w, d, h), rng.uniform(-0.2, 0.2))
    high = box("objects", brown, (0, 0.3, h), (0.7 * w, 0.7 * d, 0.25), rng.uniform(-0.5, 0.5))
    return [low, high] if rng.random() < 0.5 else [low]


def bin_(rng: Rng) -> Piece:
    return [cylinder("objects", paints.bright(rng), (0, 0.2, 0), (0.28, 0.28, 0.35))]
