"""Depth in metres along z: float32 (H, W), 0 = invalid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np

from mtl_vision.datasets import DataError
from mtl_vision.datasets.camera import Intrinsics, ray_lengths
from mtl_vision.datasets.schema import Folder, Variable
from mtl_vision.datasets.targets.base import Target, one_channel
from mtl_vision.datasets.text import shown
from mtl_vision.datasets.unwrap import unwrap

NEAREST = 0.4  # metres; no depth camera of the kind sees nearer
FARTHEST = 1000.0  # metres; beyond what cameras and lidars measure, and where simulators put the sky
ALONG = ("axis", "ray")
STEP = (1e-6, 1e3)  # metres a step: from micrometres to values in kilometres
LARGEST = 3.5e38  # a stored number of 32 bits
MARKS = 100  # that a list of invalid values may have
SAME = 1e-6  # relative difference of floats that were the same number before they were stored
Number = int | float


@dataclass(frozen=True)
class DepthFiles:
    """metres = value * scale + offset; `invalid`: the stored values that mean no depth (None: there are none).

    What is not above 0, no finite number or beyond FARTHEST is no depth either.

    full_scale: metres at the largest value that the file's type holds, in place of scale. scale8: the scale of those
    files that have 8 bits, where others have more. wraps: 16-bit values that start again at 0 beyond 65535. rotated:
    bits by which 16-bit values are rotated to the left. along: the axis z, or the viewing ray. raw: folder of the maps
    with the sensor's holes. key: variable of .mat and HDF5 files.
    """

    folder: Folder = "depth"
    scale: float = 0.001
    offset: float = 0.0
    invalid: Annotated[list[Number] | Number, "a stored value, or a list of them"] | None = 0
    full_scale: Annotated[float, "a number of metres"] | None = None
    scale8: Annotated[float, "a number of metres"] | None = None
    wraps: bool = False
    rotated: int | None = None
    along: Annotated[str, " or ".join(ALONG)] | None = None
    raw: Folder | None = None
    key: Variable | None = None

    @property
    def marks(self) -> list[Number]:
        """The stored values that mean no depth."""
        if isinstance(self.invalid, (list, tuple)):
            return list(self.invalid)
        return [] if self.invalid is None else [self.invalid]

    def with_mark(self, value: Number) -> DepthFiles:
        """The section with one more stored value that means no depth."""
        marks = self.marks if value in self.marks else [*self.marks, value]
        return replace(self, invalid=marks if len(marks) > 1 else value)

    def problem(self) -> str | None:
        """What is wrong with the section."""
        low, high = STEP
        if not low <= self.scale <= high:
            return f"scale is {self.scale:g}: expected {low:g} to {high:g} metres a step, 0.001 for millimetres"
        if self.full_scale is not None and not low <= self.full_scale <= 65535 * high:
            return f"full_scale is {self.full_scale:g}: expected metres at the largest value, such as 10"
        if abs(self.offset) > FARTHEST:
            return f"offset is {self.offset:g}: expected metres, {-FARTHEST:g} to {FARTHEST:g}"
        if self.invalid == [] or len(self.marks) > MARKS or any(abs(mark) > LARGEST for mark in self.marks):
            expected = f"a stored value of 32 bits at most, a list of 1 to {MARKS} of them, or null"
            return f"invalid is {shown(str(self.invalid))}: expected {expected}"
        if self.scale8 is not None and (not low <= self.scale8 <= high or self.full_scale is not None):
            return f"scale8 is {self.scale8:g}: expected {low:g} to {high:g} metres a step, beside depth.scale"
        if self.rotated is not None and not 0 <= self.rotated < 16:
            return f"rotated is {shown(str(self.rotated))}: expected 0 to 15 bits, 3 for SUN RGB-D"
        if self.along not in (None, *ALONG):
            return f"along is {shown(repr(self.along))}: expected {' or '.join(ALONG)}"
        if self.full_scale is not None and self.wraps:
            return "wraps needs depth.scale, not depth.full_scale: give the metres of one step"
        return None


def read(stored: np.ndarray, section: DepthFiles) -> np.ndarray:
    """Metres (H, W) float32 of stored values, 0 where there are none."""
    stored = turned_back(one_channel(stored), section.rotated)
    scale = section.scale if section.scale8 is None or stored.dtype != np.uint8 else section.scale8
    if section.full_scale is not None:
        if stored.dtype.kind == "f":
            raise DataError(f"depth.full_scale is for whole numbers, found {stored.dtype}: give depth.scale")
        scale = section.full_scale / np.iinfo(stored.dtype).max
    if section.wraps and stored.dtype != np.uint16:
        raise DataError(f"depth.wraps is for files of 16 bits, found {stored.dtype}: leave it out")
    none = marked(stored, section)
    values = unwrap(np.where(none, 0, stored), NEAREST / scale) if section.wraps else stored
    metres = values.astype(np.float32) * np.float32(scale) + np.float32(section.offset)
    metres[none | ~np.isfinite(metres)] = 0
    return np.maximum(metres, 0)


def marked(stored: np.ndarray, section: DepthFiles) -> np.ndarray:
    """Where stored values (H, W) mean no depth by `invalid`, bool; a float may have been rounded on the way."""
    found = np.zeros(stored.shape, bool)
    for mark in section.marks:
        if stored.dtype.kind == "f":
            same = max(SAME, float(np.finfo(stored.dtype).eps) / 2) * abs(mark)
            found |= np.abs(stored - np.float64(mark)) <= same
        else:
            found |= stored == mark
    return found


def turned_back(stored: np.ndarray, rotated: int | None) -> np.ndarray:
    """16-bit values whose bits are rotated to the left as they were before."""
    if not rotated:
        return stored
    if stored.dtype != np.uint16:
        raise DataError(f"depth.rotated is for files of 16 bits, found {stored.dtype}: leave it out")
    return stored >> rotated | stored << 16 - rotated


def place(metres: np.ndarray, section: DepthFiles, root: Path, camera: Intrinsics | None) -> np.ndarray:
    """Metres along z, of distances along the viewing ray where they are stored so."""
    if section.along != "ray":
        return metres
    if camera is None:
        raise DataError("depth.along is ray, and no camera is known: give 'intrinsics' in the description")
    return metres / ray_lengths(camera, metres.shape)


def finish(metres: np.ndarray, section: DepthFiles, classes: object = None) -> np.ndarray:
    """Without what no camera measures: a single value of 1e30 m would outweigh all others."""
    return np.where(metres <= FARTHEST, metres, np.float32(0))


def fits(depth: np.ndarray, section: DepthFiles) -> np.ndarray:
    """Where 16 bits hold the depth (H, W) at the section's scale, bool."""
    return np.rint((depth - section.offset) / section.scale) <= 65535


def write(depth: np.ndarray, section: DepthFiles) -> np.ndarray:
    """uint16 at the section's scale; no depth is the first of the invalid values that 16 bits hold, else 0."""
    if not fits(depth, section).all():
        raise DataError(f"depth of {depth.max():.2f} m does not fit 16 bits at scale {section.scale}")
    value = np.rint((depth - section.offset) / section.scale)
    none = next((mark for mark in section.marks if mark in range(65536)), 0)
    return np.where(depth > 0, value, none).astype(np.uint16)


DEPTH = Target("depth", "scalar_map", read, finish, write, length=True, place=place)
