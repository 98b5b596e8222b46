"""Moving a sample as one thing: picture, depth, normals, labels and camera together.

- zoom_crop by s: the picture is seen s times larger; depth is divided by s (the field's convention), the camera's
  focal length grows by s, so that the scene shrinks by s in every direction and normals stay as they are.
- flip: n_x is negated, c_x mirrored. rotate: (n_x, n_y) turn with the picture.
- cut: what a hole covers is invalid.

Normals may come in 16 bits, as the packed copy has them: see `kinds.UnitVectorMap`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from mtl_vision.datasets.sample import Intrinsics, Sample
from mtl_vision.datasets.targets import KIND_OF
from mtl_vision.runtime.kinds import KINDS, Size, resize_pixels

Window = tuple[slice, slice]  # rows, columns


def crop(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """A window of the sample."""
    window = np.s_[top : top + height, left : left + width]
    targets = {name: array[window] for name, array in sample.targets.items()}
    camera = sample.intrinsics and sample.intrinsics.cropped(top, left)
    return replace(sample, image=sample.image[window], targets=targets, intrinsics=camera)


def zoom_crop(sample: Sample, top: int, left: int, height: int, size: Size) -> Sample:
    """The window (height, its width in the picture's aspect) brought to `size`: a zoom by s = H / height.

    Depth is divided by s. The width follows from `height` so that both axes zoom alike.
    """
    width = round(height * sample.size[1] / sample.size[0])
    window = crop(sample, top, left, height, width)
    targets = {name: KINDS[KIND_OF[name]].zoom(array, size) for name, array in window.targets.items()}
    if "depth" in targets:
        targets["depth"] = targets["depth"] * np.float32(height / sample.size[0])
    camera = window.intrinsics and window.intrinsics.resized(window.size, size)
    return replace(window, image=resize_pixels(window.image, size), targets=targets, intrinsics=camera)


def flip(sample: Sample) -> Sample:
    """The sample mirrored left to right."""
    targets = {name: KINDS[KIND_OF[name]].flip(array) for name, array in sample.targets.items()}
    camera = sample.intrinsics and sample.intrinsics.flipped(sample.size[1])
    return replace(sample, image=cv2.flip(sample.image, 1), targets=targets, intrinsics=camera)


def rotate(sample: Sample, degrees: float) -> Sample:
    """The sample turned clockwise about the principal point (or the centre); what was not seen is invalid.

    A turn about the optical axis keeps z, so depth only moves. It is exact for square pixels (fx = fy).
    """
    height, width = sample.size
    k = sample.intrinsics or Intrinsics(1, 1, (width - 1) / 2, (height - 1) / 2)
    matrix = cv2.getRotationMatrix2D((k.cx, k.cy), -degrees, 1.0)  # OpenCV turns counter-clockwise
    image = cv2.warpAffine(
        sample.image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    angle = np.radians(degrees)
    targets = {name: KINDS[KIND_OF[name]].rotate(array, matrix, angle) for name, array in sample.targets.items()}
    return replace(sample, image=image, targets=targets)


def cut(sample: Sample, windows: Sequence[Window], colours: Sequence[Sequence[int]]) -> Sample:
    """The sample with holes: each window shows its colour alone, and has no ground truth."""
    image = sample.image.copy()
    targets = {name: array.copy() for name, array in sample.targets.items()}
    for window, colour in zip(windows, colours, strict=True):
        image[window] = colour
        for name, array in targets.items():
            array[window] = KINDS[KIND_OF[name]].invalid
    return replace(sample, image=image, targets=targets)
