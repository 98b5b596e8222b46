"""Reading the samples of a split once, each thing that can be read of them, and keeping what the tests need."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from mtl_vision.check.evidence import Close, Evidence, Look
from mtl_vision.check.labels import strangers
from mtl_vision.datasets.arrays import read_values
from mtl_vision.datasets.description import DataError, Description
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.normals import normals_from_depth
from mtl_vision.datasets.sample import Intrinsics, Sample
from mtl_vision.runtime.kinds import KINDS

CLOSE = 100  # samples of a split that are looked at closely
WIDTH = 160  # of a sample that is
THUMB = (12, 16)
WRAP = 65536  # what 16 bits lose
T = TypeVar("T")


@dataclass(frozen=True)
class Opened:
    """A split, and the same split with one target at a time, which still reads where another target's file is broken.

    Normals to be derived are none of its targets: they tell nothing that the depth does not.
    """

    whole: FolderDataset
    parts: tuple[FolderDataset, ...]


@dataclass(frozen=True)
class Reading:
    """What can be read of one sample. ids: stored labels; vectors: stored normals, neither mapped nor made unit."""

    stem: str
    sample: Sample | None
    ids: np.ndarray | None
    vectors: np.ndarray | None
    problems: tuple[str, ...]


def open_split(
    root: Path, split: str, description: Description, classes: str | None
) -> tuple[Opened | None, list[str]]:
    """The split with the targets that can be opened, and what is wrong with the others."""
    fmt = description.normals
    stored = replace(description, normals=None) if fmt is not None and fmt.derive else description
    names = stored.targets()
    problems: list[str] = []

    def with_targets(*kept: str) -> FolderDataset | None:
        shown = replace(stored, **{name: None for name in names if name not in kept})
        return _attempt(
            lambda: FolderDataset(root, split, shown, classes if "segmentation" in kept else None), problems
        )

    if (bare := with_targets()) is None:
        return None, problems
    parts = {name: part for name in names if (part := with_targets(name)) is not None}
    whole = with_targets(*parts)
    return Opened(whole or bare, tuple(parts.values()) or (bare,)), problems


def spread(count: int, most: int | None) -> list[int]:
    """At most `most` indices, evenly over 0..count - 1."""
    return sorted({round(i) for i in np.linspace(0, count - 1, count if most is None else min(count, most))})


def look_at(opened: Opened, most: int | None = None) -> Evidence:
    """Read up to `most` samples spread over the split; what can not be read is among the problems of its Look."""
    indices = spread(len(opened.whole), most)
    close = {indices[i] for i in spread(len(indices), CLOSE)}
    workers = min(os.cpu_count() or 1, 8)  # OpenCV and numpy leave Python's lock where the time goes

    def looks() -> Iterator[Look]:
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(lambda index: look(read(opened, index), opened.whole, index in close), indices)

    shown = tqdm(looks(), f"looking at {opened.whole.split}", len(indices), leave=False, disable=None)
    return Evidence(opened.whole.description, tuple(shown), _depth_bits(opened.whole))


def _depth_bits(dataset: FolderDataset) -> int | None:
    """Of the first file of depth that can be read."""
    fmt = dataset.description.depth
    for path in dataset.files.get("depth", {}).values():
        stored = _attempt(lambda path=path: read_values(path, fmt and fmt.key), [])
        if stored is not None:
            return 8 * stored.dtype.itemsize if stored.dtype.kind in "ui" else None
    return None


def read(opened: Opened, index: int) -> Reading:
    """Whatever can be read of a sample. Labels that are no class are no fault of the file: labels.py judges them."""
    problems: list[str] = []
    ids = _attempt(lambda: opened.whole.ids(index), problems)
    vectors = _attempt(lambda: opened.whole.vectors(index), problems)
    sample = _attempt(lambda: opened.whole[index], [])
    if sample is None:
        _attempt(lambda: opened.whole.depth(index), problems)  # which a broken picture would hide
        odd = ids is not None and strangers(Counter(np.unique(ids).tolist()), opened.whole.description)
        pieces: list[Sample] = []
        for part in opened.parts:
            found = [] if odd and "segmentation" in part.target_names else problems
            if (piece := _attempt(lambda part=part: part[index], found)) is not None:
                pieces.append(piece)
        if pieces:
            sample = replace(pieces[0], targets={k: v for piece in pieces for k, v in piece.targets.items()})
    return Reading(opened.whole.stems[index], sample, ids, vectors, tuple(problems))


def look(reading: Reading, dataset: FolderDataset, closely: bool = False) -> Look:
    """Keep of a sample what the tests need."""
    kept = Look(reading.stem, reading.problems)
    if reading.ids is not None:
        values, counts = np.unique(reading.ids, return_counts=True)
        kept = replace(kept, values=Counter(dict(zip(values.tolist(), counts.tolist(), strict=True))))
    if reading.vectors is not None:
        kept = replace(kept, lengths=_lengths(reading.vectors))
    sample = reading.sample
    if sample is None:
        return kept
    thumb = cv2.resize(
        cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY), THUMB[::-1], interpolation=cv2.INTER_AREA
    ).astype(np.float32)
    digest = hashlib.blake2b(np.ascontiguousarray(sample.image).tobytes(), digest_size=8).digest()
    kept = replace(kept, size=sample.size, thumb=thumb, digest=digest)
    if (depth := sample.targets.get("depth")) is not None:
        known = KINDS["scalar_map"].valid(depth)
        missing = 100 * float(1 - known.mean())
        kept = replace(
            kept, depth=_thin(depth[known]), invalid_percent=missing, jumps=_jumps(depth, dataset.description)
        )
    if (labels := sample.targets.get("segmentation")) is not None:
        kept = replace(kept, labels=np.bincount(labels.ravel(), minlength=256))
    return replace(kept, close=_closely(sample, reading.ids)) if closely else kept


def _attempt(action: Callable[[], T], problems: list[str]) -> T | None:
    """What the action gives, or None and one more problem."""
    try:
        return action()
    except DataError as error:
        if str(error) not in problems:
            problems.append(str(error))
        return None


def _thin(values: np.ndarray, count: int = 200) -> np.ndarray:
    """About `count` of the values; the odd step does not fall on the same columns in every row."""
    return values.ravel()[:: (values.size // count) | 1].copy()


def _lengths(vectors: np.ndarray) -> np.ndarray:
    """Some of the lengths of stored vectors; black and grey pixels are none, they stand for 'no normal'."""
    some = vectors.reshape(-1, 3)[:: (vectors.size // 3000) | 1]
    length = np.linalg.norm(some, axis=-1)
    black = (np.abs(some) > 0.98).all(axis=-1)
    return length[(length > 0.05) & ~black]


def _jumps(depth: np.ndarray, description: Description) -> int:
    """Pairs of neighbours nearly 65536 steps apart: one just below where 16 bits end, one next to the camera."""
    fmt = description.depth
    if fmt is None or fmt.wraps or fmt.full_scale is not None:
        return 0
    end = WRAP * abs(fmt.scale)
    if depth.max() > end + abs(fmt.offset):  # more than 16 bits hold
        return 0
    depth = np.where(depth < end - 1.5 * abs(fmt.scale), depth, 0)  # the last value marks what is beyond, or unknown
    pairs = ((depth[:, 1:], depth[:, :-1]), (depth[1:], depth[:-1]))
    return sum(int(np.count_nonzero((np.abs(a - b) > 0.95 * end) & (a > 0) & (b > 0))) for a, b in pairs)


def _closely(sample: Sample, ids: np.ndarray | None) -> Close:
    height, width = sample.size
    small = sample.resized((max(round(height * WIDTH / width), 1), WIDTH)) if width > WIDTH else sample
    derived = None
    if (depth := small.targets.get("depth")) is not None:
        h, w = small.size
        derived = normals_from_depth(depth, small.intrinsics or Intrinsics(w, w, (w - 1) / 2, (h - 1) / 2))
    if ids is not None:
        rows, columns = (((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(small.size, ids.shape, strict=True))
        ids = ids[np.ix_(rows, columns)]
    middle = sample.image[height // 8 : height - height // 8].min(axis=2).mean(axis=0)
    reach = max(width // 16, 4)
    return Close(small, ids, derived, np.stack([middle[:reach], middle[::-1][:reach]]), width)
