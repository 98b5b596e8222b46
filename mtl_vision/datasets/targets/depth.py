"""Depth in metres along z: float32 (H, W), 0 = invalid."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class DepthFiles:
    """metres = value * scale + offset; `invalid` is the stored value that means no depth (None: there is none).

    What is not above 0, no finite number or beyond FARTHEST is no depth either.

    full_scale: metres at the largest value that the file's type holds, in place of scale. scale8: the scale of those
    files that have 8 bits, where others have more. wraps: 16-bit values that start again at 0 beyond 65535. rotated:
    bits by which 16-bit values are rotated to the left. along: the axis z, or the viewing ray. raw: folder of the maps
    with the sensor's holes. key: variable of .mat and HDF5 files.
    """

    folder: Folder = "depth"
    scale: float = 0.001
    offset: float = 0.0
    invalid: int | None = 0
    full_scale: Annotated[float, "a number of metres"] | None = None
    scale8: Annotated[float, "a number of metres"] | None = None
    wraps: bool = False
    rotated: int | None = None
    along: Annotated[str, " or ".join(ALONG)] | None = None
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
    stored = _turned_back(one_channel(stored), section.rotated)
    scale = section.scale if section.scale8 is None or stored.dtype != np.uint8 else section.scale8
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


def _turned_back(stored: np.ndarray, rotated: int | None) -> np.ndarray:
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


def write(depth: np.ndarray, section: DepthFiles) -> np.ndarray:
    """uint16 at the section's scale."""
    value = np.rint((depth - section.offset) / section.scale)
    if value.max() > 65535:
        raise DataError(f"depth of {depth.max():.2f} m does not fit 16 bits at scale {section.scale}")
    return np.where(depth > 0, value, section.invalid or 0).astype(np.uint16)


DEPTH = Target("depth", "scalar_map", read, finish, write, length=True, place=place)
