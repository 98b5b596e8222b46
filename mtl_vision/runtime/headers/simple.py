"""BMP, GIF, WebP and PNM: formats whose size stands in one place."""

import re
import struct

from mtl_vision.runtime.headers.base import Header, damaged, truncated

RLE = (1, 2)  # BMP's compressions
WITH_ALPHA_MASK, ALPHA_MASK = 56, 66  # BMP: bytes of a header that has one, and where it stands
MOST_PNM = 2**14  # bytes of comments and spaces before a number
PNM_TOKEN = re.compile(rb"(?:\s|#[^\n\r]*[\n\r])*(\d{1,10})")


def bmp(data: bytes) -> Header:
    """https://learn.microsoft.com/windows/win32/gdi/bitmap-header-types."""
    start, size = struct.unpack_from("<I4x", data, 10)[0], struct.unpack_from("<I", data, 14)[0]
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    elif 40 <= size <= 124:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    else:
        raise damaged(f"no BMP has a header of {size} bytes")
    if bits not in (1, 2, 4, 8, 16, 24, 32):
        raise damaged(f"no BMP has {bits} bits a pixel")
    row = (width * bits + 31) // 32 * 4
    if compression not in RLE and start + row * abs(height) > len(data):
        raise truncated()
    # the fourth byte is opacity where the header has a mask for it, else it may be anything
    mask = struct.unpack_from("<I", data, ALPHA_MASK)[0] if size >= WITH_ALPHA_MASK else 0
    return Header("BMP", width, abs(height), 4 if bits == 32 else 3, 8, opaque=not mask)


def gif(data: bytes) -> Header:
    """https://www.w3.org/Graphics/GIF/spec-gif89a.txt: the screen, up to the end of its first image."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    place = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while data[place] == 0x21:  # an extension
        place = _blocks_end(data, place + 2)
    if data[place] != 0x2C:
        raise damaged("it has no image")
    left, top, w, h, flags = struct.unpack_from("<HHHHB", data, place + 1)
    if left + w > width or top + h > height or not w * h:
        raise damaged(f"its image of {w} x {h} pixels does not lie in its {width} x {height} pixels")
    _blocks_end(data, place + 10 + (3 << (flags & 7) + 1 if flags & 0x80 else 0) + 1)
    return Header("GIF", width, height, 4, 8, working=width * height * 5)


def _blocks_end(data: bytes, place: int) -> int:
    while length := data[place]:
        place += length + 1
    return place + 1


def webp(data: bytes) -> Header:
    """https://developers.google.com/speed/webp/docs/riff_container: the canvas, and that its chunks are whole."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise truncated()
    kind, length = struct.unpack_from("<4sI", data, 12)
    if 20 + length > end:
        raise damaged("its first chunk is longer than the file")
    if kind == b"VP8X":
        alpha, film = data[20] & 0x10, data[20] & 0x02
        width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27))
        return Header("WebP", width, height, 4 if alpha else 3, 8, working=width * height * (8 if film else 4))
    if kind == b"VP8L":
        if data[20] != 0x2F:
            raise damaged("its first chunk is no image")
        size = int.from_bytes(data[21:25], "little")
        width, height, alpha = (size & 0x3FFF) + 1, (size >> 14 & 0x3FFF) + 1, size >> 28 & 1
        return Header("WebP", width, height, 4 if alpha else 3, 8, working=width * height * 4)
    if kind != b"VP8 " or data[23:26] != b"\x9d\x01\x2a":
        raise damaged("its first chunk is no image")
    width, height = (size & 0x3FFF for size in struct.unpack_from("<HH", data, 26))
    return Header("WebP", width, height, 3, 8)


def pnm(data: bytes) -> Header:
    """https://netpbm.sourceforge.net/doc/pnm.html: as text (P1 to P3) and binary (P4 to P6)."""
    kind, place, numbers = int(data[1:2]), 2, []
    for _ in range(2 if kind in (1, 4) else 3):
        token = PNM_TOKEN.match(data, place, place + MOST_PNM)
        if token is None:
            raise damaged("its size cannot be read")
        numbers.append(int(token[1]))
        place = token.end()
    (width, height), most = numbers[:2], numbers[2] if len(numbers) == 3 else 1
    if not 0 < most < 65536:
        raise damaged(f"no PNM has values up to {most}")
    channels, size = 3 if kind in (3, 6) else 1, 2 if most > 255 else 1
    row = {1: width, 4: (width + 7) // 8}.get(kind, width * channels * (size if kind > 3 else 2))
    if place + row * height > len(data) + 1:  # text may end without a space
        raise truncated()
    # OpenCV scales text of up to 8 bits itself
    maximum = None if kind in (1, 4) or (kind < 4 and size == 1) else most
    return Header("PNM", width, height, channels, 8 * size, maximum=maximum)
