"""What a picture is taken of: solids in a closed room, lights, and a camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mtl_vision.synthetic.solids import Paint, Piece, Point, box


@dataclass(frozen=True)
class Camera:
    """Where the camera is (metres, world) and `turn` (3, 3): from camera axes (right, down, forward) to the world's."""

    position: np.ndarray
    turn: np.ndarray


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


def looking(position: Point, yaw: float, pitch: float, roll: float) -> Camera:
    """A camera turned right by `yaw` from the world's y, down by `pitch`, clockwise by `roll` (radians)."""
    sy, cy, sp, cp, sr, cr = (f(a) for a in (yaw, pitch, roll) for f in (np.sin, np.cos))
    right, forward = np.array([cy, -sy, 0.0]), np.array([sy * cp, cy * cp, -sp])
    down = np.cross(forward, right)
    axes = np.stack([cr * right + sr * down, cr * down - sr * right, forward], axis=1)
    return Camera(np.array(position, dtype=float), axes)


def shell(size: Point, floor: Paint, ceiling: Paint, walls: tuple[Paint, Paint, Paint, Paint]) -> Piece:
    """The six slabs around a room whose inside spans 0..size."""
    w, d, h = size
    t = 0.2
    return [
        box("floor", floor, (w / 2, d / 2, -t), (w + 2 * t, d + 2 * t, t)),
        box("ceiling", ceiling, (w / 2, d / 2, h), (w + 2 * t, d + 2 * t, t)),
        box("wall", walls[0], (w / 2, d + t / 2, 0), (w, t, h)),
        box("wall", walls[1], (-t / 2, d / 2, 0), (t, d + 2 * t, h)),
        box("wall", walls[2], (w + t / 2, d / 2, 0), (t, d + 2 * t, h)),
        box("wall", walls[3], (w / 2, -t / 2, 0), (w, t, h)),
    ]
