"""Samples, maps and sets that are mirrored left to right.

Where one map has outlines, the others have some too: the outlines agree as stored, or once one map is mirrored. Of
whole sets, the published NYUv2 images have a white frame that is wider on the right, and the camera's principal point
is not in the middle, so that exact normals fit the depth one way only.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mtl_vision.check.outlines import NAMES, Pair, connected, correlations, listed, names_in
from mtl_vision.check.statistics import OK, UNKNOWN, SplitStatistics, Thumbnail, Verdict, fault
from mtl_vision.datasets.normals import normals_from_depth

CLEAR = 0.2  # correlation as stored less mirrored, of one sample; 3960 good ones were above -0.05, 0.4 in the mean
AGREES = 0.05  # mean correlation over the samples
GOOD = 0.3  # correlation of outlines that agree
MIN_WIDTH = 80  # pixels, from which that holds
FRAME = 14 / 640  # of an image's width that is white, in NYUv2: 6 columns on the left, 8 on the right
NAMED = 10  # samples
Signs = Mapping[Pair, int]  # by pair of maps; 1: as they should be, -1: mirrored, 0: unknown


def mirrored_maps(split: SplitStatistics) -> Verdict:
    """Whether some of the maps are mirrored against the others."""
    found = {pair: scores[~np.isnan(scores[:, 0])] for pair, scores in correlations(split.thumbnails).items()}
    scores = {pair: known for pair, known in found.items() if len(known)}
    # what agrees better mirrored has to agree: outlines that avoid each other do neither way
    agree = {pair: known.mean(axis=0).max() > AGREES for pair, known in scores.items()}
    signs = {pair: _sign(known[:, 0] - known[:, 1]) * agree[pair] for pair, known in scores.items()}
    names = names_in(signs)
    if not names:
        return UNKNOWN
    mirrored = _mirrored(names, signs)
    if not mirrored:
        known = connected(names, [pair for pair, sign in signs.items() if sign])
        rest = listed(name for name in names if name not in known)
        text = f"whether {NAMES[names[0]]} and {rest} are mirrored against each other: their outlines do not show it"
        return Verdict("unknown", text) if rest else OK
    others = [name for name in names if name not in mirrored]
    between = [(a, b) for a, b in scores if (a in mirrored) != (b in mirrored)]
    a, b = min(between, key=lambda pair: (scores[pair][:, 0] - scores[pair][:, 1]).mean())
    as_stored, flipped = np.mean(scores[a, b], axis=0)
    wrong, reason = _wrong(split, mirrored, others)
    return fault(
        f"{listed(mirrored)} mirrored left to right against {listed(others)} (outlines of {NAMES[a]} and {NAMES[b]} "
        f"correlate by {as_stored:.2f} as stored, by {flipped:.2f} with one of them mirrored); {reason}: mirror the "
        f"files of {wrong}",
    )


def mirrored_samples(split: SplitStatistics) -> Verdict:
    """Whether maps are mirrored against each other in some samples, and not in others."""
    thumbnails = [one for one in split.thumbnails if one.sample.size[1] >= MIN_WIDTH]
    if len(thumbnails) < 2:
        return UNKNOWN
    worst, found = ("", ""), np.zeros(0, int)
    for pair, scores in correlations(thumbnails).items():
        as_stored, mirrored = scores.T
        # beyond a sensor's range, one-sided outlines agree badly both ways: one of both ways has to be good
        groups = ((a - b > CLEAR) & (a > GOOD) for a, b in ((as_stored, mirrored), (mirrored, as_stored)))
        few, many = sorted(groups, key=np.count_nonzero)
        if many.any() and few.sum() > len(found):
            worst, found = pair, np.flatnonzero(few)
    if not len(found):
        return OK
    names = [thumbnails[i].sample.name for i in found]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return fault(
        f"{NAMES[worst[0]]} and {NAMES[worst[1]]} are mirrored left to right in {len(names)} of {len(thumbnails)} "
        f"samples, compared with the others: {', '.join(names[:NAMED])}{more}; see on the contact sheet which of both "
        "are right, and make the others again from their source"
    )


def _sign(difference: np.ndarray) -> int:
    """1: as they should be, -1: mirrored, 0: unknown. A single sample scatters by 0.13."""
    mean, scatter = float(difference.mean()), max(0.15, float(difference.std()))
    certain = abs(mean) > 0.05 + 3 * scatter / len(difference) ** 0.5
    return int(np.sign(mean)) if certain else 0


def _mirrored(names: Sequence[str], signs: Signs) -> list[str]:
    """The maps that are mirrored against the first: what contradicts the fewest pairs, then the fewest maps."""

    def cost(mirrored: tuple[str, ...]) -> tuple[int, int]:
        wrong = sum(sign * (1 if (a in mirrored) == (b in mirrored) else -1) < 0 for (a, b), sign in signs.items())
        return wrong, len(mirrored)

    choices = (some for n in range(len(names)) for some in itertools.combinations(names[1:], n))
    return list(min(choices, key=cost))


def _wrong(split: SplitStatistics, mirrored: list[str], others: list[str]) -> tuple[str, str]:
    """Which of both groups to mirror, and why. `others` holds the images, if there are any."""
    frame = white_frame(split.thumbnails)
    if frame is not None and "image" in others:
        wrong, right = (others, mirrored) if frame > 0.5 else (mirrored, others)
        return listed(wrong), f"the images' white frame shows that {listed(right)} are right"
    if len(mirrored) != len(others):
        return listed(min(mirrored, others, key=len)), "the smaller group is probably wrong"
    return f"either {listed(others)} or {listed(mirrored)}", "which of them is wrong is unknown"


def mirrored_set(split: SplitStatistics) -> Verdict:
    """Whether everything is mirrored: by NYUv2's white frame, else by normals that fit the mirrored camera."""
    if (share := white_frame(split.thumbnails)) is not None:
        found = "NYUv2's white frame is wider on the right, here on the left"
    elif (share := camera_side(split.thumbnails)) is not None:
        found = "the stored normals fit the depth with the camera's cx on the other side of the middle"
    else:
        missing = "no white frame as in NYUv2, and no stored normals that show on which side the camera's cx is"
        return Verdict("unknown", f"whether the whole set is mirrored: {missing}")
    if share < 0.5:
        return OK
    todo = f"set `mirrored: {str(not split.description.mirrored).lower()}` in the description"
    return fault(
        f"the whole set is mirrored left to right: {found}; {todo}", lambda one: replace(one, mirrored=not one.mirrored)
    )


