"""Image files of every promised format, damaged; some are whole."""

import io
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from random import Random

import cv2
import numpy as np
from PIL import Image

from mtl_vision.runtime.images import SUFFIXES, ImageError, read_image

from .damage import damaged, extreme
from .outcome import outcome

SIZE = (24, 32)


@dataclass(frozen=True)
class Case:
    """A file's bytes, and whether they are a whole image of SIZE."""

    data: bytes
    name: str
    whole: bool = False


def make_base(folder: Path) -> dict[str, bytes]:
    """Whole images by their format."""
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.integers(0, 256, (3, 4, 3), np.uint8), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    rgb = Image.fromarray(smooth)
    rgba = Image.fromarray(np.dstack([smooth, smooth[..., 0]]))
    exif = Image.Exif()
    exif[0x0112] = 3
    frames = {"save_all": True, "append_images": [rgb.rotate(180)]}
    pillow = {
        "jpeg": (rgb, "JPEG", {"quality": 80}),
        "jpeg progressive": (rgb, "JPEG", {"progressive": True}),
        "jpeg grey": (rgb.convert("L"), "JPEG", {}),
        "jpeg cmyk": (rgb.convert("CMYK"), "JPEG", {}),
        "jpeg exif": (rgb, "JPEG", {"exif": exif}),
        "png": (rgb, "PNG", {}),
        "png grey": (rgb.convert("L"), "PNG", {}),
        "png one bit": (rgb.convert("1"), "PNG", {}),
        "png palette": (rgb.convert("P"), "PNG", {"transparency": 3}),
        "png alpha": (rgba, "PNG", {}),
        "png exif": (rgb, "PNG", {"exif": exif}),
        "png animated": (rgb, "PNG", frames),
        "webp": (rgb, "WEBP", {}),
        "webp lossless": (rgba, "WEBP", {"lossless": True}),
        "webp animated": (rgb, "WEBP", frames),
        "webp exif": (rgb, "WEBP", {"exif": exif}),
        "tiff": (rgb, "TIFF", {}),
        "tiff lzw": (rgb, "TIFF", {"compression": "tiff_lzw"}),
        "tiff deflate": (rgba, "TIFF", {"compression": "tiff_adobe_deflate"}),
        "tiff packbits": (rgb.convert("L"), "TIFF", {"compression": "packbits"}),
        "tiff jpeg": (rgb, "TIFF", {"compression": "jpeg"}),
        "tiff fax": (rgb.convert("1"), "TIFF", {"compression": "group4"}),
        "tiff pages": (rgb, "TIFF", frames),
        "bmp": (rgb, "BMP", {}),
        "bmp palette": (rgb.convert("P"), "BMP", {}),
        "gif": (rgb, "GIF", {}),
        "gif animated": (rgb, "GIF", frames),
        "jp2": (rgb, "JPEG2000", {}),
        "ppm": (rgb, "PPM", {}),
        "pgm": (rgb.convert("L"), "PPM", {}),
        "pbm": (rgb.convert("1"), "PPM", {}),
    }
    pillow["jp2 16 bits"] = (Image.fromarray(smooth[..., 0].astype(np.uint16) * 257), "JPEG2000", {})
    deep = smooth.astype(np.uint16) * 257
    made = {name: _saved(*how) for name, how in pillow.items()}
    made |= {f"{end} 16 bits": cv2.imencode(f".{end}", deep)[1].tobytes() for end in ("png", "tiff", "ppm")}
    return made


def _saved(image: Image.Image, form: str, options: dict) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def generate(random: Random, base: dict[str, bytes], folder: Path) -> Case:
    """A damaged image under a name with any suffix; one in twelve is whole."""
    name = random.choice(list(base))
    data, suffix = base[name], random.choice(sorted(SUFFIXES))
    if random.random() < 1 / 12:
        return Case(data, f"{name}{suffix}", whole=True)
    form = name.split()[0]
    if form in STRUCTURED and random.random() < 0.5:
        data = STRUCTURED[form](random, data)
    if data is base[name] or random.random() < 0.3:
        data = damaged(random, data, list(base.values()))
    return Case(data, f"{name}{suffix}")


def feed(case: Case, folder: Path) -> None:
    """An image of a shape that can be, or an ImageError."""
    path = folder / "out" / case.name
    path.parent.mkdir()
    path.write_bytes(case.data)
    image = outcome(lambda: read_image(path), ImageError)
    if case.whole:
        assert image is not None and image.shape[:2] == SIZE, "a whole image was not read"
    if image is not None:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size
        assert image.flags.c_contiguous


def _png(random: Random, data: bytes) -> bytes:
    """One chunk of a PNG with other content, length or kind, and the right checksum: a decoder believes it."""
    chunks, at = [], 8
    while at < len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    i = random.randrange(len(chunks))
    kind, body = chunks[i]
    length = None
    way = random.randrange(6)
    if way == 0:
        body = damaged(random, body)
    elif way == 1 and kind == b"IHDR":
        at, size = random.choice(((0, 4), (4, 4), (0, 8)))
        body = body[:at] + (extreme(random, 4) * 2)[:size] + body[at + size :]
    elif way == 2:
        length = extreme(random, 4)
    elif way == 3:
        kind = random.choice((b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"eXIf", b"iCCP", b"zTXt", b"acTL", b"fcTL", b"IEND"))
    elif way == 4:
        chunks.insert(random.randrange(len(chunks) + 1), (b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))))
    else:
        body = body[: random.randrange(len(body) + 1)]
    chunks[i if way != 4 else 0] = (kind, body) if way != 4 else chunks[0]
    packed = [_chunk(*chunk) for chunk in chunks]
    if length is not None:
        packed[i] = length + packed[i][4:]
    return data[:8] + b"".join(packed)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _jpeg(random: Random, data: bytes) -> bytes:
    """Another size, or another number of components, in the frame header, or another segment's length."""
    marks = [match.start() for match in re.finditer(rb"\xff[\xc0-\xfe]", data)]
    frame = next(at for at in marks if data[at + 1] in (0xC0, 0xC1, 0xC2))
    if random.random() < 0.6:
        at = frame + random.choice((5, 7))
        return data[:at] + extreme(random, 2) + data[at + 2 :]
    at = random.choice(marks) + 2
    return data[:at] + extreme(random, 2) + data[at + 2 :]


def _tiff(random: Random, data: bytes) -> bytes:
    """One entry of the first directory: another tag, type, count or value."""
    order = "<" if data[:2] == b"II" else ">"
    (first,) = struct.unpack(f"{order}I", data[4:8])
    (count,) = struct.unpack(f"{order}H", data[first : first + 2])
    entry = first + 2 + 12 * random.randrange(count)
    at, size = random.choice(((0, 2), (2, 2), (4, 4), (8, 4), (8, 2), (8, 4)))
    return data[: entry + at] + extreme(random, size, order) + data[entry + at + size :]


def _pnm(random: Random, data: bytes) -> bytes:
    """Another number in the header, or another magic number."""
    numbers = list(re.finditer(rb"\d+", data[:20]))
    found = random.choice(numbers)
    value = random.choice((b"0", b"1", b"-1", b"7", b"65535", b"65536", b"30000", b"99999999999", b"1e9", b"#", b""))
    return data[: found.start()] + value + data[found.end() :]


STRUCTURED = {"png": _png, "jpeg": _jpeg, "tiff": _tiff, "ppm": _pnm, "pgm": _pnm, "pbm": _pnm}
