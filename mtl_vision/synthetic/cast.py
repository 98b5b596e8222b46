"""Ray casting: the first solid that each of many rays from one point meets, where, and its normal there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mtl_vision.synthetic.scene import SHAPES, Solid

TINY = 1e-12  # keeps a ray that runs exactly along a face from dividing by zero
TURN = 2**14  # azimuths are counted in such parts of a turn
MOST = 4096  # rays that are followed at once


@dataclass(frozen=True)
class Hits:
    """The first surface each of N rays meets.

    distance (N,) in lengths of the ray's direction; index (N,) of the solid; normals (3, N) in the world, facing
    back along the ray; local (3, N) metres along the solid's axes from its centre; unit (3, N) the same in -1..1.
    """

    distance: np.ndarray
    index: np.ndarray
    normals: np.ndarray
    local: np.ndarray
    unit: np.ndarray


class _Fan:
    """Rays (3, N) from one origin, sorted by azimuth: what may meet a solid is a short stretch of them."""

    def __init__(self, origin: np.ndarray, directions: np.ndarray) -> None:
        headings = directions.astype(np.float32)  # good enough to leave rays out by
        azimuths = _azimuth(headings[0], headings[1]).astype(np.int16)
        self.origin, self.order = origin, np.argsort(azimuths, kind="stable")  # 16 bits are sorted in linear time
        self.azimuths, self.directions = azimuths[self.order], directions.take(self.order, axis=1)
        headings /= np.sqrt((headings * headings).sum(axis=0))
        self.headings = headings.take(self.order, axis=1)

    def meeting(self, solids: Sequence[Solid]) -> Iterator[tuple[int, np.ndarray]]:
        """Each solid that any ray may meet: its index, and those of the rays (n,) in their sorted order.

        At most MOST at once: arrays of many more leave the processor's cache, and each is memory that is new.
        """
        offsets = _corners(solids) - self.origin
        axes, cosines = _cones(offsets)
        azimuths = _azimuth(offsets[..., 0], offsets[..., 1])
        low, high = azimuths.min(axis=1), azimuths.max(axis=1)
        # not where the origin is above or below the solid, or where azimuths begin anew behind it
        narrow = high - low < TURN / 2
        starts = np.where(narrow, np.searchsorted(self.azimuths, low - 2), 0)
        ends = np.where(narrow, np.searchsorted(self.azimuths, high + 2), len(self.azimuths))
        for i, (begin, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            for start in range(begin, end, MOST):
                inside = axes[i] @ self.headings[:, start : min(start + MOST, end)] >= cosines[i]
                if len(rays := inside.nonzero()[0]):
                    rays += start
                    yield i, rays

    def enter(self, solid: Solid, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where rays (n,) enter a solid (inf: never), and where they enter each of its shape's groups (k, n)."""
        to_unit = solid.to_unit
        directions = to_unit @ self.directions.take(rays, axis=1, mode="clip")  # clip: without a copy
        near, far = INTERVALS[solid.shape](to_unit @ (self.origin - solid.centre), directions)
        entry, exit_ = near.max(axis=0), far.min(axis=0)
        return np.where((entry < exit_) & (entry > 0), entry, np.inf), near


def _corners(solids: Sequence[Solid]) -> np.ndarray:
    """Those (S, 8, 3) of the solids' boxes."""
    return np.array([solid.corners for solid in solids]).reshape(-1, 8, 3)


def _largest(values: np.ndarray) -> np.ndarray:
    """The first row (N,) of the largest of (k, N): argmax, which is slow along rows."""
    row, most = np.zeros(values.shape[1], dtype=np.int8), values[0]
    for k in range(1, len(values)):
        row[values[k] > most] = k
        most = np.maximum(most, values[k])
    return row


def _azimuth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Directions seen from above, in -TURN / 2..TURN / 2: 0 is the world's y, where cameras look."""
    return np.arctan2(x, y) * (TURN / (2 * np.pi))


