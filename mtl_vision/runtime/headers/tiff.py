"""TIFF 6.0 and BigTIFF: the first image's directory, and that its strips or tiles lie in the file."""

import struct
import zlib

import numpy as np

from mtl_vision.runtime.headers.base import Header, damaged, truncated

TYPES = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}  # of whole numbers
SIZES = {**dict.fromkeys((1, 2, 6, 7), 1), **dict.fromkeys((3, 8), 2), **dict.fromkeys((4, 9, 11, 13), 4)}  # others: 8
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR = 256, 257, 258, 259, 262, 277, 284
STRIPS, ROWS, STRIP_BYTES = 273, 278, 279
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES = 322, 323, 324, 325
PLAIN, DEFLATE = 1, (8, 32946)
PALETTE, YCBCR = 3, 6
WANTED = {WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR, STRIPS, ROWS, STRIP_BYTES}
WANTED |= {TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES}
STEP = 2**16  # bytes that are inflated at a time


def tiff(data: bytes) -> Header:
    """The header of a TIFF whose strips or tiles lie in the file, and hold as much as their pixels need."""
    tags = _directory(data)

    def tag(number: int, default: int) -> int:
        return int(tags[number][0]) if number in tags else default

    width, height, samples, bits = tag(WIDTH, 0), tag(HEIGHT, 0), tag(SAMPLES, 1), tag(BITS, 1)
    if not 1 <= samples <= 16 or not 1 <= bits <= 64:
        raise damaged(f"no picture has {samples} channels of {bits} bits")
    tiled, planes = TILES in tags, samples if tag(PLANAR, 1) == 2 else 1
    box_w, box_h = (tag(TILE_WIDTH, 0), tag(TILE_HEIGHT, 0)) if tiled else (width, min(tag(ROWS, height), height))
    row = (box_w * bits * (samples // planes) + 7) // 8
    colours = 1 if samples == 1 and tag(PHOTOMETRIC, 1) != PALETTE else 3 if samples in (1, 3) else 4
    # OpenCV has libtiff make RGBA of one part after the other
    header = Header("TIFF", width, height, colours, max(8, 1 << (bits - 1).bit_length()), box_h * (row + 4 * box_w))
    if not box_w * box_h:
        raise damaged(f"its parts have {box_w} x {box_h} pixels")
    down = -(-height // box_h)
    count = -(-width // box_w) * down * planes
    starts, lengths = (tags.get(pair[not tiled], np.empty(0)) for pair in ((TILES, STRIPS), (TILE_BYTES, STRIP_BYTES)))
    rows = np.full(min(count, len(data)), box_h)  # of each part
    if not tiled:
        rows[down - 1 :: down] = height - (down - 1) * box_h
    if not lengths.size and tag(COMPRESSION, PLAIN) == PLAIN:  # some old programs leave them out
        lengths = row * rows
    if min(starts.size, lengths.size) < count:
        raise damaged(f"it has {min(starts.size, lengths.size)} of the {count} parts that its size needs")
    parts = list(zip(starts[:count].tolist(), lengths[:count].tolist(), (row * rows).tolist(), strict=True))
    if any(start + length > len(data) for start, length, _ in parts):
        raise truncated("its pixels go on beyond its end")
    # YCbCr leaves out samples
    compression = tag(COMPRESSION, PLAIN) if tag(PHOTOMETRIC, 1) != YCBCR else None
    if any(_is_short(data, *part, compression) for part in parts):
        raise damaged("it has parts that lack pixels")
    return header


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


def _is_short(data: bytes, start: int, length: int, needed: int, compression: int | None) -> bool:
    """Whether a part of the file has fewer pixels than `needed` bytes of them, as far as can be told quickly."""
    if compression not in (PLAIN, *DEFLATE):
        return not length
    if compression == PLAIN:
        return length < needed
    stream, found = zlib.decompressobj(), 0
    try:
        for at in range(start, start + length, STEP):
            left = data[at : min(at + STEP, start + length)]
            while left and found < needed:
                found += len(stream.decompress(left, 16 * STEP))
                left = stream.unconsumed_tail
        found += len(stream.flush()) if found < needed else 0
    except zlib.error:
        return True
    return found < needed
