"""Labels: ids that are no class, and ids that are off by one.

That shows in where the pixels of an id are: a floor faces up and is low in the image, a ceiling faces down and is high.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mtl_vision.check.statistics import OK, UNKNOWN, SplitStatistics, Thumbnail, Verdict, fault, set_keys
from mtl_vision.datasets.description import LabelFiles
from mtl_vision.runtime.kinds import IGNORE

MIN_PIXELS = 200  # at 160 of width, from which the placement of an id is known
FEW = 4  # samples with labels; fewer may all show one class
LARGE = 0.08  # of all pixels; an absent floor is no sign, unless another id is one and as large as this


class Placement(NamedTuple):
    """Where the pixels of an id are. share: of all pixels; up, down: share of its own; row: mean, 0 (top) to 1."""

    share: float
    up: float
    down: float
    row: float


# Surely of that class, surely not: by the row only, and with normals. In NYUv2 90 % of the floor face up, at most 25 %
# of its neighbours among the ids; 50 % of the ceiling face down, 1 % of its neighbours.
_IS = {
    "floor": (lambda p: (p.row > 0.77, p.row < 0.72), lambda p: (p.up > 0.7 and p.row > 0.55, p.up < 0.45)),
    "ceiling": (lambda p: (p.row < 0.2, p.row > 0.3), lambda p: (p.down > 0.35 and p.row < 0.35, p.down < 0.15)),
}


def unknown_ids(values: Iterable[int], fmt: LabelFiles) -> list[int]:
    """The stored ids that are neither a class nor void."""
    return [value for value in _outside(values, fmt, fmt.first) if value != fmt.void]


def _outside(values: Iterable[int], fmt: LabelFiles, first: int) -> list[int]:
    """The ids that are no class if `first` is the first one."""
    return sorted(value for value in values if not first <= value < first + len(fmt.class_set().names))


def ids(split: SplitStatistics) -> Verdict:
    """Whether the stored ids are the classes that the description takes them for."""
    fmt = split.description.segmentation
    values = sum((sample.values for sample in split.samples), Counter())
    if fmt is None or not values:
        return UNKNOWN
    if set(values) <= {fmt.void}:
        return fault("no pixel has a label: check segmentation.first and .void in the description")
    unknown = unknown_ids(values, fmt)
    shift, seen = _offset(split.thumbnails, fmt)
    if shift is None and not unknown:
        return Verdict("unknown", "whether the labels are off by one: no floor or ceiling is seen clearly enough")
    if shift == 0 and not unknown:
        return OK
    first = _likely(values, unknown, fmt) if shift is None else fmt.first + shift
    void = _void(values, fmt, first)
    text = _found_and_expected(values, fmt) + seen
    if void is None or first < 0 or (first, void) == (fmt.first, fmt.void):
        return fault(f"{text}; correct segmentation.first, .void or .classes in the description")
    todo = "most likely" if shift is None else "set"
    text += f"; {todo} `segmentation.first: {first}` and `segmentation.void: {void}`"
    return fault(text, None if shift is None else set_keys("segmentation", first=first, void=void))


def one_class(splits: Mapping[str, SplitStatistics]) -> str | None:
    """A sentence where void is most likely a class: of several classes one occurs in all the splits, beside void."""
    samples = [sample.values for split in splits.values() for sample in split.samples if sample.values]
    fmt = next((split.description.segmentation for split in splits.values()), None)
    values = set().union(*samples)
    if fmt is None or len(samples) < FEW or len(values) != 2 or fmt.void not in values or unknown_ids(values, fmt):
        return None
    names, (only,) = fmt.class_set().names, values - {fmt.void}
    unused = [value for value in range(fmt.first, fmt.first + len(names)) if value not in values]
    if not unused:
        return None
    return (
        f"of {len(names)} classes only '{names[only - fmt.first]}' occurs: the labels have ids {only} and {fmt.void}, "
        f"and {fmt.void} is read as void; where it is a class, store its pixels as {unused[0]}, where it is not, name "
        "the one class alone in segmentation.classes"
    )


def _void(values: Iterable[int], fmt: LabelFiles, first: int) -> int | None:
    """The void id that explains all that is no class then; None if one id is not enough."""
    if outside := _outside(values, fmt, first):
        return outside[0] if len(outside) == 1 else None
    return next(void for void in (fmt.void, IGNORE, -1) if void < 0 or _outside([void], fmt, first))


def _likely(values: Collection[int], unknown: Sequence[int], fmt: LabelFiles) -> int:
    """The first id to propose where the images do not show it: one id too many, and id 0 in use, is a void at 0."""
    first = fmt.first
    if unknown == [first + len(fmt.class_set().names)] and first in values:
        return first + 1
    return next((other for other in (first, first - 1, first + 1) if _void(values, fmt, other) is not None), first)


def _found_and_expected(values: Collection[int], fmt: LabelFiles) -> str:
    classes, count = sorted(set(values) - {IGNORE}), len(fmt.class_set().names)
    parts = ([f"{classes[0]}..{classes[-1]}"] if classes else []) + [str(IGNORE)] * (IGNORE in values)
    void = f", {fmt.void} for void" if fmt.void >= 0 else ""
    expected = f"{fmt.first}..{fmt.first + count - 1} for {count} classes{void}"
    return f"found ids {' and '.join(parts)} ({len(set(values))} ids) as labels, expected {expected}"


def _offset(thumbnails: Sequence[Thumbnail], fmt: LabelFiles) -> tuple[int | None, str]:
    """By how much the ids are off, -1, 0 or 1, and how that shows; None: unknown."""
    names = [name.casefold() for name in fmt.class_set().names]
    known = {name: fmt.first + names.index(name) for name in _IS if name in names}
    places, with_normals = _placements(thumbnails)
    votes = {
        shift: sum(_vote(name, places.get(value + shift), with_normals) for name, value in known.items())
        for shift in (0, -1, 1)
    }
    needed = 1 if with_normals else 2  # the row is weaker than the normals
    if votes[0] >= needed:
        return 0, ""
    missing = "floor" in known and known["floor"] not in places
    for shift in (-1, 1):
        floor = places.get(known.get("floor", -2) + shift)
        instead = missing and floor is not None and floor.share > LARGE
        if votes[shift] >= needed and (votes[0] <= -needed or instead):
            how = "faces up and is low" if with_normals else "is low"
            where = "higher" if shift > 0 else "lower"
            return shift, f", and they are off by one: what {how}, as a floor, has an id one {where} than 'floor'"
    return None, ""


def _vote(name: str, place: Placement | None, with_normals: bool) -> int:
    """1: placed as a class of that name, -1: not, 0: unsure."""
    yes, no = _IS[name][with_normals](place) if place else (False, False)
    return 1 if yes else -1 if no else 0


def _placements(thumbnails: Sequence[Thumbnail]) -> tuple[Mapping[int, Placement], bool]:
    """The placement of each id, and whether there were normals to show up and down."""
    total: dict[int, np.ndarray] = {}
    with_normals = False
    for one in thumbnails:
        if one.ids is None:
            continue
        normals = one.derived if one.derived is not None else one.sample.targets.get("normals")
        if normals is not None and normals.shape[:2] != one.ids.shape:
            continue
        with_normals |= normals is not None
        y = np.zeros(one.ids.shape) if normals is None else normals[..., 1]
        rows = np.broadcast_to(np.linspace(0, 1, one.ids.shape[0])[:, None], one.ids.shape)
        features = np.stack([np.ones(one.ids.shape), y < -0.7, y > 0.6, rows], axis=-1)
        for value in np.unique(one.ids).tolist():
            total[value] = total.get(value, np.zeros(4)) + features[one.ids == value].sum(axis=0)
    pixels = sum(float(sums[0]) for sums in total.values())
    known = {value: sums for value, sums in total.items() if sums[0] >= MIN_PIXELS}
    return {value: Placement(sums[0] / pixels, *(sums[1:] / sums[0])) for value, sums in known.items()}, with_normals
