"""The pinhole camera (x right, y down, z forward; pixel centres at integers), and cameras that are known by name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# Under these names `intrinsics` of a dataset.yaml finds them: pixels at an image of height x width
CAMERAS = {
    # the colour camera of NYUv2, from the toolbox of Silberman et al.
    "nyuv2": {"fx": 518.857901, "fy": 519.469611, "cx": 325.582449, "cy": 253.736166, "height": 480, "width": 640},
}


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


def crop_camera(known: dict[str, float], crop: dict[str, int]) -> dict[str, float]:
    """The camera of a part of its images; crop: top, left, height and width, in pixels of the camera's images."""
    moved = {"cx": known["cx"] - crop["left"], "cy": known["cy"] - crop["top"]}
    return {**known, **moved, "height": crop["height"], "width": crop["width"]}


@lru_cache(maxsize=1)
def ray_lengths(camera: Intrinsics, size: tuple[int, int]) -> np.ndarray:
    """The viewing rays' lengths (H, W), float32: a point at depth 1 is so far from the camera. Not to be written to."""
    return np.linalg.norm(camera.rays(size), axis=-1).astype(np.float32)


def camera_at(known: dict[str, float], size: tuple[int, int]) -> Intrinsics:
    """The camera at an image size (H, W); known: fx, fy, cx, cy and the height and width that they are for."""
    camera = Intrinsics(known["fx"], known["fy"], known["cx"], known["cy"])
    return camera.resized((round(known["height"]), round(known["width"])), size)
