"""Colour and depth that are not registered: the maps are another camera's view, or were cut or scaled differently.

Depth's outlines are scaled about the image's centre and shifted, and the correlation with the image's outlines is
averaged over many samples. Of a registered set it is greatest where nothing is changed.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from scipy import fft, optimize

from mtl_vision.check.outlines import outlines
from mtl_vision.check.statistics import OK, UNKNOWN, SplitStatistics, Thumbnail, Verdict, fault

FARTHEST = 0.25  # of the logarithm of a scale
SCALES = np.exp(np.linspace(-0.225, 0.225, 25))  # 0.80 to 1.25
REACH = 0.06  # of the width: the greatest shift
FEWEST = 4  # samples
SCALE, SHIFT = 0.02, 0.01  # from which it is a fault; of the width. Half a pixel of a map made smaller is less
SIGMAS = 4.0  # of the mean gain over the samples; at most 2.0 in random parts of NYUv2
SCATTER = 0.03  # of one sample's gain, at least
GAIN = 1.03  # of the correlation; a map scaled by 0.97 gains by a factor of 1.07
CLEAR_OF_ONE = 0.5  # the same of a single sample; chance finds 0.25 among four
CLEAR = 0.1  # correlation at the best place; 0.42 in NYUv2
Pairs = list[tuple[np.ndarray, np.ndarray]]  # outlines of images and of depth, (h, w) each
NONE = (1.0, 1.0, 0.0, 0.0)


class Alignment(NamedTuple):
    """What has to be done to the depth maps: scaled about the centre by x, y, moved by right, down (of the width).

    best, none: mean correlation of the outlines then, and as stored.
    """

    x: float
    y: float
    right: float
    down: float
    best: float
    none: float


def registration(split: SplitStatistics) -> Verdict:
    """Whether the depth maps (without them, the normals) are seen from where the images are, and at their scale."""
    name, lines = pairs_of_outlines(split.thumbnails)
    if len(lines) < FEWEST:
        return UNKNOWN
    found = alignment(lines)
    if found is None:
        return OK if _known(_scores(lines, NONE)) else UNKNOWN
    width = max(one.width for one in split.thumbnails)
    scale = f"{found.x:.2f}" if abs(found.x / found.y - 1) < 0.02 else f"{found.x:.2f} across and {found.y:.2f} down"
    return fault(
        f"{name} and images are not registered: their outlines correlate by {found.none:.2f} as stored, and by "
        f"{found.best:.2f} with {name} scaled by {scale} about the centre and moved by {found.right * width:+.0f} "
        f"pixels to the right and {found.down * width:+.0f} down ({len(lines)} samples; images {width} wide); export "
        "the maps again, registered to the colour camera and cut and scaled like the images (or, where a moving camera "
        "took them, with the depth of the same moment)"
    )


def alignment(lines: Pairs) -> Alignment | None:
    """How the maps have to be scaled and shifted to fit the images; None: not at all, or it is unknown."""
    if len(lines) < FEWEST:
        return None
    found = _coarse(lines)
    if found == NONE:
        return None
    found = _fine(lines, found)
    if max(abs(np.log(found[0])), abs(np.log(found[1]))) < SCALE and max(map(abs, found[2:])) < SHIFT:
        return None
    none, best = _scores(lines, NONE), _scores(lines, found)
    half = len(lines) // 2
    others = [(image, depth) for (image, _), (_, depth) in zip(lines, lines[half:] + lines[:half], strict=True)]
    common = (_scores(others, found) - _scores(others, NONE)).mean()  # what all have at one place, a frame or a grid
    gain = best - none - common
    sure = gain.mean() > SIGMAS * max(float(gain.std()), SCATTER) / len(lines) ** 0.5
    scale, shift = max(abs(np.log(found[0])), abs(np.log(found[1]))), max(map(abs, found[2:]))
    if not sure or scale > FARTHEST or shift > REACH + SHIFT:  # beyond what was looked through: chance
        return None
    if best.mean() < max(CLEAR, CLEAR_OF_ONE / len(lines) ** 0.5, GAIN * none.mean()):
        return None
    return Alignment(*found, float(best.mean()), float(none.mean()))


def _known(scores: np.ndarray) -> bool:
    return bool(scores.mean() > max(CLEAR, SIGMAS * scores.std() / len(scores) ** 0.5))


def pairs_of_outlines(thumbnails: Sequence[Thumbnail]) -> tuple[str, Pairs]:
    """Those of the images and of depth, or of normals where no depth has outlines; with the name of these maps.

    They are of the samples that have both, of the size that most have.
    """
    found = [outlines(one.sample, None) for one in thumbnails]
    name = "depth" if any("depth" in lines for lines in found) else "normals"
    pairs = [(lines["image"], lines[name]) for lines in found if "image" in lines and name in lines]
    sizes = Counter(image.shape for image, _ in pairs)
    return name, [pair for pair in pairs if pair[0].shape == sizes.most_common(1)[0][0]]


def _coarse(lines: Pairs) -> tuple[float, float, float, float]:
    """The best of SCALES and of all whole shifts: a correlation by Fourier transforms for each scale."""
    height, width = lines[0][0].shape
    reach = max(int(REACH * width), 1)
    size = tuple(fft.next_fast_len(n + reach, real=True) for n in (height, width))
    shifts = np.arange(-reach, reach + 1)

    def transformed(outlines: np.ndarray) -> np.ndarray:
        return np.asarray(fft.rfft2(outlines, size))

    def correlated(product: np.ndarray) -> np.ndarray:
        return np.asarray(fft.irfft2(product, size))[np.ix_(shifts, shifts)]

    images, whole = transformed(np.stack([image for image, _ in lines])), np.ones((height, width), np.float32)
    frame, best = transformed(whole), (-np.inf, NONE)
    for scale in SCALES.tolist():
        place = (scale, scale, 0.0, 0.0)
        maps = transformed(np.stack([_moved(depth, place) for _, depth in lines]))
        total = correlated((images * np.conj(maps)).sum(axis=0))
        scores = total / np.maximum(correlated(frame * np.conj(transformed(_moved(whole, place)))), 1)
        down, right = np.unravel_index(int(scores.argmax()), scores.shape)
        place = (scale, scale, float(shifts[right]) / width, float(shifts[down]) / width)
        best = max(best, (float(scores.max()), place))
    return best[1]


def _fine(lines: Pairs, start: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The best place near a coarse one, with scales of its own across and down."""
    found = optimize.minimize(
        lambda place: -float(_scores(lines, tuple(place)).mean()),
        start,
        method="Nelder-Mead",
        options={"initial_simplex": _corners(start), "maxfev": 100, "xatol": 1e-3, "fatol": 1e-4},
    )
    return tuple(float(value) for value in found.x)  # type: ignore[return-value]


def _corners(start: tuple[float, float, float, float]) -> np.ndarray:
    """Where the search begins: the place, and a step from it along each of its values."""
    steps = np.diag([0.02, 0.02, 0.01, 0.01])
    return np.array([start, *(np.array(start) + step for step in steps)])


def _scores(lines: Pairs, place: tuple[float, float, float, float]) -> np.ndarray:
    """Of each sample, the correlation of the image's outlines with those of the depth moved to a place."""
    inside = _moved(np.ones(lines[0][0].shape, np.float32), place)
    pixels = max(float(inside.sum()), 1)
    return np.array([(image * _moved(depth, place)).sum() / pixels for image, depth in lines])


def _moved(outline: np.ndarray, place: tuple[float, float, float, float]) -> np.ndarray:
    """Scaled about the centre and shifted; 0 beyond its border."""
    if place == NONE:
        return outline
    x, y, right, down = place
    height, width = outline.shape
    matrix = np.array(
        [
            [x, 0, (1 - x) * (width - 1) / 2 + right * width],
            [0, y, (1 - y) * (height - 1) / 2 + down * width],
        ]
    )
    return cv2.warpAffine(outline, matrix, (width, height))
