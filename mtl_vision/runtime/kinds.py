"""The three kinds of dense map. A kind decides how a map is resized, mirrored, turned, compared and coloured.

Everything that handles maps (data, training panels, export, inference) asks the kind, so that none of it knows a task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import cv2
import numpy as np

Size = tuple[int, int]  # (H, W)
IGNORE = 255  # the label that means "no label"
FULL_LENGTH = 32767  # a unit vector's length where vectors are kept in 16 bits


def resize_pixels(array: np.ndarray, size: Size) -> np.ndarray:
    """Resize (H, W) or (H, W, C): by area when it shrinks, linearly when it grows; pixel centres stay aligned."""
    if array.shape[:2] == size:
        return array
    shrinks = size[0] * size[1] < array.shape[0] * array.shape[1]
    return cv2.resize(array, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _resize_valid(values: np.ndarray, valid: np.ndarray, size: Size) -> np.ndarray:
    """Resize float `values` (H, W) by their valid pixels alone; a new pixel less than half valid becomes 0."""
    if valid.all():
        return resize_pixels(values, size)
    share = resize_pixels(valid.astype(np.float32), size)
    total = resize_pixels(np.where(valid, values, np.float32(0)), size)
    return np.where(share >= 0.5, total / np.maximum(share, np.float32(0.5)), np.float32(0))


def _warp(array: np.ndarray, matrix: np.ndarray, flags: int, fill: float) -> np.ndarray:
    size = (array.shape[1], array.shape[0])
    return cv2.warpAffine(array, matrix, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=(fill,) * 4)


class Kind(ABC):
    """How maps of one kind behave. Maps are numpy arrays (H, W) or (H, W, 3) in the project's conventions."""

    name: ClassVar[str]
    invalid: ClassVar[int]  # the value of a pixel that carries none

    @abstractmethod
    def valid(self, array: np.ndarray) -> np.ndarray:
        """Which pixels carry a value: bool (H, W)."""

    @abstractmethod
    def resize(self, array: np.ndarray, size: Size) -> np.ndarray:
        """The map at another size (H, W); invalid pixels never mix into valid ones."""

    def zoom(self, array: np.ndarray, size: Size) -> np.ndarray:
        """`resize` for a training target, which is made anew each time: where there is a cheaper way, by that."""
        return self.resize(array, size)

    def flip(self, array: np.ndarray) -> np.ndarray:
        """The map of the picture mirrored left to right."""
        return cv2.flip(array, 1)  # many times faster than a copy of array[:, ::-1]

    @abstractmethod
    def rotate(self, array: np.ndarray, matrix: np.ndarray, angle: float) -> np.ndarray:
        """The map of the picture turned by `matrix` (2, 3), clockwise by `angle` radians; uncovered is invalid."""

    @abstractmethod
    def compare(self, a: np.ndarray, b: np.ndarray) -> dict[str, float]:
        """How far two maps (or batches of maps) differ, in physical terms."""

    @abstractmethod
    def colour(
        self,
        array: np.ndarray,
        palette: Sequence[Sequence[int]] = (),
        limits: tuple[float, float] | None = None,
    ) -> np.ndarray:
        """The map as a picture for people: (H, W, 3) uint8 RGB; invalid is black."""


class ScalarMap(Kind):
    """One non-negative number a pixel: float32 (H, W), 0 = invalid. Depth in metres is one."""

    name = "scalar_map"
    invalid = 0

    def valid(self, array: np.ndarray) -> np.ndarray:
        return array > 0

    def resize(self, array: np.ndarray, size: Size) -> np.ndarray:
        return _resize_valid(array, self.valid(array), size)

    def rotate(self, array: np.ndarray, matrix: np.ndarray, angle: float) -> np.ndarray:
        share = _warp(self.valid(array).astype(np.float32), matrix, cv2.INTER_LINEAR, 0)
        total = _warp(array, matrix, cv2.INTER_LINEAR, 0)  # invalid is 0 already: it adds nothing
        return np.where(share > 0.5, total / np.maximum(share, 0.5), 0).astype(np.float32)

    def compare(self, a: np.ndarray, b: np.ndarray) -> dict[str, float]:
        difference = np.abs(a.astype(np.float64) - b)
        return {"max_difference": float(difference.max()), "mean_difference": float(difference.mean())}

    def colour(
        self,
        array: np.ndarray,
        palette: Sequence[Sequence[int]] = (),
        limits: tuple[float, float] | None = None,
    ) -> np.ndarray:
        valid = self.valid(array)
        if limits is None:
            limits = tuple(np.percentile(array[valid], (1, 99))) if valid.any() else (0.0, 1.0)  # type: ignore[assignment]
        low, high = limits  # type: ignore[misc]
        level = np.clip((array - low) / max(high - low, 1e-6), 0, 1)
        near_is_bright = cv2.applyColorMap((255 * (1 - level)).astype(np.uint8), cv2.COLORMAP_INFERNO)
        return np.where(valid[..., None], near_is_bright[..., ::-1], 0).astype(np.uint8)


