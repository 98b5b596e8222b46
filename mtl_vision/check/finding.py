"""What is found of two maps of the samples, and the sentence that says it."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mtl_vision.check.outlines import Pair

NAMED = 6  # samples
SINGULAR = {"image": "image", "depth": "depth", "normals": "normal map", "segmentation": "label map"}


@dataclass(frozen=True)
class Finding:
    """How two maps go together: own, others: mean correlation of a sample's own two, and of different samples'.

    offset: the second map of a sample is stored by that much further on, and so they correlate by `best`; moved: by
    the sample's name that of the sample with whose second map it agrees; example: a name, and that of its map.
    """

    kind: Literal["agree", "unrelated", "offset", "moved", "unknown"]
    own: float = 0.0
    others: float = 0.0
    count: int = 0
    best: float = 0.0
    offset: int = 0
    example: tuple[str, str] = ("", "")
    moved: Mapping[str, str] = field(default_factory=dict)


def sentence(pair: Pair, found: Finding, wrong: Sequence[str]) -> str:
    """What was found; in the singular, as of one map a sample."""
    a, b = (SINGULAR[name] for name in pair)
    own = (
        f"outlines of {a} and {b} correlate by {found.own:.2f} within a sample, by {found.others:.2f} between "
        "different ones"
    )
    forward = pair[1] in wrong
    theirs, right = (b, a) if forward else (a, b)
    if found.kind == "offset":
        first, last = found.example if forward else found.example[::-1]
        return (
            f"the {theirs} of {right} {first} is stored as {last}: off by {found.offset if forward else -found.offset} "
            f"in the order of the names ({own}, by {found.best:.2f} at that offset)"
        )
    if found.kind == "moved":
        pairs = found.moved if forward else {there: here for here, there in found.moved.items()}
        some = ", ".join(f"{here} as {there}" for here, there in itertools.islice(pairs.items(), NAMED))
        more = f" and {len(pairs) - NAMED} more" * (len(pairs) > NAMED)
        return (
            f"in {len(pairs)} of {found.count} samples the {theirs} is stored with another one: that of {some}{more} "
            f"({own}, by {found.best:.2f} when they are put back)"
        )
    return (
        f"the {theirs} fits the {right} of its own sample no better than that of others ({own}; {found.count} "
        "samples): every one is of another frame, turned, or cut differently"
    )
