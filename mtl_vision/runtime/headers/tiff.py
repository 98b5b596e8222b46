"""TIFF 6.0 and BigTIFF: the first image's directory, and that its strips or tiles lie in the file."""

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from mtl_vision.runtime.headers.base import Header, damaged, truncated

TYPES = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}  # of whole numbers
SIZES = {**dict.fromkeys((1, 2, 6, 7), 1), **dict.fromkeys((3, 8), 2), **dict.fromkeys((4, 9, 11, 13), 4)}  # others: 8
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR = 256, 257, 258, 259, 262, 277, 284
STRIPS, ROWS, STRIP_BYTES = 273, 278, 279
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES = 322, 323, 324, 325
PLAIN, LZW, JPEG, DEFLATE, PALETTE, YCBCR = 1, 5, 7, (8, 32946), 3, 6
COMPRESSIONS = {PLAIN, 2, 3, 4, LZW, 6, JPEG, *DEFLATE, 32771, 32773, 32809, 32909, 34676, 34677}  # what libtiff has
WANTED = {WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR, STRIPS, ROWS, STRIP_BYTES}
WANTED |= {TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES}
STEP = 2**16  # bytes that are inflated at a time


@dataclass(frozen=True)
class _Part:
    """A strip or a tile: where it lies in the file, and its rows and bytes when it is not compressed."""

    start: int
    length: int
    rows: int
    size: int


def tiff(data: bytes) -> Header:
    """The header of a TIFF whose strips or tiles lie in the file, and hold as much as their pixels need."""
    header, compression, parts = _read(data)
    if any(part.start + part.length > len(data) for part in parts):
        raise truncated("its pixels go on beyond its end")
    if any(_is_short(data, part, compression) for part in parts):
        raise damaged("it has parts that lack pixels")
    return header


def can_be_flat(data: bytes) -> bool:
    """Whether a TIFF that `tiff` took can be an image of a single colour: libtiff gives that for data it cannot read.

    An image of one colour is well compressed: much data mean that there is more to see.
    """
    _, compression, parts = _read(data)
    known = compression in (None, PLAIN, *DEFLATE)  # checked in full, or too odd
    head = 1024 if compression == JPEG else 64  # of a part: a JPEG has its tables there
    return known or all(part.length <= head + part.size // 32 + 5 * part.rows for part in parts)


def _read(data: bytes) -> tuple[Header, int | None, list[_Part]]:
    """The header, the compression (None where samples are left out, as YCbCr does), and the parts."""
    tags = _directory(data)

    def tag(number: int, default: int) -> int:
        return int(tags[number][0]) if number in tags else default

    width, height, samples, bits = tag(WIDTH, 0), tag(HEIGHT, 0), tag(SAMPLES, 1), tag(BITS, 1)
    compression = tag(COMPRESSION, PLAIN)
    if not 1 <= samples <= 16 or not 1 <= bits <= 64 or compression not in COMPRESSIONS:
        raise damaged(f"it says that it has {samples} channels of {bits} bits, compressed by method {compression}")
    tiled, planes = TILES in tags, samples if tag(PLANAR, 1) == 2 else 1
    part_w, part_h = (tag(TILE_WIDTH, 0), tag(TILE_HEIGHT, 0)) if tiled else (width, min(tag(ROWS, height), height))
    row = (part_w * bits * (samples // planes) + 7) // 8
    channels = 1 if samples == 1 and tag(PHOTOMETRIC, 1) != PALETTE else 3 if samples in (1, 3) else 4
    # OpenCV has libtiff make RGBA of one part after the other
    header = Header("TIFF", width, height, channels, max(8, 1 << (bits - 1).bit_length()), part_h * (row + 4 * part_w))
    if not part_w * part_h:
        raise damaged(f"its parts have {part_w} x {part_h} pixels")
    down = -(-height // part_h)
    count = -(-width // part_w) * down * planes
    starts, lengths = (tags.get(pair[not tiled], np.empty(0)) for pair in ((TILES, STRIPS), (TILE_BYTES, STRIP_BYTES)))
    rows = np.full(min(count, len(data)), part_h)
    if not tiled:
        rows[down - 1 :: down] = height - (down - 1) * part_h
    if not lengths.size and compression == PLAIN:  # some old programs leave them out
        lengths = row * rows
    if min(starts.size, lengths.size) < count:
        raise damaged(f"it has {min(starts.size, lengths.size)} of the {count} parts that its size needs")
    columns = (starts[:count].tolist(), lengths[:count].tolist(), rows.tolist(), (row * rows).tolist())
    return (
        header,
        None if tag(PHOTOMETRIC, 1) == YCBCR else compression,
        [_Part(*part) for part in zip(*columns, strict=True)],
    )


def _directory(data: bytes) -> dict[int, np.ndarray]:
    """The values of the first directory's tags that are whole numbers."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    offset, inline, counts, head = ("Q", 8, "Q", 8) if big else ("I", 4, "H", 2)  # types, and bytes of values in place
    place = struct.unpack_from(order + offset, data, inline)[0]
    count = struct.unpack_from(order + counts, data, place)[0]
    place, step = place + head, 4 + 2 * inline
    if place + step * count > len(data):
        raise truncated("its directory goes on beyond its end")
    tags = {}
    for at in range(place, place + step * count, step):
        number, kind, values = struct.unpack_from(f"{order}HH{offset}", data, at)
        size, at = values * SIZES.get(kind, 8), at + step - inline
        if size > inline:
            at = struct.unpack_from(order + offset, data, at)[0]
        if kind in TYPES and values and number in WANTED:
            if at + size > len(data):
                raise truncated("a tag's values lie beyond its end")
            tags.setdefault(number, np.frombuffer(data, order + TYPES[kind], values, at))
    return tags


def _is_short(data: bytes, part: _Part, compression: int | None) -> bool:
    """Whether a part of the file has fewer pixels than it should, as far as can be told quickly."""
    if compression == PLAIN:
        return part.length < part.size
    if compression == LZW:  # it begins with its code for "clear", in one of two orders of bits
        first, second = data[part.start : part.start + 2].ljust(2, b"\xff")
        return not ((first == 0x80 and second < 0x80) or (first == 0 and second & 1))
    if compression not in DEFLATE:
        return not part.length
    stream, found = zlib.decompressobj(), 0
    try:
        for at in range(part.start, part.start + part.length, STEP):
            left = data[at : min(at + STEP, part.start + part.length)]
            while left and found < part.size:
                found += len(stream.decompress(left, 16 * STEP))
                left = stream.unconsumed_tail
        found += len(stream.flush()) if found < part.size else 0
    except zlib.error:
        return True
    return found < part.size
