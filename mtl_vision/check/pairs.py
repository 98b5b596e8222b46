"""Maps that belong to other images than those that they are stored with.

Outlines of two maps of one frame correlate, those of different frames do not: each map is compared with the other map
of its own sample, and with that of all other samples whose images look different.
"""

import itertools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.optimize import linear_sum_assignment

from mtl_vision.check.finding import Finding, sentence
from mtl_vision.check.outlines import GRID, NAMES, Pair, connected, listed, names_in
from mtl_vision.check.registered import alignment, pairs_of_outlines
from mtl_vision.check.statistics import OK, UNKNOWN, SampleStatistics, SplitStatistics, Verdict, fault

FEWEST = 4  # samples; of fewer nothing is known
SIMILAR = 0.6  # correlation of two pictures' outlines: of a video's neighbours, or one view; 0.35 among NYUv2's rooms
DIFFERENT = 8  # pairs of different frames, at least, that show how these correlate
SCATTER = 0.09  # of the correlation of different frames, in NYUv2; in small images it is greater
NOTHING = 0.1  # correlation beyond that of different frames; 0.40 in NYUv2, 0.22 where the depth is 9 % too large
GAIN = 0.22  # correlation that another sample's map must gain; without any fault 0.1 in NYUv2, 0.2 by its labels
GAIN_OF_ALL = 0.05  # the same, of all samples together: in a video the wrong neighbour agrees nearly as well
REACH = 20  # places by which the numbering may be off
LOOKED = 16  # samples whose neighbours are read for that
ORDER = ("offset", "moved", "unrelated")  # of what is bad, the clearest first
Place = tuple[str, int]  # split, and index in the order of its names


def wrong_pairs(split: SplitStatistics) -> Verdict:
    """Whether the maps of a sample are of one frame, else which are not, and whose they are."""
    samples = [one for one in split.samples if "image" in one.lines]
    if not samples:
        return UNKNOWN
    pictures = _stacked([one.lines["image"] for one in samples])
    different = pictures @ pictures.T < SIMILAR
    compared = ((pair, _compare(samples, different, pair)) for pair in itertools.combinations(NAMES, 2))
    findings = {pair: finding for pair, finding in compared if finding is not None}
    bad = {pair: one for pair, one in findings.items() if one.kind in ORDER}
    if not bad:
        names = names_in(findings)
        agreeing = connected(names, [pair for pair, one in findings.items() if one.kind == "agree"])
        rest = listed(name for name in names if name not in agreeing)
        text = f"whether the maps of {rest} are of the same frames as the others: their outlines do not show it"
        return Verdict("unknown", text) if rest else OK if findings else UNKNOWN
    pair, worst = min(bad.items(), key=lambda item: (ORDER.index(item[1].kind), "image" not in item[0], -item[1].best))
    aligned = alignment(pairs_of_outlines(split.thumbnails)[1])
    if aligned is not None and (worst.kind != "offset" or aligned.best > worst.best):
        return UNKNOWN  # they agree once they are registered
    wrong, reason = _wrong(findings)
    return fault(f"{sentence(pair, worst, wrong)}{reason}; pair the files again from their source")


def _compare(samples: Sequence[SampleStatistics], different: np.ndarray, pair: Pair) -> Finding | None:
    """How two maps go together; None where no sample has both. different: (n, n), whether two pictures are."""
    both = [i for i, one in enumerate(samples) if pair[0] in one.lines and pair[1] in one.lines]
    samples, different = [samples[i] for i in both], different[np.ix_(both, both)]
    if not samples:
        return None
    if len(samples) < FEWEST:
        return Finding("unknown")
    first, second = (_stacked([one.lines[name] for one in samples]) for name in pair)
    scores = first @ second.T
    if np.count_nonzero(different) < DIFFERENT:
        return Finding("unknown")
    others, scatter = _usual(scores[different])
    own = np.diag(scores)
    surplus, error = float(own.mean()) - others, max(float(own.std()), scatter) / len(own) ** 0.5
    known = float(own.mean()), others, len(samples)
    places = [one.place or ("", row) for row, one in enumerate(samples)]
    found = _offset(scores, own, places, places, [one.stem for one in samples], scatter)
    if found is None and surplus < 4 * error:
        found = _further(pair, samples, scatter)
    if found is not None:
        offset, best, i, stem = found
        return Finding("offset", *known, best, offset, (samples[i].stem, stem))
    if surplus < 4 * error:
        return Finding("unrelated" if surplus + 3 * error < NOTHING else "unknown", *known)
    moved = _exchanged(first, second, np.where(different, scores, -1), scatter)
    if not moved:
        return Finding("agree", *known)
    best = float(np.mean([scores[i, j] for i, j in moved.items()]))
    return Finding("moved", *known, best, moved={samples[i].stem: samples[j].stem for i, j in moved.items()})


def _usual(scores: np.ndarray) -> tuple[float, float]:
    """The correlation of maps of different frames, and its scatter; few that do belong together change neither."""
    middle = float(np.median(scores))
    return middle, max(1.48 * float(np.median(np.abs(scores - middle))), SCATTER)


