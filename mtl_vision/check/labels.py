"""Labels: ids that are no class, and ids that are off by one.

What an id means shows in the pictures: a floor faces up and lies low, a ceiling faces down and lies high.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mtl_vision.check.evidence import FINE, Close, Evidence, Fix, Verdict
from mtl_vision.datasets.description import Description, LabelFormat
from mtl_vision.runtime.kinds import IGNORE

LEAST = 200  # pixels, at 160 of width, from which an id shows how it lies
MUCH = 0.08  # of all pixels; a floor that no picture shows is no sign, but here is one


def strangers(values: Iterable[int], description: Description) -> list[int]:
    """The stored ids that are neither a class nor void."""
    fmt = description.segmentation
    return [] if fmt is None else [value for value in _outside(values, fmt, 0) if value != fmt.void]


def ids(evidence: Evidence) -> Verdict:
    """Whether the stored ids are the classes that the description takes them for."""
    fmt = evidence.description.segmentation
    values = sum((look.values for look in evidence.looks), Counter())
    if fmt is None or not values:
        return Verdict("open")
    if set(values) <= {fmt.void}:
        return Verdict("fault", "no pixel has a label: look at segmentation.first and .void in the description")
    odd = strangers(values, evidence.description)
    shift, seen = _meaning(evidence.close, fmt)
    if shift is None and not odd:
        return Verdict("open", "whether the labels are off by one: there is no class whose place and slope tell it")
    if shift == 0 and not odd:
        return FINE
    certain = shift is not None
    first = fmt.first + (shift if shift is not None else _likely(values, odd, fmt))
    void = _void(values, fmt, first - fmt.first)
    text = f"{_range(values)} are stored as labels, expected {_expected(fmt)}{seen}"
    if void is None or first < 0 or (first, void) == (fmt.first, fmt.void):
        return Verdict("fault", f"{text}; correct segmentation.first, .void or .classes in the description")
    text += f"; {'set' if certain else 'most likely'} `segmentation.first: {first}` and `segmentation.void: {void}`"
    return Verdict("fault", text, _relabelled(first, void) if certain else None)


def _relabelled(first: int, void: int) -> Fix:
    def fix(one: Description) -> Description:
        fmt = one.segmentation
        return one if fmt is None else replace(one, segmentation=replace(fmt, first=first, void=void))

    return fix


def _outside(values: Iterable[int], fmt: LabelFormat, shift: int) -> list[int]:
    """The ids that are no class if the first one stood `shift` further."""
    first = fmt.first + shift
    return sorted(value for value in values if not first <= value < first + len(fmt.class_set().names))


def _void(values: Iterable[int], fmt: LabelFormat, shift: int) -> int | None:
    """The void id that explains all that is no class then; None if one id is not enough."""
    outside = _outside(values, fmt, shift)
    if len(outside) == 1:
        return outside[0]
    if outside:
        return None
    return next(void for void in (fmt.void, IGNORE, -1) if void < 0 or _outside([void], fmt, shift))


def _likely(values: Iterable[int], odd: Sequence[int], fmt: LabelFormat) -> int:
    """The shift to propose where the pictures do not tell: one id too many, and id 0 in use, is a void at 0."""
    values = list(values)
    if odd == [fmt.first + len(fmt.class_set().names)] and fmt.first in values:
        return 1
    return next((shift for shift in (0, -1, 1) if _void(values, fmt, shift) is not None), 0)


def _range(values: Iterable[int]) -> str:
    """0..13 and 255 (15 ids)."""
    found = sorted(values)
    body = [value for value in found if value != IGNORE]
    parts = [f"{body[0]}..{body[-1]}"] if body else []
    return " and ".join(parts + [str(IGNORE)] * (IGNORE in found)) + f" ({len(found)} ids)"


def _expected(fmt: LabelFormat) -> str:
    count = len(fmt.class_set().names)
    void = f", {fmt.void} for void" if fmt.void >= 0 else ""
    return f"{fmt.first}..{fmt.first + count - 1} for {count} classes{void}"


# What the pictures tell of an id


@dataclass(frozen=True)
class _Lie:
    """How the pixels of an id lie. share: of all pixels; up, down: of its own; row: mean, from 0, the top, to 1."""

    pixels: int
    share: float
    up: float
    down: float
    row: float


def _meaning(ones: Sequence[Close], fmt: LabelFormat) -> tuple[int | None, str]:
    """By how much the ids are off, -1, 0 or 1, and how that shows; None: not told."""
    names = [name.casefold() for name in fmt.class_set().names]
    anchors = {name: fmt.first + names.index(name) for name in _LIKE if name in names}
    lies, slopes = _lies(ones)
    likes = {
        shift: [_like(name, lies.get(value + shift), slopes) for name, value in anchors.items()] for shift in (0, -1, 1)
    }
    votes = {shift: sum((like is True) - (like is False) for like in found) for shift, found in likes.items()}
    least = 1 if slopes else 2  # the place alone tells less
    if votes[0] >= least:
        return 0, ""
    missing = "floor" in anchors and anchors["floor"] not in lies
    for shift in (-1, 1):
        floor = lies.get(anchors.get("floor", -2) + shift)
        instead = missing and floor is not None and floor.share > MUCH
        if votes[shift] >= least and (votes[0] <= -least or instead):
            how = " faces up and lies low" if slopes else " lies low"
            where = "higher" if shift > 0 else "lower"
            return shift, f", and they are off by one: what{how}, as a floor, stands one id {where} than 'floor'"
    return None, ""


def _lies(ones: Sequence[Close]) -> tuple[dict[int, _Lie], bool]:
    """How each id lies, and whether normals were there to tell slopes."""
    total: dict[int, np.ndarray] = {}
    slopes = False
    for one in ones:
        if one.ids is None:
            continue
        normals = one.derived if one.derived is not None else one.sample.targets.get("normals")
        if normals is not None and normals.shape[:2] != one.ids.shape:
            continue
        slopes |= normals is not None
        down = np.zeros(one.ids.shape) if normals is None else normals[..., 1]
        rows = np.broadcast_to(np.linspace(0, 1, one.ids.shape[0])[:, None], one.ids.shape)
        features = np.stack([np.ones(one.ids.shape), down < -0.7, down > 0.6, rows], axis=-1)
        for value in np.unique(one.ids).tolist():
            total[value] = total.get(value, np.zeros(4)) + features[one.ids == value].sum(axis=0)
    pixels = sum(float(sums[0]) for sums in total.values())
    lies = {
        value: _Lie(int(sums[0]), sums[0] / pixels, *(float(part) for part in sums[1:] / sums[0]))
        for value, sums in total.items()
        if sums[0] >= LEAST
    }
    return lies, slopes


def _like(name: str, lie: _Lie | None, slopes: bool) -> bool | None:
    """Whether it lies as a thing of that name does; None: neither sure."""
    if lie is None:
        return None
    yes, no = _LIKE[name][slopes](lie)
    return True if yes else False if no else None


# For each class that shows itself: surely it, surely not it; by the place alone, and with the slope. In NYUv2 90 % of
# the floor face up, 25 % at most of its neighbours among the ids; 50 % of the ceiling face down, 1 % of its neighbours.
_LIKE = {
    "floor": (
        lambda lie: (lie.row > 0.77, lie.row < 0.72),
        lambda lie: (lie.up > 0.7 and lie.row > 0.55, lie.up < 0.45),
    ),
    "ceiling": (
        lambda lie: (lie.row < 0.2, lie.row > 0.3),
        lambda lie: (lie.down > 0.35 and lie.row < 0.35, lie.down < 0.15),
    ),
}
