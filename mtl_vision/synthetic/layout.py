"""Finds places for things in a room so that nothing stands in anything else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mtl_vision.synthetic.solids import Piece, Point, Rng, bounds, moved, moved_bounds

TRIES = 40


class Layout:
    """Places pieces in a room so that their bounding boxes keep clear of each other."""

    def __init__(self, rng: Rng, room: Point, taken: list[np.ndarray]):
        self.rng, self.room, self.taken, self.solids = rng, room, taken, Piece()

    def fits(self, space: np.ndarray) -> bool:
        low, high = space
        inside = (low >= -1e-6).all() and (high <= np.array(self.room) + 1e-6).all()
        return bool(inside) and not any((low < b[1]).all() and (b[0] < high).all() for b in self.taken)

    def place(self, piece: Piece, margin: float, spot: Callable[[], tuple[Point, float]]) -> None:
        """Put the piece at the first of a few random spots where it fits, or leave it out."""
        alone = bounds(piece)
        for _ in range(TRIES):
            by, yaw = spot()
            space = moved_bounds(alone, by, yaw)
            if self.fits(space):
                self.taken.append(space + np.array([[-margin], [margin]]))
                self.solids += moved(piece, by, yaw)
                return

    def on_wall(self, piece: Piece, margin: float) -> None:
        self.at_wall(piece, margin, gap=0.0)

    def at_wall(self, piece: Piece, margin: float, gap: float | None = None) -> None:
        w, d, _ = self.room
        gap = self.rng.uniform(0.01, 0.05) if gap is None else gap

        def spot() -> tuple[Point, float]:
            s = self.rng.uniform()
            far, left, right = ((s * w, d - gap), np.pi), ((gap, s * d), -np.pi / 2), ((w - gap, s * d), np.pi / 2)
            (x, y), yaw = (far, left, right, far)[self.rng.integers(4)]  # the far wall is seen best
            return (x, y, 0.0), yaw

        self.place(piece, margin, spot)

    def in_the_open(self, piece: Piece, margin: float) -> None:
        w, d, _ = self.room

        def spot() -> tuple[Point, float]:
            yaw = int(self.rng.integers(4)) * np.pi / 2 + self.rng.normal(0, 0.15)
            return (w * self.rng.uniform(0.2, 0.8), d * self.rng.uniform(0.35, 0.85), 0.0), yaw

        self.place(piece, margin, spot)
