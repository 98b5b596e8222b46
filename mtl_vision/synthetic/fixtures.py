"""Windows, doors and what hangs on walls: back at y = 0, facing +y, at their height."""

from mtl_vision.synthetic import paints
from mtl_vision.synthetic.scene import Paint, Piece, Rng, ball, box, moved


def window(rng: Rng) -> Piece:
    w, h, z, t = rng.uniform(0.9, 1.8), rng.uniform(1.0, 1.4), rng.uniform(0.8, 1.0), 0.06
    h = min(h, 2.25 - z)
    light = rng.uniform(0.6, 2.5)
    glass = Paint((0.85, 0.93, 1.0), (0.28, 0.4, 0.25), "sky", light, rng.uniform(0, 50))
    frame = Paint((0.93, 0.93, 0.92), (0.85, 0.85, 0.84))
    parts = [box("window", glass, (0, 0.005, z), (w, 0.01, h))]
    parts += [box("window", frame, (s * w / 2, 0.025, z), (t, 0.05, h)) for s in (-1, 0, 1)]
    parts += [box("window", frame, (0, 0.0275, z + s * h - t / 2), (w + t, 0.055, t)) for s in (0.0, 0.6, 1.0)]
    parts.append(box("wall", frame, (0, 0.07, z - 0.06), (w + 0.16, 0.14, 0.03)))
    if rng.random() < 0.5:
        drape = paints.paint_of(rng, paints.tint(rng, (0.05, 0.5), (0.45, 0.9)), "folds")
        low = max(z - rng.choice([0.15, 0.7]), 0.05)
        size = (0.36, 0.06, z + h + 0.1 - low)
        parts += [box("window", drape, (s * (w / 2 + 0.12), 0.17, low), size) for s in (-1, 1)]
    return parts


def door(rng: Rng) -> Piece:
    w, h, paint = rng.uniform(0.8, 0.9), rng.uniform(2.0, 2.1), paints.wood(rng)
    frame = Paint(paints.shade(paint.colour, 0.8), paint.accent, "plain")
    inset = Paint(paints.shade(paint.colour, 0.9), paint.accent, "wood", shift=paint.shift)
    return [
        box("wall", paint, (0, 0.02, 0), (w, 0.04, h)),
        *(box("wall", frame, (s * (w / 2 + 0.04), 0.03, 0), (0.08, 0.06, h + 0.08)) for s in (-1, 1)),
        box("wall", frame, (0, 0.03, h), (w, 0.06, 0.08)),
        *(box("wall", inset, (0, 0.045, z), (w - 0.24, 0.015, 0.75)) for z in (0.2, 1.12)),
        ball("wall", paints.metal(rng), (w / 2 - 0.08, 0.08, 1.0), (0.06, 0.08, 0.06)),
    ]


def picture(rng: Rng) -> Piece:
    w, h = rng.uniform(0.4, 1.1), rng.uniform(0.4, 0.8)
    z = rng.uniform(1.35, 1.5)
    frame = paints.pick(rng, (paints.wood, paints.metal))(rng)
    light, dark = paints.tint(rng, (0.1, 0.7), (0.5, 0.95)), paints.tint(rng, (0.3, 0.9), (0.1, 0.7))
    canvas = paints.paint_of(rng, light, "picture", dark)
    mat = Paint((0.92, 0.9, 0.86), (0.88, 0.86, 0.82))
    rim = 0.14 if rng.random() < 0.5 else 0.0
    return [
        box("picture", frame, (0, 0.015, z), (w, 0.03, h)),
        *([box("picture", mat, (0, 0.02, z + 0.03), (w - 0.06, 0.03, h - 0.06))] if rim else []),
        box("picture", canvas, (0, 0.025, z + 0.03 + rim / 2), (w - 0.06 - rim, 0.03, h - 0.06 - rim)),
    ]


def panel(rng: Rng) -> Piece:
    w = rng.uniform(0.85, 1.3)
    h = 0.58 * w
    screen = Paint((0.05, 0.06, 0.08), (0.45, 0.5, 0.58), "screen")
    if rng.random() < 0.25:  # switched on
        screen = Paint(paints.tint(rng, (0.3, 0.8), (0.3, 0.9)), (0.1, 0.12, 0.25), "picture", 0.7, rng.uniform(0, 50))
    rim = Paint((0.1, 0.1, 0.1), (0.06, 0.06, 0.06))
    return [box("tv", rim, (0, 0.03, 0), (w, 0.05, h)), box("tv", screen, (0, 0.058, 0.03), (w - 0.06, 0.01, h - 0.06))]


def wall_television(rng: Rng) -> Piece:
    return moved(panel(rng), (0, 0, rng.uniform(1.0, 1.3)))
