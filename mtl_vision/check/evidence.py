"""What the tests look at, and how they answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mtl_vision.datasets.description import Description
from mtl_vision.datasets.sample import Sample

Fix = Callable[[Description], Description]


@dataclass(frozen=True)
class Verdict:
    """A test's answer. open: nothing in the samples tells. fix: the description that mends it, where one does."""

    state: Literal["fine", "fault", "open"]
    text: str = ""
    fix: Fix | None = None


FINE = Verdict("fine")


@dataclass(frozen=True)
class Close:
    """A sample at 160 pixels of width at most, for the tests that look at where things are.

    ids: (h, w) stored label values; derived: (h, w, 3) normals from its depth, by a guessed camera if none is given;
    borders: (2, k) mean brightness of the picture's columns at full size, from its left and from its right edge inward.
    """

    sample: Sample
    ids: np.ndarray | None
    derived: np.ndarray | None
    borders: np.ndarray
    width: int


@dataclass(frozen=True)
class Look:
    """What is kept of one sample.

    problems: sentences, each naming a file. thumb: (12, 16) float32 grey; digest: of the picture's pixels. depth: some
    of its metres, invalid_percent of its pixels; jumps: neighbours that a wrapped value would explain. labels: (256,)
    pixels by class; values: pixels by stored id. lengths: some of the stored normals' lengths.
    """

    stem: str
    problems: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    thumb: np.ndarray | None = None
    digest: bytes = b""
    depth: np.ndarray | None = None
    invalid_percent: float = 0.0
    jumps: int = 0
    labels: np.ndarray | None = None
    values: Counter[int] = field(default_factory=Counter)
    lengths: np.ndarray | None = None
    close: Close | None = None


@dataclass(frozen=True)
class Evidence:
    """What is known of some samples, and how they were read. depth_bits: of the files of depth, if those are whole
    numbers.
    """

    description: Description
    looks: tuple[Look, ...]
    depth_bits: int | None = None

    @property
    def close(self) -> list[Close]:
        """The samples that were looked at closely."""
        return [look.close for look in self.looks if look.close is not None]


def pooled(parts: Iterable[Evidence]) -> Evidence:
    """The evidence of several splits as one."""
    parts = list(parts)
    return Evidence(parts[0].description, tuple(look for part in parts for look in part.looks), parts[0].depth_bits)