def _stacked(lines: Sequence[np.ndarray]) -> np.ndarray:
    """(n, pixels) float32 of unit length."""
    flat = np.stack(lines).reshape(len(lines), -1).astype(np.float32)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def _offset(
    scores: np.ndarray,
    own: np.ndarray,
    rows: Sequence[Place],
    columns: Sequence[Place],
    stems: list[str],
    scatter: float,
) -> tuple[int, float, int, str] | None:
    """The offset at which the second maps (columns) agree clearly better than where they are stored.

    With it the mean correlation then, and a row with the name of its map.
    """
    at = {place: column for column, place in enumerate(columns)}
    best: tuple[int, float, int, str] | None = None
    surest = 5.0  # deviations, by the scatter of different frames
    for offset in (offset for offset in range(-REACH, REACH + 1) if offset):
        found = [(i, at[split, k + offset]) for i, (split, k) in enumerate(rows) if (split, k + offset) in at]
        if len(found) < 3:
            continue
        i, j = (list(side) for side in zip(*found, strict=True))
        gain, there = float((scores[i, j] - own[i]).mean()), float(scores[i, j].mean())
        sure = gain / scatter * (len(found) / 2) ** 0.5
        if min(gain, there) > GAIN_OF_ALL and sure > surest:
            best, surest = (offset, there, int(i[0]), str(stems[j[0]])), sure
    return best


def _further(pair: Pair, samples: Sequence[SampleStatistics], scatter: float) -> tuple[int, float, int, str] | None:
    """The same with samples that are read for it, the neighbours of a few."""
    some = sorted({round(i) for i in np.linspace(0, len(samples) - 1, min(len(samples), LOOKED))})
    columns = {one.place: (one.stem, one.lines) for one in samples if one.place is not None}
    wanted = {
        (one.place[0], one.place[1] + offset): one.look
        for one in (samples[i] for i in some)
        for offset in range(-REACH, REACH + 1)
        if one.place is not None and one.look is not None
    }
    todo = [(place, look) for place, look in wanted.items() if place not in columns]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        read = zip(todo, pool.map(lambda one: one[1](one[0][1]), todo), strict=True)
        columns |= {place: found for (place, _), found in read if found is not None}
    columns = {place: (stem, lines) for place, (stem, lines) in columns.items() if pair[1] in lines}
    if not todo or not columns:
        return None
    first = _stacked([samples[i].lines[pair[0]] for i in some])
    own = (first * _stacked([samples[i].lines[pair[1]] for i in some])).sum(axis=1)
    scores = first @ _stacked([lines[pair[1]] for _, lines in columns.values()]).T
    rows = [samples[i].place or ("", i) for i in some]
    found = _offset(scores, own, rows, list(columns), [stem for stem, _ in columns.values()], scatter)
    return None if found is None else (*found[:2], some[found[2]], found[3])


def _exchanged(first: np.ndarray, second: np.ndarray, scores: np.ndarray, scatter: float) -> dict[int, int]:
    """Where the second maps of some samples are stored, by sample: the assignment that fits best, if it gains enough.

    scores: -1 for frames that look the same. A map that is mirrored or turned is a sample's own.
    """
    turned = second.reshape(-1, *GRID)
    ways = (turned, turned[:, ::-1], turned[:, :, ::-1], turned[:, ::-1, ::-1])
    scores = scores.copy()
    np.fill_diagonal(scores, np.max([(first * way.reshape(second.shape)).sum(axis=1) for way in ways], axis=0) + GAIN)
    i, j = linear_sum_assignment(scores, maximize=True)
    i, j = i[i != j], j[i != j]
    if not len(i):
        return {}
    # what chance alone finds among as many: outlines that are upside down
    chance = first[i] @ turned[i, ::-1].reshape(len(i), -1).T
    by_chance = float(chance[linear_sum_assignment(chance, maximize=True)].mean())
    sure = float(scores[i, j].mean()) > by_chance + 3 * scatter / len(i) ** 0.5
    return dict(zip(i.tolist(), j.tolist(), strict=True)) if sure else {}


def _wrong(findings: Mapping[Pair, Finding]) -> tuple[list[str], str]:
    """The maps that are others', and how that is known: what contradicts the fewest findings, then the fewest maps."""
    names = names_in(findings)

    def cost(wrong: Sequence[str]) -> tuple[int, int]:
        apart = {pair: (pair[0] in wrong) != (pair[1] in wrong) for pair in findings}
        against = ((one.kind != "agree") != apart[pair] for pair, one in findings.items() if one.kind != "unknown")
        return sum(against), len(wrong)

    choices = [some for n in range(1, len(names)) for some in itertools.combinations(names, n)]
    best = min(choices, key=lambda some: (*cost(some), "image" in some))
    certain = [some for some in choices if cost(some) == cost(best)] == [best]
    others = listed(name for name in names if name not in best)
    if not certain:
        return list(best), f"; whether {listed(best)} or {others} are wrong is unknown"
    return list(best), f"; the other maps ({others}) agree" if len(names) - len(best) > 1 else ""
