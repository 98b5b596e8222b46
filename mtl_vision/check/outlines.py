"""The outlines of things in each map of a sample, and how those of two maps correlate."""

import itertools
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from mtl_vision.check.statistics import Lines, Thumbnail
from mtl_vision.datasets.sample import Sample

NARROW, MOSTLY = 3, 0.3  # of holes that are filled: pixels of half their width, and their share of the map
MARGIN = 4  # pixels at the border that are left out: a frame is the same mirrored
GRID = (57, 76)  # the size at which outlines are kept of many samples
LEVELS = 32  # of a deviation, in 8 bits
NAMES = {"image": "images", "depth": "depth", "normals": "normals", "segmentation": "labels"}  # as messages name maps
Pair = tuple[str, str]  # of maps, by name


def correlations(thumbnails: Sequence[Thumbnail]) -> dict[Pair, np.ndarray]:
    """By pair of maps (n, 2): how their outlines correlate as stored, and with one mirrored; NaN: one is missing."""
    found = {pair: np.full((len(thumbnails), 2), np.nan) for pair in itertools.combinations(NAMES, 2)}
    for row, thumbnail in enumerate(thumbnails):
        lines = outlines(thumbnail.sample, thumbnail.ids)
        for a, b in itertools.combinations(lines, 2):
            found[a, b][row] = (lines[a] * lines[b]).mean(), (lines[a] * lines[b][:, ::-1]).mean()
    return found


def names_in(pairs: Iterable[Pair]) -> list[str]:
    """The maps of some pairs, each once, in the order of NAMES."""
    present = set(itertools.chain.from_iterable(pairs))
    return [name for name in NAMES if name in present]


def connected(names: Sequence[str], pairs: Iterable[Pair]) -> set[str]:
    """The first name, and those that pairs lead to from it, directly or through others."""
    pairs, found = list(pairs), set(names[:1])
    for _ in names:
        found |= {name for pair in pairs if found & set(pair) for name in pair}
    return found


def listed(names: Iterable[str]) -> str:
    """As messages name several maps."""
    return " and ".join(NAMES[name] for name in names)


def outlines(sample: Sample, ids: np.ndarray | None) -> Lines:
    """Of the maps of a small sample that have some, (h, w) blurred, without its border, of mean 0 and deviation 1."""
    found = {"image": _gradient(cv2.GaussianBlur(sample.image, (0, 0), 1).astype(np.float32))}
    if (depth := sample.targets.get("depth")) is not None:
        found["depth"] = np.minimum(bends(depth), 0.3)
    if (normals := sample.targets.get("normals")) is not None:
        found["normals"] = np.minimum(_gradient(normals), 2)
    if ids is not None:
        found["segmentation"] = borders_of(ids).astype(np.float32)
    return {name: line for name, outline in found.items() if (line := _standard(outline)) is not None}


def kept(lines: Lines) -> Lines:
    """Outlines on GRID in 8 bits, 1 / LEVELS of a deviation a step."""
    found = {}
    for name, line in lines.items():
        small = cv2.resize(line, GRID[::-1], interpolation=cv2.INTER_AREA)
        small = (small - small.mean()) / max(float(small.std()), 1e-6)
        found[name] = np.clip(np.rint(small * LEVELS), -127, 127).astype(np.int8)
    return found


def _gradient(array: np.ndarray) -> np.ndarray:
    """Length of the gradient of (h, w) or (h, w, c) float32, over all channels."""
    steps = ((channel, *step) for channel in cv2.split(array) for step in ((1, 0), (0, 1)))
    return np.sqrt(sum(np.square(cv2.Sobel(channel, cv2.CV_32F, dx, dy)) for channel, dx, dy in steps))


def bends(depth: np.ndarray) -> np.ndarray:
    """Bends and jumps of depth (h, w): how far inverse depth is from a plane, relatively; next to holes it is 0."""
    depth = _closed(depth)
    known = depth > 0
    inverse = np.where(known, 1 / np.maximum(depth, 1e-3), 0).astype(np.float32)
    bend = np.abs(cv2.Laplacian(inverse, cv2.CV_32F, ksize=3)) / np.maximum(inverse, 1e-3)
    beside = cv2.dilate((~known).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    beside[[0, -1]] = beside[:, [0, -1]] = True  # at the border a plane seems bent
    return np.where(beside, 0, bend).astype(np.float32)


def _closed(depth: np.ndarray) -> np.ndarray:
    """Depth (h, w) with narrow holes filled by the nearest depth: some sensors cut out the jumps themselves."""
    hole = (depth <= 0).astype(np.uint8)
    if not 0 < hole.mean() < MOSTLY:  # of single points nothing can be filled
        return depth
    distance, nearest = cv2.distanceTransformWithLabels(hole, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    labels = np.asarray(nearest, np.int64)
    values = np.zeros(int(labels.max()) + 1, depth.dtype)
    values[labels[hole == 0]] = depth[hole == 0]
    return np.where((hole == 1) & (distance <= NARROW), values[labels], depth)


def borders_of(ids: np.ndarray) -> np.ndarray:
    """Pixels (h, w) bool with another id to their left or above."""
    edges = np.zeros(ids.shape, bool)
    edges[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    edges[1:] |= ids[1:] != ids[:-1]
    return edges


def _standard(outline: np.ndarray) -> np.ndarray | None:
    """Blurred, without its border, of mean 0 and deviation 1; None where there are no outlines."""
    if min(outline.shape) <= 4 * MARGIN:
        return None
    soft = np.sqrt(cv2.GaussianBlur(outline, (0, 0), 1)[MARGIN:-MARGIN, MARGIN:-MARGIN])
    spread = float(soft.std())
    return (soft - soft.mean()) / spread if spread > 1e-3 * float(soft.max()) and spread > 1e-6 else None
