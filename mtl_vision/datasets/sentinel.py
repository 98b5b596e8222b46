"""Stored depth values that stand for no depth and that the description does not name, such as 65535 for a hole.

Such a value is the greatest of its map, pixels have exactly it, and nothing lies between it and the rest. Depth that
was measured has its next greatest value close below, also where it was cut off at the end of a range: in the 1449
frames of NYUv2 the greatest is 1.36 times the next at most, and that once, at a single pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mtl_vision.datasets.targets.base import one_channel
from mtl_vision.datasets.targets.depth import SAME, DepthFiles, Number, read, turned_back

KEPT = 4  # greatest values of a map
# times the next depth, from which a value stands apart: usually, in few samples, and a value that is no usual mark
APART, FEW_APART, UNUSUAL_APART = 1.2, 2.2, 5.0
SEVERAL = 3  # samples that have the same value
PIXELS = 10  # with exactly one value, in all samples together; a far thing has many values
ROUND = 9.9  # metres; nearer, a wall may well be at exactly one depth
# What marks the unknown: the largest number of so many bits, also in metres at usual steps, and the largest floats
LARGEST = [2.0**bits - 1 for bits in (8, *range(10, 17), 31, 32)]
LARGEST += [65.535, 32.767, 6.5535, 13.107, 65504.0, float(np.finfo(np.float32).max)]
ROUNDED = [10.0**k - below for k in range(1, 39) for below in (0, 1)]


@dataclass(frozen=True)
class Tail:
    """The greatest stored values of a map, from the greatest on; of each its pixels, and what it is read as, metres.

    pixels: of the whole map. limit: the largest number that the file's type holds; None: floats.
    """

    values: tuple[Number, ...]
    counts: tuple[int, ...]
    metres: tuple[float, ...]
    pixels: int
    limit: int | None

    def below(self, value: Number) -> "Tail":
        """Without the greatest value, if it is this one."""
        start = int(self.values[:1] == (value,))
        return replace(self, values=self.values[start:], counts=self.counts[start:], metres=self.metres[start:])


@dataclass(frozen=True)
class Sentinel:
    """A stored value that stands for no depth.

    metres: what it is read as; rest: the greatest depth but for it, metres, 0 where there is none; percent: of all
    pixels; samples: the indices of those that have it, of `count`.
    """

    value: Number
    metres: float
    rest: float
    percent: float
    samples: tuple[int, ...]
    count: int

    def told(self, names: Sequence[str], section: DepthFiles, most: int = 5) -> str:
        """A sentence for people; names: of all samples."""
        more = f" and {len(self.samples) - most} more" * (len(self.samples) > most)
        where = ", ".join(names[i] for i in self.samples[:most]) + more
        rest = f"the greatest depth but for it is {self.rest:.4g} m" if self.rest else "there is no other depth"
        return (
            f"the stored value {self.value} stands for no depth, and is read as {self.metres:.4g} m: "
            f"{self.percent:.2g} % of the pixels have exactly it, in {len(self.samples)} of {self.count} samples "
            f"({where}), and {rest}; set `depth.invalid: {section.with_mark(self.value).invalid}`"
        )


def tail(stored: np.ndarray, section: DepthFiles) -> Tail:
    """What the search needs of one depth file; stored: its values (H, W) as `read_values` gives them.

    Empty where no value is a depth, and where values wrap around, so that all of them occur. Raises DataError as `read`
    does.
    """
    stored, section = turned_back(one_channel(stored), section.rotated), replace(section, rotated=None)
    found: list[tuple[Number, int, float]] = []
    with np.errstate(over="ignore", invalid="ignore"):
        left = stored[:0] if section.wraps else stored[read(stored, section) > 0]
        while left.size and len(found) < KEPT:
            top, before = left.max(), left.size
            left = left[left < top]
            found.append((_number(top), before - left.size, float(read(np.array([[top]]), section)[0, 0])))
    values, counts, metres = zip(*found, strict=True) if found else ((), (), ())
    limit = None if stored.dtype.kind == "f" else int(np.iinfo(stored.dtype).max)
    return Tail(values, counts, metres, stored.size, limit)


def sentinels(tails: Sequence[Tail]) -> list[Sentinel]:
    """The stored values that stand for no depth; tails: of all samples that are looked at.

    Files of 8 bits, of 16 and of floats have values of their own.
    """
    nothing = Tail((), (), (), 0, None)
    found = []
    for limit in dict.fromkeys(one.limit for one in tails if one.values):
        found += _of_one_type([one if one.limit == limit else nothing for one in tails])
    return list({one.value: one for one in found}.values())


def _of_one_type(tails: Sequence[Tail]) -> list[Sentinel]:
    """The same of files of one type, from the greatest value on."""
    found: list[Sentinel] = []
    while len(found) < KEPT - 1:
        top = max((one.values[0] for one in tails if one.values), default=None)
        if top is None:
            break
        having = [one for one in tails if one.values[:1] == (top,)]
        left = [one.below(top) for one in tails]
        rest = max((one.metres[0] for one in left if one.values), default=0.0)
        if not _stands_apart(having, rest):
            break
        percent = 100 * sum(one.counts[0] for one in having) / sum(one.pixels for one in tails)
        samples = tuple(i for i, one in enumerate(tails) if one.values[:1] == (top,))
        count = sum(one.pixels > 0 for one in tails)
        found.append(Sentinel(top, having[0].metres[0], rest, percent, samples, count))
        tails = left
    return found


def _stands_apart(having: Sequence[Tail], rest: float) -> bool:
    """Whether the value that these have as their greatest is a sentinel; rest: the next depth of all samples."""
    value, metres, largest = having[0].values[0], having[0].metres[0], having[0].values[0] == having[0].limit
    several, pixels = len(having) >= SEVERAL, sum(one.counts[0] for one in having)
    if not rest:
        return largest
    known = largest or _marks(value, metres)
    if not known and (pixels < PIXELS or metres <= max(ROUND, (APART if several else UNUSUAL_APART) * rest)):
        return False
    # Other samples may measure up to the end of the range: then it is in its own that nothing is near it
    factor = APART if known and (several or metres > APART * rest) else FEW_APART
    apart = sum(metres > factor * (one.metres[1] if len(one.metres) > 1 else rest) for one in having)
    return 2 * apart > len(having) and (largest or several or pixels >= PIXELS)


def _marks(value: Number, metres: float) -> bool:
    """Whether it is a number that people mark the unknown with."""
    known = LARGEST + ROUNDED * (metres >= ROUND)
    return bool(np.isclose(known, value, rtol=SAME, atol=0).any())


def _number(value: np.number) -> Number:
    """A stored value as a description has it: with the digits that all types of floats keep."""
    number = float(f"{float(value):.7g}") if value.dtype.kind == "f" else int(value)
    return int(number) if number == int(number) and abs(number) < 1e9 else number
