"""Read any picture a user may have as (H, W, 3) uint8 RGB, upright; or say what is wrong with it."""

from __future__ import annotations

import re
import stat
import struct
from pathlib import Path

import cv2
import numpy as np

SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jpe", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm"]
)
MAX_PIXELS = 2**28  # a 200 megapixel phone picture passes
MAX_BYTES = 2**30
FILL = (124, 116, 104)  # the mean of ImageNet's pixels, RGB

# EXIF orientation -> (transpose, then reverse rows, then reverse columns)
TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
_EXIF = re.compile(rb"(?:Exif\0\0|eXIf|EXIF.{4})(II\*\0|MM\0\*)", re.DOTALL)  # as in JPEG, PNG and WebP
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # skips stuffing, fill and restart marks


class ImageError(Exception):
    """The file cannot be read as a picture; the message says why."""


def read_image(path: str | Path, fill: tuple[int, int, int] = FILL) -> np.ndarray:
    """Read a picture: (H, W, 3) uint8 RGB, turned upright by its EXIF orientation.

    Gray is repeated to three channels, 16 bits are scaled to 8 (value / 257), transparency is laid over `fill`
    (RGB), the first picture of an animation or a multi-page file is taken. OpenCV does the decoding.
    Raises ImageError: missing, a folder, unreadable, empty, truncated, not a picture, float pixels, too large.
    """
    data = _read_bytes(Path(path))
    if _truncated(data):
        raise ImageError("the file is truncated: its end is missing; copy it again from its source")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        if "MAX_IMAGE_PIXELS" in str(error):
            raise ImageError(_too_large("more than OpenCV decodes")) from error
        raise ImageError(f"OpenCV cannot decode it ({' '.join(str(error).split())})") from error
    if pixels is None:
        raise ImageError("not a picture that OpenCV can decode, or its data are damaged")
    if pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
        raise ImageError(_too_large(f"{pixels.shape[1]} x {pixels.shape[0]} pixels"))
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"expected 8 or 16 bits a channel, found {pixels.dtype}; convert it to an 8-bit picture")
    is_tiff = data[:4] in (b"II*\0", b"MM\0*")
    # OpenCV turns TIFF itself, and multiplies its 8-bit colours by alpha
    rgb = _to_rgb(pixels, fill, premultiplied=is_tiff and pixels.dtype == np.uint8)
    return np.ascontiguousarray(rgb if is_tiff else _turn(rgb, _orientation(data)))


def _too_large(found: str) -> str:
    return f"too large: expected at most {MAX_PIXELS / 1e6:.0f} megapixels, found {found}; make it smaller"


def _read_bytes(path: Path) -> bytes:
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise ImageError("expected a picture, found a folder")
        if not stat.S_ISREG(found.st_mode):
            raise ImageError("expected a regular file, found a device or a pipe")
        if found.st_size == 0:
            raise ImageError("the file is empty")
        if found.st_size > MAX_BYTES:
            raise ImageError(f"too large: expected at most {MAX_BYTES >> 20} MiB, found {found.st_size >> 20}")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError("no such file") from error
    except OSError as error:
        raise ImageError(f"the file cannot be read: {error.strerror or error}") from error


def _truncated(data: bytes) -> bool:
    """Whether the end mark of a JPEG or PNG is missing: some versions of OpenCV give half a picture then.

    The other formats say their own length, which OpenCV checks. What follows the end mark does not matter.
    """
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return b"IEND\xaeB`\x82" not in data
    if data[:3] != b"\xff\xd8\xff":
        return False
    place = 2
    while mark := _JPEG_MARKER.search(data, place):
        if mark[1] == b"\xd9":
            return False
        # Every other segment says its length; entropy-coded data are searched through for the next mark.
        place = mark.end() + int.from_bytes(data[mark.end() : mark.end() + 2], "big")
    return True


def _orientation(data: bytes) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 where none is given or it makes no sense."""
    exif = _EXIF.search(data)
    if exif is None:
        return 1
    start, order = exif.start(1), "<" if exif[1][:2] == b"II" else ">"
    try:
        entries = start + struct.unpack_from(f"{order}I", data, start + 4)[0]
        for i in range(struct.unpack_from(f"{order}H", data, entries)[0]):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", data, entries + 2 + 12 * i)
            if tag == 0x0112:
                return value
    except struct.error:
        pass  # damaged EXIF: the pixels may be well
    return 1


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    transpose, rows, columns = TURNS.get(orientation, (False, False, False))
    pixels = pixels.swapaxes(0, 1) if transpose else pixels
    return pixels[:: -1 if rows else 1, :: -1 if columns else 1]


def _to_rgb(pixels: np.ndarray, fill: tuple[int, int, int], premultiplied: bool) -> np.ndarray:
    """Gray, BGR or BGRA of 8 or 16 bits -> (H, W, 3) uint8 RGB."""
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)  # rounds
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 1:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    if channels == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    if channels != 4:
        raise ImageError(f"expected 1, 3 or 4 channels, found {channels}")
    rgb, alpha = pixels[..., 2::-1], pixels[..., 3:]
    if (alpha == 255).all():
        return rgb
    cover = alpha.astype(np.float32) / 255
    light = rgb if premultiplied else rgb * cover
    return np.rint(light + (1 - cover) * np.array(fill, np.float32)).clip(0, 255).astype(np.uint8)
