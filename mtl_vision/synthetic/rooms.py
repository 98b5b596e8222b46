"""A furnished room drawn from a seed: furniture, lights and camera."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from mtl_vision.synthetic import clutter as c
from mtl_vision.synthetic import furniture as f
from mtl_vision.synthetic import paints
from mtl_vision.synthetic.fixtures import door, picture, wall_television, window
from mtl_vision.synthetic.scene import Camera, Layout, Light, Paint, Piece, Point, Rng, Scene, box, cylinder, shell

Maker = Callable[[Rng], Piece]
Chances = tuple[tuple[Maker, float], ...]  # pieces, and how likely a room has each


class Room(NamedTuple):
    """What a kind of room has along its walls, placed in this order, and then free-standing."""

    main: Chances
    more: Chances
    free: Chances


ROOMS = {
    "bedroom": Room(
        main=((f.bed, 1.0), (f.nightstand, 0.8), (f.television, 0.5), (f.wardrobe, 0.6), (f.bookcase, 0.5)),
        more=((f.dresser, 0.5), (f.desk, 0.4), (f.nightstand, 0.6), (c.boxes, 0.5)),
        free=((f.armchair, 0.2), (f.chair, 0.3)),
    ),
    "living room": Room(
        main=((f.sofa, 1.0), (f.television, 0.85), (f.bookcase, 0.7), (c.floor_lamp, 0.5), (c.plant, 0.5)),
        more=((f.dresser, 0.6), (f.bookcase, 0.4)),
        free=((f.coffee_table, 0.8), (f.armchair, 0.6), (f.armchair, 0.3)),
    ),
    "dining room": Room(
        main=((f.dresser, 0.8), (f.bookcase, 0.5), (c.plant, 0.6), (f.television, 0.4)),
        more=((f.sofa, 0.3), (c.floor_lamp, 0.3)),
        free=((f.dining_table, 1.0),),
    ),
    "study": Room(
        main=((f.desk, 1.0), (f.bookcase, 1.0), (f.bookcase, 0.7), (f.sofa, 0.5), (f.bed, 0.25)),
        more=((c.bin_, 0.5), (c.plant, 0.3), (c.boxes, 0.4)),
        free=((f.armchair, 0.3), (f.chair, 0.3), (f.coffee_table, 0.2)),
    ),
}
OPENINGS: Chances = ((window, 0.8), (door, 0.4), (window, 0.25))
HANGING: Chances = ((picture, 0.8), (wall_television, 0.15), (picture, 0.7), (picture, 0.5))
MARGINS: dict[Maker, float] = {door: 0.4, picture: 0.1}  # metres kept free around a piece, else MARGIN
MARGIN = 0.03
RUGS = ("rug", "carpet", "weave", "stripes", "plaid", "rug")


def random_scene(seed: int) -> Scene:
    """The room of this seed; the image's size does not change it."""
    rng = np.random.default_rng([seed, 0])
    room = (rng.uniform(3.0, 5.2), rng.uniform(3.2, 5.8), rng.uniform(2.4, 2.8))
    camera, clear = _camera(rng, room)
    layout = Layout(rng, room, clear)
    kind = ROOMS[paints.pick(rng, tuple(ROOMS))]
    on_wall = partial(layout.at_wall, gap=0.0)
    for pieces, place in (
        (OPENINGS, on_wall),
        (kind.main + kind.more, layout.at_wall),
        (kind.free, layout.in_the_open),
        (HANGING, on_wall),
    ):
        for make, chance in pieces:
            if rng.random() < chance:
                place(make(rng), MARGINS.get(make, MARGIN))
    lights, ambient, lamp = _lights(rng, room)
    return Scene(room, [*_shell(rng, room), *_rug(rng, room), *lamp, *layout.solids], lights, ambient, camera)


def _camera(rng: Rng, room: Point) -> tuple[Camera, list[np.ndarray]]:
    """A camera near the front wall that looks into the room, and the boxes (2, 3) to keep clear for its view."""
    w, d, h = room
    x, y = w * rng.uniform(0.2, 0.8), rng.uniform(0.35, 0.7)
    yaw = float(np.arctan2(w * rng.uniform(0.25, 0.75) - x, d * rng.uniform(0.75, 0.95) - y))
    position = (x, y, rng.uniform(1.2, 1.6))
    camera = Camera.at(position, yaw, np.radians(rng.uniform(4, 20)), np.radians(rng.normal(0, 1.2)))
    here = np.array([x, y])
    ahead = here + 0.7 * np.array([np.sin(yaw), np.cos(yaw)])
    return camera, [np.array([[*(at - 0.7), 0.0], [*(at + 0.7), h]]) for at in (here, ahead)]


def _shell(rng: Rng, room: Point) -> Piece:
    """Walls of one paint, with one of another sometimes, a white ceiling, and a skirting board."""
    common, white = paints.walls(rng), paints.paint_of(rng, paints.vary(rng, (0.92, 0.91, 0.89), 0.03), "plaster")
    special = paints.pick(rng, (common, common, common, paints.walls(rng), paints.brickwork(rng)))
    walls = [common] * 4
    walls[int(rng.integers(3))] = special  # never the one behind the camera
    w, d, _ = room
    board = paints.pick(rng, (Paint((0.92, 0.92, 0.9), (0.88, 0.88, 0.86)), paints.wood(rng)))
    skirting = [box("wall", board, (w / 2, d - 0.004, 0), (w, 0.008, 0.08))]
    skirting += [box("wall", board, (x, d / 2, 0), (0.008, d, 0.08)) for x in (0.004, w - 0.004)]
    return [*shell(room, paints.floor(rng), white, walls), *skirting]


def _rug(rng: Rng, room: Point) -> Piece:
    """A rug so thin that the floor stays one plane."""
    if rng.random() < 0.5:
        return []
    w, d, _ = room
    size = (rng.uniform(0.35, 0.6) * w, rng.uniform(0.3, 0.5) * d, 2e-5)
    colour, texture = paints.tint(rng, (0.1, 0.6), (0.25, 0.7)), paints.pick(rng, RUGS)
    paint = paints.paint_of(rng, colour, texture, paints.tint(rng, (0.05, 0.35), (0.5, 0.85)))
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
