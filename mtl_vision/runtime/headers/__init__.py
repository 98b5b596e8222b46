"""What an image file is, from its bytes and before anything is decoded: its size, and what decoding it will take."""

import struct

from mtl_vision.runtime.budget import default_budget
from mtl_vision.runtime.headers.base import Header, ImageError, NotAPhotoError
from mtl_vision.runtime.headers.jpeg import jpeg
from mtl_vision.runtime.headers.jpeg2000 import jpeg2000
from mtl_vision.runtime.headers.png import bare, png
from mtl_vision.runtime.headers.simple import bmp, gif, pnm, webp
from mtl_vision.runtime.headers.tiff import can_be_flat, tiff

__all__ = ["MAX_PIXELS", "Header", "ImageError", "NotAPhotoError", "bare", "can_be_flat", "check"]

MAX_PIXELS = 2**28  # a 200 megapixel phone photo passes

# How files of each format begin (None: any byte), and what reads the rest
FORMATS = [
    (b"\x89PNG\r\n\x1a\n", png),
    (b"\xff\xd8\xff", jpeg),
    (b"RIFF????WEBP", webp),
    *((mark, tiff) for mark in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    (b"BM", bmp),
    (b"GIF87a", gif),
    (b"GIF89a", gif),
    (b"\0\0\0\x0cjP  \r\n\x87\n", jpeg2000),
    (b"\xff\x4f\xff\x51", jpeg2000),
    *((b"P%d" % i, pnm) for i in range(1, 7)),
]
READ = "PNG, JPEG, WebP, TIFF, BMP, GIF, JPEG 2000 and PNM"
OTHERS = {
    b"????ftypavi": "AVIF",
    b"????ftyphe": "HEIC",
    b"????ftypmif1": "HEIC",
    b"????ftyp": "a film",
    b"#?RADIANCE": "Radiance HDR",
    b"#?RGBE": "Radiance HDR",
    b"v/1\x01": "OpenEXR",
    b"\x59\xa6\x6a\x95": "Sun raster",
    b"P7": "PAM",
    b"PF": "PFM",
    b"Pf": "PFM",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"8BPS": "Photoshop",
    b"\0\0\1\0": "an icon",
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"PK\3\4": "a ZIP archive",
}


def check(data: bytes, max_bytes: int | None = None, max_pixels: int = MAX_PIXELS, only_photos: bool = False) -> Header:
    """The header of an image file's bytes, when it is whole as far as can be told without decoding.

    max_bytes: of memory that reading the image may take, beside the file (`default_budget()`). Raises ImageError: no
    image, another format, truncated, damaged, of more pixels or bytes; with `only_photos` NotAPhotoError: of one
    channel with 16 bits or more, whatever its size. Takes a time in proportion to the file, and
    little memory.
    """
    max_bytes = default_budget() if max_bytes is None else max_bytes
    read = next((read for mark, read in FORMATS if _begins(data, mark)), None)
    if read is None:
        other = next((name for mark, name in OTHERS.items() if _begins(data, mark)), None)
        if other:
            raise ImageError(f"expected {READ}, found {other}; convert it")
        raise ImageError(f"not an image that can be read here ({READ} can), or its beginning is damaged")
    try:
        header = read(data)
    except (struct.error, IndexError, OverflowError) as error:  # a place beyond the end
        raise ImageError("the file is truncated, or damaged: its header has no end; copy it again") from error
    if only_photos and header.is_map:
        raise NotAPhotoError(
            f"one channel of {header.bits} bits: a depth map or the like, not a photo; name the file itself to run it"
        )
    if header.pixels > max_pixels:
        raise ImageError(
            f"too large: expected at most {max_pixels / 1e6:.3g} megapixels, found {header.width} x {header.height} "
            f"({header.pixels / 1e6:.0f} megapixels); make it smaller"
        )
    if header.reading > max_bytes:
        raise ImageError(
            f"too large: its {header.width} x {header.height} pixels take {header.reading / 1e9:.3g} GB of memory to "
            f"read, {max_bytes / 1e9:.3g} GB may be used; make it smaller, or run where there is more memory"
        )
    return header


def _begins(data: bytes, mark: bytes) -> bool:
    return len(data) >= len(mark) and all(m in (ord("?"), d) for m, d in zip(mark, data, strict=False))