def white_frame(ones: Sequence[Thumbnail]) -> float | None:
    """The share of NYUv2's white frame that is on the left: 0.46 as published, 0.54 mirrored; None: no frame."""
    widths = {one.width for one in ones}
    if not ones or len(widths) > 1:
        return None
    profiles = np.stack([one.borders for one in ones])
    if np.percentile(profiles[:, :, 0], 10, axis=0).min() < 180:  # nearly every image has it
        return None
    left, right = (_columns(side) for side in np.median(profiles, axis=0))
    share = left / (left + right)
    like_nyu = 0.65 < (left + right) / widths.pop() / FRAME < 1.5
    return share if like_nyu and 0.3 < share < 0.7 and abs(share - 0.5) > 0.015 else None


def _columns(profile: np.ndarray) -> float:
    """How many columns are white, from the border inward; one that is partly white counts in part."""
    inner = np.append(profile[1:], profile[-1])  # the next column shows what the dark part of this one would be
    white = np.clip((profile - inner) / np.maximum(250 - inner, 1), 0, 1)
    full = int(np.argmax(np.append(profile, 0) < 235))
    return full + float(white[full]) if full < len(profile) else float(full)


def camera_side(ones: Sequence[Thumbnail], most: int = 40) -> float | None:
    """0: the stored normals fit the depth by the camera as described, 1: by its mirror image; None: unknown.

    Of each pixel the deviation of the stored normal, in units of what mirroring cx changes; the median over pixels is
    free of edges and noise. None too where cx is in the middle, or the normals were derived by yet another camera.
    """
    shares = [share for one in ones[:: len(ones) // most + 1] if (share := _share(one)) is not None]
    if len(shares) < 2:
        return None
    middle = float(np.median(shares))
    spread = 1.25 * float(np.std(shares)) / len(shares) ** 0.5  # of a median
    return middle if abs(middle - 0.5) > max(0.25, 4 * spread) and -0.5 < middle < 1.5 else None


def _share(one: Thumbnail) -> float | None:
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
