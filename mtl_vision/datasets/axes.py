"""Stored normals against those of the depth: which of the 48 signed orders of axes brings them together."""

import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from mtl_vision.datasets.camera import Intrinsics
from mtl_vision.datasets.normals import normals_from_depth
from mtl_vision.datasets.targets import kind_of
from mtl_vision.runtime.kinds import KINDS

GAP = 0.05  # of a mean cosine: noise, and axes that the images do not distinguish
ALIKE = 0.01  # of a mean cosine: of orders that differ by less, the one nearest to the described is taken
FITS = 12.0  # degrees that right axes leave at most, even in images of 60 by 80
FAR = 45.0  # degrees from the depth's normals that no noise explains
FRAMES, SIDE = 5, 160  # that are looked at, and their longer side in pixels: 0.2 seconds of a core at 480x640
Maps = Sequence[tuple[np.ndarray, np.ndarray]]  # of each sample the stored normals and those of its depth, (H, W, 3)
Axes = tuple[str, ...]  # our x, y, z in terms of the stored vector's, as in a description


class Comparison(NamedTuple):
    """What the normals show. degrees: median angle as stored; best: with `axes`, which fit best.

    state: `fit`; `turned`: they fit with `axes`; `mirrored`: they fit better mirrored left to right; `apart`: with no
    axes do they fit.
    """

    state: Literal["fit", "turned", "mirrored", "apart"]
    degrees: float
    axes: Axes
    best: float


def compare(maps: Maps, described: Axes) -> Comparison | None:
    """The normals as they are read with the axes `described`, and with others; None where there is none to compare."""
    pairs = both(maps)
    if pairs is None:
        return None
    cosine, order, signs = _best(pairs)
    degrees, best = median_degrees(pairs), median_degrees(np.stack([pairs[0][:, order] * signs, pairs[1]]))
    mirrored = both([(stored[:, ::-1], derived) for stored, derived in maps])
    if mirrored is not None and _best(mirrored)[0] > cosine + GAP:
        state = "mirrored"
    elif cosine - _cosines(pairs)[0] < GAP:
        state = "fit" if degrees < FAR else "apart"
    else:
        state = "turned" if best <= FITS else "apart"
    return Comparison(state, degrees, _named(described, order, signs), best)


def small_maps(depth: np.ndarray, normals: np.ndarray, camera: Intrinsics | None) -> Maps:
    """Of a sample's depth and stored normals, what is compared, as the only pair, or none: where it has no depth.

    Normals do not depend on the depth's unit: a wrong one, with which all would be too far, hides nothing.
    """
    if camera is None or normals.shape[:2] != depth.shape or not (depth > 0).any():
        return []
    height, width = depth.shape
    scale = min(SIDE / max(height, width), 1)
    small = max(round(height * scale), 1), max(round(width * scale), 1)
    depth = kind_of("depth").resize(depth / np.median(depth[depth > 0]), small)
    derived = normals_from_depth(depth, camera.resized((height, width), small))
    return [(kind_of("normals").resize(normals, small), derived)]


def both(maps: Maps) -> np.ndarray | None:
    """Stored normals and those of the depth, (2, N, 3), where both exist: every seventh; None where that is nowhere."""
    valid = KINDS["unit_vector_map"].valid
    known = [(stored, derived, valid(stored) & valid(derived)) for stored, derived in maps]
    found = [np.stack([stored[there], derived[there]])[:, ::7] for stored, derived, there in known]
    return np.concatenate(found, axis=1) if sum(pairs.shape[1] for pairs in found) else None


def median_degrees(pairs: np.ndarray) -> float:
    """Median angle between (2, N, 3), degrees."""
    return float(np.median(np.degrees(np.arccos(np.clip((pairs[0] * pairs[1]).sum(-1), -1, 1)))))


# The 48: the order of the stored axes and their signs, those that change least first.
ORDERS = sorted(
    itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)),
    key=lambda one: sum(j != k or sign < 0 for k, (j, sign) in enumerate(zip(*one, strict=True))),
)


def _cosines(pairs: np.ndarray) -> np.ndarray:
    """Mean cosine with each of ORDERS; the first is as stored."""
    products = pairs[0].T.astype(np.float64) @ pairs[1] / pairs.shape[1]  # [stored axis, our axis]
    return np.array([products[list(order), range(3)] @ signs for order, signs in ORDERS])


def _best(pairs: np.ndarray) -> tuple[float, tuple[int, ...], tuple[int, ...]]:
    """The greatest mean cosine, and the order and signs of the stored axes that give it."""
    cosines = _cosines(pairs)
    order, signs = ORDERS[int(np.argmax(cosines > cosines.max() - ALIKE))]
    return float(cosines.max()), order, signs


def _named(described: Axes, order: Sequence[int], signs: Sequence[int]) -> Axes:
    """The axes that a description has to name, where those that it names are to be taken in this order and sign."""
    negative = [(described[j][0] == "-") != (sign < 0) for j, sign in zip(order, signs, strict=True)]
    return tuple("-" * minus + described[j][-1] for j, minus in zip(order, negative, strict=True))
