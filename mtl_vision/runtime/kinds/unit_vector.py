"""One unit vector a pixel, such as surface normals."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from mtl_vision.runtime.files import map_png
from mtl_vision.runtime.kinds.base import INVALID, Kind, Limits, Output, Palette, Size, filled, resize_pixels, warp
from mtl_vision.runtime.paint import legend

FULL_LENGTH = 32767  # what 1 becomes where maps are kept in 16 bits
# Directions as one sees them in the camera frame: x right, y down, z forward
DIRECTIONS = {"faces us": (0, 0, -1), "left": (-1, 0, 0), "right": (1, 0, 0), "up": (0, -1, 0), "down": (0, 1, 0)}


class UnitVectorMap(Kind):
    """One unit vector a pixel: float32 (H, W, 3) in the camera frame, (0, 0, 0) = invalid.

    Maps may come in 16 bits, as int16 of length FULL_LENGTH: what interpolates them gives float32.
    """

    name = "unit_vector_map"
    tail = (3,)
    invalid = 0
    peak = 29
    packed = np.int16  # keeps directions to 0.002 degrees
    tolerance = ("max_degrees", 0.5)
    unit = "deg"
    values = "a vector of length 1, or of 0"

    def valid(self, array: np.ndarray) -> np.ndarray:
        return (array[..., 0] != 0) | (array[..., 1] != 0) | (array[..., 2] != 0)  # any(axis=-1) is 7 times slower

    def resize(self, array: np.ndarray, size: Size) -> np.ndarray:
        return self._interpolate(array, lambda values: resize_pixels(values, size))

    def flip(self, array: np.ndarray) -> np.ndarray:
        return cv2.transform(cv2.flip(array, 1), np.diag(np.array((-1, 1, 1), np.float32)))

    def rotate(self, array: np.ndarray, matrix: np.ndarray, angle: float) -> np.ndarray:
        moved = self._interpolate(array, lambda values: warp(values, matrix, cv2.INTER_LINEAR, 0))
        c, s = np.cos(angle), np.sin(angle)
        return cv2.transform(moved, np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32))

    def _interpolate(self, array: np.ndarray, move: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The map after `move`, which takes means of pixels; a new pixel less than half valid is invalid."""
        # Invalid vectors shorten a mean and never turn it: the share of valid pixels matters only where one is short
        mean = move(array)
        scale = _inverse_length(mean)
        full = FULL_LENGTH if array.dtype == np.int16 else 1
        if scale.max() > 2 / full and not (valid := self.valid(array)).all():
            scale *= move(valid.astype(np.float32)) >= 0.5
        return _scaled(mean, scale)

    def from_channels(self, array: np.ndarray, output: Output) -> np.ndarray:
        """Of unit length, which a core graph's vectors need not have."""
        return normalise(np.ascontiguousarray(super().from_channels(array, output)))

    def possible(self, maps: np.ndarray, output: Output) -> np.ndarray:
        rows = maps.reshape(-1, *maps.shape[-2:])
        squares = cv2.transform(cv2.multiply(rows, rows), np.ones((1, 3), np.float32)).reshape(maps.shape[:-1])
        return ((squares > 0.8) & (squares < 1.2)) | (squares == 0)  # the length to a tenth

    def distance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Degrees."""
        # 2 asin(|a - b| / 2) keeps its digits at small angles, where acos(a . b) has none left
        chord = np.linalg.norm(a.astype(np.float64) - b, axis=-1)
        return np.degrees(2 * np.arcsin(np.clip(chord / 2, 0, 1)))

    def compare(self, a: np.ndarray, b: np.ndarray) -> dict[str, float]:
        angle = self.distance(a, b)
        return {"max_degrees": float(angle.max()), "mean_degrees": float(angle.mean())}

    def colour(self, array: np.ndarray, palette: Palette = (), limits: Limits | None = None) -> np.ndarray:
        return self._rgb(array, INVALID)

    def _rgb(self, array: np.ndarray, invalid: np.ndarray) -> np.ndarray:
        rgb = cv2.convertScaleAbs(array, alpha=127.5, beta=127.5)  # (n + 1) / 2 of 255, rounded
        return filled(rgb, self.valid(array), invalid)

    def pack(self, array: np.ndarray) -> np.ndarray:
        return np.rint(array * FULL_LENGTH).astype(np.int16)

    def unpack(self, array: np.ndarray) -> np.ndarray:
        return normalise(array) if array.dtype == np.int16 else array

    def encode(self, array: np.ndarray, output: Output) -> bytes:
        """8-bit RGB of (n + 1) / 2; no vector becomes black."""
        return map_png(self._rgb(array, np.zeros(3, np.uint8)))

    def key(self, maps: Sequence[np.ndarray], output: Output, limits: Limits | None, width: int) -> np.ndarray:
        swatches = self.colour(np.array([list(DIRECTIONS.values())], np.float32))[0]
        return legend([*zip(DIRECTIONS, swatches, strict=True), *self.nothing(maps)], width)


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
