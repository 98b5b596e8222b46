"""Left and right: maps that are mirrored against each other, in a whole set or in some of its samples.

What has outlines in one map has some in the others, so outlines agree as the maps lie, and not once one is mirrored.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from mtl_vision.check.evidence import FINE, Close, Evidence, Verdict
from mtl_vision.check.mirror import white_frame
from mtl_vision.check.outlines import OUTLINES, outlines

CLEAR = 0.2  # correlation straight less mirrored of one sample; 3960 sound ones were above -0.05, 0.4 in the mean
GOOD = 0.3  # correlation of outlines that do agree
LEAST = 80  # pixels of width from which that holds
NAMED = 10
NAMES = {"image": "pictures", "depth": "depth", "normals": "normals", "segmentation": "labels"}


def apart(evidence: Evidence) -> Verdict:
    """Whether some of the maps are mirrored against the others."""
    scores = _scores(evidence.close)
    told = {pair: _sign(ones) for pair, ones in scores.items()}
    names = sorted({name for pair in told for name in pair}, key=list(NAMES).index)
    if not names:
        return Verdict("open")
    turned = _mirrored_against(names, told)
    if not turned:
        alone = _say([name for name in names if name not in _bound(names, told)])
        loose = f"whether {NAMES[names[0]]} and {alone} lie the same way round: their outlines do not tell"
        return Verdict("open", loose) if alone else FINE
    others = [name for name in names if name not in turned]
    pair = min(
        ((a, b) for a, b in scores if (a in turned) != (b in turned)), key=lambda pair: _difference(scores[pair])
    )
    straight, flipped = np.mean(scores[pair], axis=0)
    culprits, why = _culprits(evidence, turned, others)
    return Verdict(
        "fault",
        f"mirrored left to right against each other: {_say(others)} on the one hand, {_say(turned)} on the other "
        f"(outlines of "
        f"{NAMES[pair[0]]} and {NAMES[pair[1]]} correlate by {straight:.2f} as they lie, by {flipped:.2f} with one of "
        f"them mirrored): {why}; mirror the files of {culprits}",
    )


def _scores(ones: Sequence[Close]) -> dict[tuple[str, str], np.ndarray]:
    """For each pair of maps (n, 2): correlation of outlines as the maps lie, and with one of them mirrored."""
    known = {pair: scores[~np.isnan(scores[:, 0])] for pair, scores in _scores_of_all(ones).items()}
    return {pair: scores for pair, scores in known.items() if len(scores)}


def _scores_of_all(ones: Sequence[Close]) -> dict[tuple[str, str], np.ndarray]:
    """The same with a row for every sample, NaN where it does not have both."""
    found = {pair: np.full((len(ones), 2), np.nan) for pair in itertools.combinations(OUTLINES, 2)}
    for row, one in enumerate(ones):
        lines = outlines(one)
        for a, b in itertools.combinations(lines, 2):
            found[a, b][row] = (lines[a] * lines[b]).mean(), (lines[a] * lines[b][:, ::-1]).mean()
    return found


def in_some(evidence: Evidence) -> Verdict:
    """Whether maps are mirrored against each other in some samples, and lie right in others."""
    ones = [one for one in evidence.close if one.sample.size[1] >= LEAST]
    names = [one.sample.name for one in ones]
    worst: tuple[str, str] | None = None
    lying: list[str] = []
    for pair, scores in _scores_of_all(ones).items():
        straight, mirrored = scores.T
        # where a sensor sees no further, one-sided outlines agree badly both ways: one of both ways has to be good
        lies = (straight - mirrored > CLEAR) & (straight > GOOD), (mirrored - straight > CLEAR) & (mirrored > GOOD)
        few, many = sorted(lies, key=np.count_nonzero)
        if few.any() and many.any() and few.sum() > len(lying):
            worst, lying = pair, [names[i] for i in np.flatnonzero(few)]
    if worst is None:
        return FINE if len(names) > 1 else Verdict("open")
    more = f" and {len(lying) - NAMED} more" if len(lying) > NAMED else ""
    return Verdict(
        "fault",
        f"in {len(lying)} of the {len(names)} samples that were looked at closely {NAMES[worst[0]]} and "
        f"{NAMES[worst[1]]} lie the other way round than in the others, mirrored left to right: "
        f"{', '.join(lying[:NAMED])}{more}; see on the contact sheet which of both are right, and make the others anew "
        "from their source",
    )


def _difference(scores: np.ndarray) -> float:
    return float((scores[:, 0] - scores[:, 1]).mean())


def _sign(scores: np.ndarray) -> int:
    """1: as they should lie, -1: mirrored, 0: not told. A single sample scatters by 0.13."""
    mean, scatter = _difference(scores), max(0.15, float((scores[:, 0] - scores[:, 1]).std()))
    certain = abs(mean) > 0.05 + 3 * scatter / len(scores) ** 0.5
    return int(np.sign(mean)) if certain else 0


def _bound(names: Sequence[str], told: Mapping[tuple[str, str], int]) -> set[str]:
    """The maps that pairs which tell connect with the first."""
    bound = {names[0]}
    for _ in names:
        bound |= {name for pair, sign in told.items() if sign and bound & set(pair) for name in pair}
    return bound


def _mirrored_against(names: Sequence[str], told: Mapping[tuple[str, str], int]) -> list[str]:
    """The maps that lie the other way round than the first: what contradicts the fewest pairs, then the fewest maps."""

    def cost(turned: tuple[str, ...]) -> tuple[int, int]:
        wrong = sum(sign * (1 if (a in turned) == (b in turned) else -1) < 0 for (a, b), sign in told.items())
        return wrong, len(turned)

    choices = (some for n in range(len(names)) for some in itertools.combinations(names[1:], n))
    return list(min(choices, key=cost))


def _culprits(evidence: Evidence, turned: list[str], others: list[str]) -> tuple[str, str]:
    """Which of both groups to mirror, and why. `others` holds the pictures, if there are any."""
    frame = white_frame(evidence.close)
    if frame is not None and "image" in others:
        wrong, right = (others, turned) if frame > 0.5 else (turned, others)
        return _say(wrong), f"the pictures' white frame tells that {_say(right)} lie right"
    if len(turned) != len(others):
        return _say(min(turned, others, key=len)), "most likely the fewer are wrong"
    return f"either {_say(others)} or {_say(turned)}", "which of them is wrong is not told"


def _say(names: Sequence[str]) -> str:
    return " and ".join(NAMES[name] for name in names)
