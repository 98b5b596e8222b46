"""How each kind of map is kept in a file that other programs read: one PNG a map."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np

from mtl_vision.runtime.contract import Output
from mtl_vision.runtime.kinds import IGNORE, KINDS

GOLDEN = 0.618034  # steps of this share of a circle never come near each other


def colour_table(output: Output) -> np.ndarray:
    """Colours (256, 3) uint8 RGB of a label map's ids: the manifest's palette, made-up hues after it, ignore black."""
    i = np.arange(256)
    hsv = np.stack([i * GOLDEN % 1 * 180, 150 + 40 * (i % 3), 230 - 50 * (i // 3 % 2)], axis=-1)
    table = cv2.cvtColor(hsv.astype(np.uint8)[None], cv2.COLOR_HSV2RGB)[0]
    table[IGNORE] = 0
    table[: len(output.palette)] = np.asarray(output.palette, np.uint8).reshape(-1, 3)
    return table


def png(pixels: np.ndarray) -> bytes:
    """Encode (H, W) or (H, W, 3) RGB, uint8 or uint16."""
    bgr = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    return cv2.imencode(".png", np.ascontiguousarray(bgr))[1].tobytes()


def palette_png(ids: np.ndarray, table: np.ndarray) -> bytes:
    """Encode ids (H, W) uint8 as an indexed PNG: a reader gets the ids, a viewer the colours `table` (256, 3)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = ids.shape
    rows = np.pad(ids, ((0, 0), (1, 0)))  # each row begins with its filter, 0 = none
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),  # 8 bits, 3 = indexed
            chunk(b"PLTE", table.astype(np.uint8).tobytes()),
            chunk(b"IDAT", zlib.compress(rows.tobytes(), 4)),
            chunk(b"IEND", b""),
        ]
    )


def _thousandths(array: np.ndarray, output: Output) -> bytes:
    """uint16 in thousandths of the unit (metres become millimetres), at most 65535; not a number becomes 0."""
    return png(np.rint(np.nan_to_num(array * 1000.0)).clip(0, 65535).astype(np.uint16))


def _vectors(array: np.ndarray, output: Output) -> bytes:
    """8-bit RGB of (n + 1) / 2; no vector becomes black."""
    return png(KINDS["unit_vector_map"].colour(array))


def _labels(array: np.ndarray, output: Output) -> bytes:
    return palette_png(array, colour_table(output))


ENCODERS: dict[str, Callable[[np.ndarray, Output], bytes]] = {
    "scalar_map": _thousandths,
    "unit_vector_map": _vectors,
    "label_map": _labels,
}
