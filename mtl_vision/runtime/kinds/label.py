"""One class id a pixel."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from mtl_vision.runtime.files import palette_png
from mtl_vision.runtime.kinds.base import INVALID, Kind, Limits, Output, Palette, Size, resize_pixels, warp
from mtl_vision.runtime.paint import legend

IGNORE = 255  # the label that means "no label"
GOLDEN = 0.618034  # steps of this share of a circle never come near each other


def colour_table(palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Colours (256, 3) uint8 RGB of a label map's ids: the palette, made-up hues after it, ignore black."""
    i = np.arange(256)
    hsv = np.stack([i * GOLDEN % 1 * 180, 150 + 40 * (i % 3), 230 - 50 * (i // 3 % 2)], axis=-1)
    table = cv2.cvtColor(hsv.astype(np.uint8)[None], cv2.COLOR_HSV2RGB)[0]
    table[IGNORE] = 0
    table[: len(palette)] = np.asarray(palette, np.uint8).reshape(-1, 3)
    return table


class LabelMap(Kind):
    """One class id a pixel: uint8 (H, W), 255 = ignore."""

    name = "label_map"
    dtype = packed = np.uint8
    invalid = IGNORE
    peak = 16
    tolerance = ("share_different", 0.001)
    unit = ""
    values = "an id of {classes} classes, or 255"

    def valid(self, array: np.ndarray) -> np.ndarray:
        return array != IGNORE

    def resize(self, array: np.ndarray, size: Size) -> np.ndarray:
        if array.shape == size:
            return array
        if size[0] * size[1] < array.size:
            return cv2.resize(array, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        # Growing: each id present votes with its linearly resized mask, which rounds the staircase off the borders.
        # One at a time, so that a large image with many classes fits in memory.
        most, winner = np.zeros(size, np.float32), np.zeros(size, array.dtype)
        for i in np.unique(array):
            votes = resize_pixels((array == i).astype(np.float32), size)
            better = votes > most
            np.copyto(most, votes, where=better)  # a third of the time of most[better] = votes[better]
            np.copyto(winner, i, where=better)
        return winner

    def zoom(self, array: np.ndarray, size: Size) -> np.ndarray:
        return cv2.resize(array, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)  # the vote takes 30 times as long

    def rotate(self, array: np.ndarray, matrix: np.ndarray, angle: float) -> np.ndarray:
        return warp(array, matrix, cv2.INTER_NEAREST, IGNORE)

    def distance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """1 where they differ."""
        return a != b

    def compare(self, a: np.ndarray, b: np.ndarray) -> dict[str, float]:
        return {"share_different": float((a != b).mean())}

    def colour(self, array: np.ndarray, palette: Palette = (), limits: Limits | None = None) -> np.ndarray:
        table = colour_table(palette)
        table[IGNORE] = INVALID
        return table.take(array, axis=0)  # in less time than table[array]

    def to_tensor_layout(self, maps: np.ndarray) -> np.ndarray:
        return maps

    def from_channels(self, array: np.ndarray, output: Output) -> np.ndarray:
        return array  # logits

    def check_form(self, array: np.ndarray, shape: tuple[int, ...], output: Output) -> None:
        """Ids, or logits (N, C, H, W) of the output's classes; of two classes, one channel will do."""
        if array.ndim != 4:
            return super().check_form(array, shape, output)
        count, channels = len(output.classes), array.shape[1]
        fits = channels == count or (channels == 1 and count == 2) or (not count and 1 <= channels <= IGNORE)
        if not fits or array.shape != (shape[0], channels, *shape[1:]) or array.dtype.kind != "f":
            raise ValueError(
                f"expected output '{output.name}' ({self.name}) as logits (N, C, H, W) of "
                f"{count or f'at most {IGNORE}'} classes, found {array.shape} of {array.dtype}"
            )
        return None

    def from_graph(self, array: np.ndarray, output: Output) -> np.ndarray:
        """Ids (N, H, W) uint8; of logits (N, C, H, W) the largest one's. Raises ValueError where that is no number."""
        if array.ndim != 4:
            return array
        largest = array.max(axis=1)  # NaN where there is one
        if wrong := np.count_nonzero(~np.isfinite(largest)):
            raise ValueError(
                f"output '{output.name}' is wrong at {wrong} of {largest.size} pixels: expected logits of which the "
                "largest is finite"
            )
        if array.shape[1] == 1 and len(output.classes) != 1:  # of two classes: how far the second is above the first
            return (array[:, 0] > 0).astype(np.uint8)
        return array.argmax(axis=1).astype(np.uint8)

    def possible(self, maps: np.ndarray, output: Output) -> np.ndarray:
        return (maps < (len(output.classes) or IGNORE)) | (maps == IGNORE)

    def longest_key(self, output: Output, width: int) -> int:
        return len(self.key([np.array([*range(len(output.classes)), IGNORE], np.uint8)], output, None, width))

    def summary(self, array: np.ndarray, output: Output) -> dict[str, Any]:
        """With the share of pixels of each class that occurs, by its name."""
        counts = np.bincount(array.ravel(), minlength=IGNORE + 1)[:IGNORE]
        names = dict(enumerate(output.classes))
        shares = {names.get(i, str(i)): round(n / array.size, 4) for i, n in enumerate(counts.tolist()) if n}
        return super().summary(array, output) | {"shares": shares}

    def encode(self, array: np.ndarray, output: Output) -> bytes:
        return palette_png(array, colour_table(output.palette))

    def key(self, maps: Sequence[np.ndarray], output: Output, limits: Limits | None, width: int) -> np.ndarray:
        """The classes that occur, in the order of their ids: from image to image it stays."""
        ids = np.unique(np.concatenate([np.unique(one[self.valid(one)]) for one in maps]))
        names = {**{int(i): f"class {i}" for i in ids}, **dict(enumerate(output.classes))}
        entries = [(names[i], colour) for i, colour in zip(ids.tolist(), self.colour(ids, output.palette), strict=True)]
        return legend([*entries, *self.nothing(maps)], width)
