"""Text and colour keys, drawn as strips (H, W, 3) uint8 RGB."""

from collections.abc import Sequence

import cv2
import numpy as np

MARGIN, LINE = 8, 26  # pixels
PAPER, INK = 255, (40, 40, 40)  # white; one number for all channels fills four times as fast
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.58


def paper(height: int, width: int) -> np.ndarray:
    """An empty strip."""
    return np.full((height, width, 3), PAPER, np.uint8)


def write(strip: np.ndarray, text: str, x: int = 0, colour: tuple[int, int, int] = INK) -> None:
    """Write into the first line of a strip, in place."""
    cv2.putText(strip, _ascii(text), (x, LINE - MARGIN), FONT, FONT_SCALE, colour, 1, cv2.LINE_AA)


def text_width(text: str) -> int:
    """Pixels that a text takes."""
    return cv2.getTextSize(_ascii(text), FONT, FONT_SCALE, 1)[0][0]


def fitted(text: str, width: int) -> str:
    """The text, cut short where it would take more than `width` pixels."""
    if text_width(text) <= width:
        return text
    return next((cut for n in range(len(text), 0, -1) if text_width(cut := f"{text[:n]}..") <= width), "")


def _ascii(text: str) -> str:
    """What OpenCV's font has; it crashes on file names that are not valid text."""
    return text.encode("ascii", "replace").decode()


def bar(colours: np.ndarray, limits: tuple[float, float], unit: str) -> np.ndarray:
    """Colours (1, W, 3) from the lower to the upper limit, with the values at both ends and in the middle."""
    low, high = limits
    width = colours.shape[1]
    strip = paper(2 * LINE, width)
    strip[MARGIN:LINE] = colours
    labels = [f"{low + share * (high - low):.3g} {unit}".rstrip() for share in (0, 0.5, 1)]
    if sum(map(text_width, labels)) + 2 * MARGIN > width:  # no room for the middle
        labels = [fitted(labels[0], width // 2 - MARGIN), "", fitted(labels[2], width // 2 - MARGIN)]
    for share, label in zip((0, 0.5, 1), labels, strict=True):
        write(strip[LINE:], label, round(share * (width - text_width(label))))
    return strip


def legend(entries: Sequence[tuple[str, np.ndarray | None]], width: int) -> np.ndarray:
    """Swatches (3,) uint8 RGB with their names, in as many lines as they need; None: a heading, without a swatch."""
    swatch, gap = LINE - MARGIN, 5
    strip, x, y = paper(MARGIN + LINE, width), 0, MARGIN // 2
    for name, colour in entries:
        indent = 0 if colour is None else swatch + gap
        name = fitted(name, width - indent)
        if x and x + indent + text_width(name) > width:
            strip, x, y = np.vstack([strip, paper(LINE, width)]), 0, y + LINE
        if colour is not None:
            strip[y + MARGIN // 2 : y + MARGIN // 2 + swatch, x : x + swatch] = colour
        write(strip[y:], name, x + indent)
        x += indent + text_width(name) + 2 * MARGIN
    return strip
