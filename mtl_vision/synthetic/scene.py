"""What a scene is made of: solids placed in a closed room, lights, and a camera.

Solids are boxes, upright cylinders and ellipsoids: each is a unit body, stretched, turned about the vertical and moved.
World frame: x right, y away from the front wall, z up, metres.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np

from mtl_vision.datasets.classes import class_set

CLASSES = class_set("nyu13").names
CLASS_ID = {name: i for i, name in enumerate(CLASSES)}

Point = tuple[float, float, float]

# A unit body is where every one of its groups of local coordinates has length < 1: three slabs make a box,
# a disc and a slab make a cylinder, all three together make a ball.
SHAPES = {"box": ((0,), (1,), (2,)), "cylinder": ((0, 1), (2,)), "ball": ((0, 1, 2),)}
TRIES = 40  # random places for a piece before it is left out
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

    @cached_property
    def corners(self) -> np.ndarray:
        """Corners (8, 3) of the box around the body."""
        return (CORNERS * self.half) @ turn(self.yaw).T + self.centre

    @cached_property
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


def moved_bounds(own: np.ndarray, by: Point, yaw: float) -> np.ndarray:
    """The bounds (2, 3) of solids with bounds `own` after they are moved (a little wide if yaw is no right angle)."""
    corners = (own.mean(axis=0) + CORNERS * (own[1] - own[0]) / 2) @ turn(yaw).T + by
    return np.stack([corners.min(axis=0), corners.max(axis=0)])


@dataclass(frozen=True)
class Camera:
    """Where the camera is (metres, world) and its `rotation` (3, 3): camera axes (right, down, forward) to world."""

    position: np.ndarray
    rotation: np.ndarray

    @classmethod
    def at(cls, position: Point, yaw: float, pitch: float, roll: float) -> "Camera":
        """A camera turned right by `yaw` from the world's y, down by `pitch`, clockwise by `roll` (radians)."""
        sy, cy, sp, cp, sr, cr = (f(a) for a in (yaw, pitch, roll) for f in (np.sin, np.cos))
        right, forward = np.array([cy, -sy, 0.0]), np.array([sy * cp, cy * cp, -sp])
        down = np.cross(forward, right)
        axes = np.stack([cr * right + sr * down, cr * down - sr * right, forward], axis=1)
        return cls(np.array(position, dtype=float), axes)


@dataclass(frozen=True)
class Light:
    """A point light: linear RGB power, `reach` metres at which it has halved."""

    position: np.ndarray
    colour: np.ndarray
    reach: float


@dataclass(frozen=True)
class Scene:
    """Solids in a closed room of this size (metres), its lights, the ambient light (linear RGB) and the camera."""

    room: Point
    solids: Piece
    lights: list[Light]
    ambient: np.ndarray
    camera: Camera


def shell(size: Point, floor: Paint, ceiling: Paint, walls: Sequence[Paint]) -> Piece:
    """The six slabs around a room whose inside spans 0..size. walls: far, left, right, near."""
    (w, d, h), t = size, 0.2
    return [
        box("floor", floor, (w / 2, d / 2, -t), (w + 2 * t, d + 2 * t, t)),
        box("ceiling", ceiling, (w / 2, d / 2, h), (w + 2 * t, d + 2 * t, t)),
        box("wall", walls[0], (w / 2, d + t / 2, 0), (w, t, h)),
        box("wall", walls[1], (-t / 2, d / 2, 0), (t, d + 2 * t, h)),
        box("wall", walls[2], (w + t / 2, d / 2, 0), (t, d + 2 * t, h)),
        box("wall", walls[3], (w / 2, -t / 2, 0), (w, t, h)),
    ]


class Layout:
    """Places pieces in a room so that their bounding boxes keep clear of each other."""

    def __init__(self, rng: Rng, room: Point, taken: list[np.ndarray]):
        self.rng, self.room, self.taken, self.solids = rng, room, taken, Piece()

    def place(self, piece: Piece, margin: float, spot: Callable[[], tuple[Point, float]]) -> None:
        """Put the piece at the first of TRIES random spots where it fits, or leave it out."""
        own, size = bounds(piece), np.array(self.room)
        lows, highs = np.stack(self.taken, axis=1)
        for _ in range(TRIES):
            by, yaw = spot()
            low, high = space = moved_bounds(own, by, yaw)
            inside = (low >= -1e-6).all() and (high <= size + 1e-6).all()
            if inside and not ((low < highs) & (lows < high)).all(axis=1).any():
                self.taken.append(space + np.array([[-margin], [margin]]))
                self.solids += moved(piece, by, yaw)
                return

    def at_wall(self, piece: Piece, margin: float, gap: float | None = None) -> None:
        """gap: metres to the wall; None: a few centimetres."""
        w, d, _ = self.room
        gap = self.rng.uniform(0.01, 0.05) if gap is None else gap

        def spot() -> tuple[Point, float]:
            s = self.rng.uniform()
            far, left, right = ((s * w, d - gap), np.pi), ((gap, s * d), -np.pi / 2), ((w - gap, s * d), np.pi / 2)
            (x, y), yaw = (far, left, right, far)[self.rng.integers(4)]  # mostly the far wall, which faces the camera
            return (x, y, 0.0), yaw

        self.place(piece, margin, spot)

    def in_the_open(self, piece: Piece, margin: float) -> None:
        w, d, _ = self.room

        def spot() -> tuple[Point, float]:
            yaw = int(self.rng.integers(4)) * np.pi / 2 + self.rng.normal(0, 0.15)
            return (w * self.rng.uniform(0.2, 0.8), d * self.rng.uniform(0.35, 0.85), 0.0), yaw

        self.place(piece, margin, spot)
