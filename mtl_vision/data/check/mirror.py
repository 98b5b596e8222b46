"""Left and right: maps mirrored against each other, and whole sets that are mirrored.

Against each other: what has outlines in one map has some in the others, so outlines agree as the maps lie, and not
once one of them is mirrored. The whole set: the published NYUv2 pictures have a white frame that is wider on the right,
and the camera's principal point does not lie in the middle, so that exact normals fit the depth for one of both ways.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np

from mtl_vision.data.check.evidence import FINE, Close, Evidence, Verdict
from mtl_vision.data.normals import normals_from_depth

CLEAR = 0.2  # correlation straight less mirrored of one sample; 3960 sound ones were above -0.05, 0.4 in the mean
GOOD = 0.3  # correlation of outlines that do agree
LEAST = 80  # pixels of width from which that holds
NAMED = 10
MARGIN = 4  # pixels at the border that are not looked at: a frame is as good mirrored as not
FRAME = 14 / 640  # of a picture's width that is white, in NYUv2: 6 columns on the left, 8 on the right
NAMES = {"image": "pictures", "depth": "depth", "normals": "normals", "segmentation": "labels"}


# Maps against each other


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
        lines = {name: line for name, outline in OUTLINES.items() if (line := _standard(outline(one))) is not None}
        for a, b in itertools.combinations(lines, 2):
            found[a, b][row] = (lines[a] * lines[b]).mean(), (lines[a] * lines[b][:, ::-1]).mean()
    return found


def apart_in_some(evidence: Evidence) -> Verdict:
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


def _gradient(array: np.ndarray) -> np.ndarray:
    """Length of the gradient of (h, w) or (h, w, c) float32, over all channels."""
    return np.sqrt(
        sum(
            np.square(cv2.Sobel(channel, cv2.CV_32F, *step))
            for channel in cv2.split(array)
            for step in ((1, 0), (0, 1))
        )
    )


def _of_image(one: Close) -> np.ndarray | None:
    return _gradient(cv2.GaussianBlur(one.sample.image, (0, 0), 1).astype(np.float32))


def _of_depth(one: Close) -> np.ndarray | None:
    depth = one.sample.targets.get("depth")
    return None if depth is None else np.minimum(bends(depth), 0.3)


def _of_normals(one: Close) -> np.ndarray | None:
    normals = one.sample.targets.get("normals")
    return None if normals is None else np.minimum(_gradient(normals), 2)


def _of_labels(one: Close) -> np.ndarray | None:
    return None if one.ids is None else borders_of(one.ids).astype(np.float32)


def bends(depth: np.ndarray) -> np.ndarray:
    """Bends and jumps of depth (h, w): how far inverse depth is from a plane, relatively; next to holes it is 0."""
    known = depth > 0
    inverse = np.where(known, 1 / np.maximum(depth, 1e-3), 0).astype(np.float32)
    bend = np.abs(cv2.Laplacian(inverse, cv2.CV_32F, ksize=3)) / np.maximum(inverse, 1e-3)
    beside = cv2.dilate((~known).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    beside[[0, -1]] = beside[:, [0, -1]] = True  # at the border a plane looks bent
    return np.where(beside, 0, bend).astype(np.float32)


def borders_of(ids: np.ndarray) -> np.ndarray:
    """Pixels (h, w) bool with another id to their left or above."""
    edges = np.zeros(ids.shape, bool)
    edges[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    edges[1:] |= ids[1:] != ids[:-1]
    return edges


OUTLINES = {"image": _of_image, "depth": _of_depth, "normals": _of_normals, "segmentation": _of_labels}


def _standard(outline: np.ndarray | None) -> np.ndarray | None:
    """Blurred, without its border, of mean 0 and deviation 1; None where there are no outlines."""
    if outline is None or min(outline.shape) <= 4 * MARGIN:
        return None
    soft = np.sqrt(cv2.GaussianBlur(outline, (0, 0), 1)[MARGIN:-MARGIN, MARGIN:-MARGIN])
    spread = float(soft.std())
    return (soft - soft.mean()) / spread if spread > 1e-3 * float(soft.max()) and spread > 1e-6 else None


# The whole set


def whole(evidence: Evidence) -> Verdict:
    """Whether everything is mirrored: the white frame tells for NYUv2, else normals that fit the mirrored camera."""
    d = evidence.description
    fixed = Verdict("fault", fix=lambda one: replace(one, mirrored=not one.mirrored))
    todo = f"set `mirrored: {str(not d.mirrored).lower()}` in the description"
    if (frame := white_frame(evidence.close)) is not None:
        if frame < 0.5:
            return FINE
        return replace(
            fixed,
            text=f"the whole set is mirrored left to right: NYUv2's white frame is wider on the right, here "
            f"on the left; {todo}",
        )
    share = principal(evidence.close)
    if share is None:
        return Verdict(
            "open",
            "whether the whole set is mirrored: no white frame as NYUv2's, and no stored normals that tell on "
            "which side of the middle the camera's cx lies",
        )
    if share < 0.5:
        return FINE
    return replace(
        fixed,
        text="the whole set is mirrored left to right: the stored normals fit the depth with the camera's cx on the "
        f"other side of the middle; {todo}",
    )


def white_frame(ones: Sequence[Close]) -> float | None:
    """The share of NYUv2's white frame that stands on the left: 0.46 as published, 0.54 mirrored; None: no frame."""
    widths = {one.width for one in ones}
    if not ones or len(widths) > 1:
        return None
    profiles = np.stack([one.borders for one in ones])
    if np.percentile(profiles[:, :, 0], 10, axis=0).min() < 180:  # nearly every picture has it
        return None
    left, right = (_columns(side) for side in np.median(profiles, axis=0))
    share = left / (left + right)
    like_nyu = 0.65 < (left + right) / widths.pop() / FRAME < 1.5
    return share if like_nyu and 0.3 < share < 0.7 and abs(share - 0.5) > 0.015 else None


