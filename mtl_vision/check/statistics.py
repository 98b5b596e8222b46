"""What is kept of the samples of a split, and how a test answers."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from mtl_vision.datasets.description import Description
from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.sentinel import Tail

Fix = Callable[[Description], Description]
Lines = dict[str, np.ndarray]  # outlines by the name of the map (outlines.py)


@dataclass(frozen=True)
class Verdict:
    """A test's answer. unknown: the samples do not show it. fix: changes the description so that the fault is gone."""

    state: Literal["ok", "fault", "unknown"]
    text: str = ""
    fix: Fix | None = None


OK, UNKNOWN = Verdict("ok"), Verdict("unknown")
fault = partial(Verdict, "fault")  # what was expected, what was found, what to do


def set_keys(target: str, **values: Any) -> Fix:
    """A fix that sets keys of a target's section in the description."""
    return lambda one: replace(one, **{target: replace(one.section(target), **values)})


@dataclass(frozen=True)
class Thumbnail:
    """A sample at most 160 pixels wide, for the tests that compare where things are.

    ids: (h, w) stored label values; derived: (h, w, 3) normals from its depth, with a guessed camera if none is given;
    borders: (2, k) mean brightness of the image's columns at full size, from its left and its right edge inward;
    width: of the image at full size, pixels.
    """

    sample: Sample
    ids: np.ndarray | None
    derived: np.ndarray | None
    borders: np.ndarray
    width: int


@dataclass
class SampleStatistics:
    """What is kept of one sample.

    problems: sentences, each naming a file. fingerprint: (12, 16) float32 grey image; digest: of the image's pixels.
    depth: some of its values, metres, as stored; farthest: of all; tail: the greatest as they are in the file. jumps:
    neighbours that a wrapped value would explain. labels: (256,) pixels by class; values: pixels by stored id. lengths:
    of some of the stored normals. lines: outlines on a grid in 8 bits. place: split, and index in the order of its
    names; look: reads the name and the outlines of the sample at another index; None where there is none.
    """

    stem: str
    problems: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    fingerprint: np.ndarray | None = None
    digest: bytes = b""
    depth: np.ndarray | None = None
    farthest: float = 0.0
    tail: Tail | None = None
    invalid_percent: float = 0.0
    jumps: int = 0
    labels: np.ndarray | None = None
    values: Counter[int] = field(default_factory=Counter)
    lengths: np.ndarray | None = None
    thumbnail: Thumbnail | None = None
    lines: Lines = field(default_factory=dict)
    place: tuple[str, int] | None = None
    look: Callable[[int], tuple[str, Lines] | None] | None = None


@dataclass(frozen=True)
class SplitStatistics:
    """The samples of a split, and how they were read. depth_bits: of depth files with integers."""

    description: Description
    samples: tuple[SampleStatistics, ...]
    depth_bits: int | None = None

    @property
    def thumbnails(self) -> list[Thumbnail]:
        return [sample.thumbnail for sample in self.samples if sample.thumbnail is not None]
