"""Splits that overlap: pictures that stand in two of them, as they are, stored anew, or mirrored."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mtl_vision.check.evidence import Evidence, Look

SAME = 5.0  # grey levels (RMS of the thumbs): 2 for a picture stored anew, 16 for the most alike of NYUv2
FLAT = 5.0  # deviation of a thumb that shows too little to tell it from another
CHUNK = 2000
NAMED = 5


def shared(splits: Mapping[str, Evidence]) -> list[str]:
    """A sentence for every two splits that share pictures."""
    said = []
    for a, b in itertools.combinations(splits, 2):
        pairs = [f"{a}/{x} = {b}/{y}{how}" for x, y, how in _pairs(splits[a].looks, splits[b].looks)]
        if pairs:
            more = f" and {len(pairs) - NAMED} more" if len(pairs) > NAMED else ""
            said.append(
                f"{a} and {b} share {len(pairs)} picture{'s' * (len(pairs) > 1)}: {', '.join(pairs[:NAMED])}{more}; "
                "remove them from one of both, or figures on it say too much"
            )
    return said


def _pairs(ones: Sequence[Look], others: Sequence[Look]) -> Iterator[tuple[str, str, str]]:
    """Samples of equal pictures, and how they differ."""
    ones, others = ([look for look in looks if look.thumb is not None] for looks in (ones, others))
    if not ones or not others:
        return
    by_digest = {look.digest: look for look in others}
    theirs = np.stack([look.thumb for look in others])  # type: ignore[misc]
    for start in range(0, len(ones), CHUNK):
        part = ones[start : start + CHUNK]
        ours = np.stack([look.thumb for look in part])  # type: ignore[misc]
        near = [_alike(ours, theirs), _alike(ours, theirs[:, :, ::-1])]
        for i, look in enumerate(part):
            if (twin := by_digest.get(look.digest)) is not None:
                yield look.stem, twin.stem, ""
            elif near[0][i] >= 0:
                yield look.stem, others[near[0][i]].stem, " (stored anew)"
            elif near[1][i] >= 0:
                yield look.stem, others[near[1][i]].stem, " (mirrored)"


def _alike(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """For each of (n, h, w) thumbs the index of the nearest other, -1 where none is alike."""
    a, b = ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1)
    square = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * (a @ b.T)
    nearest = square.argmin(axis=1)
    distance = np.sqrt(np.maximum(square[np.arange(len(a)), nearest], 0) / a.shape[1])
    return np.where((distance < np.minimum(SAME, a.std(axis=1) / 4)) & (a.std(axis=1) > FLAT), nearest, -1)


def shared_scenes(scenes: Mapping[str, set[str]]) -> dict[str, int]:
    """How many scenes every two splits share; no fault: some sets are split that way."""
    return {
        f"{a}/{b}": len(scenes[a] & scenes[b]) for a, b in itertools.combinations(scenes, 2) if scenes[a] and scenes[b]
    }
