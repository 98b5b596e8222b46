"""Edges, derived from labels and depth: float32 (H, W), 1 on an edge, 0 off it, -1 = invalid.

An edge is where the class changes (semantic boundary) or where one surface hides another (occlusion boundary). Lines
are about max(2, H / 120) pixels wide, so that they survive resizing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from mtl_vision.datasets.targets.base import Target
from mtl_vision.runtime.kinds import IGNORE

if TYPE_CHECKING:
    from mtl_vision.datasets.sample import Sample

JUMP = 1.1  # ratio of two depths at which one surface hides another
GAP = 48  # unlabelled gaps between classes are at most twice a GAP-th of the image's height wide


def derive(sample: Sample) -> np.ndarray:
    """The edges of a sample with labels and depth."""
    return edges(sample.targets["segmentation"], sample.targets["depth"])


def edges(labels: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Edges (H, W) from class ids (H, W) and depth (H, W) in metres; -1 where neither is valid.

    A pixel is on an edge if the two `reach` pixels away on either side, left and right or above and below, are of
    different classes, or one hides the other. Annotators leave gaps between classes: labels first grow
    into them. Near a class border, a step in depth is the same edge, less well placed: only the border counts. At the
    image's border, depth is mostly filled in: it gives no edges, and pixels without labels are invalid there.
    """
    height = labels.shape[0]
    reach, gap = max(1, round(height / 240)), max(1, round(height / GAP))
    grown = _grown(labels, gap)
    inverse = cv2.medianBlur(np.where(depth > 0, 1 / np.maximum(depth, 1e-6), 0).astype(np.float32), 5)
    borders, steps = np.zeros(labels.shape, bool), np.zeros(labels.shape, bool)
    for axis in (0, 1):
        before, after = (_shifted(grown, step, axis) for step in (-reach, reach))
        borders |= (before != after) & (before != IGNORE) & (after != IGNORE)
        steps |= _hides(*(_shifted(inverse, step * reach, axis) for step in (-3, -1, 1, 3)))
    away = cv2.dilate(borders.astype(np.uint8), np.ones((2 * gap + 1, 2 * gap + 1), np.uint8)) == 0
    inside = np.zeros(labels.shape, bool)
    inside[gap:-gap, gap:-gap] = True
    valid = (labels != IGNORE) | ((depth > 0) & inside)
    return np.where(valid, borders | (steps & away & inside), -1).astype(np.float32)


def _grown(labels: np.ndarray, gap: int) -> np.ndarray:
    """Labels whose unlabelled pixels have that of the nearest labelled one, if it is at most `gap` pixels away."""
    void = (labels == IGNORE).astype(np.uint8)
    if void.all() or not void.any():
        return labels
    distance, nearest = cv2.distanceTransformWithLabels(
        void, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_pixel = np.empty(nearest.max() + 1, np.uint8)
    of_pixel[nearest[void == 0]] = labels[void == 0]
    return np.where(distance <= gap, of_pixel[nearest], IGNORE).astype(np.uint8)


def _hides(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Whether b and c, of the inverse depths of four pixels in a row, are of two surfaces; 0 = no depth."""
    # inverse depth is linear on a plane, which the line through a and b continues, or that through c and d
    from_left = b + np.where(a > 0, b - a, 0) - c
    from_right = c + np.where(d > 0, c - d, 0) - b
    step = np.minimum(np.abs(b - c), np.minimum(np.abs(from_left), np.abs(from_right)))
    return (b > 0) & (c > 0) & (step > (1 - 1 / JUMP) * np.maximum(b, c))


def _shifted(array: np.ndarray, step: int, axis: int) -> np.ndarray:
    """The value `step` pixels further along an axis; beyond the border, the border's."""
    index = np.clip(np.arange(array.shape[axis]) + step, 0, array.shape[axis] - 1)
    return np.take(array, index, axis)


EDGES = Target("edges", "probability_map", derive=derive, needs=("segmentation", "depth"))
