"""What one image and its ground truth are, in the project's conventions.

Camera frame: x right, y down, z forward; pixel centres at integers. Depth is in metres along z, 0 = invalid.
Normals are unit vectors that face the viewer (a frontal wall is (0, 0, -1)), (0, 0, 0) = invalid.
Labels are 0..C-1, 255 = ignore.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from mtl_vision.datasets.camera import Intrinsics
from mtl_vision.datasets.targets import kind_of
from mtl_vision.runtime.kinds import Size, resize_pixels


@dataclass(frozen=True)
class Sample:
    """One image with whatever ground truth exists for it.

    image: (H, W, 3) uint8 RGB. targets by name, each of the image's size and its kind's type: `depth` (H, W) float32,
    `normals` (H, W, 3) float32, `segmentation` (H, W) uint8. A target that the source lacks is not in the dictionary.
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
        targets = {name: kind_of(name).resize(array, size) for name, array in self.targets.items()}
        return replace(self, image=resize_pixels(self.image, size), targets=targets, intrinsics=camera)