def _columns(profile: np.ndarray) -> float:
    """How many columns are white, from the border inward; one that is partly white counts in part."""
    inner = np.append(profile[1:], profile[-1])  # what stands behind a column stands in its dark part
    white = np.clip((profile - inner) / np.maximum(250 - inner, 1), 0, 1)
    full = int(np.argmax(np.append(profile, 0) < 235))
    return full + float(white[full]) if full < len(profile) else float(full)


def principal(ones: Sequence[Close], most: int = 40) -> float | None:
    """0: the stored normals fit the depth by the camera as described, 1: by its mirror image; None: not told.

    Of each pixel the deviation of the stored normal, in units of what mirroring cx changes; the median over pixels is
    free of edges and noise. None too where cx is in the middle, or the normals were derived by yet another camera.
    """
    shares = [share for one in ones[:: len(ones) // most + 1] if (share := _share(one)) is not None]
    if len(shares) < 2:
        return None
    middle = float(np.median(shares))
    spread = 1.25 * float(np.std(shares)) / len(shares) ** 0.5  # of a median
    return middle if abs(middle - 0.5) > max(0.25, 4 * spread) and -0.5 < middle < 1.5 else None


def _share(one: Close) -> float | None:
    camera, stored, given = one.sample.intrinsics, one.sample.targets.get("normals"), one.derived
    if camera is None or stored is None or given is None:
        return None
    width = one.sample.size[1]
    if abs(width - 1 - 2 * camera.cx) / camera.fx < 0.01:  # radians: by so little the normals would differ at most
        return None
    mirrored = normals_from_depth(one.sample.targets["depth"], camera.flipped(width))
    near = np.cos(np.radians(3))
    fits = ((stored * given).sum(-1) > near) & ((stored * mirrored).sum(-1) > near)
    change = (mirrored - given)[fits].astype(np.float64)
    weight = (change * change).sum(-1)
    if weight.sum() < 1e-6 * given[..., 0].size:  # a thousandth of a radian: all surfaces are frontal
        return None
    part = ((stored - given)[fits] * change).sum(-1) / np.maximum(weight, 1e-12)
    order = np.argsort(part)
    total = np.cumsum(weight[order])
    return float(part[order][np.searchsorted(total, total[-1] / 2)])