def _cones(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Axes (S, 3) and cosines (S,) of cones that hold all of the corners (S, 8, 3) each (-2: no such cone); float32."""
    rays = offsets / np.linalg.norm(offsets, axis=2, keepdims=True)
    axes = rays.mean(axis=1, keepdims=True)
    axes /= np.maximum(np.linalg.norm(axes, axis=2, keepdims=True), TINY)
    cosines = (rays * axes).sum(axis=2).min(axis=1)
    return axes[:, 0].astype(np.float32), np.where(cosines > 0, cosines - 1e-4, -2.0).astype(np.float32)


def _slabs(origin: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where |origin + t * direction| < 1 in each of k coordinates (k, N): from near to far, both (k, N)."""
    inverse = 1.0 / (directions + TINY)
    middle, reach = -origin[:, None] * inverse, np.abs(inverse)
    return middle - reach, middle + reach


def _disc(origin: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the length of origin + t * direction is < 1, over k coordinates (k, N): both (1, N), equal for a miss."""
    a = (directions * directions).sum(axis=0, keepdims=True) + TINY
    b = (origin[:, None] * directions).sum(axis=0, keepdims=True)
    root = np.sqrt(np.maximum(b * b - a * (origin @ origin - 1.0), 0.0))
    return (-b - root) / a, (-b + root) / a


def _disc_and_slab(origin: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    disc, slab = _disc(origin[:2], directions[:2]), _slabs(origin[2:], directions[2:])
    return np.concatenate([disc[0], slab[0]]), np.concatenate([disc[1], slab[1]])


GROUPS = {shape: np.array([[axis in g for g in groups] for axis in range(3)]) for shape, groups in SHAPES.items()}
INTERVALS = {"box": _slabs, "cylinder": _disc_and_slab, "ball": _disc}  # from near to far in each of SHAPES' groups


def first_hits(
    origin: np.ndarray, directions: np.ndarray, solids: Sequence[Solid]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance (inf: none), index of the solid and of its surface, each (N,), for rays (3, N) from one origin (3,)."""
    n = directions.shape[1]
    distance, index, surface = np.full(n, np.inf), np.zeros(n, dtype=np.intp), np.zeros(n, dtype=np.int8)
    fan = _Fan(origin, directions)
    for i, rays in fan.meeting(solids):
        entry, near = fan.enter(solids[i], rays)
        closer = (entry < distance[rays]).nonzero()[0]
        won = rays[closer]
        distance[won], index[won], surface[won] = entry[closer], i, _largest(near)[closer]
    back = np.argsort(fan.order, kind="stable")
    return distance[back], index[back], surface[back]


def in_sight(origin: np.ndarray, points: np.ndarray, solids: Sequence[Solid], gap: float = 0.01) -> np.ndarray:
    """Which points (3, N) an origin (3,) in the same room sees: (N,) bool. What is `gap` metres before one is of it."""
    offsets = points - origin[:, None]
    distance = np.linalg.norm(offsets, axis=0)
    corners = _corners(solids)
    low, high = corners.min(axis=1), corners.max(axis=1)
    least, most = np.minimum(points.min(axis=1), origin), np.maximum(points.max(axis=1), origin)
    within = ((low < most - TINY) & (high > least + TINY)).all(axis=1).nonzero()[0]  # not so walls, floor and ceiling
    nearest = np.linalg.norm(np.maximum(low - origin, 0.0) + np.maximum(origin - high, 0.0), axis=1)
    fan = _Fan(origin, offsets)
    distance = distance[fan.order]
    limit = distance - gap  # what enters a solid up to here is hidden; -inf where that is so
    for i, rays in fan.meeting([solids[i] for i in within]):
        rays = rays[limit[rays] > nearest[within[i]] - gap / 10]
        if len(rays):
            entry, _ = fan.enter(solids[within[i]], rays)
            limit[rays[entry * distance[rays] <= limit[rays]]] = -np.inf
    seen = np.empty(len(limit), dtype=bool)
    seen[fan.order] = limit > -np.inf
    return seen


def cast(origin: np.ndarray, directions: np.ndarray, solids: Sequence[Solid]) -> Hits:
    """Follow rays (3, N) from `origin` (3,); every ray must meet something (a closed room)."""
    distance, index, surface = first_hits(origin, directions, solids)
    if not np.isfinite(distance).all():
        raise ValueError("some rays meet nothing: put the camera inside a closed room")
    points = origin[:, None] + distance * directions
    normals, local, unit = np.empty_like(points), np.empty_like(points), np.empty_like(points)
    for i, at in groups_of(index):
        solid, groups = solids[i], GROUPS[solids[i].shape]
        here = solid.to_unit @ (points.take(at, axis=1) - np.array(solid.centre)[:, None])
        stretched = here * np.array(solid.half)[:, None]
        # The surface's own coordinates point out of it; the transposed map keeps that true under stretching.
        out = solid.to_unit.T @ (here * groups.take(surface[at], axis=1))
        for axis in range(3):
            unit[axis, at], local[axis, at], normals[axis, at] = here[axis], stretched[axis], out[axis]
    normals /= np.linalg.norm(normals, axis=0)
    return Hits(distance, index, normals, local, unit)


def groups_of(index: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each value of the small integers (N,) that occurs, and where it does."""
    parts = np.split(np.argsort(index.astype(np.int16), kind="stable"), np.bincount(index).cumsum()[:-1])
    return ((i, at) for i, at in enumerate(parts) if len(at))
