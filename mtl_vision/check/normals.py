"""Stored normals: their frame, and their length."""

import itertools
from collections.abc import Sequence

import numpy as np

from mtl_vision.check.statistics import OK, UNKNOWN, SplitStatistics, Thumbnail, Verdict, fault, set_keys
from mtl_vision.runtime.kinds import KINDS

GAP = 0.05  # of a mean cosine: noise, and axes that the images do not distinguish
FITS = 12.0  # degrees that right axes leave at most, even in images of 60 by 80
FAR = 45.0  # degrees from the depth's normals that no noise explains
Axes = tuple[tuple[int, int, int], tuple[int, int, int]]  # which stored axis, and its sign, for each of ours


def frame(split: SplitStatistics) -> Verdict:
    """Whether the stored normals fit those of the depth, else which of the 48 signed permutations of axes does."""
    fmt = split.description.normals
    if fmt is None or not any("normals" in one.sample.targets for one in split.thumbnails):
        return UNKNOWN
    stored = _pairs(split.thumbnails)
    if stored is None:
        return Verdict("unknown", "whether the stored normals are in the camera's frame: there is no depth to compare")
    cosine, best, best_cosine = _best(stored)
    mirrored = _pairs(split.thumbnails, mirrored=True)
    if mirrored is not None and _best(mirrored)[2] > best_cosine + GAP:
        return Verdict("unknown", "whether the normals are in another frame: they are mirrored against the depth")
    median = _degrees(stored)
    found = f"the stored normals are {median:.0f} degrees (median) from those of the depth"
    if best_cosine - cosine < GAP:
        if median < FAR:
            return OK
        return fault(f"{found}, in any order and sign of axes: of different images, or damaged; see the contact sheet")
    order, signs = best
    after = _degrees(np.stack([stored[0][:, order] * signs, stored[1]]))
    if after > FITS:
        return fault(
            f"{found}, and {after:.0f} in the best order and sign of the axes, where about 4 are expected: the depth "
            "is inverted, or a disparity, or depth and normals are of different images; see the contact sheet"
        )
    negative = ((fmt.axes[j][0] == "-") != (sign < 0) for j, sign in zip(order, signs, strict=True))
    axes = tuple("-" * minus + fmt.axes[j][-1] for j, minus in zip(order, negative, strict=True))
    return fault(
        f"{found}: another frame or sign; normals.axes [{', '.join(fmt.axes)}] -> [{', '.join(axes)}] makes it "
        f"{after:.0f} degrees",
        set_keys("normals", axes=axes),
    )


def _pairs(thumbnails: Sequence[Thumbnail], mirrored: bool = False) -> np.ndarray | None:
    """Stored normals, mirrored on request, and those of the depth, (2, N, 3), where both exist."""
    valid = KINDS["unit_vector_map"].valid
    found = []
    for one in thumbnails:
        stored, derived = one.sample.targets.get("normals"), one.derived
        if stored is None or derived is None:
            continue
        stored = stored[:, ::-1] if mirrored else stored
        both = valid(stored) & valid(derived)
        found.append(np.stack([stored[both], derived[both]])[:, ::7])
    return np.concatenate(found, axis=1) if found and sum(pair.shape[1] for pair in found) else None


def _best(pairs: np.ndarray) -> tuple[float, Axes, float]:
    """Mean cosine as stored; the signed permutation of the stored axes with the greatest one, and that cosine."""
    products = pairs[0].T.astype(np.float64) @ pairs[1] / pairs.shape[1]  # [stored axis, our axis]
    choices = itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
    score, order, signs = max(
        (sum(sign * products[j, k] for k, (j, sign) in enumerate(zip(order, signs, strict=True))), order, signs)
        for order, signs in choices
    )
    return float(np.trace(products)), (order, signs), float(score)  # type: ignore[return-value]


def _degrees(pairs: np.ndarray) -> float:
    """Median angle between (2, N, 3), degrees."""
    return float(np.median(np.degrees(np.arccos(np.clip((pairs[0] * pairs[1]).sum(-1), -1, 1)))))


def degrees_to_depth(thumbnails: Sequence[Thumbnail]) -> float | None:
    """Median angle between the stored normals and those of the depth, degrees; None where no sample has both."""
    pairs = _pairs(thumbnails)
    return None if pairs is None else _degrees(pairs)


def length(split: SplitStatistics) -> Verdict:
    """Whether the stored normals have length 1. Maps that were made smaller by averaging are shorter at edges."""
    parts = [sample.lengths for sample in split.samples if sample.lengths is not None]
    if not parts:
        return UNKNOWN
    values = np.concatenate(parts)
    if not values.size:
        return fault(
            f"no pixel of {len(parts)} maps of normals has one, all are black or grey: store them again, or replace "
            "'normals' in the description ({derive: true} takes them from depth, null leaves them out)"
        )
    low, middle, high = (float(value) for value in np.percentile(values, (5, 50, 95)))
    off = float((np.abs(values - 1) > 0.1).mean())
    if abs(middle - 1) < 0.05 and off < 0.3:
        return OK
    return fault(
        f"the stored normals have lengths of {low:.2f} to {high:.2f} (median {middle:.2f}): expected 1, as unit "
        "vectors n stored as (n + 1) / 2; store them as unit vectors (lengths of 0.5 to 1.5 are made 1 when they are "
        "read, others count as invalid)"
    )