class UnitVectorMap(Kind):
    """One unit vector a pixel: float32 (H, W, 3) in the camera frame, (0, 0, 0) = invalid.

    Maps may come in 16 bits, as int16 of length FULL_LENGTH: what interpolates them gives float32.
    """

    name = "unit_vector_map"
    invalid = 0

    def valid(self, array: np.ndarray) -> np.ndarray:
        return (array[..., 0] != 0) | (array[..., 1] != 0) | (array[..., 2] != 0)  # any(axis=-1) is 7 times slower

    def resize(self, array: np.ndarray, size: Size) -> np.ndarray:
        return self._interpolate(array, lambda values: resize_pixels(values, size))

    def flip(self, array: np.ndarray) -> np.ndarray:
        return cv2.transform(cv2.flip(array, 1), np.diag(np.array((-1, 1, 1), np.float32)))

    def rotate(self, array: np.ndarray, matrix: np.ndarray, angle: float) -> np.ndarray:
        moved = self._interpolate(array, lambda values: _warp(values, matrix, cv2.INTER_LINEAR, 0))
        c, s = np.cos(angle), np.sin(angle)
        return cv2.transform(moved, np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32))

    def _interpolate(self, array: np.ndarray, move: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The map after `move`, which takes means of pixels; a new pixel less than half valid is invalid.

        Invalid vectors are of length 0: they shorten a mean and never turn it. No mean is longer than the share of
        its valid pixels, so that this share is asked for only where a mean is short.
        """
        mean = move(array)
        scale = _inverse_length(mean)
        full = FULL_LENGTH if array.dtype == np.int16 else 1
        if scale.max() > 2 / full and not (valid := self.valid(array)).all():
            scale *= move(valid.astype(np.float32)) >= 0.5
        return _scaled(mean, scale)

    def compare(self, a: np.ndarray, b: np.ndarray) -> dict[str, float]:
        # 2 asin(|a - b| / 2) keeps its digits at small angles, where acos(a . b) has none left
        chord = np.linalg.norm(a.astype(np.float64) - b, axis=-1)
        angle = np.degrees(2 * np.arcsin(np.clip(chord / 2, 0, 1)))
        return {"max_degrees": float(angle.max()), "mean_degrees": float(angle.mean())}

    def colour(
        self,
        array: np.ndarray,
        palette: Sequence[Sequence[int]] = (),
        limits: tuple[float, float] | None = None,
    ) -> np.ndarray:
        rgb = cv2.convertScaleAbs(array, alpha=127.5, beta=127.5)  # (n + 1) / 2 of 255, rounded
        return np.where(self.valid(array)[..., None], rgb, np.uint8(0))


class LabelMap(Kind):
    """One class id a pixel: uint8 (H, W), 255 = ignore."""

    name = "label_map"
    invalid = IGNORE

    def valid(self, array: np.ndarray) -> np.ndarray:
        return array != IGNORE

    def resize(self, array: np.ndarray, size: Size) -> np.ndarray:
        if array.shape == size:
            return array
        if size[0] * size[1] < array.size:
            return cv2.resize(array, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        # Growing: each id present votes with its linearly resized mask, which rounds the staircase off the borders.
        # One at a time, so that a large picture with many classes fits in memory.
        most, winner = np.zeros(size, np.float32), np.zeros(size, array.dtype)
        for i in np.unique(array):
            votes = resize_pixels((array == i).astype(np.float32), size)
            better = votes > most
            most[better], winner[better] = votes[better], i
        return winner

    def zoom(self, array: np.ndarray, size: Size) -> np.ndarray:
        return cv2.resize(array, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)  # the vote takes 30 times as long

    def rotate(self, array: np.ndarray, matrix: np.ndarray, angle: float) -> np.ndarray:
        return _warp(array, matrix, cv2.INTER_NEAREST, IGNORE)

    def compare(self, a: np.ndarray, b: np.ndarray) -> dict[str, float]:
        return {"share_equal": float((a == b).mean())}

    def colour(
        self,
        array: np.ndarray,
        palette: Sequence[Sequence[int]] = (),
        limits: tuple[float, float] | None = None,
    ) -> np.ndarray:
        table = np.zeros((256, 3), np.uint8)
        table[: len(palette)] = np.asarray(palette, np.uint8).reshape(-1, 3)
        return table[array]


def normalise(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) at unit length, float32; those of no length stay (0, 0, 0)."""
    rows = vectors.reshape(-1, vectors.shape[-2] if vectors.ndim > 1 else 1, 3)
    return _scaled(rows, _inverse_length(rows)).reshape(vectors.shape)


# OpenCV's functions take a fifth of numpy's time here; dst: in place, since fresh memory costs more than the sums


def _inverse_length(vectors: np.ndarray) -> np.ndarray:
    """1 / |v| of vectors (H, W, 3): float32 (H, W), 0 for those of no length."""
    squares = cv2.multiply(vectors, vectors, dtype=cv2.CV_32F)
    total = cv2.transform(squares, np.array([[1, 1, 1, 1e-20]], np.float32))  # the last is added: nothing is 1 / 0
    inverse = cv2.pow(total, -0.5, dst=total)
    return cv2.threshold(inverse, 1e6, 0, cv2.THRESH_TOZERO_INV, dst=inverse)[1]


def _scaled(vectors: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Vectors (H, W, 3) times their scale (H, W), float32."""
    scales = cv2.merge([scale] * 3)
    return cv2.multiply(vectors, scales, dst=scales, dtype=cv2.CV_32F)


KINDS: dict[str, Kind] = {kind.name: kind for kind in (ScalarMap(), UnitVectorMap(), LabelMap())}
