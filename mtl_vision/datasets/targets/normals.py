"""Surface normals that face the viewer: float32 (H, W, 3) of unit length, (0, 0, 0) = invalid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from mtl_vision.datasets import DataError
from mtl_vision.datasets.normals import normals_from_depth
from mtl_vision.datasets.schema import Folder, Variable
from mtl_vision.datasets.targets.base import Target, native
from mtl_vision.datasets.text import shown
from mtl_vision.runtime.kinds import KINDS, normalise

if TYPE_CHECKING:
    from mtl_vision.datasets.camera import Intrinsics
    from mtl_vision.datasets.classes import ClassSet
    from mtl_vision.datasets.sample import Sample


LONGEST = 1e4  # of a stored vector that has a length at all


@dataclass(frozen=True)
class NormalsFiles:
    """Vectors (.npy, .mat), or RGB images of (n + 1) / 2, 8 or 16 bits; `derive` takes them from depth instead.

    Vectors far from unit length (black or grey pixels) are invalid. axes: our x, y, z in terms of the stored vector's
    axes, for sources of another frame: [x, -y, -z] turns y and z. turn: those that face away from the viewer, as some
    renderers store them, are turned round.
    """

    folder: Folder = "normals"
    axes: Annotated[tuple[str, ...], "a list of three axes, such as [x, -y, -z]"] = ("x", "y", "z")
    derive: bool = False
    turn: bool = False
    key: Variable | None = None

    def problem(self) -> str | None:
        """What is wrong with the section."""
        if sorted(axis.removeprefix("-") for axis in self.axes) == ["x", "y", "z"]:
            return None
        return f"axes is {shown(str(list(self.axes)))}: expected x, y and z once each, or negated (-x)"


def read(stored: np.ndarray, section: NormalsFiles) -> np.ndarray:
    """Vectors (H, W, 3) float32 in our axes, at whatever length they have."""
    stored = native(stored)
    of_type = stored.dtype.kind == "f" or stored.dtype in (np.uint8, np.uint16)
    if stored.ndim != 3 or stored.shape[2] != 3 or not of_type:
        found = f"{stored.dtype} of shape {stored.shape}"
        raise DataError(f"expected three channels of 8 or 16 bits, (n + 1) / 2, or vectors of floats; found {found}")
    if stored.dtype.kind == "f":
        vectors = np.where(np.abs(stored) < LONGEST, stored, 0).astype(np.float32)  # NaN is none either
    else:
        vectors = stored.astype(np.float32) / (np.iinfo(stored.dtype).max / 2) - 1
    return np.stack([vectors[..., "xyz".index(a[-1])] * (-1 if a[0] == "-" else 1) for a in section.axes], axis=-1)


def place(vectors: np.ndarray, section: NormalsFiles, root: Path, camera: Intrinsics | None) -> np.ndarray:
    """The vectors, those that face away from the viewer turned round if they are to be."""
    if not section.turn:
        return vectors
    if camera is None:
        raise DataError("normals.turn is true, and no camera is known: give 'intrinsics' in the description")
    away = (vectors * camera.rays(vectors.shape[:2])).sum(axis=-1, keepdims=True) > 0
    return np.where(away, -vectors, vectors)


def finish(vectors: np.ndarray, section: NormalsFiles, classes: ClassSet | None) -> np.ndarray:
    """At unit length; what is far from it, such as black or grey in an image, is invalid."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where((length > 0.5) & (length < 1.5), normalise(vectors), 0).astype(np.float32)


def write(normals: np.ndarray, section: NormalsFiles) -> np.ndarray:
    """16-bit RGB of (n + 1) / 2."""
    value = np.rint((normals + 1) * 32767.5)
    return np.where(KINDS["unit_vector_map"].valid(normals)[..., None], value, 0).astype(np.uint16)


def derive(sample: Sample) -> np.ndarray | None:
    """From depth, where the camera is known."""
    return sample.intrinsics and normals_from_depth(sample.targets["depth"], sample.intrinsics)


NORMALS = Target("normals", "unit_vector_map", read, finish, write, derive, ("depth",), place=place)
