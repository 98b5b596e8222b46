"""What a kind of dense map is: everything that follows from it and from no task."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import cv2
import numpy as np

Size = tuple[int, int]  # (H, W)
Palette = Sequence[Sequence[int]]  # (red, green, blue) of each id, 0 to 255
Limits = tuple[float, float]  # the range of values that colours span
INVALID = np.array((150, 150, 150), np.uint8)  # the colour of no value: black is far away


def resize_pixels(array: np.ndarray, size: Size) -> np.ndarray:
    """Resize (H, W) or (H, W, C): by area when it shrinks, linearly when it grows; pixel centres stay aligned."""
    if array.shape[:2] == size:
        return array
    shrinks = size[0] * size[1] < array.shape[0] * array.shape[1]
    return cv2.resize(array, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def warp(array: np.ndarray, matrix: np.ndarray, flags: int, fill: float) -> np.ndarray:
    """The array after an affine map (2, 3); uncovered pixels become `fill`."""
    size = (array.shape[1], array.shape[0])
    return cv2.warpAffine(array, matrix, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=(fill,) * 4)


@dataclass(frozen=True)
class Output:
    """One output of the graph.

    Attributes:
        name: such as depth
        kind: scalar_map, unit_vector_map, label_map or probability_map
        unit: such as m
        frame: the axes that vectors are in
        range: (low, high) of the values in `unit`
        classes: of label maps, the names by id
        palette: of label maps, (red, green, blue) by id, 0 to 255
    """

    name: str
    kind: str
    unit: str = ""
    frame: str = ""
    range: tuple[float, float] | None = None
    classes: list[str] = field(default_factory=list)
    palette: list[tuple[int, int, int]] = field(default_factory=list)


def filled(rgb: np.ndarray, valid: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3), in place, with `colour` where nothing is valid (H, W)."""
    if not valid.all():
        rgb[~valid] = colour
    return rgb


