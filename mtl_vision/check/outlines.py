"""Where the outlines of things lie in each map of a sample."""

from __future__ import annotations

import cv2
import numpy as np

from mtl_vision.check.evidence import Close

MARGIN = 4  # pixels at the border that are not looked at: a frame is as good mirrored as not


def outlines(one: Close) -> dict[str, np.ndarray]:
    """Of the maps that have some, (h, w) blurred, without its border, of mean 0 and deviation 1."""
    return {name: line for name, outline in OUTLINES.items() if (line := _standard(outline(one))) is not None}


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
