"""Large JPEGs are decoded smaller: where, how exactly, and the same in every way to run a network."""

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_model import manifest

from mtl_vision.runtime import headers
from mtl_vision.runtime.cli import main
from mtl_vision.runtime.headers import Header
from mtl_vision.runtime.images import decode_rgb, read_image, reduction
from mtl_vision.runtime.model import Model
from mtl_vision.runtime.predictor import decode_for, prepare


def photo(size: tuple[int, int] = (960, 1280)) -> np.ndarray:
    """Structure at all scales, as photographs have."""
    rng = np.random.default_rng(0)
    layers = [rng.uniform(0, 255, (size[0] // cell, size[1] // cell, 3)).astype(np.float32) for cell in (3, 20, 120)]
    grown = [cv2.resize(layer, size[::-1]) for layer in layers]
    return (0.15 * grown[0] + 0.35 * grown[1] + 0.5 * grown[2]).astype(np.uint8)


def jpeg(image: Image.Image, orientation: int = 1, **options) -> bytes:
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    image.save(stream, "JPEG", quality=92, exif=exif, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("form", "size", "enough", "expected"),
    [
        ("JPEG", (3024, 4032), 0.125, 8),
        ("JPEG", (3024, 4032), 0.126, 4),
        ("JPEG", (3024, 4032), 0.5, 2),
        ("JPEG", (3024, 4032), 0.51, 1),
        ("JPEG", (3024, 4032), 3, 1),
        ("JPEG", (3020, 4032), 0.1, 4),  # 3020 / 8 is no whole number of pixels
        ("JPEG", (3021, 4032), 0.1, 1),
        ("PNG", (3024, 4032), 0.1, 1),
    ],
)
def test_by_how_much(form: str, size: tuple[int, int], enough: float, expected: int) -> None:
    assert reduction(Header(form, size[1], size[0], 3, 8), enough) == expected


def test_a_network_gets_twice_its_pixels_and_an_overview_its_own() -> None:
    data = jpeg(Image.fromarray(photo((960, 1280))))
    header = headers.check(data)

    def decoded(height: int, width: int) -> tuple[int, ...]:
        pixels, size = decode_for(data, header, manifest(height=height, width=width))
        assert size == (960, 1280)
        return pixels.shape[:2]

    assert decoded(240, 320) == (480, 640) and decoded(241, 320) == (960, 1280)
    assert decoded(48, 64) == (480, 640), "an overview shows 560 pixels"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_at_full_size(orientation: int) -> None:
    data = jpeg(Image.fromarray(photo()), orientation)
    header, full = headers.check(data), decode_rgb(data, headers.check(data), (0, 0, 0))
    pixels, size = decode_for(data, header, manifest(height=240, width=320))
    assert size == full.shape[:2] and pixels.shape[0] * 2 == size[0]
    for ours in (manifest(height=240, width=320), manifest(height=240, width=320, dynamic_size=True)):
        one, expected = prepare(pixels, ours, size=size), prepare(full, ours)
        assert (one.size, one.box) == (expected.size, expected.box)
        difference = np.abs(one.canvas.astype(int) - expected.canvas)
        assert difference.mean() < 1 and np.percentile(difference, 99) <= 4


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_gray_and_cmyk(mode: str) -> None:
    data = jpeg(Image.fromarray(photo()).convert(mode))
    header = headers.check(data)
    pixels, _ = decode_for(data, header, manifest(height=240, width=320))
    full = cv2.resize(decode_rgb(data, header, (0, 0, 0)), (640, 480), interpolation=cv2.INTER_AREA)
    assert pixels.shape == (480, 640, 3) and np.abs(pixels.astype(int) - full).mean() < 1


def test_every_way_to_run_a_network_gives_the_same(make_model: Callable[..., Path], tmp_path: Path) -> None:
    """The command with and without the points, whose colours are those of the whole image, and `predict`."""
    camera = (60.0, 60.0, 32.0, 24.0)
    path, image = make_model(manifest(intrinsics=camera)), tmp_path / "a.jpg"
    image.write_bytes(jpeg(Image.fromarray(photo()), 6))
    kept = {}
    for save in (["depth"], ["points"], ["overview", "normals"]):
        out = tmp_path / save[0]
        assert main([str(path), str(image), "--out", str(out), "--raw", "--quiet", "--save", *save]) == 0
        with np.load(out / "a.npz") as raw:
            kept[save[0]] = dict(raw)
    model = Model(path)
    maps = model.predict(image)
    assert maps["depth"].shape == (1280, 960)
    for arrays in kept.values():
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, maps[name])
    whole = model.predict(read_image(image))
    assert np.abs(maps["depth"] - whole["depth"]).max() < 0.02, "a grey level is 0.02 m here"
    cloud = (tmp_path / "points" / "a.points.ply").read_bytes().split(b"end_header\n", 1)[1]
    assert cloud[24:27] == read_image(image)[0, 0].tobytes()  # behind the first point's position and normal
