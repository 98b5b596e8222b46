"""One number a pixel: a non-negative one such as depth in metres, or a probability such as that of an edge."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from mtl_vision.runtime.files import png
from mtl_vision.runtime.kinds.base import INVALID, Kind, Limits, Output, Palette, Size, filled, resize_pixels, warp
from mtl_vision.runtime.paint import bar, legend

NEVER, CERTAIN = np.array((255, 255, 255), np.float32), np.array((0, 70, 190), np.float32)  # colours of 0 and of 1


class ScalarMap(Kind):
    """One non-negative number a pixel: float32 (H, W), 0 = invalid. Depth in metres is one."""

    name = "scalar_map"
    invalid = 0
    peak = 18
    tolerance = ("max_difference", 1e-2)
    values = "a finite number"

    def valid(self, array: np.ndarray) -> np.ndarray:
        return array > 0

    def resize(self, array: np.ndarray, size: Size) -> np.ndarray:
        valid = self.valid(array)
        if valid.all():
            return resize_pixels(array, size)
        share = resize_pixels(valid.astype(np.float32), size)
        total = resize_pixels(np.where(valid, array, np.float32(0)), size)
        return np.where(share >= 0.5, total / np.maximum(share, np.float32(0.5)), np.float32(self.invalid))

    def rotate(self, array: np.ndarray, matrix: np.ndarray, angle: float) -> np.ndarray:
        valid = self.valid(array)
        share = warp(valid.astype(np.float32), matrix, cv2.INTER_LINEAR, 0)
        total = warp(np.where(valid, array, np.float32(0)), matrix, cv2.INTER_LINEAR, 0)
        return np.where(share > 0.5, total / np.maximum(share, 0.5), self.invalid).astype(np.float32)

    def possible(self, maps: np.ndarray, output: Output) -> np.ndarray:
        return np.isfinite(maps)

    def compare(self, a: np.ndarray, b: np.ndarray) -> dict[str, float]:
        difference = np.abs(a.astype(np.float64) - b)
        return {"max_difference": float(difference.max()), "mean_difference": float(difference.mean())}

    def distance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.abs(a - b)

    def limits(self, array: np.ndarray) -> Limits | None:
        valid = array[self.valid(array)]
        if not valid.size:
            return None
        low, high = np.percentile(valid, (1, 99))
        return float(low), float(high)

    def summary(self, array: np.ndarray, output: Output) -> dict[str, Any]:
        """With the least, the middle and the largest value in `output.unit`; None where there is none."""
        valid = array[self.valid(array)]
        figures = (valid.min(), np.median(valid), valid.max()) if valid.size else (None,) * 3
        named = zip(("min", "median", "max"), figures, strict=True)
        return super().summary(array, output) | {k: v if v is None else round(float(v), 4) for k, v in named}

    def colour(self, array: np.ndarray, palette: Palette = (), limits: Limits | None = None) -> np.ndarray:
        low, high = limits or self.limits(array) or (0.0, 1.0)
        level = np.clip((array - low) / max(high - low, 1e-6), 0, 1)
        near_is_bright = cv2.applyColorMap((255 * (1 - level)).astype(np.uint8), cv2.COLORMAP_INFERNO)
        rgb = cv2.cvtColor(near_is_bright, cv2.COLOR_BGR2RGB, dst=near_is_bright)
        return filled(rgb, self.valid(array), INVALID)

    def key(self, maps: Sequence[np.ndarray], output: Output, limits: Limits | None, width: int) -> np.ndarray:
        low, high = limits = limits or (0.0, 1.0)
        ramp = np.linspace(max(low, 1e-6), max(high, 1e-6), width, dtype=np.float32)
        strip = bar(self.colour(ramp[None], limits=limits), limits, output.unit)
        nothing = self.nothing(maps)
        return np.vstack([strip, legend(nothing, width)]) if nothing else strip

    def encode(self, array: np.ndarray, output: Output) -> bytes:
        """uint16 in thousandths of the unit (metres become millimetres), at most 65535; not a number becomes 0."""
        thousandths = array * 1000.0
        np.fmax(thousandths, 0, out=thousandths)  # of a number and NaN, the number
        np.minimum(thousandths, 65535, out=thousandths)
        return png(np.rint(thousandths, out=thousandths).astype(np.uint16))

    def draw(
        self, array: np.ndarray, output: Output, size: Size, width: int, limits: Limits | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        finite = np.where(np.isfinite(array), array, np.float32(self.invalid))
        return super().draw(finite, output, size, width, limits)


class ProbabilityMap(ScalarMap):
    """One number in [0, 1] a pixel: float32 (H, W), where 0 is a value; -1 (any below 0) = invalid."""

    name = "probability_map"
    invalid = -1
    values = "a finite number of at most 1"

    def valid(self, array: np.ndarray) -> np.ndarray:
        return array >= 0

    def possible(self, maps: np.ndarray, output: Output) -> np.ndarray:
        return (maps > -np.inf) & (maps <= 1.001)

    def limits(self, array: np.ndarray) -> Limits:
        return 0.0, 1.0

    def colour(self, array: np.ndarray, palette: Palette = (), limits: Limits | None = None) -> np.ndarray:
        share = np.clip(np.nan_to_num(array), 0, 1)[..., None]
        shown = np.rint(NEVER + (CERTAIN - NEVER) * share).astype(np.uint8)
        return filled(shown, self.valid(array), INVALID)

    def encode(self, array: np.ndarray, output: Output) -> bytes:
        """8-bit grey, 255 times the probability; invalid and not a number become 0."""
        return png(np.rint(np.nan_to_num(array).clip(0, 1) * 255).astype(np.uint8))
