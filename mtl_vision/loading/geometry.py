"""Moving a sample as one thing: image, targets and camera together, each target as its kind moves.

- zoom_crop by s: the image is seen s times larger; depth and other lengths are divided by s (the field's convention),
  the camera's focal length grows by s, so that the scene shrinks by s in every direction and normals stay as they are.
- flip: n_x is negated, c_x mirrored. rotate: (n_x, n_y) turn with the image.
- cut: what a hole covers is invalid.

Targets may be packed, as the packed copy has them: see `Kind.pack`.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from mtl_vision.datasets.sample import Intrinsics, Sample
from mtl_vision.datasets.targets import kind_of, target_of
from mtl_vision.runtime.kinds import Size, resize_pixels

Window = tuple[slice, slice]  # rows, columns


def crop(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """A window of the sample."""
    window = np.s_[top : top + height, left : left + width]
    targets = {name: array[window] for name, array in sample.targets.items()}
    camera = sample.intrinsics and sample.intrinsics.cropped(top, left)
    return replace(sample, image=sample.image[window], targets=targets, intrinsics=camera)


def zoom_crop(sample: Sample, top: int, left: int, height: int, size: Size) -> Sample:
    """The window (height, its width in the image's aspect) brought to `size`: a zoom by s = H / height.

    Lengths are divided by s. The width follows from `height` so that both axes zoom alike.
    """
    width = round(height * sample.size[1] / sample.size[0])
    window = crop(sample, top, left, height, width)
    targets = {name: kind_of(name).zoom(array, size) for name, array in window.targets.items()}
    shrink = np.float32(height / sample.size[0])
    targets = {name: array * shrink if target_of(name).length else array for name, array in targets.items()}
    camera = window.intrinsics and window.intrinsics.resized(window.size, size)
    return replace(window, image=resize_pixels(window.image, size), targets=targets, intrinsics=camera)


def flip(sample: Sample) -> Sample:
    """The sample mirrored left to right."""
    targets = {name: kind_of(name).flip(array) for name, array in sample.targets.items()}
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
    targets = {name: kind_of(name).rotate(array, matrix, angle) for name, array in sample.targets.items()}
    return replace(sample, image=image, targets=targets)


def cut(sample: Sample, windows: Sequence[Window], colours: Sequence[Sequence[int]]) -> Sample:
    """The sample with holes: each window shows one colour, and has no ground truth."""
    image = sample.image.copy()
    targets = {name: array.copy() for name, array in sample.targets.items()}
    for window, colour in zip(windows, colours, strict=True):
        image[window] = colour
        for name, array in targets.items():
            array[window] = kind_of(name).invalid
    return replace(sample, image=image, targets=targets)
