"""Images in files and in memory, as (H, W, 3) uint8 RGB; or an error that says what is wrong with them."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from mtl_vision.runtime import headers
from mtl_vision.runtime.budget import default_budget
from mtl_vision.runtime.files import read_regular
from mtl_vision.runtime.headers import MAX_PIXELS, Header, ImageError

SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jpe", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm"]
)
MAX_FILE = 2**30  # bytes
FILL = (124, 116, 104)  # the mean of ImageNet's pixels, RGB

BAND = 2**18  # pixels
# What OpenCV is asked for, by how much smaller; the decoder of JPEGs leaves the finer waves out
REDUCED = {
    1: cv2.IMREAD_UNCHANGED,
    **{
        n: getattr(cv2, f"IMREAD_REDUCED_COLOR_{n}") | cv2.IMREAD_IGNORE_ORIENTATION  # `decode_rgb` turns them
        for n in (2, 4, 8)
    },
}

_EXIF = re.compile(rb"(?:Exif\0\0|eXIf|EXIF.{4})(II\*\0|MM\0\*)", re.DOTALL)  # as in JPEG, PNG and WebP


class PILImage(Protocol):
    """What is used of a PIL image, so that PIL need not be installed."""

    def convert(self, mode: str, /) -> Any: ...


AnyImage = np.ndarray | str | os.PathLike[str] | PILImage


def as_rgb(image: AnyImage, fill: tuple[int, int, int] = FILL, name: str = "image") -> np.ndarray:
    """An array (H, W, 3) or gray (H, W) of uint8 RGB, a path, or a PIL image -> (H, W, 3) uint8 RGB.

    A file is read by `read_image`; a PIL image keeps its orientation, its transparency is laid over `fill` (RGB).
    `name` is what errors call the image. Raises ImageError, and TypeError when the image is none of these.
    """
    if isinstance(image, (str, os.PathLike)):
        try:
            return read_image(image, fill)
        except ImageError as error:
            raise ImageError(f"{name} '{image}': {error}") from error
    if not isinstance(image, np.ndarray) and hasattr(image, "convert"):
        mode = str(getattr(image, "mode", ""))
        if mode.startswith(("I", "F")):  # PIL's conversion cuts off at 255
            raise ImageError(f"{name} is a PIL image of mode '{mode}': expected 8 bits a channel, such as 'RGB'")
        rgba = np.asarray(image.convert("RGBA"))
        image = _over(rgba[..., :3], rgba[..., 3:], fill, premultiplied=False)
    if not isinstance(image, np.ndarray):
        raise TypeError(f"{name} is of type {type(image).__name__}: expected an array, a path or a PIL image")
    if image.dtype != np.uint8 or not image.size or image.ndim < 2 or image.shape[2:] not in ((), (3,)):
        raise ImageError(
            f"{name} is an array {image.shape} of {image.dtype}: expected (H, W, 3) RGB or (H, W) gray, uint8 from 0 "
            "to 255" + ("; give several images as a list" if image.ndim == 4 else "")
        )
    image = np.ascontiguousarray(image)
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image


def read_image(
    path: str | os.PathLike[str],
    fill: tuple[int, int, int] = FILL,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int | None = None,
) -> np.ndarray:
    """Read an image file: (H, W, 3) uint8 RGB, turned upright by its EXIF orientation.

    Gray is repeated to three channels, 16 bits (and fewer, where the file says so) are scaled to 8, transparency is
    laid over `fill` (RGB), the first image of an animation or a multi-page file is taken. OpenCV decodes.
    max_pixels: of the image. max_bytes: of memory that reading may take (`default_budget()`).
    Raises ImageError: missing, a folder, unreadable, empty, truncated, no image, float pixels, too large.
    """
    return decode_rgb(*read_checked(path, max_pixels, max_bytes), fill)


def read_checked(
    path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS, max_bytes: int | None = None
) -> tuple[bytes, Header]:
    """The bytes of an image file and their header, before anything is decoded; limits and errors of `read_image`."""
    max_bytes = default_budget() if max_bytes is None else max_bytes
    data = read_bytes(path, file_size(path, max_bytes))
    return data, headers.check(data, max_bytes - len(data), max_pixels)


def file_size(path: str | os.PathLike[str], most: int) -> int:
    """Bytes of a regular file. Raises ImageError: missing, a folder, a device, empty, more than `most` or MAX_FILE."""
    path, most = Path(path), min(most, MAX_FILE)
    if "\0" in str(path):
        raise ImageError("its path has a zero byte")
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ImageError(f"expected an image, found {'a folder' if path.is_dir() else 'a device or a pipe'}")
        if size == 0:
            raise ImageError("the file is empty")
        if size > most:
            raise ImageError(f"too large: expected a file of at most {most / 1e6:.0f} MB, found {size / 1e6:.0f} MB")
    except OSError as error:
        raise _unreadable(error) from error
    return size


def read_bytes(path: str | os.PathLike[str], size: int) -> bytes:
    """The bytes of a file of at most `size`; it may have grown, or become a pipe, since. Raises ImageError."""
    try:
        return read_regular(Path(path), size)
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> ImageError:
    if isinstance(error, FileNotFoundError):
        return ImageError("no such file")
    return ImageError(f"the file cannot be read: {error.strerror or error}")


def decode(data: bytes, header: Header, reduce: int = 1) -> np.ndarray:
    """The pixels of an image file as OpenCV gives them (BGR, BGRA or gray), after `headers.check`.

    reduce: 1, or 2, 4 or 8 to decode a JPEG at that part of its size, which takes a third of the time.
    Raises ImageError where the data are damaged in a way that the header does not show.
    """
    if header.format == "PNG":
        data = headers.bare(data)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), REDUCED[reduce])
    except cv2.error as error:
        raise ImageError(f"OpenCV cannot decode it ({' '.join(str(error).split())})") from error
    if pixels is None:
        raise ImageError(f"OpenCV cannot decode this {header.format}, or its data are damaged")
    return pixels


def decode_rgb(data: bytes, header: Header, fill: tuple[int, int, int], reduce: int = 1) -> np.ndarray:
    """`read_image` for the bytes of a file, after `headers.check`; reduce: as `decode` has it."""
    pixels = decode(data, header, reduce)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"expected 8 or 16 bits a channel, found {pixels.dtype}; convert it to an 8-bit image")
    is_tiff = header.format == "TIFF"
    if is_tiff and _is_flat(pixels) and not headers.can_be_flat(data):
        raise ImageError("its data are damaged: all its pixels would be of one colour")
    # OpenCV turns TIFF itself, and multiplies its 8-bit colours by alpha
    premultiplied = is_tiff and pixels.dtype == np.uint8
    if header.opaque and pixels.ndim == 3:
        pixels = np.ascontiguousarray(pixels[..., :3])
    rgb = _to_rgb(pixels, fill, premultiplied, header.maximum)
    del pixels  # what follows may take as much again
    return np.ascontiguousarray(rgb if is_tiff else _turn(rgb, _orientation(data, header.end)))


def reduction(header: Header, enough: float) -> int:
    """By how much, 1, 2, 4 or 8, an image may be decoded smaller: to `enough` of its size or more, in whole pixels."""
    if header.format != "JPEG":
        return 1
    sides = header.width, header.height
    return max(n for n in REDUCED if n == 1 or (enough * n <= 1 and all(side % n == 0 for side in sides)))


def _is_flat(pixels: np.ndarray) -> bool:
    """Whether all pixels are of one grey."""
    first = pixels[0, 0]
    grey = pixels.ndim == 2 or (first[:3] == first[0]).all()
    return bool(grey and (pixels[0] == first).all() and (pixels == pixels[0]).all())


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Within the block, what OpenCV, libpng, libjpeg and libtiff print about bad files is lost; `sys.stderr` is not.

    For a whole program: the libraries write to file descriptor 2, which all threads share. Python's stderr gets
    another one meanwhile.
    """
    (getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel)(0)
    python = sys.stderr
    try:
        moves = python.fileno() == 2
        kept = os.dup(2)
    except (OSError, AttributeError):  # it is closed, or in memory: io.UnsupportedOperation is an OSError
        yield
        return
    with open(kept, "w", 1, python.encoding, python.errors) as moved, open(os.devnull, "wb") as nothing:  # noqa: PTH123
        python.flush()
        sys.stderr = moved if moves else python
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            moved.flush()
            os.dup2(kept, 2)
            sys.stderr = python


