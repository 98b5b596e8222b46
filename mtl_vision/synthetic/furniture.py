"""Furniture put together from boxes, cylinders and balls, each part carrying its class.

A piece is a list of solids about its own origin: x to the side, z up. Pieces for the wall have their back at
y = 0 and face +y; free-standing ones are centred at the origin.
"""

import numpy as np

from mtl_vision.synthetic import paints
from mtl_vision.synthetic.clutter import LOW_THINGS, books_standing, clutter
from mtl_vision.synthetic.fixtures import panel
from mtl_vision.synthetic.scene import Paint, Piece, Point, Rng, ball, box, cylinder, moved


def _legs(label: str, paint: Paint, size: Point, thick: float, y: float = 0.0) -> Piece:
    """Four legs inside a rectangle centred at (0, y). size: its width and depth, and the height of the legs."""
    w, d, h = size
    x, dy = (w - thick) / 2, (d - thick) / 2
    return [box(label, paint, (sx * x, y + sy * dy, 0), (thick, thick, h)) for sx in (-1, 1) for sy in (-1, 1)]


def bed(rng: Rng) -> Piece:
    w, length, base = rng.uniform(1.0, 1.8), rng.uniform(1.9, 2.1), rng.uniform(0.25, 0.35)
    frame, blanket = paints.wood(rng), paints.cloth(rng)
    top, y = base + 0.2, 0.06 + length / 2
    pillow, cover = paints.linen(rng), rng.uniform(0.6, 0.75) * length
    places = [0.0] if w < 1.3 else [-w / 4, w / 4]
    return [
        box("bed", frame, (0, 0.03, 0), (w + 0.06, 0.06, rng.uniform(0.8, 1.2))),
        box("bed", frame, (0, y, 0.06), (w, length, base - 0.06)),
        box("bed", paints.linen(rng), (0, y, base), (w - 0.06, length - 0.06, 0.2)),
        box("bed", blanket, (0, 0.06 + length - cover / 2, base - 0.08), (w + 0.04, cover + 0.04, 0.32)),
        *(ball("objects", pillow, (x, 0.32, top - 0.04), (min(0.7, w * 0.46), 0.42, 0.2)) for x in places),
    ]


def sofa(rng: Rng, seats: int | None = None) -> Piece:
    seats = seats or int(rng.integers(2, 4))
    seat, arm, d, h = rng.uniform(0.6, 0.7), rng.uniform(0.14, 0.22), rng.uniform(0.8, 0.95), rng.uniform(0.75, 0.9)
    cover, w = paints.cloth(rng), seats * seat
    soft = Paint(paints.shade(cover.colour, 1.12), cover.accent, cover.texture, shift=cover.shift + 1)
    sides = [(s * (w + arm) / 2, s) for s in (-1, 1)]
    cushions = [(i + 0.5 - seats / 2) * seat for i in range(seats)]
    pillow = paints.cloth(rng)
    return [
        box("sofa", cover, (0, d / 2, 0.08), (w, d - 0.02, 0.22)),
        box("sofa", cover, (0, 0.12, 0.08), (w, 0.24, h - 0.08)),
        *(box("sofa", cover, (x, d / 2, 0.0), (arm, d, 0.6)) for x, _ in sides),
        *(box("sofa", soft, (x, 0.56 * d + 0.06, 0.3), (seat - 0.025, d - 0.24, 0.15)) for x in cushions),
        *(box("sofa", soft, (x, 0.31, 0.44), (seat - 0.03, 0.14, h - 0.42)) for x in cushions),
        *(
            ball("objects", pillow, (x - s * (arm / 2 + 0.22), 0.45, 0.45), (0.4, 0.2, 0.38))
            for x, s in sides
            if rng.random() < 0.5 and s < seats - 1
        ),
    ]


