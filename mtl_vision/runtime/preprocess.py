"""Bring an image to the size a network takes, and the network's maps back to the image's own size."""

from __future__ import annotations

import math

import numpy as np

from mtl_vision.runtime.contract import Manifest
from mtl_vision.runtime.kinds import Kind, Size, resize_pixels

Box = tuple[int, int, int, int]  # (top, left, height, width) of the picture inside its canvas


def letterbox(image: np.ndarray, size: Size, fill: tuple[int, int, int]) -> tuple[np.ndarray, Box]:
    """Scale an image (h, w, 3) uint8 to fit `size` (H, W), aspect kept, centred on a canvas of colour `fill`.

    Returns the canvas (H, W, 3) uint8 and the picture's box in it. Where the aspect ratios agree to within a pixel,
    the picture covers the canvas: `resize_pixels(image, size)`.
    """
    height, width = size
    scale = min(height / image.shape[0], width / image.shape[1])
    exact = (image.shape[0] * scale, image.shape[1] * scale)
    if height - exact[0] <= 1 and width - exact[1] <= 1:
        return resize_pixels(image, size), (0, 0, height, width)
    h, w = (max(1, round(side)) for side in exact)
    top, left = (height - h) // 2, (width - w) // 2
    canvas = np.full((height, width, 3), fill, np.uint8)
    canvas[top : top + h, left : left + w] = resize_pixels(image, (h, w))
    return canvas, (top, left, h, w)


def input_size(manifest: Manifest, image_size: Size) -> Size:
    """The size (H, W) at which the network shall see an image of `image_size`.

    A fixed model has one. A dynamic one gets the image's aspect ratio at about the area it was trained at, in
    multiples of the stride; an extreme panorama is letterboxed rather than let the area grow.
    """
    if not manifest.dynamic_size:
        return manifest.height, manifest.width
    area, stride = manifest.height * manifest.width, manifest.stride
    scale = math.sqrt(area / (image_size[0] * image_size[1]))
    most = max(1, area // stride**2)  # strides along one side, when the other has a single one
    height, width = (stride * min(max(1, round(side * scale / stride)), most) for side in image_size)
    return height, width


def to_image(array: np.ndarray, kind: Kind, box: Box, image_size: Size) -> np.ndarray:
    """Cut the picture's box out of a map (H, W) or (H, W, 3) of the canvas and resize it to `image_size`."""
    top, left, height, width = box
    return kind.resize(np.ascontiguousarray(array[top : top + height, left : left + width]), image_size)
