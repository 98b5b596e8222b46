"""Textures: weights in 0..1 that blend a surface's colour towards its accent.

Each takes positions on a solid, so patterns move with surfaces: `p` (3, N) metres along the solid's axes
(shifted at random for each solid) and `u` (3, N) the same in -1..1.
"""

from collections.abc import Callable

import numpy as np

Texture = Callable[[np.ndarray, np.ndarray], np.ndarray]

_WAVES = np.array([(2.1, 0.7, 1.3), (-0.9, 2.6, 0.8), (1.1, -1.7, 2.9), (3.7, 2.9, -1.1)])


def _smooth(p: np.ndarray, frequency: float) -> np.ndarray:
    """Slow variation in 0..1: a few waves that do not repeat together."""
    return 0.5 + 0.125 * np.sin(frequency * (_WAVES @ p)).sum(axis=0)


def _hash(*cells: np.ndarray) -> np.ndarray:
    """A number in 0..1 for every integer cell, always the same."""
    mixed = np.zeros(cells[0].shape, dtype=np.uint32)
    for cell, prime in zip(cells, (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D), strict=False):
        mixed = (mixed ^ cell.astype(np.int64).astype(np.uint32)) * np.uint32(prime)
        mixed ^= mixed >> np.uint32(15)
    return mixed / np.float64(2**32)


def _band(x: np.ndarray, period: float, share: float) -> np.ndarray:
    """1 on stripes of width `share` times `period`, else 0."""
    return (x / period % 1.0 < share).astype(float)


def planks(p: np.ndarray, u: np.ndarray) -> np.ndarray:
    row = np.floor(p[0] / 0.13)
    length = p[1] / 1.1 + _hash(row)
    seam = np.maximum(_band(p[0], 0.13, 0.06), _band(length, 1.0, 0.01))
    return 0.6 * _hash(row, np.floor(length)) + 0.1 * np.sin(160 * p[0] + 3 * p[1]) + 0.4 * seam


def wood(p: np.ndarray, u: np.ndarray) -> np.ndarray:
    grain = p[1] + p[2] + 0.06 * np.sin(2.3 * p[0] + 3.0 * p[1])
    return 0.45 + 0.25 * np.sin(47 * grain) + 0.12 * np.sin(131 * grain + 2 * p[0]) + 0.2 * (_smooth(p, 2.0) - 0.5)


def tiles(p: np.ndarray, u: np.ndarray) -> np.ndarray:
    grout = np.maximum(_band(p[0], 0.4, 0.035), _band(p[1], 0.4, 0.035))
    return np.maximum(grout, 0.35 * _hash(*np.floor(p[:2] / 0.4)))


def rug(p: np.ndarray, u: np.ndarray) -> np.ndarray:
    ring = np.maximum(np.abs(u[0]), np.abs(u[1]))
    return 0.75 * _band(ring, 0.3, 0.45) + 0.25 * _hash(*np.floor(p / 0.02))


def bricks(p: np.ndarray, u: np.ndarray) -> np.ndarray:
    row = np.floor(p[2] / 0.11)
    along = (p[0] + p[1]) / 0.32 + row % 2 / 2
    # Wide soft joints: thin sharp ones make moire patterns where they are narrower than a pixel.
    edge = np.minimum(0.11 * np.abs((p[2] / 0.11 + 0.5) % 1.0 - 0.5), 0.32 * np.abs((along + 0.5) % 1.0 - 0.5))
    return np.maximum(np.clip(1.0 - edge / 0.02, 0.0, 1.0), 0.4 * _hash(row, np.floor(along)))


def picture(p: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Overlapping blobs in a few flat tones over a slow gradient."""
    return np.floor(8 * (0.65 * _smooth(p, 3.5) + 0.25 * _smooth(p[::-1], 9.0) + 0.12 * u[2])) / 5.0 - 0.2


def sky(p: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Bright above; dark and green below a wavy horizon."""
    horizon = -0.35 + 0.15 * np.sin(4.1 * p[0]) + 0.1 * np.sin(9.7 * p[0]) + 0.07 * np.sin(31 * p[0])
    return np.where(u[2] < horizon, 0.7, 0.2 - 0.2 * u[2]) + 0.3 * _smooth(p, 5.0) - 0.1


TEXTURES: dict[str, Texture] = {
    **{texture.__name__: texture for texture in (wood, planks, tiles, rug, bricks, picture, sky)},
    "plain": lambda p, u: 0.4 * _smooth(p, 1.5),
    "plaster": lambda p, u: 0.25 * _smooth(p, 0.8) + 0.12 * _hash(*np.floor(p / 0.03)),
    "checker": lambda p, u: np.floor(p[:2] / 0.35).sum(axis=0) % 2 * 0.8 + 0.1 * _smooth(p, 2.0),
    "carpet": lambda p, u: 0.5 * _hash(*np.floor(p / 0.015)) + 0.5 * _smooth(p, 1.2),
    "weave": lambda p, u: 0.35 * _hash(*np.floor(p / 0.012)) + 0.35 * _smooth(p, 2.5),
    "stripes": lambda p, u: 0.85 * _band(p[0], 0.16, 0.4) + 0.15 * _smooth(p, 3.0),
    "wallpaper": lambda p, u: 0.45 * _band(p[0] + p[1], 0.3, 0.5) + 0.2 * _smooth(p, 0.8),
    "plaid": lambda p, u: 0.45 * (_band(p[0], 0.22, 0.4) + _band(p[1] + p[2], 0.22, 0.4)) + 0.1 * _smooth(p, 3.0),
    "leaves": lambda p, u: _hash(*np.floor(p / 0.035)),
    "folds": lambda p, u: 0.5 + 0.5 * np.sin(75 * (p[0] + p[1]) + 2 * np.sin(3 * p[2])),  # hanging cloth
    # a dark pane's faint slanting reflection
    "screen": lambda p, u: 0.35 * np.clip(1.0 - np.abs(u[0] + 0.6 * u[2] - 0.3), 0.0, 1.0) ** 2,
}
