"""Stored normals: the frame that they are in, and their length."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mtl_vision.check.evidence import FINE, Close, Evidence, Verdict
from mtl_vision.datasets.description import Description
from mtl_vision.runtime.kinds import KINDS

GAP = 0.05  # of a mean cosine: noise, and axes that the pictures do not tell apart
FITS = 12.0  # degrees that right axes leave at most, even in pictures of 60 by 80
FAR = 45.0  # degrees from the depth's normals that no noise explains
Turn = tuple[tuple[int, int, int], tuple[int, int, int]]  # which stored axis, and its sign, for each of ours


def frame(evidence: Evidence) -> Verdict:
    """Whether the stored normals fit those of the depth, else which of the 48 signed permutations of axes does."""
    fmt = evidence.description.normals
    straight = _pairs(evidence.close)
    if fmt is None or not any("normals" in one.sample.targets for one in evidence.close):
        return Verdict("open")
    if straight is None:
        return Verdict("open", "whether the stored normals are in the camera's frame: no depth to hold them against")
    here, turn, best = _best(straight)
    if (mirrored := _pairs(evidence.close, mirrored=True)) is not None and _best(mirrored)[2] > best + GAP:
        return Verdict("open", "whether the normals are of another frame: they are mirrored against the depth")
    median = degrees_to_depth(straight)
    if best - here < GAP:
        if median < FAR:
            return FINE
        return Verdict(
            "fault",
            f"the stored normals lie {median:.0f} degrees (median) from those of the depth, in whatever order and sign "
            "of the axes: depth and normals are of other pictures, or one of them is damaged; look at the contact "
            "sheet",
        )
    axes = turned(fmt.axes, turn)
    after = degrees_to_depth(np.stack([straight[0][:, turn[0]] * turn[1], straight[1]]))
    if after > FITS:
        return Verdict(
            "fault",
            f"the stored normals lie {median:.0f} degrees (median) from those of the depth, and the best order and "
            f"sign of the axes leaves {after:.0f}, where right ones leave about 4: the depth is inverted, or a "
            "disparity, or depth and normals are of other pictures; look at the contact sheet",
        )
    return Verdict(
        "fault",
        f"the stored normals do not fit the depth (median {median:.0f} degrees): another frame or sign; "
        f"normals.axes [{', '.join(fmt.axes)}] -> [{', '.join(axes)}] makes it {after:.0f} degrees",
        lambda one: _with_axes(one, turn),
    )


def _with_axes(description: Description, turn: Turn) -> Description:
    fmt = description.normals
    return description if fmt is None else replace(description, normals=replace(fmt, axes=turned(fmt.axes, turn)))


def turned(axes: Sequence[str], turn: Turn) -> tuple[str, str, str]:
    """`normals.axes` that give what `axes` gave, turned."""
    x, y, z = (("-" if (axes[j][0] == "-") != (sign < 0) else "") + axes[j][-1] for j, sign in zip(*turn, strict=True))
    return x, y, z


def _pairs(ones: Sequence[Close], mirrored: bool = False) -> np.ndarray | None:
    """Stored normals beside those of the depth, (2, N, 3), where both exist; the stored map mirrored, if asked for."""
    valid = KINDS["unit_vector_map"].valid
    found = []
    for one in ones:
        stored, derived = one.sample.targets.get("normals"), one.derived
        if stored is None or derived is None:
            continue
        stored = stored[:, ::-1] if mirrored else stored
        both = valid(stored) & valid(derived)
        found.append(np.stack([stored[both], derived[both]])[:, ::7])
    return np.concatenate(found, axis=1) if found and sum(pair.shape[1] for pair in found) else None


def _best(pairs: np.ndarray) -> tuple[float, Turn, float]:
    """Mean cosine as it is; the signed permutation of the stored axes with the greatest one, and that."""
    products = pairs[0].T.astype(np.float64) @ pairs[1] / pairs.shape[1]  # [stored axis, our axis]
    turns = itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
    score, order, signs = max(
        (sum(sign * products[j, k] for k, (j, sign) in enumerate(zip(order, signs, strict=True))), order, signs)
        for order, signs in turns
    )
    return float(np.trace(products)), (order, signs), float(score)  # type: ignore[return-value]


def degrees_to_depth(pairs: np.ndarray) -> float:
    """Median angle between (2, N, 3)."""
    return float(np.median(np.degrees(np.arccos(np.clip((pairs[0] * pairs[1]).sum(-1), -1, 1)))))


def median_degrees(ones: Sequence[Close]) -> float | None:
    """How far the stored normals lie from those of the depth, where both exist."""
    pairs = _pairs(ones)
    return None if pairs is None else degrees_to_depth(pairs)


def length(evidence: Evidence) -> Verdict:
    """Whether the stored normals have length 1. Maps that were made smaller by averaging are shorter at edges."""
    parts = [look.lengths for look in evidence.looks if look.lengths is not None and look.lengths.size]
    if not parts:
        return Verdict("open")
    values = np.concatenate(parts)
    low, middle, high = (float(value) for value in np.percentile(values, (5, 50, 95)))
    off = float((np.abs(values - 1) > 0.1).mean())
    if abs(middle - 1) < 0.05 and off < 0.3:
        return FINE
    return Verdict(
        "fault",
        f"the stored normals have lengths of {low:.2f} to {high:.2f} (median {middle:.2f}): expected 1, as unit "
        "vectors n stored as (n + 1) / 2; what is within 0.5 to 1.5 is made unit when it is read, the rest counts as "
        "invalid: store them as unit vectors",
    )
