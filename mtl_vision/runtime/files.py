"""Files: written atomically, so that one appears under its name when it is complete, or not at all; PNG encoded."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import cv2
import numpy as np


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`, with its suffix; rename it to `path` when the block succeeds.

    When the block fails, the temporary file is removed and what was at `path` stays. Raises OSError.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid4().hex[:12]}{path.suffix}")  # short: a long name must still fit
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, completely or not at all. Raises OSError; the folder must exist."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def png(pixels: np.ndarray) -> bytes:
    """Encode (H, W) or (H, W, 3) RGB, uint8 or uint16."""
    bgr = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    return cv2.imencode(".png", np.ascontiguousarray(bgr))[1].tobytes()


def palette_png(ids: np.ndarray, table: np.ndarray) -> bytes:
    """Encode ids (H, W) uint8 as an indexed PNG: a reader gets the ids, a viewer the colours `table` (256, 3) uint8."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = ids.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # 8 bits, 3 = indexed
    rows = np.pad(ids, ((0, 0), (1, 0)))  # each row begins with its filter, 0 = none
    body = chunk(b"PLTE", table.tobytes()) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 4))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")
