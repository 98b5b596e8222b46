"""From images to maps at their own size: the same steps for every way to run a network."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar, overload

import numpy as np

from mtl_vision.runtime.contract import Manifest, ModelError, one_line
from mtl_vision.runtime.headers import Header, ImageError
from mtl_vision.runtime.images import AnyImage, as_rgb, decode_rgb, read_checked, reduction
from mtl_vision.runtime.kinds import KINDS, Kind, Size, resize_pixels
from mtl_vision.runtime.lens import Box, Lens, View, is_length, view

Maps = dict[str, np.ndarray]
PANEL = (400, 560)  # the longer side of an image in an overview, pixels: smaller ones are enlarged, larger ones shrunk
SPARE = 2  # a JPEG decoded at twice the network's size still has what a mean of its pixels needs
T = TypeVar("T")


@dataclass(frozen=True)
class Prepared:
    """An image's size (h, w), the canvas (H, W, 3) uint8 that the network takes, and the image's box in it.

    The image itself is not kept: a large one would take memory for as long as it waits for the network. view: its
    camera, where that matters.
    """

    size: Size
    canvas: np.ndarray
    box: Box
    view: View | None = None

    @property
    def depth_scale(self) -> float:
        """What the network's lengths are multiplied by."""
        return 1.0 if self.view is None else self.view.depth_scale or 1.0

    def crop(self, array: np.ndarray) -> np.ndarray:
        """The box's part of a map (H, W) or (H, W, 3) of the canvas."""
        top, left, height, width = self.box
        return array[top : top + height, left : left + width]

    def at_image_size(self, array: np.ndarray, kind: Kind) -> np.ndarray:
        """The box's part of a map of the canvas, resized to the image's own size: (h, w) or (h, w, 3)."""
        return kind.resize(np.ascontiguousarray(self.crop(array)), self.size)


class Predictor(ABC):
    """A network with a manifest: set `manifest` and define `run`, and `predict` does the rest.

    `predict` keeps nothing between calls: several threads may call it at once if they may call `run` so.

    Attributes:
        manifest: size, outputs, units, classes and camera
        checksum: of the file, where it is one
    """

    manifest: Manifest
    checksum: str = ""

    @abstractmethod
    def run(self, images: np.ndarray) -> Maps:
        """Run a batch at the network's own size.

        Args:
            images: (N, H, W, 3) uint8 RGB

        Returns:
            maps (N, H, W), or (N, H, W, 3) of unit vectors, by output name: float32, labels uint8
        """

    @overload
    def predict(
        self, image: AnyImage, batch: int = ..., *, fov: float | None = ..., focal: float | None = ...
    ) -> Maps: ...
    @overload
    def predict(
        self, image: Sequence[AnyImage], batch: int = ..., *, fov: float | None = ..., focal: float | None = ...
    ) -> list[Maps]: ...
    def predict(
        self,
        image: AnyImage | Sequence[AnyImage],
        batch: int = 8,
        *,
        fov: float | None = None,
        focal: float | None = None,
    ) -> Maps | list[Maps]:
        """The maps of an image at its own size.

        Args:
            image: an array (H, W, 3) or gray (H, W), uint8 RGB; a path; a PIL image; or a list or tuple of these. A
                file is turned upright by its EXIF orientation; a PIL image is taken as it is
                (`PIL.ImageOps.exif_transpose` turns it)
            batch: most images per run of the network; neighbours that it takes at one size are batched, which changes
                the results by rounding only
            fov: of images of another lens than the training camera's, the degrees across their width; depth is scaled
                by the ratio of focal lengths
            focal: the same as a focal length, in pixels at the images' own size

        Returns:
            (H, W), or (H, W, 3) of unit vectors, by output name: float32, labels uint8; of a list, a list of these.
                Units, frame and classes are in `manifest.outputs`: depth in metres along z

        Raises:
            ImageError: (a ValueError) an image cannot be read, or an array is of another shape or type.
            TypeError: it is no image at all.
            ModelError: the network fails, or gives what is no such map, such as NaN.
            ValueError: depth cannot be scaled, since the manifest has no intrinsics.
        """
        lens = None if fov is focal is None else Lens(fov, focal)
        if lens:
            lens.check(self.manifest)
        several = isinstance(image, (list, tuple))
        named = [(f"image[{i}]", one) for i, one in enumerate(image)] if several else [("image", image)]
        ready = (_prepared(one, self.manifest, lens, name) for name, one in named)  # type: ignore[arg-type]
        groups = batches(ready, batch, lambda one: one.canvas.shape)
        results = ((one, maps) for group in groups for one, maps in zip(group, self.run_prepared(group), strict=True))
        found: list[Maps] = []
        for one, maps in results:
            if isinstance(maps, ModelError):
                raise ModelError(f"{named[len(found)][0]}: {maps}") from maps.__cause__
            found.append({o.name: one.at_image_size(maps[o.name], KINDS[o.kind]) for o in self.manifest.outputs})
        return found if several else found[0]

    def run_prepared(self, images: Sequence[Prepared]) -> Sequence[Maps | ModelError]:
        """Run images whose canvases have one size. Returns each image's maps, of the canvas's size, or why it has none.

        Raises nothing. When a batch fails, its images are run one at a time, so that an image fails by itself.
        """
        try:
            maps = dict(self.run(np.stack([image.canvas for image in images])))
            for output in self.manifest.outputs:
                if is_length(output):
                    maps[output.name] = _scaled(maps[output.name], [image.depth_scale for image in images])
                KINDS[output.kind].check_values(maps[output.name], output)
        except Exception as error:
            if len(images) > 1:
                return [self.run_prepared([image])[0] for image in images]
            failure = ModelError(f"the network failed: {one_line(error)}")
            failure.__cause__ = error
            return [failure]
        return [{name: array[i] for name, array in maps.items()} for i in range(len(images))]


