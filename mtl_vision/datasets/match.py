"""Images and maps of two cameras, paired by the times in their names, as TUM's associate.py pairs them."""

import math

import numpy as np

from mtl_vision.datasets import DataError
from mtl_vision.datasets.text import shown

MOST = 20  # maps that may be near enough to an image, on average


def by_time(images: list[str], maps: list[str], most: float) -> dict[str, str]:
    """The map of each image that has one, by the names, which are times in seconds.

    Of all pairs closer than `most` seconds the closest is taken first, and each image and map once. Raises DataError.
    """
    names, others = _by_time(images), _by_time(maps)
    a, b = np.array(list(names)), np.array(list(others))
    # a little wider than `most`: which pairs are close enough is decided by their difference alone
    first, last = np.searchsorted(b, a - 1.001 * most), np.searchsorted(b, a + 1.001 * most, "right")
    if (last - first).sum() > MOST * len(a):
        raise DataError(
            f"match is {most:g} seconds, and {MOST} maps or more are as near as that to an image: expected names that "
            "are times in seconds, and a 'match' below the time between two images"
        )
    pairs = [(abs(a[i] - b[j]), a[i], b[j]) for i in range(len(a)) for j in range(first[i], last[i])]
    found: dict[str, str] = {}
    taken: set[float] = set()
    for difference, image, other in sorted(pairs):
        if difference < most and names[image] not in found and other not in taken:
            found[names[image]] = others[other]
            taken.add(other)
    return found


def _by_time(names: list[str]) -> dict[float, str]:
    """The names by their times, in order."""
    found: dict[float, str] = {}
    for name in names:
        try:
            time = float(name)
        except ValueError:
            time = math.nan
        if not math.isfinite(time):
            raise DataError(f"'match' is for names that are times in seconds, found {shown(repr(name))}")
        if time in found:
            raise DataError(f"'match' is for names of different times, found {found[time]} and {name}")
        found[time] = name
    return dict(sorted(found.items()))
