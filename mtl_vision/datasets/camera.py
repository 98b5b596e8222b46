"""The pinhole camera (x right, y down, z forward; pixel centres at integers), and cameras that are known by name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# Under these names `intrinsics` of a dataset.yaml finds them: pixels at an image of height x width
CAMERAS = {
    # the colour camera of NYUv2, from the toolbox of Silberman et al.
    "nyuv2": {"fx": 518.857901, "fy": 519.469611, "cx": 325.582449, "cy": 253.736166, "height": 480, "width": 640},
}

# What cameras of rooms are like, before any crop that is described: phones and RGB-D sensors see 40 to 90 degrees
VIEW = (20.0, 130.0)  # degrees along the longer side
CENTRE = (0.25, 0.75)  # of width and height, where the optical axis is


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


def unlikely(known: dict[str, float]) -> str | None:
    """What is odd about a camera (as `camera_at` takes it), in a sentence: its field of view, or its centre."""
    degrees = math.degrees(2 * math.atan(max(known["width"] / known["fx"], known["height"] / known["fy"]) / 2))
    across, down = (known["cx"] + 0.5) / known["width"], (known["cy"] + 0.5) / known["height"]
    if VIEW[0] <= degrees <= VIEW[1] and all(CENTRE[0] <= place <= CENTRE[1] for place in (across, down)):
        return None
    return (
        f"by the intrinsics, images of {known['height']:g}x{known['width']:g} (height x width) show {degrees:.0f} "
        f"degrees along the longer side, and their optical axis is at {across:.0%} of the width and {down:.0%} of the "
        f"height: expected {VIEW[0]:g} to {VIEW[1]:g} degrees, and {CENTRE[0]:.0%} to {CENTRE[1]:.0%}; give the height "
        "and width of the images that fx, fy, cx and cy are for, and `crop` where the images are a part of those"
    )


@lru_cache(maxsize=1)
def ray_lengths(camera: Intrinsics, size: tuple[int, int]) -> np.ndarray:
    """The viewing rays' lengths (H, W), float32: a point at depth 1 is so far from the camera. Not to be written to."""
    return np.linalg.norm(camera.rays(size), axis=-1).astype(np.float32)


def camera_at(known: dict[str, float], size: tuple[int, int]) -> Intrinsics:
    """The camera at an image size (H, W); known: fx, fy, cx, cy and the height and width that they are for."""
    camera = Intrinsics(known["fx"], known["fy"], known["cx"], known["cy"])
    return camera.resized((round(known["height"]), round(known["width"])), size)
