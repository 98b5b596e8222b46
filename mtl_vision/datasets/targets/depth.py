"""Depth in metres along z: float32 (H, W), 0 = invalid."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mtl_vision.datasets import DataError
from mtl_vision.datasets.schema import Folder, Variable
from mtl_vision.datasets.targets.base import Target, one_channel
from mtl_vision.datasets.text import shown
from mtl_vision.datasets.unwrap import unwrap

NEAREST = 0.4  # metres; no depth camera of the kind sees nearer
FARTHEST = 1000.0  # metres; beyond what cameras and lidars measure, and where simulators put the sky
STEP = (1e-6, 1e3)  # metres a step: from micrometres to values in kilometres


@dataclass(frozen=True)
class DepthFiles:
    """metres = value * scale + offset; `invalid` is the stored value that means no depth (None: there is none).

    What is not above 0, no finite number or beyond FARTHEST is no depth either.

    full_scale: metres at the largest value that the file's type holds, in place of scale. wraps: 16-bit values that
    start again at 0 beyond 65535. raw: folder of the maps with the sensor's holes. key: variable of .mat files.
    """

    folder: Folder = "depth"
    scale: float = 0.001
    offset: float = 0.0
    invalid: int | None = 0
    full_scale: Annotated[float, "a number of metres"] | None = None
    wraps: bool = False
    raw: Folder | None = None
    key: Variable | None = None

    def problem(self) -> str | None:
        """What is wrong with the section."""
        low, high = STEP
        if not low <= self.scale <= high:
            return f"scale is {self.scale:g}: expected {low:g} to {high:g} metres a step, 0.001 for millimetres"
        if self.full_scale is not None and not low <= self.full_scale <= 65535 * high:
            return f"full_scale is {self.full_scale:g}: expected metres at the largest value, such as 10"
        if abs(self.offset) > FARTHEST:
            return f"offset is {self.offset:g}: expected metres, {-FARTHEST:g} to {FARTHEST:g}"
        if self.invalid is not None and abs(self.invalid) > 2**32:
            return f"invalid is {shown(str(self.invalid))}: expected a stored value, of 32 bits at most"
        if self.full_scale is not None and self.wraps:
            return "wraps needs depth.scale, not depth.full_scale: give the metres of one step"
        return None


def read(stored: np.ndarray, section: DepthFiles) -> np.ndarray:
    """Metres (H, W) float32 of stored values, 0 where there are none."""
    stored = one_channel(stored)
    scale = section.scale
    if section.full_scale is not None:
        if stored.dtype.kind == "f":
            raise DataError(f"depth.full_scale is for whole numbers, found {stored.dtype}: give depth.scale")
        scale = section.full_scale / np.iinfo(stored.dtype).max
    if section.wraps and stored.dtype != np.uint16:
        raise DataError(f"depth.wraps is for files of 16 bits, found {stored.dtype}: leave it out")
    values = unwrap(stored, NEAREST / scale) if section.wraps else stored
    metres = values.astype(np.float32) * np.float32(scale) + np.float32(section.offset)
    if section.invalid is not None:
        metres[stored == section.invalid] = 0
    metres[~np.isfinite(metres)] = 0
    return np.maximum(metres, 0)


def finish(metres: np.ndarray, section: DepthFiles, classes: object = None) -> np.ndarray:
    """Without what no camera measures: a single value of 1e30 m would outweigh all others."""
    return np.where(metres <= FARTHEST, metres, np.float32(0))


def write(depth: np.ndarray, section: DepthFiles) -> np.ndarray:
    """uint16 at the section's scale."""
    value = np.rint((depth - section.offset) / section.scale)
    if value.max() > 65535:
        raise DataError(f"depth of {depth.max():.2f} m does not fit 16 bits at scale {section.scale}")
    return np.where(depth > 0, value, section.invalid or 0).astype(np.uint16)


DEPTH = Target("depth", "scalar_map", read, finish, write, length=True)