def bookcase(rng: Rng) -> Piece:
    w, d, rows = rng.uniform(0.7, 1.3), rng.uniform(0.27, 0.35), int(rng.integers(3, 6))
    gap, t, paint = rng.uniform(0.3, 0.37), 0.025, paints.wood(rng)
    h = rows * gap + t + 0.06
    case = [box("furniture", paint, (0, 0.01, 0), (w, 0.02, h))]
    case += [box("furniture", paint, (s * (w - t) / 2, d / 2, 0), (t, d, h)) for s in (-1, 1)]
    for row in range(rows + 1):
        z = 0.06 + row * gap
        case.append(box("furniture", paint, (0, d / 2, z - t), (w - 2 * t, d - 0.01, t)))
        if row == rows or rng.random() < 0.1:
            continue
        if rng.random() < 0.2:
            case += moved(clutter(rng, (w - 0.2, 0.0, 0.0), kinds=LOW_THINGS), (0, d / 2, z))
            continue
        full = (w - 2 * t) * rng.uniform(0.6, 0.98)
        start = rng.choice([-1, 1]) * (w - 2 * t - full) / 2
        case += moved(books_standing(rng, full, d - 0.06, gap - 0.05), (start, d / 2, z))
    return case


def cabinet(rng: Rng, size: Point, grid: tuple[int, int], things: int = 3) -> Piece:
    """A closed body with a grid (columns, rows) of doors or drawers, each with a knob, and things on top."""
    (w, d, h), (columns, rows) = size, grid
    paint, knob = paints.wood(rng), paints.metal(rng)
    front = Paint(paints.shade(paint.colour, 1.1), paint.accent, paint.texture, shift=paint.shift)
    parts = [box("furniture", paint, (0, d / 2, 0), (w, d, h))]
    cw, ch = w / columns, (h - 0.08) / rows
    for i in range(columns * rows):
        x, z = (i % columns + 0.5) * cw - w / 2, 0.06 + (i // columns) * ch
        parts.append(box("furniture", front, (x, d + 0.008, z), (cw - 0.025, 0.016, ch - 0.025)))
        parts.append(ball("furniture", knob, (x, d + 0.03, z + ch / 2), (0.035, 0.035, 0.035)))
    return parts + moved(clutter(rng, size, things), (0, d / 2, 0))


def dresser(rng: Rng) -> Piece:
    w, h = rng.uniform(0.8, 1.4), rng.uniform(0.75, 1.1)
    return cabinet(rng, (w, rng.uniform(0.4, 0.5), h), (int(rng.integers(1, 3)), int(rng.integers(3, 5))))


def nightstand(rng: Rng) -> Piece:
    return cabinet(rng, (rng.uniform(0.42, 0.55), 0.4, rng.uniform(0.45, 0.6)), (1, 2), things=1)


def wardrobe(rng: Rng) -> Piece:
    doors = int(rng.integers(2, 4))
    return cabinet(rng, (doors * 0.5, rng.uniform(0.5, 0.6), rng.uniform(1.8, 2.15)), (doors, 1), things=0)


def television(rng: Rng) -> Piece:
    size = rng.uniform(1.2, 1.7), 0.42, rng.uniform(0.4, 0.6)
    stand = cabinet(rng, size, (int(rng.integers(2, 4)), 1), things=0)
    top = 2 * stand[0].half[2]
    foot = box("tv", Paint((0.08, 0.08, 0.08), (0.1, 0.1, 0.1)), (0, 0.2, top), (0.4, 0.2, 0.08))
    return [*stand, *moved(panel(rng), (0, 0.2, top + 0.06)), foot]


def desk(rng: Rng) -> Piece:
    w, d, h, paint = rng.uniform(1.1, 1.6), rng.uniform(0.55, 0.7), rng.uniform(0.72, 0.77), paints.wood(rng)
    seat = moved(chair(rng), (rng.uniform(-0.2, 0.2), d + rng.uniform(0.1, 0.3), 0), np.pi + rng.uniform(-0.4, 0.4))
    return [
        box("table", paint, (0, d / 2, h - 0.04), (w, d, 0.04)),
        *_legs("table", paint, (w - 0.04, d - 0.04, h - 0.04), 0.06, d / 2),
        box("table", paint, (0, 0.05, h - 0.3), (w - 0.1, 0.02, 0.26)),
        *seat,
        *moved(clutter(rng, (w, d, h), 4), (0, d / 2, 0)),
    ]


def chair(rng: Rng) -> Piece:
    w, d, h, back = rng.uniform(0.4, 0.48), rng.uniform(0.4, 0.46), rng.uniform(0.43, 0.47), rng.uniform(0.38, 0.55)
    frame = paints.pick(rng, (paints.wood, paints.wood, paints.metal))(rng)
    seat = paints.pick(rng, (paints.cloth, lambda _: frame))(rng)
    base = _legs("chair", frame, (w, d, h), 0.04)
    if rng.random() < 0.25:  # on a swivel foot
        foot = cylinder("chair", frame, (0, 0, 0.02), (0.5, 0.5, 0.05))
        base = [foot, cylinder("chair", frame, (0, 0, 0.05), (0.07, 0.07, h - 0.05))]
    posts = [box("chair", frame, (s * (w - 0.04) / 2, -d / 2 + 0.02, h), (0.04, 0.04, back)) for s in (-1, 1)]
    if rng.random() < 0.5:
        rests = [box("chair", seat, (0, -d / 2 + 0.02, h + back * 0.3), (w - 0.06, 0.05, back * 0.7))]
    else:
        heights = (h + back * f for f in (0.3, 0.55, 0.8))
        rests = [box("chair", frame, (0, -d / 2 + 0.02, z), (w - 0.06, 0.025, 0.07)) for z in heights]
    return [*base, box("chair", seat, (0, 0, h), (w, d, 0.05)), *posts, *rests]


def dining_table(rng: Rng) -> Piece:
    h, paint = rng.uniform(0.72, 0.77), paints.wood(rng)
    w, d = rng.uniform(1.0, 1.7), rng.uniform(0.75, 0.95)
    if rng.random() < 0.35:  # round, on one foot
        w = d = rng.uniform(0.9, 1.2)
        top = [
            cylinder("table", paint, (0, 0, h - 0.04), (w, w, 0.04)),
            cylinder("table", paint, (0, 0, 0), (0.12, 0.12, h - 0.04)),
            cylinder("table", paint, (0, 0, 0), (0.5 * w, 0.5 * w, 0.03)),
        ]
    else:
        top = [
            box("table", paint, (0, 0, h - 0.04), (w, d, 0.04)),
            *_legs("table", paint, (w - 0.06, d - 0.06, h - 0.04), 0.07),
        ]
    kind, seats = int(rng.integers(2**31)), []
    sides = [(s * w / 4 * (w > 1.25), t) for t in (-1, 1) for s in ((-1, 1) if w > 1.25 else (1,))]
    spots = [(x, t * (d / 2 + 0.1), np.pi * (t > 0)) for x, t in sides]
    spots += [(t * (w / 2 + 0.1), 0.0, t * np.pi / 2) for t in (-1, 1)]
    for x, y, yaw in spots:
        if rng.random() < 0.75:
            out = rng.uniform(0.9, 1.4)
            at = (x, y * out, 0) if y else (x * out, y, 0)
            seats += moved(chair(np.random.default_rng(kind)), at, yaw)
    return top + seats + clutter(rng, (0.7 * w, 0.7 * d, h))


def coffee_table(rng: Rng) -> Piece:
    w, d, h, paint = rng.uniform(0.8, 1.2), rng.uniform(0.5, 0.65), rng.uniform(0.35, 0.45), paints.wood(rng)
    shelf = box("table", paint, (0, 0, 0.12), (w - 0.1, d - 0.1, 0.025))
    top = box("table", paint, (0, 0, h - 0.04), (w, d, 0.04))
    return [top, shelf, *_legs("table", paint, (w - 0.04, d - 0.04, h - 0.04), 0.06), *clutter(rng, (w, d, h))]


def armchair(rng: Rng) -> Piece:
    return moved(sofa(rng, seats=1), (0, -0.45, 0))
