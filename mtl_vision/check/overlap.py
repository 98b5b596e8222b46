"""Splits that overlap: images that are in two of them, as they are, encoded again, or mirrored."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mtl_vision.check.statistics import SampleStatistics, SplitStatistics

SAME = 5.0  # grey levels (RMS over fingerprints): 2 for an image encoded again, 16 for the most alike of NYUv2
FLAT = 5.0  # deviation of a fingerprint that shows too little to distinguish it from another
CHUNK = 2000
NAMED = 5


def shared(splits: Mapping[str, SplitStatistics]) -> list[str]:
    """A sentence for every two splits that share images."""
    faults = []
    for a, b in itertools.combinations(splits, 2):
        pairs = [f"{a}/{x} = {b}/{y}" for x, y in _pairs(splits[a].samples, splits[b].samples)]
        if pairs:
            more = f" and {len(pairs) - NAMED} more" if len(pairs) > NAMED else ""
            faults.append(
                f"{a} and {b} share {len(pairs)} image{'s' * (len(pairs) > 1)}: {', '.join(pairs[:NAMED])}{more}; "
                "remove them from one of both, or its metrics come out too good"
            )
    return faults


def _pairs(*samples: Sequence[SampleStatistics]) -> Iterator[tuple[str, str]]:
    """The names of samples of both splits with the same image, and how they differ."""
    ours, theirs = ([(one, one.fingerprint) for one in part if one.fingerprint is not None] for part in samples)
    if not ours or not theirs:
        return
    by_digest = {one.digest: one.stem for one, _ in theirs}
    others = np.stack([fingerprint for _, fingerprint in theirs])
    for start in range(0, len(ours), CHUNK):
        part = ours[start : start + CHUNK]
        prints = np.stack([fingerprint for _, fingerprint in part])
        nearest = zip(_nearest(prints, others), _nearest(prints, others[:, :, ::-1]), strict=True)
        for (one, _), (same, mirrored) in zip(part, nearest, strict=True):
            if one.digest in by_digest:
                yield one.stem, by_digest[one.digest]
            elif same >= 0:
                yield one.stem, f"{theirs[same][0].stem} (encoded again)"
            elif mirrored >= 0:
                yield one.stem, f"{theirs[mirrored][0].stem} (mirrored)"


def _nearest(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """For each of (n, h, w) fingerprints the index of the nearest other, -1 where none is the same."""
    a, b = ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1)
    square = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * (a @ b.T)
    nearest = square.argmin(axis=1)
    distance = np.sqrt(np.maximum(square[np.arange(len(a)), nearest], 0) / a.shape[1])
    return np.where((distance < np.minimum(SAME, a.std(axis=1) / 4)) & (a.std(axis=1) > FLAT), nearest, -1)
