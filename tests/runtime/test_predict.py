"""Images in, maps at their own size out: every kind of image, one or many, from any thread."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_model import manifest

from mtl_vision.runtime import ImageError, Model, Predictor, draw
from mtl_vision.runtime.cli import main

ROOT = Path(__file__).parents[2]
SIZES = [(48, 64), (30, 40), (1, 1), (97, 31), (10, 200), (480, 640)]


def noise(size: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(sum(size)).integers(0, 256, size, np.uint8)


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert list(a) == list(b)
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name])


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 20 x 50 pixels that is to be turned by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path_factory.mktemp("photo") / "turned.png"
    Image.fromarray(noise((20, 50, 3))).save(path, exif=exif)
    return path


def test_results_by_hand(model: Model) -> None:
    maps = model.predict(np.full((30, 90, 3), (255, 51, 153), np.uint8))  # letterboxed: the fill must not show
    assert {name: (array.shape, array.dtype) for name, array in maps.items()} == {
        "depth": ((30, 90), np.float32),
        "normals": ((30, 90, 3), np.float32),
        "segmentation": ((30, 90), np.uint8),
    }
    normal = np.array([255, 51, 154]) / np.linalg.norm([255, 51, 154])
    np.testing.assert_allclose(maps["depth"], np.full((30, 90), 3.5), rtol=1e-6)
    np.testing.assert_allclose(maps["normals"], np.broadcast_to(normal, (30, 90, 3)), atol=1e-6)
    assert (maps["segmentation"] == 1).all()


@pytest.mark.parametrize("dynamic", [False, True])
def test_predict_gives_what_the_command_writes(make_model: Callable[..., Path], tmp_path: Path, dynamic: bool) -> None:
    path, folder, out = make_model(manifest(dynamic_size=dynamic)), tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for i, size in enumerate(SIZES):
        cv2.imwrite(str(folder / f"{i}.png"), noise((*size, 3)))
        cv2.imwrite(str(folder / f"{i}gray.png"), noise(size))
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(noise((60, 90, 3))).save(folder / "turned.jpg", exif=exif)
    assert main([str(path), str(folder), "--out", str(out), "--raw", "--save", "depth", "--quiet"]) == 0
    model, files = Model(path), sorted(folder.iterdir())
    for file, maps in zip(files, model.predict(files, batch=1), strict=True):
        with np.load(out / f"{file.stem}.npz") as raw:
            assert_same(maps, dict(raw))
        assert_same(maps, model.predict(str(file)))


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_a_list_gives_what_its_images_give(make_model: Callable[..., Path], dynamic: bool, batch: int) -> None:
    model = Model(make_model(manifest(dynamic_size=dynamic)))
    images = [noise((*size, 3)) for size in SIZES for _ in range(2)]
    for image, maps in zip(images, model.predict(images, batch), strict=True):
        assert_same(maps, model.predict(image))
    assert len(model.predict(tuple(images))) == len(images) and model.predict([]) == []


def test_batches_are_of_one_size_and_bounded() -> None:
    class Counting(Predictor):
        manifest = manifest(dynamic_size=True)

        def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
            sizes.append(images.shape[:3])
            depth = images.mean(axis=-1, dtype=np.float32)
            normals = np.stack([depth * 0, depth * 0, depth / depth], -1)
            return {"depth": depth, "normals": normals, "segmentation": images[..., 0]}

    sizes: list[tuple[int, ...]] = []
    network, images = Counting(), [np.ones((30, 40, 3), np.uint8)] * 5 + [np.ones((40, 30, 3), np.uint8)] * 2
    assert [maps["depth"].shape for maps in network.predict(images, 3)] == [(30, 40)] * 5 + [(40, 30)] * 2
    assert sizes == [(3, 48, 64), (2, 48, 64), (2, 64, 48)]
    with pytest.raises(ValueError, match="batch is 0: expected 1 or more"):
        network.predict(images, 0)


def test_a_gray_image_is_one_of_three_equal_channels(model: Model) -> None:
    gray = noise((33, 47))
    assert_same(model.predict(gray), model.predict(np.stack([gray] * 3, axis=-1)))


def test_memory_of_any_layout_is_taken_and_left_as_it_is(model: Model) -> None:
    image = noise((48, 64, 3))
    mirrored, before = image[::-1, ::-1, ::-1], image.copy()
    assert_same(model.predict(mirrored), model.predict(mirrored.copy()))
    image.flags.writeable = False
    for array in model.predict(image).values():
        array[:] = 0
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA"])
def test_a_pil_image_is_its_file(model: Model, tmp_path: Path, mode: str) -> None:
    pixels = noise((33, 47, 4))
    image = Image.fromarray(pixels if mode in ("RGBA", "LA") else pixels[..., :3].copy()).convert(mode)
    image.save(tmp_path / "image.png")
    assert_same(model.predict(image), model.predict(tmp_path / "image.png"))


def test_a_file_is_turned_upright_and_a_pil_image_is_not(model: Model, photo: Path) -> None:
    assert model.predict(photo)["depth"].shape == (50, 20)
    with Image.open(photo) as image:
        assert_same(model.predict(image), model.predict(noise((20, 50, 3))))


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), ImageError, r"image is an array \(8, 8, 3\) of float32: expected"),
        (np.zeros((8, 8, 3), np.uint16), ImageError, "of uint16: expected .* uint8 from 0 to 255$"),
        (np.zeros((3, 8, 8), np.uint8), ImageError, r"\(3, 8, 8\) of uint8: expected \(H, W, 3\) RGB or \(H, W\) gray"),
        (np.zeros((8, 8, 4), np.uint8), ImageError, r"\(8, 8, 4\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), ImageError, "several images as a list"),
        (np.zeros(8, np.uint8), ImageError, r"\(8,\)"),
        (np.zeros((0, 8, 3), np.uint8), ImageError, r"\(0, 8, 3\)"),
        (Image.new("RGB", (0, 5)), ImageError, r"\(5, 0, 3\)"),
        (Image.new("F", (8, 8)), ImageError, "PIL image of mode 'F': expected 8 bits"),
        (Image.new("I;16", (8, 8)), ImageError, "PIL image of mode 'I;16'"),
        ("none.jpg", ImageError, "^image 'none.jpg': no such file"),
        (Path("none.jpg"), ValueError, "no such file"),
        (3, TypeError, "^image is of type int: expected an array, a path or a PIL image"),
        (None, TypeError, "NoneType"),
        ([np.zeros((8, 8, 3), np.uint8), "none.jpg"], ImageError, r"^image\[1\] 'none.jpg': no such file"),
        ([np.zeros((8, 8, 3), bool)], ImageError, r"^image\[0\] is an array \(8, 8, 3\) of bool"),
        ([[]], TypeError, r"^image\[0\] is of type list"),
    ],
)
def test_wrong_images(model: Model, image, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        model.predict(image)


def test_threads_share_a_model(model_file: Path) -> None:
    model = Model(model_file)
    images = [noise((*size, 3)) for size in SIZES] * 6
    expected = [model.predict(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        for found, maps in zip(pool.map(model.predict, images), expected, strict=True):
            assert_same(found, maps)


def test_draw_takes_images_as_predict_does_and_maps_of_any_size(model: Model, photo: Path) -> None:
    maps = model.predict(photo)
    with Image.open(photo) as image:
        upright = np.rot90(np.asarray(image), -1)
    drawn = draw(photo, maps, model.manifest)
    assert drawn.dtype == np.uint8 and drawn.ndim == 3 and drawn.shape[2] == 3
    np.testing.assert_array_equal(drawn, draw(upright, maps, model.manifest))
    small = {name: np.ascontiguousarray(array[::2, ::2]) for name, array in maps.items()}
    assert draw(photo, small, model.manifest).shape == drawn.shape
    assert draw(photo, {"depth": maps["depth"]}, model.manifest).shape[1] < drawn.shape[1]
    with pytest.raises(ImageError, match="no such file"):
        draw("none.jpg", maps, model.manifest)


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import mtl_vision", "torch onnxruntime cv2 numpy"),
        ("import mtl_vision.runtime", "torch onnxruntime cv2 numpy"),
        ("from mtl_vision.runtime import Predictor, draw", "torch onnxruntime"),
        ("from mtl_vision.runtime import *", "torch PIL yaml"),
        (
            "from mtl_vision.runtime import Model, draw; import numpy as np; m = Model(sys.argv[1]); "
            "i = np.zeros((30, 40, 3), np.uint8); draw(i, m.predict(i), m.manifest)",
            "torch torchvision timm PIL yaml onnx matplotlib scipy",
        ),
    ],
)
def test_imports_are_light(model_file: Path, code: str, heavy: str) -> None:
    code = f"import sys; {code}; found = {{*{heavy.split()}}} & set(sys.modules); sys.exit(str(found) if found else 0)"
    done = subprocess.run([sys.executable, "-c", code, str(model_file)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_names_of_the_package() -> None:
    import mtl_vision.runtime as runtime

    assert all(getattr(runtime, name).__name__ == name for name in runtime.__all__)
    with pytest.raises(AttributeError, match=r"module 'mtl_vision.runtime' has no attribute 'Modle'"):
        _ = runtime.Modle
