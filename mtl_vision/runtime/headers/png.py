"""PNG: https://www.w3.org/TR/png-3/."""

import struct
import zlib

from mtl_vision.runtime.headers.base import Header, ImageError, damaged, truncated

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # the rest does not change the pixels
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # bits of each type of colour
CHANNELS = {0: 1, 2: 3, 3: 3, 4: 4, 6: 4}  # OpenCV makes colours of a palette, and of gray with transparency
MARGIN = 4096  # bytes that small images may have more than their pixels need
MOST_CHUNKS = 200_000  # 1 GiB in the 8 kB that libpng writes


def png(data: bytes) -> Header:
    """The header of a PNG whose chunks are whole: their lengths fit the file, the checksums of those needed agree."""
    chunks = _chunks(data)
    kinds = {kind for kind, _, _ in chunks}
    width, height, bits, colour, compression, filters, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    if bits not in DEPTHS.get(colour, ()) or compression or filters or interlace > 1:
        raise damaged(f"no PNG has colours of type {colour} with {bits} bits, interlace {interlace}")
    if b"IDAT" not in kinds or (colour == 3 and b"PLTE" not in kinds):
        raise damaged("it has no pixels" if b"IDAT" not in kinds else "it has no palette")
    channels = 4 if b"tRNS" in kinds else CHANNELS[colour]
    decoded = width * height * channels * max(8, bits) // 8
    stored = sum(end - start for kind, start, end in chunks if kind == b"IDAT")
    if stored > 1.1 * decoded + 16 * (height + len(chunks)) + MARGIN:  # inflating what no pixel needs takes time
        raise damaged(f"its {width} x {height} pixels have {stored:,} bytes of data")
    return Header("PNG", width, height, channels, max(8, bits), decoded + len(data))  # `bare` makes a copy for OpenCV


def bare(data: bytes) -> bytes:
    """A PNG that `png` took, without the chunks that decoding needs not: profiles, texts, animations."""
    view = memoryview(data)
    return b"".join([SIGNATURE, *(view[start:end] for kind, start, end in _chunks(data) if kind in NEEDED)])


def _chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk."""
    view, place, chunks = memoryview(data), len(SIGNATURE), []
    while not chunks or chunks[-1][0] != b"IEND":
        if place == len(data):
            raise truncated()
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            left = len(data) - place - 8
            name = kind.decode("ascii", "replace") if kind.isalpha() else "of no name"
            raise ImageError(
                f"the file is truncated, or damaged: its chunk {name} should have {length} bytes, {left} are left; "
                "copy it again from its source"
            )
        if not kind.isalpha() or (kind[:1].isupper() and kind not in NEEDED):
            raise damaged("it has a chunk of a kind that PNG does not have")
        if (not chunks) != (kind == b"IHDR") or (kind == b"IHDR" and length != 13):
            raise damaged("it has no header, or several")
        if kind in NEEDED and zlib.crc32(view[place + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise damaged(f"the checksum of its chunk {kind.decode()} is wrong")
        chunks.append((kind, place, end))
        if len(chunks) > MOST_CHUNKS:
            raise damaged(f"it has more than {MOST_CHUNKS} chunks")
        place = end
    return chunks
