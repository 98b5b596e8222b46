"""The camera of an image, and how depth depends on it.

A network learns depth at one focal length: what is seen twice as large looks half as far away. So at a focal length of
f, where the training camera has f_t, both in pixels of the network's input, the depth is f / f_t times the network's.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from mtl_vision.runtime.contract import Manifest
from mtl_vision.runtime.kinds import Output, Size

MANIFEST = "manifest"
LENGTH = ("scalar_map", "m")  # kind and unit of the maps that a focal length scales
FOV, FOCAL = (1.0, 179.0), (1.0, 1e6)  # degrees, pixels
FAR_OFF = 1e6  # pixels that no camera's centre is away from its image
Box = tuple[int, int, int, int]  # (top, left, height, width) of the image inside its canvas


class Camera(NamedTuple):
    """A pinhole camera: u = fx * x / z + cx, v = fy * y / z + cy in pixels of an image; pixel centres at integers."""

    fx: float
    fy: float
    cx: float
    cy: float


@dataclass(frozen=True)
class Lens:
    """The lens of images: `fov`, degrees across their width, or `focal`, pixels at their own size; else the training's.

    Raises ValueError for both, and for what no lens has.
    """

    fov: float | None = None
    focal: float | None = None

    def __post_init__(self) -> None:
        if self.fov is not None and self.focal is not None:
            raise ValueError("expected one of fov and focal, found both: they are two ways to say the same")
        for name, value, (low, high) in (("fov", self.fov, FOV), ("focal", self.focal, FOCAL)):
            if value is not None and not low <= value <= high:
                what = "degrees across the image" if name == "fov" else "pixels of the image at its own size"
                raise ValueError(f"{name} is {value}: expected {low:g} to {high:g} {what}")

    @property
    def trained(self) -> bool:
        """Whether it is that of the training camera."""
        return self.fov is self.focal is None

    def __str__(self) -> str:
        """What says so, as results.jsonl names it."""
        if self.trained:
            return MANIFEST
        return f"--focal {self.focal:.15g}" if self.fov is None else f"--fov {self.fov:.15g}"

    def check(self, manifest: Manifest, camera_will_do: bool = False) -> None:
        """Raise ValueError where depth cannot be scaled to it.

        camera_will_do: the camera alone is of use, and without intrinsics depth stays as the network gives it.
        """
        if not any(map(is_length, manifest.outputs)):
            names = ", ".join(output.name for output in manifest.outputs)
            raise ValueError(f"{self} scales depth: expected an output in metres, the model has {names}; leave it out")
        where = f"the model's manifest, [fx, fy, cx, cy] in pixels of {manifest.height} x {manifest.width}"
        if manifest.intrinsics is None and not (camera_will_do and not self.trained):
            what = "give --fov or --focal" if self.trained else f"leave {self} out"
            raise ValueError(
                f"expected the training camera's intrinsics in {where}, found none; {what}, or train with intrinsics "
                "in dataset.yaml and export again"
            )
        fx, fy, cx, cy = manifest.intrinsics or (1, 1, 0, 0)
        if not (FOCAL[0] <= min(fx, fy) <= max(fx, fy) <= FOCAL[1] and max(abs(cx), abs(cy)) <= FAR_OFF):
            raise ValueError(
                f"expected intrinsics in {where}, of a camera: focal lengths of {FOCAL[0]:g} to {FOCAL[1]:g}; found "
                f"{list(manifest.intrinsics or ())}; export the model again"
            )


@dataclass(frozen=True)
class View:
    """The camera of an image, what it is known from, and what the network's depth is multiplied by (None: unknown)."""

    camera: Camera
    source: str
    depth_scale: float | None

    def line(self) -> dict[str, Any]:
        """Its part of the image's line in the results."""
        camera = {name: round(value, 6) for name, value in self.camera._asdict().items()}
        return {"camera": camera | {"from": self.source}, "depth_scale": self.depth_scale}


def made_with(line: dict[str, Any]) -> str:
    """What the camera of a line in the results is known from."""
    camera = line.get("camera")
    return str(camera.get("from")) if isinstance(camera, dict) else MANIFEST


def view(manifest: Manifest, lens: Lens, size: Size, canvas: Size, box: Box) -> View:
    """How an image (h, w) is seen that lies in the `box` of the network's canvas (H, W); after `Lens.check`.

    With the training's lens it is the training camera on the canvas, for which depth holds as the network gives it. Of
    another lens pixels are square and the axis goes through the middle of the image; the scale is the ratio of the
    horizontal focal lengths.
    """
    trained = manifest.intrinsics and _on_image(Camera(*manifest.intrinsics), manifest, size, canvas, box)
    if lens.trained:
        assert trained is not None, "Lens.check asks for intrinsics"
        return View(trained, str(lens), 1.0)
    height, width = size
    focal = lens.focal or width / 2 / math.tan(math.radians(lens.fov or 0) / 2)
    camera = Camera(focal, focal, (width - 1) / 2, (height - 1) / 2)
    return View(camera, str(lens), focal / trained.fx if trained else None)


def _on_image(trained: Camera, manifest: Manifest, size: Size, canvas: Size, box: Box) -> Camera:
    top, left, height, width = box
    per_x, per_y = size[1] / width, size[0] / height  # pixels of the image in one of the network's
    # A dynamic canvas has another size than at training: the axis keeps its distance from the middle
    x = trained.cx + (canvas[1] - manifest.width) / 2 - left
    y = trained.cy + (canvas[0] - manifest.height) / 2 - top
    return Camera(trained.fx * per_x, trained.fy * per_y, (x + 0.5) * per_x - 0.5, (y + 0.5) * per_y - 0.5)


def is_length(output: Output) -> bool:
    """Whether a map holds lengths, which the focal length scales."""
    return (output.kind, output.unit) == LENGTH
