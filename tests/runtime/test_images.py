"""Every odd image is read as RGB, every bad one has its error."""

import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from mtl_vision.runtime.images import FILL, ImageError, read_image

RNG = np.random.default_rng(0)
SMOOTH = cv2.resize(RNG.integers(0, 256, (5, 7, 3), np.uint8), (90, 60), interpolation=cv2.INTER_LINEAR)


def encoded(image: Image.Image, form: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def save(folder: Path, data: bytes) -> Path:
    path = folder / "image"  # its data say what it is, not its name
    path.write_bytes(data)
    return path


def assert_close(found: np.ndarray, expected: np.ndarray, within: float) -> None:
    assert found.dtype == np.uint8 and found.shape == expected.shape and found.flags.c_contiguous
    assert np.abs(found.astype(int) - expected.astype(int)).mean() <= within


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats(tmp_path: Path, form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    path = save(tmp_path, encoded(Image.fromarray(SMOOTH), form, **options))
    np.testing.assert_array_equal(read_image(path), SMOOTH)


@pytest.mark.parametrize(
    ("form", "mode"),
    [
        *(("PNG", mode) for mode in ["L", "1", "P", "RGB", "LA"]),
        *(("JPEG", mode) for mode in ["L", "1", "RGB", "CMYK"]),
        *(("TIFF", mode) for mode in ["L", "1", "P", "RGB", "LA", "CMYK"]),
    ],
)
def test_modes(tmp_path: Path, form: str, mode: str) -> None:
    image = Image.fromarray(SMOOTH).convert(mode)
    data = encoded(image, form)
    expected = np.asarray(image.convert("RGB"))
    assert_close(read_image(save(tmp_path, data)), expected, {"JPEG": 20 if mode == "1" else 9}.get(form, 0))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(tmp_path: Path, orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(SMOOTH), form, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert_close(read_image(save(tmp_path, data)), expected, 3)


def test_broken_exif_leaves_the_image_as_it_is(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(SMOOTH), "PNG", exif=exif)
    at = data.index(b"eXIf")
    body = data[at + 4 : at + 8] + b"\xff\xff\xff\xff"
    chunk = struct.pack(">I", 8) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    length = struct.unpack(">I", data[at - 4 : at])[0]
    path = save(tmp_path, data[: at - 4] + chunk + data[at + 8 + length :])
    np.testing.assert_array_equal(read_image(path), SMOOTH)


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    values = np.array([[0, 256, 257, 32768, 65535]], np.uint16)
    path = save(tmp_path, cv2.imencode(".png", values)[1].tobytes())
    assert read_image(path)[..., 0].tolist() == [[0, 1, 1, 128, 255]]


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_alpha_lies_over_the_fill(tmp_path: Path, form: str) -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, :3] = (200, 100, 50)
    rgba[0, :, 3] = (0, 128, 255)
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    path = save(tmp_path, encoded(Image.fromarray(rgba), form, **options))
    half = [round(c * 128 / 255 + f * 127 / 255) for c, f in zip((200, 100, 50), FILL, strict=True)]
    assert_close(read_image(path), np.array([[FILL, half, (200, 100, 50)]], np.uint8), 0.2)


def test_alpha_and_orientation_together(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    rgba = np.dstack([SMOOTH, np.full(SMOOTH.shape[:2], 255, np.uint8)])
    rgba[:30, :, 3] = 0
    found = read_image(save(tmp_path, encoded(Image.fromarray(rgba), "PNG", exif=exif)))
    np.testing.assert_array_equal(found[:, :60], np.rot90(np.where(rgba[..., 3:] > 0, SMOOTH, FILL), -1))


def test_transparent_palette(tmp_path: Path) -> None:
    image = Image.fromarray(SMOOTH).quantize(8)
    ids, opaque = np.asarray(image), np.asarray(image.convert("RGB"))
    found = read_image(save(tmp_path, encoded(image, "PNG", transparency=3)), fill=(1, 2, 3))
    np.testing.assert_array_equal(found, np.where(ids[..., None] == 3, (1, 2, 3), opaque))


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (2, 40000)])
def test_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    assert read_image(save(tmp_path, encoded(Image.new("RGB", size[::-1]), "PNG"))).shape == (*size, 3)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_jpeg_with_data_behind_its_end(tmp_path: Path, options: dict) -> None:
    """As phones keep a short film behind the image, with any marks in it."""
    data = encoded(Image.fromarray(SMOOTH), "JPEG", **options) + b"film\xff\xda\0\0\xff"
    assert read_image(save(tmp_path, data)).shape == SMOOTH.shape


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95, 0.999])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM"])
def test_truncated(tmp_path: Path, form: str, share: float) -> None:
    data = encoded(Image.fromarray(SMOOTH), form)
    with pytest.raises(ImageError, match="truncated"):
        read_image(save(tmp_path, data[: int(len(data) * share)]))


