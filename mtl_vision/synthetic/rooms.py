"""A furnished room drawn from a seed: what stands where, the lights, and where the camera is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mtl_vision.synthetic import fixtures, furniture, paints
from mtl_vision.synthetic.layout import Layout
from mtl_vision.synthetic.scene import Camera, Light, Scene, looking, shell
from mtl_vision.synthetic.solids import Paint, Piece, Point, Rng, box, cylinder

Maker = Callable[[Rng], Piece]


class Wish(NamedTuple):
    """A piece, how likely a room has it, and the metres kept free around it."""

    make: Maker
    chance: float
    margin: float = 0.03


# What each kind of room holds: along the walls (first come, first placed), then in the open.
ROOMS: dict[str, tuple[tuple[Wish, ...], tuple[Wish, ...]]] = {
    "bedroom": (
        (
            Wish(furniture.bed, 1.0),
            Wish(furniture.nightstand, 0.8),
            Wish(furniture.television, 0.5),
            Wish(furniture.wardrobe, 0.6),
            Wish(furniture.bookcase, 0.5),
            Wish(furniture.dresser, 0.5),
            Wish(furniture.desk, 0.4),
            Wish(furniture.nightstand, 0.6),
            Wish(furniture.boxes, 0.5),
        ),
        (Wish(furniture.armchair, 0.2), Wish(furniture.chair, 0.3)),
    ),
    "living room": (
        (
            Wish(furniture.sofa, 1.0),
            Wish(furniture.television, 0.85),
            Wish(furniture.bookcase, 0.7),
            Wish(furniture.floor_lamp, 0.5),
            Wish(furniture.plant, 0.5),
            Wish(furniture.dresser, 0.6),
            Wish(furniture.bookcase, 0.4),
        ),
        (Wish(furniture.coffee_table, 0.8), Wish(furniture.armchair, 0.6), Wish(furniture.armchair, 0.3)),
    ),
    "dining room": (
        (
            Wish(furniture.dresser, 0.8),
            Wish(furniture.bookcase, 0.5),
            Wish(furniture.plant, 0.6),
            Wish(furniture.television, 0.4),
            Wish(furniture.sofa, 0.3),
            Wish(furniture.floor_lamp, 0.3),
        ),
        (Wish(furniture.dining_table, 1.0),),
    ),
    "study": (
        (
            Wish(furniture.desk, 1.0),
            Wish(furniture.bookcase, 1.0),
            Wish(furniture.bookcase, 0.7),
            Wish(furniture.sofa, 0.5),
            Wish(furniture.bed, 0.25),
            Wish(furniture.bin_, 0.5),
            Wish(furniture.plant, 0.3),
            Wish(furniture.boxes, 0.4),
        ),
        (Wish(furniture.armchair, 0.3), Wish(furniture.chair, 0.3), Wish(furniture.coffee_table, 0.2)),
    ),
}
OPENINGS = (Wish(fixtures.window, 0.8), Wish(fixtures.door, 0.4, margin=0.4), Wish(fixtures.window, 0.25))
HANGINGS = (
    Wish(fixtures.picture, 0.8, margin=0.1),
    Wish(fixtures.wall_television, 0.15),
    Wish(fixtures.picture, 0.7, margin=0.1),
    Wish(fixtures.picture, 0.5, margin=0.1),
)
RUGS = ("rug", "carpet", "weave", "stripes", "plaid", "rug")


def random_scene(seed: int) -> Scene:
    """The room of this seed; nothing in it depends on the size of the picture taken of it."""
    rng = np.random.default_rng([seed, 0])
    room = (rng.uniform(3.0, 5.2), rng.uniform(3.2, 5.8), rng.uniform(2.4, 2.8))
    camera, clear = _camera(rng, room)
    layout = Layout(rng, room, clear)
    along, free = ROOMS[paints.pick(rng, tuple(ROOMS))]
    for wishes, put in (
        (OPENINGS, layout.on_wall),
        (along, layout.at_wall),
        (free, layout.in_the_open),
        (HANGINGS, layout.on_wall),
    ):
        for wish in wishes:
            if rng.random() < wish.chance:
                put(wish.make(rng), wish.margin)
    lights, ambient, lamp = _lights(rng, room)
    return Scene(room, [*_shell(rng, room), *_rug(rng, room), *lamp, *layout.solids], lights, ambient, camera)


def _camera(rng: Rng, room: Point) -> tuple[Camera, list[np.ndarray]]:
    """A camera near the front wall that looks into the room, and the boxes (2, 3) to keep clear for its view."""
    w, d, h = room
    x, y = w * rng.uniform(0.2, 0.8), rng.uniform(0.35, 0.7)
    target = np.array([w * rng.uniform(0.25, 0.75), d * rng.uniform(0.75, 0.95)])
    yaw = float(np.arctan2(target[0] - x, target[1] - y))
    camera = looking((x, y, rng.uniform(1.2, 1.6)), yaw, np.radians(rng.uniform(4, 20)), np.radians(rng.normal(0, 1.2)))
    ahead = np.array([x, y]) + 0.7 * np.array([np.sin(yaw), np.cos(yaw)])
    clear = [np.array([[*(at - 0.7), 0.0], [*(at + 0.7), h]]) for at in (np.array([x, y]), ahead)]
    return camera, clear


def _shell(rng: Rng, room: Point) -> Piece:
    """Walls of one paint, with one of another sometimes, a white ceiling, and a skirting board."""
    common, white = paints.walls(rng), paints.coat(rng, paints.vary(rng, (0.92, 0.91, 0.89), 0.03), "plaster")
    special = paints.pick(rng, (common, common, common, paints.walls(rng), paints.brickwork(rng)))
    walls = [common] * 4
    walls[int(rng.integers(3))] = special
    w, d, _ = room
    board = paints.pick(rng, (Paint((0.92, 0.92, 0.9), (0.88, 0.88, 0.86)), paints.wood(rng)))
    skirting = [
        box("wall", board, (w / 2, d - 0.004, 0), (w, 0.008, 0.08)),
        box("wall", board, (0.004, d / 2, 0), (0.008, d, 0.08)),
        box("wall", board, (w - 0.004, d / 2, 0), (0.008, d, 0.08)),
    ]
    return [*shell(room, paints.floor(rng), white, (walls[0], walls[1], walls[2], walls[3])), *skirting]


def _rug(rng: Rng, room: Point) -> Piece:
    """A rug so thin that the floor stays one plane."""
    if rng.random() < 0.5:
        return []
    w, d, _ = room
    size = (rng.uniform(0.35, 0.6) * w, rng.uniform(0.3, 0.5) * d, 2e-5)
    paint = paints.coat(
        rng,
        paints.tint(rng, (0.1, 0.6), (0.25, 0.7)),
        paints.pick(rng, RUGS),
        paints.tint(rng, (0.05, 0.35), (0.5, 0.85)),
    )
    return [box("floor", paint, (w / 2 + rng.uniform(-0.3, 0.3), d * 0.55, 1e-5), size, rng.normal(0, 0.1))]


def _lights(rng: Rng, room: Point) -> tuple[list[Light], np.ndarray, Piece]:
    """A ceiling light with its lamp, daylight from one side, and ambient light; from warm bulbs to cool daylight."""
    w, d, h = room
    x, y = w * rng.uniform(0.3, 0.7), d * rng.uniform(0.35, 0.7)
    warm = np.array([1.0, rng.uniform(0.8, 0.98), rng.uniform(0.6, 0.95)])
    day = np.array([rng.uniform(0.8, 1.0), 0.95, 1.0])
    ambient = rng.uniform(0.2, 0.4) * (0.5 * warm + 0.5 * day)
    side = np.array([w * rng.choice([0.05, 0.95]), d * rng.uniform(0.2, 0.7), h * rng.uniform(0.55, 0.7)])
    lights = [
        Light(np.array([x, y, h - 0.2]), rng.uniform(0.8, 1.5) * warm, rng.uniform(2.0, 3.5)),
        Light(side, rng.uniform(0.1, 0.6) * day, 2.5),
    ]
    shade = Paint((1.0, 0.97, 0.9), (0.98, 0.94, 0.85), glow=1.2)
    return lights, ambient, [cylinder("objects", shade, (x, y, h - 0.1), (0.36, 0.36, 0.1))]
