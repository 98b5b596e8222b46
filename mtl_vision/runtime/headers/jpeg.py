"""JPEG: ITU-T T.81, annex B."""

import re
import struct

from mtl_vision.runtime.headers.base import Header, damaged, truncated

MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # skips stuffing, fill and restart marks
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # what begins a frame: baseline, progressive ...
HUFFMAN = (0xC0, 0xC1, 0xC2)
PIXELS_A_BYTE = 1024  # at most: each block of 8 x 8 takes a bit at least, in one channel at least
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
END, SCAN = 0xD9, 0xDA
MOST_SCANS = 100  # each takes as long as the whole image; encoders write about ten
MOST_SEGMENTS = 20_000


def jpeg(data: bytes) -> Header:
    """The header of a JPEG whose segments are whole, up to its end mark. What lies behind that is not looked at."""
    place, frames, scans, segments = 2, [], 0, 0
    while True:
        mark = MARKER.search(data, place)
        if mark is None or (mark[1][0] != END and mark.end() + 2 > len(data)):
            raise truncated()
        kind, place, segments = mark[1][0], mark.end(), segments + 1
        if kind == END:
            end = place
            break
        if kind in (0x01, 0xD8):  # they have no length
            continue
        # Every other segment says its length; entropy-coded data are searched through for the next mark
        length = int.from_bytes(data[place : place + 2], "big")
        if kind in FRAMES:
            frames.append((kind, place, length))
        scans += kind == SCAN
        place += length
        if scans > MOST_SCANS or segments > MOST_SEGMENTS:
            raise damaged(f"it has more than {MOST_SCANS} scans, or {MOST_SEGMENTS} segments")
    if len(frames) != 1 or not scans:
        raise damaged(f"expected one frame and its data, found {len(frames)} frames and {scans} scans")
    kind, place, length = frames[0]
    bits, height, width, channels = struct.unpack_from(">BHHB", data, place + 2)
    if bits not in (8, 12, 16) or channels not in (1, 3, 4) or length != 8 + 3 * channels:
        raise damaged(f"no JPEG has {channels} channels of {bits} bits")
    if kind in HUFFMAN and len(data) < width * height // PIXELS_A_BYTE:
        raise truncated(f"{len(data):,} bytes are too few for {width} x {height} pixels")
    # With several scans the coefficients of all channels, 16 bits each, are held until the last
    several = kind in PROGRESSIVE or scans > 1
    working = width * height * channels * 2 if several else 0
    return Header("JPEG", width, height, min(channels, 3), 8, working, end=end)
