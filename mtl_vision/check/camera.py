"""The camera of the description: one that no room was taken with, or of images of another shape."""

from collections.abc import Mapping

from mtl_vision.check.statistics import OK, UNKNOWN, SplitStatistics, Verdict, fault
from mtl_vision.datasets.camera import unlikely

ASPECT = 0.03  # relative difference of aspect ratios


def camera(split: SplitStatistics) -> Verdict:
    """Whether the camera sees as wide, and as centred, as cameras do."""
    known = split.description.intrinsics
    if known is None:
        return UNKNOWN
    problem = unlikely(known)
    return OK if problem is None else fault(problem)


def other_shape(splits: Mapping[str, SplitStatistics]) -> str | None:
    """A sentence where images have another aspect ratio than the camera's own, or the crop's."""
    sizes = {sample.size for split in splits.values() for sample in split.samples if sample.size}
    known = next((split.description.own_camera() for split in splits.values()), None)
    if known is None:
        return None
    of_camera = known["width"] / known["height"]
    others = sorted(size for size in sizes if abs(size[1] / size[0] / of_camera - 1) > ASPECT)
    if not others:
        return None
    found = f"{others[0][0]}x{others[0][1]}" + f" and {len(others) - 1} other sizes" * (len(others) > 1)
    return (
        f"images of {found} have another aspect ratio than the camera's, {known['height']:g}x{known['width']:g}: they "
        "are taken to be stretched; where they were cut, give `crop`, or the intrinsics of the part that they are"
    )
