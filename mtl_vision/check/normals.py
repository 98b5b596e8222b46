"""Stored normals: their frame, and their length."""

from collections.abc import Sequence

import numpy as np

from mtl_vision.check.statistics import OK, UNKNOWN, SplitStatistics, Thumbnail, Verdict, fault, set_keys
from mtl_vision.datasets.axes import Maps, both, compare, median_degrees

TILTED = 10.0  # degrees; 4 in rooms and NYUv2 (6 in a single small one), 10 to 16 with twice or half the focal length


def frame(split: SplitStatistics) -> Verdict:
    """Whether the stored normals fit those of the depth, else which of the 48 signed permutations of axes does."""
    fmt = split.description.normals
    if fmt is None or not any("normals" in one.sample.targets for one in split.thumbnails):
        return UNKNOWN
    compared = compare(_maps(split.thumbnails), fmt.axes)
    if compared is None:
        return Verdict("unknown", "whether the stored normals are in the camera's frame: there is no depth to compare")
    state, degrees, axes, best = compared
    found = f"the stored normals are {degrees:.0f} degrees (median) from those of the depth"
    if state == "mirrored":
        return Verdict("unknown", "whether the normals are in another frame: they are mirrored against the depth")
    if state == "apart":
        return fault(
            f"{found}, and {best:.0f} with the axes that fit best, [{', '.join(axes)}], where about 4 are expected: "
            "the depth is inverted, or a disparity, or depth and normals are of different images, or damaged; see the "
            "contact sheet"
        )
    if state == "fit" and degrees > TILTED and split.description.intrinsics is not None:
        return Verdict(
            "unknown",
            f"whether `intrinsics` are those of the images: {found}, where about 4 are expected, and with no other "
            "axes are they nearer; fx and fy of another image size would do that, a tilted frame, or noise",
        )
    if state == "fit":
        return OK
    return fault(
        f"{found}: another frame or sign; normals.axes [{', '.join(fmt.axes)}] -> [{', '.join(axes)}] makes it "
        f"{best:.0f} degrees",
        set_keys("normals", axes=axes),
    )


def _maps(thumbnails: Sequence[Thumbnail]) -> Maps:
    """Stored normals and those of the depth, of the samples that have both."""
    stored = [(one.sample.targets.get("normals"), one.derived) for one in thumbnails]
    return [(normals, derived) for normals, derived in stored if normals is not None and derived is not None]


def degrees_to_depth(thumbnails: Sequence[Thumbnail]) -> float | None:
    """Median angle between the stored normals and those of the depth, degrees; None where no sample has both."""
    pairs = both(_maps(thumbnails))
    return None if pairs is None else median_degrees(pairs)


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
