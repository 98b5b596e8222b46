"""One picture for people: the image and every map of it, side by side, each with a caption and a key."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from mtl_vision.runtime.contract import Output
from mtl_vision.runtime.encode import colour_table
from mtl_vision.runtime.kinds import IGNORE, KINDS, Size, resize_pixels

PANEL = (400, 560)  # the longer side of a panel, pixels: smaller images are enlarged, larger ones shrunk
KEY_WIDTH = 320  # a caption and its key need this much, however narrow the image
MARGIN, LINE = 8, 26
WIDE = 7.0  # a row of panels wider than this many times its height becomes a grid
PAPER, INK = (255, 255, 255), (40, 40, 40)

# Directions as one sees them in the camera frame: x right, y down, z forward
DIRECTIONS = {
    "faces us": (0, 0, -1),
    "left": (-1, 0, 0),
    "right": (1, 0, 0),
    "up": (0, -1, 0),
    "down": (0, 1, 0),
}


def overview(image: np.ndarray, maps: Mapping[str, np.ndarray], outputs: Sequence[Output]) -> np.ndarray:
    """Show an image (H, W, 3) uint8 RGB and its maps by name, each covering the same view at any size.

    Returns (H', W', 3) uint8 RGB. Outputs whose name is not in `maps` are left out.
    """
    size = _panel_size(image.shape[:2])
    width = max(size[1], KEY_WIDTH)
    cells = [(f"image  {image.shape[1]} x {image.shape[0]}", resize_pixels(image, size), _paper(0, width))]
    for output in outputs:
        if output.name in maps:
            picture, key = DRAW[output.kind](maps[output.name], output, size, width)
            cells.append((output.name, resize_pixels(picture, size), key))
    key_height = max(key.shape[0] for _, _, key in cells)
    panels = [_panel(caption, picture, key, key_height) for caption, picture, key in cells]
    columns = _columns(len(panels), panels[0].shape[:2])
    panels += [np.full_like(panels[0], 255)] * (-len(panels) % columns)
    rows = [np.hstack(panels[i : i + columns]) for i in range(0, len(panels), columns)]
    return cv2.copyMakeBorder(np.vstack(rows), 0, MARGIN, 0, MARGIN, cv2.BORDER_CONSTANT, value=PAPER)


def _panel_size(size: Size) -> Size:
    longer = max(size)
    scale = min(max(longer, PANEL[0]), PANEL[1]) / longer
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _columns(count: int, size: Size) -> int:
    """All in a row, unless that is too wide; then the grid that comes closest to twice as wide as high."""
    shape = size[1] / size[0]
    if count * shape <= WIDE:
        return count
    return min(range(1, count + 1), key=lambda n: abs(math.log(n * shape / math.ceil(count / n) / 2)))


def _panel(caption: str, picture: np.ndarray, key: np.ndarray, key_height: int) -> np.ndarray:
    """Caption, picture and key, from top to bottom, with a margin above and to the left."""
    head = _paper(LINE, key.shape[1])
    _write(head, caption, 0)
    picture = np.pad(picture, ((0, 0), (0, key.shape[1] - picture.shape[1]), (0, 0)), constant_values=255)
    key = np.pad(key, ((0, key_height - key.shape[0]), (0, 0), (0, 0)), constant_values=255)
    return np.pad(np.vstack([head, picture, key]), ((MARGIN, 0), (MARGIN, 0), (0, 0)), constant_values=255)


def _scalars(array: np.ndarray, output: Output, size: Size, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A coloured map, and its bar with the values at both ends and in the middle."""
    kind = KINDS["scalar_map"]
    array = np.where(np.isfinite(array), array, 0)
    valid = array[kind.valid(array)]
    low, high = (float(v) for v in np.percentile(valid, (1, 99))) if valid.size else (0.0, 1.0)
    ramp = np.linspace(max(low, 1e-6), max(high, 1e-6), width, dtype=np.float32)
    key = _paper(2 * LINE, width)
    key[MARGIN:LINE] = kind.colour(ramp[None], limits=(low, high))
    for share in (0, 0.5, 1):
        label = f"{low + share * (high - low):.3g} {output.unit}".rstrip()
        _write(key[LINE:], label, round(share * (width - _text_width(label))))
    return kind.colour(array, limits=(low, high)), key


def _vectors(array: np.ndarray, output: Output, size: Size, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coloured vectors, and the colours of the main directions."""
    kind = KINDS["unit_vector_map"]
    swatches = kind.colour(np.array([list(DIRECTIONS.values())], np.float32))[0]
    return kind.colour(array), _legend(list(zip(DIRECTIONS, swatches, strict=True)), width)


def _labels(array: np.ndarray, output: Output, size: Size, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coloured classes, and the names of those present, the largest first."""
    table = colour_table(output)
    ids, counts = np.unique(array, return_counts=True)
    names = {**{int(i): f"class {i}" for i in ids}, **dict(enumerate(output.classes)), IGNORE: "ignored"}
    entries = [(names[i], table[i]) for i in ids[np.argsort(-counts)].tolist()]
    kind = KINDS["label_map"]
    return kind.colour(kind.resize(array, size), palette=table), _legend(entries, width)  # type: ignore[arg-type]


# (map, output, panel's size, key's width) -> picture, key. Colours are resized later, which is cheaper than maps;
# those of classes must not mix.
DRAW: dict[str, Callable[[np.ndarray, Output, Size, int], tuple[np.ndarray, np.ndarray]]] = {
    "scalar_map": _scalars,
    "unit_vector_map": _vectors,
    "label_map": _labels,
}


def _legend(entries: Sequence[tuple[str, np.ndarray]], width: int) -> np.ndarray:
    """Swatches (3,) uint8 RGB with their names, in as many lines as they need."""
    swatch, gap = LINE - MARGIN, 5
    places, x, line = [], 0, 0
    for name, colour in entries:
        needed = swatch + gap + _text_width(name)
        if x and x + needed > width:
            x, line = 0, line + 1
        places.append((name, colour, x, line))
        x += needed + 2 * MARGIN
    strip = _paper(MARGIN + LINE * (line + 1), width)
    for name, colour, x, line in places:
        y = MARGIN // 2 + LINE * line
        strip[y + MARGIN // 2 : y + MARGIN // 2 + swatch, x : x + swatch] = colour
        _write(strip[y:], name, x + swatch + gap)
    return strip


FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.58


def _write(strip: np.ndarray, text: str, x: int) -> None:
    """Write into the first line of a strip, in place."""
    cv2.putText(strip, text, (x, LINE - MARGIN), FONT, FONT_SCALE, INK, 1, cv2.LINE_AA)


def _text_width(text: str) -> int:
    return cv2.getTextSize(text, FONT, FONT_SCALE, 1)[0][0]


def _paper(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), PAPER, np.uint8)
