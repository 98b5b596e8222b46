"""Depth of which a part is in another unit or has other bits: each map's median against that of the others.

Rooms differ less than units do: in the 1449 frames of NYUv2 no map's median is more than 3 times off that of all.
"""

from collections.abc import Sequence

import numpy as np

from mtl_vision.check.statistics import OK, UNKNOWN, SampleStatistics, SplitStatistics, Verdict, fault

FEWEST = 4  # samples; fewer may be a close view and a hall
OFF_BY_TYPE = 5.0  # times, of the files of one type; millimetres and 8 bits are off by 25 to 1000
OFF = 8.0  # times, of some files whatever their type
FEW = 0.02  # of the samples, and one, which may be close views or open doors
NAMED = 5  # samples
EIGHT_BITS = "whole numbers up to 255"


def mixed(split: SplitStatistics) -> Verdict:
    """Whether all maps are in one unit: none of another type, nor some among them, have medians of their own."""
    known = [sample for sample in split.samples if sample.depth is not None and sample.depth.size]
    if len(known) < FEWEST:
        return UNKNOWN
    medians = np.array([np.median(sample.depth) for sample in known])  # type: ignore[arg-type]
    types = np.array([_type(sample) for sample in known])
    apart = (_of_type(medians, types, name) for name in sorted(set(types), key=list(types).count))
    wrong = next((found for found in apart if found is not None), None)
    if wrong is None:
        far = _times(medians, float(np.median(medians))) > OFF
        wrong = far if np.count_nonzero(far) > max(FEW * len(known), 1) else None
    if wrong is None:
        return OK
    fmt = split.description.depth
    eight = EIGHT_BITS in types[wrong] and fmt is not None and fmt.full_scale is None
    todo = "store all in one unit" + ", or give `depth.scale8`, metres a step of those of 8 bits" * eight
    names = _some([sample.stem for sample, bad in zip(known, wrong, strict=True) if bad])
    return fault(
        f"{np.count_nonzero(wrong)} of {len(known)} maps of depth ({names}) have another unit than the others: "
        f"their median is {np.median(medians[wrong]):.3g} m ({_listed(types[wrong])}), that of the others "
        f"{np.median(medians[~wrong]):.3g} m ({_listed(types[~wrong])}); {todo}"
    )


def _of_type(medians: np.ndarray, types: np.ndarray, name: str) -> np.ndarray | None:
    """Which maps are of this type, where their depth is far from that of the others."""
    these = types == name
    if these.all() or _times(np.median(medians[these]), float(np.median(medians[~these]))) <= OFF_BY_TYPE:
        return None
    return these


def _times(values: np.ndarray, usual: float) -> np.ndarray:
    """By what factor above 0, either way."""
    return np.maximum(values / usual, usual / values)


def _type(sample: SampleStatistics) -> str:
    limit = sample.tail.limit if sample.tail else None
    return "floats" if limit is None else f"whole numbers up to {limit}"


def _listed(types: np.ndarray) -> str:
    return " and ".join(sorted(set(types)))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + f" and {len(names) - NAMED} more" * (len(names) > NAMED)
