"""What one picture and its ground truth are, in the project's conventions.

Camera frame: x right, y down, z forward; pixel centres at integers. Depth is in metres along z, 0 = invalid.
Normals are unit vectors that face the viewer (a frontal wall is (0, 0, -1)), (0, 0, 0) = invalid.
Labels are 0..C-1, 255 = ignore.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from mtl_vision.datasets.targets import KIND_OF
from mtl_vision.runtime.kinds import KINDS, Size, resize_pixels


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera: u = fx * x / z + cx, v = fy * y / z + cy, in pixels of the image it belongs to."""

    fx: float
    fy: float
    cx: float
    cy: float

    def resized(self, from_size: tuple[int, int], to_size: tuple[int, int]) -> Intrinsics:
        """The camera after the image (H, W) was resized; pixel centres stay at integers."""
        sy, sx = to_size[0] / from_size[0], to_size[1] / from_size[1]
        return Intrinsics(self.fx * sx, self.fy * sy, (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5)

    def cropped(self, top: int, left: int) -> Intrinsics:
        """The camera of a crop whose first pixel was at row `top`, column `left`."""
        return Intrinsics(self.fx, self.fy, self.cx - left, self.cy - top)

    def flipped(self, width: int) -> Intrinsics:
        """The camera of the image mirrored left to right."""
        return Intrinsics(self.fx, self.fy, width - 1 - self.cx, self.cy)

    def rays(self, size: tuple[int, int]) -> np.ndarray:
        """Viewing rays (H, W, 3), float64, with z = 1: a point is depth * ray."""
        v, u = np.mgrid[: size[0], : size[1]].astype(np.float64)
        return np.stack([(u - self.cx) / self.fx, (v - self.cy) / self.fy, np.ones_like(u)], axis=-1)


@dataclass(frozen=True)
class Sample:
    """One picture with whatever ground truth exists for it.

    image: (H, W, 3) uint8 RGB. targets, each of the image's size: `depth` (H, W) float32, `normals` (H, W, 3)
    float32, `segmentation` (H, W) uint8. A target that the source lacks is not in the dictionary.
    """

    name: str
    image: np.ndarray
    targets: dict[str, np.ndarray] = field(default_factory=dict)
    intrinsics: Intrinsics | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image.shape[0], self.image.shape[1]

    def resized(self, size: Size) -> Sample:
        """The sample at another size (H, W): the camera scales along, values stay."""
        if self.size == size:
            return self
        camera = self.intrinsics and self.intrinsics.resized(self.size, size)
        targets = {name: KINDS[KIND_OF[name]].resize(array, size) for name, array in self.targets.items()}
        return replace(self, image=resize_pixels(self.image, size), targets=targets, intrinsics=camera)
