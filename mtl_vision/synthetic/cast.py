"""Ray casting: the first solid that each of many rays from one point meets, where, and its normal there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtl_vision.synthetic.scene import SHAPES, Solid

TINY = 1e-12  # keeps a ray that runs exactly along a face from dividing by zero


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


def _interval(origin: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where |origin + t * direction| < 1, over coordinates (k, N): from near to far, near == far for a miss."""
    if len(directions) == 1:
        inverse = 1.0 / (directions[0] + TINY)
        middle, reach = -origin[0] * inverse, np.abs(inverse)
        return middle - reach, middle + reach
    a = (directions * directions).sum(axis=0) + TINY
    b = (origin[:, None] * directions).sum(axis=0)
    root = np.sqrt(np.maximum(b * b - a * (origin @ origin - 1.0), 0.0))
    return (-b - root) / a, (-b + root) / a


def _enter(shape: str, origin: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rays (3, N) enter a unit body (inf: never), and through which of its surfaces: both (N,)."""
    near, far = zip(*(_interval(origin[list(g)], directions[list(g)]) for g in SHAPES[shape]), strict=True)
    entry, exit_, surface = near[0], far[0], np.zeros(len(near[0]), dtype=np.int8)
    for i in range(1, len(near)):
        surface[near[i] > entry] = i
        entry, exit_ = np.maximum(entry, near[i]), np.minimum(exit_, far[i])
    return np.where((entry < exit_) & (entry > 0), entry, np.inf), surface


def _cone(solid: Solid, origin: np.ndarray) -> tuple[np.ndarray, float]:
    """Axis and cosine of a cone from the origin that holds the whole solid (cosine -2: no such cone)."""
    rays = solid.corners - origin
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    axis = rays.mean(axis=0)
    axis /= max(float(np.linalg.norm(axis)), TINY)
    cosine = float((rays @ axis).min())
    return axis, cosine - 1e-4 if cosine > 0 else -2.0


def first_hits(
    origin: np.ndarray, directions: np.ndarray, solids: Sequence[Solid]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance (inf: none), index of the solid and of its surface, each (N,), for rays (3, N) from one origin (3,)."""
    n = directions.shape[1]
    distance, index, surface = np.full(n, np.inf), np.zeros(n, dtype=np.intp), np.zeros(n, dtype=np.int8)
    heading = (directions / np.linalg.norm(directions, axis=0)).astype(np.float32)
    for i, solid in enumerate(solids):
        axis, cosine = _cone(solid, origin)
        in_cone = np.flatnonzero(axis.astype(np.float32) @ heading >= cosine)
        if not len(in_cone):
            continue
        to_unit = solid.to_unit
        entry, through = _enter(solid.shape, to_unit @ (origin - solid.centre), to_unit @ directions[:, in_cone])
        closer = np.flatnonzero(entry < distance[in_cone])
        won = in_cone[closer]
        distance[won], index[won], surface[won] = entry[closer], i, through[closer]
    return distance, index, surface


def cast(origin: np.ndarray, directions: np.ndarray, solids: Sequence[Solid]) -> Hits:
    """Follow rays (3, N) from `origin` (3,); every ray must meet something (a closed room)."""
    distance, index, surface = first_hits(origin, directions, solids)
    if not np.isfinite(distance).all():
        raise ValueError("some rays meet nothing: put the camera inside a closed room")
    points = origin[:, None] + distance * directions
    normals, local, unit = np.empty_like(points), np.empty_like(points), np.empty_like(points)
    order = np.argsort(index, kind="stable")
    seen, starts = np.unique(index[order], return_index=True)
    for i, at in zip(seen, np.split(order, starts[1:]), strict=True):
        solid = solids[i]
        unit[:, at] = here = solid.to_unit @ (points[:, at] - np.array(solid.centre)[:, None])
        local[:, at] = here * np.array(solid.half)[:, None]
        # The surface's own coordinates point out of it; the transposed map keeps that true under stretching.
        groups = np.array([[axis in g for axis in range(3)] for g in SHAPES[solid.shape]])
        normals[:, at] = solid.to_unit.T @ (here * groups[surface[at]].T)
    normals /= np.linalg.norm(normals, axis=0)
    return Hits(distance, index, normals, local, unit)
