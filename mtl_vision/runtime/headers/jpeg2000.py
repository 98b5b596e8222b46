"""JPEG 2000: ITU-T T.800, annexes A (codestream) and I (JP2 files)."""

import struct

from mtl_vision.runtime.headers.base import Header, damaged, truncated

SIZE, CODING, COMPONENT_CODING, TILE_PART, DATA = 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFF93
END = b"\xff\xd9"
BLOCK_BYTES, TILE_BYTES, SAMPLE_BYTES = 400, 14_000, 5  # what OpenJPEG was seen to take for each
MOST_PARTS = 100_000


def jpeg2000(data: bytes) -> Header:
    """The header of a JP2 file or a codestream whose tile parts lie in the file."""
    place = 0 if data[:2] == b"\xff\x4f" else _codestream(data)
    marker, _, _, x1, y1, x0, y0, tile_w, tile_h, tile_x, tile_y, channels = struct.unpack_from(
        ">HHHIIIIIIIIH", data, place + 2
    )
    if marker != SIZE or x0 >= x1 or y0 >= y1 or not tile_w * tile_h or channels not in (1, 2, 3, 4):
        raise damaged(f"no JPEG 2000 has {x1 - x0} x {y1 - y0} pixels of {channels} channels")
    width, height = x1 - x0, y1 - y0
    depth = max((data[place + 42 + 3 * i] & 127) + 1 for i in range(channels))  # bits of a sample
    bits, maximum = (16, 2 ** min(depth, 16) - 1) if depth > 8 else (8, None)
    tiles = -(-(x1 - tile_x) // tile_w) * -(-(y1 - tile_y) // tile_h)
    samples = width * height * channels
    blocks = samples * _blocks(data, place + 2) + tiles * channels
    working = samples * SAMPLE_BYTES + int(blocks) * BLOCK_BYTES + tiles * TILE_BYTES
    return Header("JPEG 2000", width, height, 4 if channels == 2 else channels, bits, working, maximum)


def _codestream(data: bytes) -> int:
    """Where the codestream begins, in the boxes of a JP2 file."""
    place = 0
    while True:
        length, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if length == 1:
            length, head = struct.unpack_from(">Q", data, place + 8)[0], 16
        if kind == b"jp2c":
            if place + length > len(data):
                raise truncated()
            return place + head
        if length < head:
            raise damaged("it has a box of no length, and no pixels")
        place += length


def _blocks(data: bytes, place: int) -> float:
    """Blocks of coefficients for each sample, at most, of the markers in the main header and in the tiles'."""
    most, parts = 0.0, 0
    part = part_length = 0
    while True:
        if data[place : place + 2] == END:
            return most
        if place + 4 > len(data):
            raise truncated()
        marker, length = struct.unpack_from(">HH", data, place)
        if marker in (CODING, COMPONENT_CODING):
            own = data[place + 4 : place + 2 + length]
            most = max(most, _density(own[0], own[5:]) if marker == CODING else _density(own[1], own[2:]))
        if marker == TILE_PART:
            part, parts = place, parts + 1
            part_length = struct.unpack_from(">I", data, place + 6)[0]
            if part + part_length > len(data):
                raise truncated()
            if parts > MOST_PARTS:
                raise damaged(f"it has more than {MOST_PARTS} parts")
        if marker == DATA:
            if not part_length:  # to the end of the file
                return most
            if part + part_length <= place:
                raise damaged("a part of it has no length")
            place = part + part_length
            continue
        if marker < 0xFF00 or length < 2:
            raise damaged("its codestream has no marker where one should be")
        place += 2 + length


def _density(style: int, coding: bytes) -> float:
    """Blocks for each sample: the sum over the levels, each of a quarter of the next one's samples."""
    levels, block_w, block_h = coding[0], (coding[1] & 15) + 2, (coding[2] & 15) + 2
    if levels > 32:
        raise damaged(f"no JPEG 2000 has {levels} levels")
    precincts = coding[5 : 6 + levels] if style & 1 else b"\xff" * (levels + 1)
    total = 0.0
    for level, sides in enumerate(precincts):  # the smallest first; a precinct has a block at least
        w, h = max((sides & 15) - (level > 0), 0), max((sides >> 4) - (level > 0), 0)
        total += 4.0 ** (level - levels) / 2 ** (min(block_w, w) + min(block_h, h))
    return total