class Kind(ABC):
    """How maps of one kind behave. Maps are numpy arrays (H, W) or (H, W, 3) in the project's conventions.

    dtype, tail: the type of a map, and its shape after (H, W). invalid: the value of a pixel that carries none.
    peak: bytes of memory that `resize`, and `encode` with the map, take for each new pixel at most.
    packed: the type that `pack` gives; resize, zoom, flip and rotate take packed maps as well.
    tolerance: how far an exported model may differ, a figure of `compare` and its limit. unit: of these figures; None
    for the map's own. values: in words, what a pixel of a network's map can be.
    """

    name: ClassVar[str]
    dtype: ClassVar[type] = np.float32
    tail: ClassVar[tuple[int, ...]] = ()
    invalid: ClassVar[int]
    peak: ClassVar[int]
    packed: ClassVar[type] = np.float32
    tolerance: ClassVar[tuple[str, float]]
    unit: ClassVar[str | None] = None
    values: ClassVar[str]

    @abstractmethod
    def valid(self, array: np.ndarray) -> np.ndarray:
        """Which pixels carry a value: bool (H, W)."""

    @abstractmethod
    def resize(self, array: np.ndarray, size: Size) -> np.ndarray:
        """The map at another size (H, W); invalid pixels never mix into valid ones."""

    def zoom(self, array: np.ndarray, size: Size) -> np.ndarray:
        """`resize` for a training target, by a cheaper way where there is one."""
        return self.resize(array, size)

    def flip(self, array: np.ndarray) -> np.ndarray:
        """The map of the image mirrored left to right."""
        return cv2.flip(array, 1)  # many times faster than a copy of array[:, ::-1]

    @abstractmethod
    def rotate(self, array: np.ndarray, matrix: np.ndarray, angle: float) -> np.ndarray:
        """The map of the image turned by `matrix` (2, 3), clockwise by `angle` radians; uncovered is invalid."""

    def pack(self, array: np.ndarray) -> np.ndarray:
        """The map as the packed cache stores it."""
        return array

    def unpack(self, array: np.ndarray) -> np.ndarray:
        """The map from a packed one; any other is returned as it is."""
        return array

    def to_tensor_layout(self, maps: np.ndarray) -> np.ndarray:
        """A batch of maps (B, H, W[, C]) as the network's side has it: a view (B, C, H, W); labels stay (B, H, W)."""
        return maps[:, None] if maps.ndim == 3 else maps.transpose(0, 3, 1, 2)

    def from_tensor_layout(self, array: np.ndarray) -> np.ndarray:
        """One map from its tensor layout, without the batch axis."""
        return array.transpose(1, 2, 0) if self.tail else array.reshape(array.shape[-2:])

    def from_channels(self, array: np.ndarray, output: Output) -> np.ndarray:
        """What a full graph would give, from what a core graph gives of a batch, (N, C, H, W). Raises ValueError."""
        channels = math.prod(self.tail)
        if array.ndim != 4 or array.shape[1] != channels:
            raise ValueError(
                f"expected output '{output.name}' ({self.name}) of a core graph as (N, {channels}, H, W), "
                f"found {array.shape}"
            )
        return array.transpose(0, 2, 3, 1) if self.tail else array[:, 0]

    def check_form(self, array: np.ndarray, shape: tuple[int, ...], output: Output) -> None:
        """Raise ValueError unless what the ONNX graph gives has the shape (N, H, W) and the type of such maps."""
        expected, dtype = shape + self.tail, np.dtype(self.dtype)
        if array.shape != expected or array.dtype != dtype:
            raise ValueError(
                f"expected output '{output.name}' ({self.name}) as {expected} of {dtype}, "
                f"found {array.shape} of {array.dtype}"
            )

    def from_graph(self, array: np.ndarray, output: Output) -> np.ndarray:
        """The maps (N, H, W[, C]) of a batch from what the ONNX graph gives. Raises ValueError where it gives none."""
        return array

    @abstractmethod
    def possible(self, maps: np.ndarray, output: Output) -> np.ndarray:
        """Which pixels of a network's maps (..., H, W[, C]) are what `values` says: bool (..., H, W)."""

    def check_values(self, maps: np.ndarray, output: Output) -> None:
        """Raise ValueError when a pixel of a network's maps is not what `values` says."""
        possible = self.possible(maps, output)
        if not possible.all():
            wrong = maps[~possible]
            values = self.values.format(classes=len(output.classes))
            raise ValueError(
                f"output '{output.name}' is wrong at {len(wrong)} of {possible.size} pixels: expected {values}, "
                f"found {wrong[0]}"
            )

    @abstractmethod
    def compare(self, a: np.ndarray, b: np.ndarray) -> dict[str, float]:
        """How far two maps (or batches of maps) differ, in physical terms; 0 = equal."""

    def errors(self, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """How far each pixel is off: float32 (H, W), NaN where the truth has no value; in `unit`."""
        off = self.distance(truth, predicted).astype(np.float32)
        off[~self.valid(truth)] = np.nan
        return off

    @abstractmethod
    def distance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The distance of two maps in each pixel (H, W), wherever both carry a value."""

    def limits(self, array: np.ndarray) -> Limits | None:
        """The range of values that colours span; None where there is none."""
        return None

    def summary(self, array: np.ndarray, output: Output) -> dict[str, Any]:
        """A map in a few figures, as JSON has them: the share of pixels that carry a value, and what a kind adds."""
        return {"valid": round(float(self.valid(array).mean()), 4)}

    @abstractmethod
    def colour(self, array: np.ndarray, palette: Palette = (), limits: Limits | None = None) -> np.ndarray:
        """The map as an image for people: (H, W, 3) uint8 RGB; invalid is INVALID."""

    @abstractmethod
    def key(self, maps: Sequence[np.ndarray], output: Output, limits: Limits | None, width: int) -> np.ndarray:
        """What the colours of these maps mean, within `limits`: (H, width, 3) uint8 RGB."""

    def longest_key(self, output: Output, width: int) -> int:
        """The height of the key of a map that has all that a map can have."""
        return len(self.key([np.full((1, 1, *self.tail), self.invalid, self.dtype)], output, None, width))

    def nothing(self, maps: Sequence[np.ndarray]) -> list[tuple[str, np.ndarray | None]]:
        """The key's entry for invalid pixels, where there are any."""
        return [] if all(self.valid(one).all() for one in maps) else [("none", INVALID)]

    @abstractmethod
    def encode(self, array: np.ndarray, output: Output) -> bytes:
        """The map as a PNG that other programs read."""

    def draw(
        self, array: np.ndarray, output: Output, size: Size, width: int, limits: Limits | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The coloured map at another size, and the key of its colours `width` pixels wide; both (H, W, 3) uint8 RGB.

        limits: what the colours span (the map's own).
        """
        limits = limits or self.limits(array)
        shown = self.resize(array, size)  # before it is coloured: no two colours mix to a third one
        return self.colour(shown, output.palette, limits), self.key([array], output, limits, width)
