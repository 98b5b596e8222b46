"""Boxes, upright cylinders and ellipsoids: each is a unit body, stretched, turned about the vertical and moved.

World frame: x right, y away from the front wall, z up, metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from mtl_vision.datasets.classes import class_set

CLASSES = class_set("nyu13").names
CLASS_ID = {name: i for i, name in enumerate(CLASSES)}

Point = tuple[float, float, float]

# A unit body is where every one of its groups of local coordinates has length < 1: three slabs make a box,
# a disc and a slab make a cylinder, all three together make a ball.
SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "box": ((0,), (1,), (2,)),
    "cylinder": ((0, 1), (2,)),
    "ball": ((0, 1, 2),),
}
CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)


def turn(yaw: float) -> np.ndarray:
    """Rotation (3, 3) about the vertical, counter-clockwise seen from above."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class Paint:
    """How a surface looks: `texture` blends `colour` into `accent` (display RGB in 0..1); `glow` is own light."""

    colour: Point = (0.7, 0.7, 0.7)
    accent: Point = (0.6, 0.6, 0.6)
    texture: str = "plain"
    glow: float = 0.0
    shift: float = 0.0  # moves the texture, so that two things of one kind differ


@dataclass(frozen=True)
class Solid:
    """One body: `centre` and half-sizes `half` in metres, `yaw` in radians counter-clockwise seen from above."""

    shape: str
    label: str
    centre: Point
    half: Point
    paint: Paint = field(default_factory=Paint)
    yaw: float = 0.0

    @property
    def corners(self) -> np.ndarray:
        """Corners (8, 3) of the box around the body."""
        return (CORNERS * self.half) @ turn(self.yaw).T + self.centre

    @property
    def to_unit(self) -> np.ndarray:
        """Linear map (3, 3) that takes offsets from the centre to the unit body."""
        return turn(self.yaw).T / np.array(self.half)[:, None]


Piece = list[Solid]
Rng = np.random.Generator


def standing(shape: str, label: str, paint: Paint, at: Point, size: Point, yaw: float = 0.0) -> Solid:
    """A body of full `size` whose foot is centred at `at`."""
    w, d, h = size
    return Solid(shape, label, (at[0], at[1], at[2] + h / 2), (w / 2, d / 2, h / 2), paint, yaw)


box = partial(standing, "box")
cylinder = partial(standing, "cylinder")
ball = partial(standing, "ball")


def moved(solids: Sequence[Solid], by: Point, yaw: float = 0.0) -> Piece:
    """The solids turned by `yaw` about the origin, then shifted by `by`."""
    rotation = turn(yaw)

    def move(solid: Solid) -> Solid:
        x, y, z = (rotation @ solid.centre + by).tolist()
        return replace(solid, centre=(x, y, z), yaw=solid.yaw + yaw)

    return [move(solid) for solid in solids]


def bounds(solids: Sequence[Solid]) -> np.ndarray:
    """Lowest and highest coordinates (2, 3) that the solids reach."""
    corners = np.concatenate([solid.corners for solid in solids])
    return np.stack([corners.min(axis=0), corners.max(axis=0)])


def moved_bounds(alone: np.ndarray, by: Point, yaw: float) -> np.ndarray:
    """The bounds (2, 3) of solids with bounds `alone` after they are moved (a little wide if yaw is no right angle)."""
    corners = (alone.mean(axis=0) + CORNERS * (alone[1] - alone[0]) / 2) @ turn(yaw).T + by
    return np.stack([corners.min(axis=0), corners.max(axis=0)])
