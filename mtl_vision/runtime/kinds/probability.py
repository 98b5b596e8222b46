"""One probability a pixel, such as that of an edge."""

import numpy as np

from mtl_vision.runtime.files import png
from mtl_vision.runtime.kinds.base import Limits, Output, Palette
from mtl_vision.runtime.kinds.scalar import ScalarMap

NONE, CERTAIN = np.array((255, 255, 255), np.float32), np.array((0, 70, 190), np.float32)  # colours of 0 and of 1


class ProbabilityMap(ScalarMap):
    """One number in [0, 1] a pixel: float32 (H, W), where 0 is a value; -1 (any below 0) = invalid."""

    name = "probability_map"
    invalid = -1

    def valid(self, array: np.ndarray) -> np.ndarray:
        return array >= 0

    def limits(self, array: np.ndarray) -> Limits:
        return 0.0, 1.0

    def colour(self, array: np.ndarray, palette: Palette = (), limits: Limits | None = None) -> np.ndarray:
        share = np.clip(np.nan_to_num(array), 0, 1)[..., None]
        return np.where(self.valid(array)[..., None], np.rint(NONE + (CERTAIN - NONE) * share), 0).astype(np.uint8)

    def encode(self, array: np.ndarray, output: Output) -> bytes:
        """8-bit grey, 255 times the probability; invalid and not a number become 0."""
        return png(np.rint(np.nan_to_num(array).clip(0, 1) * 255).astype(np.uint8))