def _scaled(maps: np.ndarray, scales: Sequence[float]) -> np.ndarray:
    """Maps (N, H, W), each times its scale; beyond what float32 holds they are infinite."""
    if all(scale == 1 for scale in scales):
        return maps
    with np.errstate(over="ignore"):
        return maps * np.array(scales, np.float32)[:, None, None]


def _prepared(image: AnyImage, manifest: Manifest, lens: Lens | None, name: str) -> Prepared:
    """Prepare what `predict` takes. `name` is what errors call it."""
    if not isinstance(image, (str, os.PathLike)):
        return prepare(as_rgb(image, manifest.fill, name), manifest, lens)
    try:
        pixels, size = decode_for(*read_checked(image), manifest)
    except ImageError as error:
        raise ImageError(f"{name} '{image}': {error}") from error
    return prepare(pixels, manifest, lens, size)


def decode_for(data: bytes, header: Header, manifest: Manifest) -> tuple[np.ndarray, Size]:
    """The pixels of a file, and the image's own size (h, w). A large JPEG is decoded smaller, in a third of the time.

    It keeps at least SPARE times as many pixels a side as the network takes, and as many as an overview shows; the
    network's input then differs by half a grey level on average.
    """
    sides = sorted((header.height, header.width))  # however it is turned
    canvas = sorted(input_size(manifest, (header.height, header.width)))
    enough = max(SPARE * max(c / s for c, s in zip(canvas, sides, strict=True)), PANEL[1] / sides[1])
    reduce = reduction(header, enough)
    pixels = decode_rgb(data, header, manifest.fill, reduce)
    return pixels, (reduce * pixels.shape[0], reduce * pixels.shape[1])


def prepare(image: np.ndarray, manifest: Manifest, lens: Lens | None = None, size: Size | None = None) -> Prepared:
    """Bring an image (h, w, 3) uint8 RGB to the size that the manifest gives. lens: the image's, where it matters.

    size: the image's own (h, w), where `image` is a smaller copy.
    """
    size = size or (image.shape[0], image.shape[1])
    canvas_size = input_size(manifest, size)
    canvas, box = letterbox(image, canvas_size, manifest.fill)
    return Prepared(size, canvas, box, lens and view(manifest, lens, size, canvas_size, box))


def input_size(manifest: Manifest, image_size: Size) -> Size:
    """The size (H, W) at which the network takes an image of `image_size`.

    A fixed model has one. A dynamic one gets the image's aspect ratio at about the area it was trained at, in
    multiples of the stride; an extreme panorama is letterboxed rather than let the area grow.
    """
    if not manifest.dynamic_size:
        return manifest.height, manifest.width
    area, stride = manifest.height * manifest.width, manifest.stride
    scale = math.sqrt(area / (image_size[0] * image_size[1]))
    most = max(1, area // stride**2)  # strides along one side, when the other has a single one
    height, width = (stride * min(max(1, round(side * scale / stride)), most) for side in image_size)
    return height, width


def letterbox(image: np.ndarray, size: Size, fill: tuple[int, int, int]) -> tuple[np.ndarray, Box]:
    """Scale an image (h, w, 3) uint8 to fit `size` (H, W), aspect kept, centred on a canvas of colour `fill`.

    Returns the canvas (H, W, 3) uint8 and the image's box in it. Where the aspect ratios agree to within a pixel,
    the image covers the canvas: `resize_pixels(image, size)`.
    """
    height, width = size
    scale = min(height / image.shape[0], width / image.shape[1])
    exact = (image.shape[0] * scale, image.shape[1] * scale)
    if height - exact[0] <= 1 and width - exact[1] <= 1:
        return resize_pixels(image, size), (0, 0, height, width)
    h, w = (max(1, round(side)) for side in exact)
    top, left = (height - h) // 2, (width - w) // 2
    canvas = np.full((height, width, 3), fill, np.uint8)
    canvas[top : top + h, left : left + w] = resize_pixels(image, (h, w))
    return canvas, (top, left, h, w)


def batches(items: Iterable[T], most: int, shape: Callable[[T], object]) -> Iterator[list[T]]:
    """Neighbours of one shape, at most `most` at a time; as many others may lie among them, whose shape is None.

    Raises ValueError when `most` is below 1.
    """
    if most < 1:
        raise ValueError(f"batch is {most}: expected 1 or more")
    batch: list[T] = []
    shapes: list[object] = []  # of those that have one
    for item in items:
        own = shape(item)
        if own is not None and shapes and own != shapes[-1]:
            yield batch
            batch, shapes = [], []
        batch.append(item)
        shapes += [own] if own is not None else []
        if len(shapes) in (0, most) or len(batch) == 2 * most:
            yield batch
            batch, shapes = [], []
    if batch:
        yield batch
