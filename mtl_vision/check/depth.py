"""Depth: its unit, values that wrapped around, and values that stand for none."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mtl_vision.check.statistics import OK, UNKNOWN, Fix, SplitStatistics, Verdict, fault, set_keys
from mtl_vision.datasets.description import DepthFiles, Description
from mtl_vision.datasets.sentinel import Sentinel, sentinels
from mtl_vision.datasets.targets.depth import FARTHEST

PLAUSIBLE = (0.4, 20.0)  # metres: no room has a median beyond
SURE = (1.0, 10.0)  # between the two it may be a close view or a hall, or a small split in another unit
ROOM = (0.7, 7.0)  # a decade about the usual 2 to 3 metres: exactly one power of ten brings a median into it
NEAR, HALL = 3.0, 6.0  # metres: first percentile and median beyond which nothing is near the camera
FEW = 4  # samples; fewer may all show a hall
MIN_JUMPS = 10
EIGHTS = 0.9  # of the values are multiples of 8
NAMED = 5  # samples


def unlisted(splits: Mapping[str, SplitStatistics]) -> list[tuple[str, Fix]]:
    """A sentence and a fix for each stored value that stands for no depth and is not among `depth.invalid`.

    All splits together: what one of them has does no harm to the description of the others.
    """
    samples = [(f"{name}/{sample.stem}", sample.tail) for name, split in splits.items() for sample in split.samples]
    known = [(name, tail) for name, tail in samples if tail is not None]
    section = next((split.description.depth for split in splits.values() if split.description.depth), DepthFiles())
    found = []
    for one in sentinels([tail for _, tail in known]):
        found.append((one.told([name for name, _ in known], section), _marking(one)))
        section = section.with_mark(one.value)
    return found


def _marking(one: Sentinel) -> Fix:
    def fix(description: Description) -> Description:
        depth = description.depth
        return replace(description, depth=depth and depth.with_mark(one.value))

    return fix


def unit(split: SplitStatistics) -> Verdict:
    """Whether the median is one of a room, in metres; a power of ten that brings it there is the fix."""
    parts = [sample.depth for sample in split.samples if sample.depth is not None]
    fmt = split.description.depth
    if not parts or fmt is None:
        return UNKNOWN
    values = np.concatenate(parts)
    if not values.size:
        return fault("no pixel has depth: check depth.invalid, depth.scale and depth.offset in the description")
    near, median = (float(value) for value in np.percentile(values, (1, 50)))
    if rotated(split, median):
        return fault(
            f"the median depth is {median:.4g} m, and nearly all stored values are multiples of 8: millimetres whose "
            f"bits are rotated by 3, as SUN RGB-D stores them; `depth.rotated: 3` makes it {median / 8:.2f} m",
            set_keys("depth", rotated=3),
        )
    if (other := _other_bits(fmt, split.depth_bits, median)) is not None:
        return other
    if not PLAUSIBLE[0] <= median <= PLAUSIBLE[1]:
        return _wrong_scale(fmt, median)
    if near > NEAR and median > HALL and len(parts) >= FEW:
        return fault(
            f"99 % of the depth is beyond {near:.2f} m, the median is {median:.2f} m: expected nearer things in a "
            f"room; check {_scale(fmt)} (0.001 is for millimetres, 0.0002 for TUM's fifths of a millimetre)"
        )
    return OK if SURE[0] <= median <= SURE[1] else UNKNOWN


def rotated(split: SplitStatistics, median: float) -> bool:
    """Whether 16-bit files have the bits of SUN RGB-D, whose depth below 8.2 m is eight times too large."""
    fmt = split.description.depth
    if fmt is None or fmt.rotated or split.depth_bits != 16 or not (median > HALL and ROOM[0] <= median / 8 < ROOM[1]):
        return False
    if fmt.full_scale is not None or fmt.offset:
        return False
    stored = np.concatenate([one.depth for one in split.samples if one.depth is not None]) / fmt.scale
    return bool((np.abs(stored / 8 - np.rint(stored / 8)) < 0.01).mean() > EIGHTS)


def _other_bits(fmt: DepthFiles, bits: int | None, median: float) -> Verdict | None:
    """`scale` for files of 8 bits, or `full_scale` for files of 16: each is meant for the other."""
    found = f"the median depth is {median:.3g} m with {_scale(fmt)}, and the files have {bits} bits"
    if fmt.full_scale is None and fmt.scale8 is None and bits == 8 and not PLAUSIBLE[0] <= median <= PLAUSIBLE[1]:
        return fault(f"{found}: in place of scale give the metres of the largest value: `depth.full_scale: 9.9955`")
    if fmt.full_scale is not None and bits == 16 and median < SURE[0]:
        metres = (median - fmt.offset) / fmt.full_scale * 65.535
        if ROOM[0] <= metres < ROOM[1]:
            return fault(
                f"{found}: in millimetres (`depth.scale: 0.001`) it is {metres:.2f} m",
                set_keys("depth", full_scale=None, scale=0.001, offset=0.0),
            )
    return None


def _wrong_scale(fmt: DepthFiles, median: float) -> Verdict:
    factor = 10.0 ** -int(np.floor(np.log10(median / ROOM[0])))
    found = f"the median depth is {median:.4g} m: expected metres of a room, about 1 to 5"
    if not 1e-4 <= factor <= 1e4:
        return fault(f"{found}; check depth.scale and depth.offset in the description")
    key = "scale" if fmt.full_scale is None else "full_scale"
    keys = (key, "offset") if fmt.scale8 is None else (key, "scale8", "offset")
    scaled: dict[str, Any] = {name: float(f"{getattr(fmt, name) * factor:.10g}") for name in keys}
    return fault(
        f"{found}; another unit: {_scale(fmt)} -> depth.{key} {scaled[key]:g} makes it {median * factor:.2f} m",
        set_keys("depth", **scaled),
    )


def reach(split: SplitStatistics) -> Verdict:
    """Whether some maps have depth beyond what any camera measures, where the others are in metres."""
    known = [sample for sample in split.samples if sample.depth is not None and sample.depth.size]
    if not known:
        return UNKNOWN
    far = [sample for sample in known if sample.farthest > FARTHEST]
    median = float(np.median(np.concatenate([sample.depth for sample in known])))  # type: ignore[misc]
    if not far or median > FARTHEST:  # then `unit` says so
        return OK if not far else UNKNOWN
    names = ", ".join(sample.stem for sample in far[:NAMED]) + f" and {len(far) - NAMED} more" * (len(far) > NAMED)
    return fault(
        f"depth beyond {FARTHEST:g} m in {len(far)} of {len(known)} samples ({names}; up to "
        f"{max(sample.farthest for sample in far):.3g} m), which no camera measures and which is read as none: store 0 "
        "there, or name the value that marks it as `depth.invalid`"
    )


def _scale(fmt: DepthFiles) -> str:
    return f"depth.scale {fmt.scale:g}" if fmt.full_scale is None else f"depth.full_scale {fmt.full_scale:g}"


def wraps(split: SplitStatistics) -> Verdict:
    """Whether 16 bits were too few: surfaces beyond the largest value continue at the smallest.

    No camera sees the smallest value next to the largest, so a good set has not a single such pair of neighbours.
    """
    fmt = split.description.depth
    if fmt is None or fmt.wraps or fmt.full_scale is not None:
        return UNKNOWN
    jumping = [sample for sample in split.samples if sample.jumps]
    if sum(sample.jumps for sample in jumping) < MIN_JUMPS:
        return OK
    parts = [sample.depth for sample in split.samples if sample.depth is not None and sample.depth.size]
    median = float(np.median(np.concatenate(parts)))
    if rotated(split, median):
        return UNKNOWN  # `unit` says so
    if 65536 * fmt.scale > PLAUSIBLE[1] and SURE[0] <= median <= SURE[1]:  # nothing is so far
        return fault(
            f"values just below 65536 beside the depth of a room in {len(jumping)} of {len(split.samples)} samples, "
            f"such as {jumping[0].stem}: they stand for no depth, and may be several since the maps were resized or "
            "compressed; store 0 there, or name them in `depth.invalid`"
        )
    return fault(
        f"depth wraps around at {65536 * fmt.scale:.4g} m, where 16 bits end at depth.scale {fmt.scale:g}: in "
        f"{len(jumping)} of {len(split.samples)} samples, such as {jumping[0].stem}, neighbours differ by that much; "
        "set `depth.wraps: true`, or store the depth again at a coarser scale (millimetres)",
        set_keys("depth", wraps=True),
    )