def test_a_thumbnail_does_not_hide_that_the_image_is_cut(tmp_path: Path) -> None:
    thumbnail = encoded(Image.fromarray(SMOOTH).resize((30, 20)), "JPEG")
    body = b"Exif\0\0" + thumbnail
    segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    data = encoded(Image.fromarray(SMOOTH), "JPEG")
    data = data[:2] + segment + data[2:]
    assert read_image(save(tmp_path, data)).shape == SMOOTH.shape
    with pytest.raises(ImageError, match="truncated"):
        read_image(save(tmp_path, data[:-200]))


def test_damaged(tmp_path: Path) -> None:
    data = bytearray(encoded(Image.fromarray(SMOOTH), "PNG"))
    data[len(data) // 2] ^= 255
    with pytest.raises(ImageError, match="damaged"):
        read_image(save(tmp_path, bytes(data)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty"), (b"x", "not an image"), (b"some text, no image\n" * 20, "not an image")],
)
def test_not_an_image(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        read_image(save(tmp_path, data))


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="folder"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="device"):
        read_image("/dev/null")


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, opened = save(tmp_path, b"x"), os.open

    def closed(name: str | Path, *args) -> int:
        if Path(name) == path:
            raise PermissionError(13, "Permission denied")
        return opened(name, *args)

    monkeypatch.setattr(os, "open", closed)
    with pytest.raises(ImageError, match="cannot be read: Permission denied"):
        read_image(path)


@pytest.mark.parametrize(
    ("form", "reason"), [(".tiff", "8 or 16 bits a channel, found float32"), (".hdr", "PNG, .* found Radiance HDR")]
)
def test_float_pixels(tmp_path: Path, form: str, reason: str) -> None:
    data = cv2.imencode(form, SMOOTH.astype(np.float32) / 255)[1].tobytes()
    with pytest.raises(ImageError, match=reason):
        read_image(save(tmp_path, data))


def test_absurdly_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    data = b"".join(struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    with pytest.raises(ImageError, match="too large"):
        read_image(save(tmp_path, b"\x89PNG\r\n\x1a\n" + data))
    with pytest.raises(ImageError, match=r"too large.*90 x 60"):
        read_image(save(tmp_path, encoded(Image.fromarray(SMOOTH), "PNG")), max_pixels=1000)
    monkeypatch.setattr("mtl_vision.runtime.images.MAX_FILE", 100)
    with pytest.raises(ImageError, match="too large"):
        read_image(save(tmp_path, encoded(Image.fromarray(SMOOTH), "BMP")))


def test_values_are_scaled_by_the_brightest_that_the_file_can_have(tmp_path: Path) -> None:
    """PNM with another maximum than 255 or 65535, as text and binary, gray and colour; JPEG 2000 of 12 bits."""
    gray = np.array([[0, 5, 10]])
    expected = np.repeat(np.rint(gray * 25.5).astype(np.uint8)[..., None], 3, 2)
    wide = np.rint(gray * 102.3).astype(">u2")
    for data in (
        b"P2\n3 1\n10\n0 5 10\n",
        b"P5\n3 1\n10\n" + gray.astype(np.uint8).tobytes(),
        b"P6\n3 1\n10\n" + np.repeat(gray, 3).astype(np.uint8).tobytes(),
        b"P2\n3 1\n1023\n" + " ".join(map(str, wide[0])).encode() + b"\n",
        b"P5\n3 1\n1023\n" + wide.tobytes(),
        b"P5\n3 1\n65535\n" + (gray * 6553.5).astype(">u2").tobytes(),
    ):
        assert np.abs(read_image(save(tmp_path, data)).astype(int) - expected).max() <= 1, data[:20]


def test_the_fourth_byte_of_a_bmp_is_opacity_only_where_the_header_says_so(tmp_path: Path) -> None:
    pixels = np.zeros((2, 4, 4), np.uint8)
    pixels[..., :3] = 10, 20, 30
    masks = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
    for alpha, expected in ((None, (30, 20, 10)), (0, (30, 20, 10)), (0xFF000000, FILL)):
        size = 40 if alpha is None else 56
        more = b"" if alpha is None else struct.pack("<I", alpha)
        head = struct.pack("<IiiHHIIiiII", size, 4, 2, 1, 32, 3, 32, 0, 0, 0, 0) + masks + more
        data = b"BM" + struct.pack("<IHHI", 14 + len(head) + 32, 0, 0, 14 + len(head)) + head + pixels.tobytes()
        assert (read_image(save(tmp_path, data)) == expected).all(), alpha


def test_what_follows_a_jpeg_does_not_turn_it(tmp_path: Path) -> None:
    """As in files of several pictures, whose first has lost its EXIF data."""
    image, exif = Image.fromarray(SMOOTH), Image.Exif()
    exif[0x0112] = 6
    turned = encoded(image, "JPEG", exif=exif.tobytes())
    plain = encoded(image, "JPEG")
    assert read_image(save(tmp_path, turned)).shape == (90, 60, 3)
    assert read_image(save(tmp_path, plain + turned)).shape == (60, 90, 3)


def test_a_path_with_a_zero_byte() -> None:
    with pytest.raises(ImageError, match="its path has a zero byte"):
        read_image("a\0b.png")