def _orientation(data: bytes, end: int | None = None) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 where none is given before `end`, or it makes no sense."""
    exif = _EXIF.search(data, 0, len(data) if end is None else end)
    if exif is None:
        return 1

    def number(at: int, length: int = 2) -> int:
        """From the EXIF data; 0 beyond the end, as damaged data may point there."""
        at += exif.start(1)
        return int.from_bytes(data[at : at + length], "little" if exif[1][:2] == b"II" else "big")

    first = number(4, 4) + 2
    tags = (at for at in range(first, first + 12 * number(first - 2), 12) if number(at) == 0x0112)
    return next((number(at + 8) for at in tags), 1)


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels of that EXIF orientation upright: transposed, rows reversed, columns reversed."""
    pixels = pixels.swapaxes(0, 1) if 5 <= orientation <= 8 else pixels
    return pixels[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]


def _to_rgb(
    pixels: np.ndarray, fill: tuple[int, int, int], premultiplied: bool, maximum: int | None = None
) -> np.ndarray:
    """Gray, BGR or BGRA of 8 or 16 bits -> (H, W, 3) uint8 RGB. maximum: the brightest value, if not the type's."""
    most = maximum or np.iinfo(pixels.dtype).max
    if most != 255:
        pixels = cv2.convertScaleAbs(pixels, alpha=255 / most)  # rounds
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 4:
        return _over(pixels[..., 2::-1], pixels[..., 3:], fill, premultiplied)
    if channels not in (1, 3):
        raise ImageError(f"expected 1, 3 or 4 channels, found {channels}")
    if channels == 1:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def _over(rgb: np.ndarray, alpha: np.ndarray, fill: tuple[int, int, int], premultiplied: bool) -> np.ndarray:
    """Lay colours (H, W, 3) of opacity (H, W, 1), both uint8, over `fill`."""
    if alpha.min(initial=255) == 255:
        return rgb
    size, rgb, alpha = rgb.shape, rgb.reshape(-1, 3), alpha.reshape(-1, 1)
    found = np.empty(rgb.shape, np.uint8)
    for i in range(0, len(rgb), BAND):  # the sums are of floats: they take many times as much memory
        cover = alpha[i : i + BAND].astype(np.float32) / 255
        light = rgb[i : i + BAND] if premultiplied else rgb[i : i + BAND] * cover
        found[i : i + BAND] = np.rint(light + (1 - cover) * np.array(fill, np.float32)).clip(0, 255)
    return found.reshape(size)
