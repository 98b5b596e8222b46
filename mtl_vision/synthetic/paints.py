"""Paints drawn at random from what rooms are made of."""

import colorsys
from collections.abc import Sequence

import numpy as np

from mtl_vision.synthetic.scene import Paint, Point, Rng

WOODS: tuple[Point, ...] = (
    (0.72, 0.52, 0.34),
    (0.55, 0.36, 0.22),
    (0.40, 0.26, 0.17),
    (0.80, 0.66, 0.48),
    (0.27, 0.19, 0.15),
    (0.88, 0.86, 0.82),
)
METALS: tuple[Point, ...] = ((0.25, 0.25, 0.27), (0.62, 0.62, 0.64), (0.12, 0.12, 0.13), (0.70, 0.62, 0.42))
WALLS: tuple[Point, ...] = (
    (0.90, 0.88, 0.83),
    (0.86, 0.81, 0.70),
    (0.76, 0.81, 0.84),
    (0.79, 0.84, 0.75),
    (0.87, 0.76, 0.70),
    (0.66, 0.69, 0.74),
    (0.83, 0.83, 0.83),
)
CLOTHS = ("plain", "weave", "weave", "stripes", "plaid")


def pick(rng: Rng, options: Sequence):
    """One of the options, as it is (numpy's own choice would make arrays of them)."""
    return options[int(rng.integers(len(options)))]


def shade(colour: Point, by: float) -> Point:
    r, g, b = (min(max(c * by, 0.0), 1.0) for c in colour)
    return r, g, b


def vary(rng: Rng, colour: Point, amount: float = 0.06) -> Point:
    """The colour with a little of its own tint and brightness."""
    low, high = 1 - amount, 1 + amount
    r, g, b = (np.array(colour) * rng.uniform(low, high, 3) * rng.uniform(low, high)).clip(0, 1).tolist()
    return r, g, b


def tint(rng: Rng, saturation: tuple[float, float], value: tuple[float, float]) -> Point:
    """Any hue, with saturation and value from the given ranges."""
    return colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(*value))


def paint_of(rng: Rng, colour: Point, texture: str, accent: Point | None = None) -> Paint:
    """A paint of this colour whose accent, unless given, is a darker shade of it."""
    accent = accent or shade(colour, rng.uniform(0.6, 0.8))
    return Paint(colour, accent, texture, shift=rng.uniform(0, 50))


def wood(rng: Rng) -> Paint:
    colour = vary(rng, pick(rng, WOODS))
    return paint_of(rng, colour, "wood", shade(colour, rng.uniform(0.72, 0.88)))


def metal(rng: Rng) -> Paint:
    return paint_of(rng, pick(rng, METALS), "plain")


def cloth(rng: Rng) -> Paint:
    colour = tint(rng, (0.03, 0.5), (0.25, 0.9))
    texture = pick(rng, CLOTHS)
    two_colours = texture in ("stripes", "plaid")
    return paint_of(rng, colour, texture, tint(rng, (0.03, 0.45), (0.3, 0.95)) if two_colours else None)


def linen(rng: Rng) -> Paint:
    return paint_of(rng, tint(rng, (0.0, 0.15), (0.8, 0.96)), "weave")


def bright(rng: Rng) -> Paint:
    return paint_of(rng, tint(rng, (0.1, 0.8), (0.3, 0.95)), "plain")


def binding(rng: Rng) -> Paint:
    """A book's: mostly warm or dark, some near white."""
    if rng.random() < 0.25:
        return Paint(tint(rng, (0.0, 0.15), (0.7, 0.95)))
    hue = rng.choice([rng.uniform(-0.05, 0.15), rng.uniform(0.3, 0.65), rng.uniform()], p=[0.5, 0.35, 0.15])
    colour = colorsys.hsv_to_rgb(hue % 1.0, rng.uniform(0.3, 0.85), rng.uniform(0.2, 0.8))
    return Paint(colour, shade(colour, 0.7))


def floor(rng: Rng) -> Paint:
    texture = pick(rng, ("planks", "planks", "tiles", "carpet", "carpet", "checker"))
    if texture == "planks":
        return paint_of(rng, vary(rng, pick(rng, WOODS[:4])), texture)
    if texture == "carpet":
        return paint_of(rng, tint(rng, (0.02, 0.35), (0.4, 0.75)), texture)
    colour = tint(rng, (0.0, 0.25), (0.65, 0.9))
    return paint_of(rng, colour, texture, shade(colour, rng.uniform(0.5, 0.8)))


def walls(rng: Rng) -> Paint:
    texture = pick(rng, ("plaster",) * 6 + ("wallpaper",))
    return paint_of(rng, vary(rng, pick(rng, WALLS)), texture)


def brickwork(rng: Rng) -> Paint:
    return paint_of(rng, vary(rng, (0.62, 0.36, 0.28), 0.1), "bricks", (0.72, 0.68, 0.62))
