"""Point clouds, and depth of images of another lens: the camera of an image, worked by hand."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from tiny_model import OUTPUTS, manifest

from mtl_vision.runtime import Model, ModelError, points
from mtl_vision.runtime.cli import main
from mtl_vision.runtime.contract import Output
from mtl_vision.runtime.lens import Camera, Lens, view
from mtl_vision.runtime.predictor import prepare

INTRINSICS = (64.0, 60.0, 30.5, 25.5)  # of the tiny model's 48 x 64
PURPLE = (255, 51, 153)  # the tiny model's depth of it: 3.5 m
TYPES = {"float": "<f4", "uchar": "|u1"}
Infer = Callable[..., int]


def read_ply(path: Path) -> np.ndarray:
    """The vertices of a binary PLY file, read by what its header says."""
    data = path.read_bytes()
    end = data.index(b"end_header\n") + len(b"end_header\n")
    words = [line.split() for line in data[:end].decode("ascii").splitlines()]
    assert words[0] == ["ply"] and words[1] == ["format", "binary_little_endian", "1.0"]
    elements = [word[1:] for word in words if word[0] == "element"]
    dtype = np.dtype([(word[2], TYPES[word[1]]) for word in words if word[0] == "property"])
    assert [name for name, _ in elements] == ["vertex"] and len(data) - end == int(elements[0][1]) * dtype.itemsize
    return np.frombuffer(data[end:], dtype)


def positions(found: np.ndarray) -> np.ndarray:
    return np.stack([found[name] for name in "xyz"], axis=-1)


@pytest.fixture
def infer(make_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Infer:
    """Run the command on the folder `in` into the folder `out`."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    says = {"intrinsics": INTRINSICS}

    def run(*options: str, **changes: object) -> int:
        model = make_model(manifest(**(says | changes)))
        return main([str(model), "in", "--out", "out", *options])

    return run


def write(name: str, pixels: np.ndarray | tuple[int, int], colour: tuple[int, int, int] = PURPLE) -> None:
    array = pixels if isinstance(pixels, np.ndarray) else np.full((*pixels, 3), colour, np.uint8)
    cv2.imwrite(f"in/{name}.png", array[..., ::-1])


def lines() -> dict[str, dict]:
    return {line["name"]: line for line in map(json.loads, Path("out/results.jsonl").read_text().splitlines())}


def depth_png(name: str = "a") -> np.ndarray:
    return cv2.imread(f"out/{name}.depth.png", cv2.IMREAD_UNCHANGED)


# The cloud


def test_a_cloud_by_hand(infer: Infer) -> None:
    write("a", (48, 64))
    assert infer("--save", "points", "depth") == 0
    found = read_ply(Path("out/a.points.ply"))
    assert found.dtype.names == ("x", "y", "z", "nx", "ny", "nz", "red", "green", "blue") and len(found) == 48 * 64
    np.testing.assert_allclose(positions(found)[0], (-30.5 / 64 * 3.5, -25.5 / 60 * 3.5, 3.5), rtol=1e-6)
    np.testing.assert_allclose(positions(found)[-1], (32.5 / 64 * 3.5, 21.5 / 60 * 3.5, 3.5), rtol=1e-6)
    np.testing.assert_allclose(positions(found)[1] - positions(found)[0], (3.5 / 64, 0, 0), atol=1e-6)
    normal = np.array([255, 51, 154]) / np.linalg.norm([255, 51, 154])
    np.testing.assert_allclose([found[name][7] for name in ("nx", "ny", "nz")], normal, rtol=1e-6)
    assert tuple(found[99])[-3:] == PURPLE
    assert lines()["a"]["files"] == ["a.depth.png", "a.points.ply"]
    camera = dict(zip(("fx", "fy", "cx", "cy"), INTRINSICS, strict=True))
    assert (lines()["a"]["camera"], lines()["a"]["depth_scale"]) == (camera | {"from": "manifest"}, 1.0)


@pytest.mark.skipif(not hasattr(cv2, "loadPointCloud"), reason="OpenCV reads point clouds since version 5")
def test_another_reader_finds_the_same(infer: Infer) -> None:
    write("a", np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    assert infer("--save", "points") == 0
    found = read_ply(Path("out/a.points.ply"))
    vertices, normals, colours = (array[:, 0] for array in cv2.loadPointCloud("out/a.points.ply"))
    np.testing.assert_array_equal(vertices, positions(found))
    np.testing.assert_array_equal(normals, np.stack([found[name] for name in ("nx", "ny", "nz")], -1))
    rgb = np.stack([found[name] for name in ("red", "green", "blue")], -1)
    np.testing.assert_allclose(colours * (255 if colours.max() <= 1 else 1), rgb, atol=1e-3)


def test_points_are_the_saved_depth_and_the_image(infer: Infer) -> None:
    image = np.random.default_rng(0).integers(90, 120, (60, 80, 3), np.uint8)
    write("a", cv2.GaussianBlur(image, (0, 0), 2))
    assert infer("--save", "points", "depth", "--raw", "--focal", "70") == 0
    found, line = read_ply(Path("out/a.points.ply")), lines()["a"]
    with np.load("out/a.npz") as raw:
        np.testing.assert_array_equal(found["z"], raw["depth"].ravel())
        np.testing.assert_array_equal(found["ny"], raw["normals"][..., 1].ravel())
    k, image = line["camera"], cv2.imread("in/a.png")
    u = np.rint(found["x"] / found["z"] * k["fx"] + k["cx"]).astype(int)
    v = np.rint(found["y"] / found["z"] * k["fy"] + k["cy"]).astype(int)
    np.testing.assert_array_equal((v * 80 + u), np.arange(60 * 80))
    np.testing.assert_array_equal(np.stack([found[c] for c in ("blue", "green", "red")], -1), image.reshape(-1, 3))
    np.testing.assert_allclose(depth_png()[v, u], found["z"] * 1000, atol=0.501)


def test_points_are_made_when_they_are_asked_for(infer: Infer) -> None:
    write("a", (48, 64))
    assert infer() == 0 and not list(Path("out").glob("*.ply")) and "camera" not in lines()["a"]
    assert infer("--save", "points") == 0 and lines()["a"]["files"] == ["a.points.ply"]


def test_normals_of_another_frame_are_left_out() -> None:
    one, two, three = OUTPUTS[0], Output("normals", "unit_vector_map", frame="world"), Output("d", "scalar_map")
    assert points.used(manifest(outputs=[two, three, one])) == [one]
    assert points.used(manifest(outputs=[OUTPUTS[1], one])) == [one, OUTPUTS[1]]


SIDES, FOCAL = st.integers(1, 40), st.floats(1, 1e4)


@given(h=SIDES, w=SIDES, most=st.integers(1, 900), fx=FOCAL, fy=FOCAL, c=st.floats(-50, 90), seed=st.integers(0, 9))
def test_projected_points_are_their_pixels(
    h: int, w: int, most: int, fx: float, fy: float, c: float, seed: int
) -> None:
    random, camera = np.random.default_rng(seed), Camera(fx, fy, c, 40 - c)
    depth = random.uniform(0.1, 50, (h, w)).astype(np.float32) * (random.random((h, w)) > 0.3)
    v, u = np.mgrid[:h, :w]
    image = np.stack([v, u, v + u], -1).astype(np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(points, "MAX_POINTS", most)
        samples = [points.sampled(array, (h, w)) for array in (depth, image)]
        found = points.cloud(*samples, camera, (h, w))
        n = points.stride((h, w))
    assert len(found) <= most and len(found) == np.count_nonzero(samples[0])
    # a pixel's error is a float32's of x, times the pixels that a metre there has
    error = 1e-6 * (np.array([w, h]) + abs(c) + 40)
    np.testing.assert_array_less(abs(found["x"] / found["z"].astype(float) * fx + c - found["green"]), error[0])
    np.testing.assert_array_less(abs(found["y"] / found["z"].astype(float) * fy + 40 - c - found["red"]), error[1])
    np.testing.assert_array_equal(found["z"], depth[found["red"], found["green"]])
    assert not (found["red"] % n).any() and not (found["green"] % n).any()


@pytest.mark.parametrize(
    ("size", "n"), [((480, 640), 1), ((1024, 1024), 1), ((1025, 1024), 2), ((3000, 4000), 4), ((1, 2**28), 256)]
)
def test_large_images_are_thinned_out(size: tuple[int, int], n: int) -> None:
    assert points.stride(size) == n


def test_a_large_image_and_one_of_no_depth(infer: Infer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "MAX_POINTS", 1000)
    write("a", (96, 128))
    assert infer("--save", "points") == 0
    found = read_ply(Path("out/a.points.ply"))
    assert len(found) == 24 * 32
    np.testing.assert_allclose(positions(found)[33] - positions(found)[0], (4 * 3.5 / 128, 4 * 3.5 / 120, 0), atol=1e-6)
    nothing = points.cloud(np.zeros((2, 2), np.float32), np.zeros((2, 2, 3), np.uint8), Camera(1, 1, 0, 0), (2, 2))
    Path("none.ply").write_bytes(points.ply(nothing))
    assert len(read_ply(Path("none.ply"))) == 0


def test_no_point_lies_between_the_sides_of_a_depth_edge(infer: Infer) -> None:
    image = np.full((96, 128, 3), 20, np.uint8)
    image[:, 64:] = 230
    write("a", image)
    write("same", np.ascontiguousarray(image[::2, ::2]))
    assert infer("--save", "points", "depth") == 0
    near, far = (0.5 + 5 * level / 255 for level in (20, 230))
    assert set(depth_png().ravel()) > {round(near * 1000), round(far * 1000)}  # what lies between is saved
    found = read_ply(Path("out/a.points.ply"))
    assert set(found["z"].round(4)) == {np.float32(near).round(4), np.float32(far).round(4)}
    assert len(found) == 96 * (128 - 2)  # the network's pixels 31 and 32 meet between the columns 63 and 64
    assert len(read_ply(Path("out/same.points.ply"))) == 48 * 64  # nothing is resized


@pytest.mark.parametrize(("slope", "kept"), [(1.10, 12), (1.25, 0)])
def test_a_steep_surface_is_no_edge(slope: float, kept: int) -> None:
    """At a focal length of 64 a surface at 5 degrees changes by 1 / (64 tan 5) = 0.179 of its depth a pixel."""
    network = np.tile(np.float32(slope) ** np.arange(4, dtype=np.float32), (3, 1))
    found = points.unblended(np.ones((3, 4), np.float32), network[:, :2], (3, 4), Camera(128, 128, 0, 0))
    assert np.count_nonzero(found[:, 1:3]) == kept / 2 and found[:, [0, 3]].all()  # outer pixels are no mixtures


# The lens


@given(st.floats(1, 179), st.integers(1, 5000), st.integers(1, 5000))
@example(90, 48, 64)
def test_the_camera_of_a_lens(fov: float, h: int, w: int) -> None:
    camera = view(manifest(), Lens(fov=fov), (h, w), (48, 64), (0, 0, 48, 64)).camera
    edges = [(x - camera.cx) / camera.fx for x in (-0.5, w - 0.5)]
    assert math.degrees(math.atan(edges[1]) - math.atan(edges[0])) == pytest.approx(fov)
    assert camera.fx == camera.fy and camera.cy == (h - 1) / 2
    assert (fov, h, w) != (90, 48, 64) or camera.fx == pytest.approx(32)


@pytest.mark.parametrize(
    ("size", "changes", "expected"),
    [
        ((48, 64), {}, INTRINSICS),
        ((96, 128), {}, (128, 120, 61.5, 51.5)),
        ((24, 32), {}, (32, 30, 15, 12.5)),
        ((24, 64), {}, (64, 60, 30.5, 13.5)),  # rows 12 to 35 of the canvas
        ((48, 32), {}, (64, 60, 14.5, 25.5)),  # columns 16 to 47
        ((96, 256), {}, (256, 240, 123.5, 55.5)),
        ((97, 128), {}, (128, 121.25, 61.5, 26 * 97 / 48 - 0.5)),  # a shape that agrees to a pixel is stretched
        # the network takes 64 x 48: a pixel's angle is that of the training, the middle stays the middle
        ((64, 48), {"dynamic_size": True}, (64, 60, 22.5, 33.5)),
    ],
)
def test_the_training_camera_on_an_image(size: tuple[int, int], changes: dict, expected: tuple[float, ...]) -> None:
    ready = prepare(np.zeros((*size, 3), np.uint8), manifest(intrinsics=INTRINSICS, **changes), Lens())
    assert ready.view and ready.view.camera == pytest.approx(expected)
    assert (ready.view.source, ready.view.depth_scale) == ("manifest", 1.0)


@pytest.mark.parametrize(
    ("size", "focal", "scale"),
    [
        ((48, 64), 64, 1),
        ((48, 64), 128, 2),  # seen twice as large: twice as far as it looks
        ((96, 128), 128, 1),  # the same lens, more pixels
        ((480, 640), 320, 0.5),
        ((96, 64), 64, 0.5),  # letterboxed at half its size
        ((24, 64), 48, 0.75),
    ],
)
def test_depth_is_scaled_by_the_ratio_of_focal_lengths(
    infer: Infer, size: tuple[int, int], focal: float, scale: float
) -> None:
    write("a", size)
    assert infer("--save", "depth", "points", "--raw", "--focal", str(focal)) == 0
    line, h, w = lines()["a"], *size
    camera = {"fx": focal, "fy": focal, "cx": (w - 1) / 2, "cy": (h - 1) / 2, "from": f"--focal {focal}"}
    assert line["camera"] == camera and line["depth_scale"] == pytest.approx(scale)
    assert (depth_png() == round(3500 * scale)).all()
    with np.load("out/a.npz") as raw:
        np.testing.assert_allclose(raw["depth"], np.full(size, 3.5 * scale), rtol=1e-6)
        assert (raw["segmentation"] == 1).all()
    corner = positions(read_ply(Path("out/a.points.ply")))[0]
    np.testing.assert_allclose(corner, np.array([(1 - w) / 2 / focal, (1 - h) / 2 / focal, 1]) * 3.5 * scale, rtol=1e-5)
    fov = math.degrees(2 * math.atan(w / 2 / focal))
    assert infer("--save", "depth", "--fov", repr(fov)) == 0
    assert lines()["a"]["depth_scale"] == pytest.approx(scale) and (depth_png() == round(3500 * scale)).all()


def test_the_training_cameras_own_lens_changes_nothing(infer: Infer) -> None:
    write("a", np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8))
    assert infer() == 0
    before = {path: path.read_bytes() for path in Path("out").glob("a.*")}
    assert infer("--focal", "128") == 0
    assert before == {path: path.read_bytes() for path in Path("out").glob("a.*")} and len(before) == 4


def test_degrees_are_across_the_image_as_it_is_shown(infer: Infer) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.new("RGB", (128, 96), PURPLE).save("in/a.png", exif=exif)
    assert infer("--fov", "90") == 0
    camera = lines()["a"]["camera"]
    assert (camera["fx"], camera["cx"], camera["cy"]) == (pytest.approx(48), 47.5, 63.5)  # 96 across


def test_a_wrong_image_has_no_camera_and_others_have_theirs(infer: Infer) -> None:
    write("a", (48, 64))
    write("b", (24, 32))
    Path("in/bad.png").write_bytes(b"no image")
    assert infer("--fov", "60", "--batch", "3") == 2
    assert [name for name, line in lines().items() if "camera" in line] == ["a", "b"]
    assert lines()["a"]["depth_scale"] == pytest.approx(lines()["b"]["depth_scale"])


def test_lengths_beyond_what_a_png_holds(infer: Infer) -> None:
    write("a", (48, 64))
    assert infer("--save", "depth", "--raw", "--focal", "6400") == 0
    assert (depth_png() == 65535).all()
    with np.load("out/a.npz") as raw:
        np.testing.assert_allclose(raw["depth"], 350, rtol=1e-6)


def test_only_metres_are_scaled(make_model: Callable[..., Path]) -> None:
    image = np.full((48, 64, 3), PURPLE, np.uint8)
    plain = Model(make_model(manifest(outputs=[Output("depth", "scalar_map", unit="1/m"), *OUTPUTS[1:]])))
    with pytest.raises(ValueError, match="--focal 128 scales depth: expected an output in metres, the model has depth"):
        plain.predict(image, focal=128)
    model = Model(make_model(manifest(intrinsics=INTRINSICS)))
    same, scaled = model.predict(image), model.predict(image, focal=128)
    np.testing.assert_array_equal(scaled["depth"], 2 * same["depth"])
    np.testing.assert_array_equal(scaled["normals"], same["normals"])
    several = model.predict([image, np.ascontiguousarray(image[::2, ::2])], fov=90)  # 32 and 16 pixels
    assert [maps["depth"].max() for maps in several] == pytest.approx([1.75, 1.75])


def test_depth_that_no_number_holds_fails_its_image(make_model: Callable[..., Path], monkeypatch) -> None:
    model = Model(make_model(manifest(intrinsics=INTRINSICS)))
    far = {"depth": np.full((1, 48, 64), 1e38, np.float32)}
    run = model.run
    monkeypatch.setattr(model, "run", lambda images: run(images) | far)
    with pytest.raises(
        ModelError, match="'depth' is wrong at 3072 of 3072 pixels: expected a finite number, found inf"
    ):
        model.predict(np.zeros((48, 64, 3), np.uint8), focal=1e4)


# What cannot be


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        (["--save", "points"], {"intrinsics": None}, "expected the training camera's intrinsics in the model's"),
        (["--save", "points"], {"intrinsics": None}, "found none; give --fov or --focal, or train with intrinsics in"),
        (["--fov", "60"], {"intrinsics": None}, "found none; leave --fov 60 out, or train with intrinsics in dataset"),
        (["--save", "points"], {"intrinsics": (0, 60, 30, 20)}, "of a camera: focal lengths of 1 to 1e+06; found [0"),
        (["--fov", "60"], {"intrinsics": (60, 60, 1e9, 0)}, "found [60, 60, 1000000000.0, 0]; export the model again"),
        (["--fov", "60"], {"intrinsics": (10**400, 60, 1, 0)}, "export the model again"),
        (["--save", "points"], {"outputs": [Output("depth", "scalar_map", unit="ft"), *OUTPUTS[1:]]},
         "points need an output 'depth' (scalar_map in m), the model has depth (scalar_map in ft), normals (unit"),
        (["--fov", "180"], {}, "fov is 180.0: expected 1 to 179 degrees across the image"),
        (["--focal", "nan"], {}, "focal is nan: expected 1 to 1e+06 pixels of the image at its own size"),
        (["--focal", "0"], {}, "focal is 0.0: expected"),
        (["--save", "point"], {}, "no output point; it has depth, normals, segmentation, overview, points"),
    ],
)  # fmt: skip
def test_nothing_could_start(infer: Infer, options: list[str], changes: dict, message: str, capfd) -> None:
    write("a", (48, 64))
    assert infer(*options, **changes) == 1
    out, err = capfd.readouterr()
    assert message in err and out == "" and len(err.splitlines()) == 1 and not Path("out").exists()


def test_one_lens_at_a_time(infer: Infer, model: Model) -> None:
    with pytest.raises(SystemExit) as stopped:
        infer("--fov", "60", "--focal", "500")
    assert stopped.value.code == 1
    with pytest.raises(ValueError, match="expected one of fov and focal, found both"):
        model.predict(np.zeros((4, 4, 3), np.uint8), fov=60, focal=500)
    with pytest.raises(ValueError, match="found none; leave --fov 60 out"):
        model.predict([], fov=60)


def test_a_model_that_does_not_know_its_camera(infer: Infer, capfd) -> None:
    write("a", (48, 64))
    assert infer("--fov", "90", "--save", "points", intrinsics=None) == 0
    assert "depth is not scaled to --fov 90: the model does not say at which focal length" in capfd.readouterr().err
    assert lines()["a"]["depth_scale"] is None and lines()["a"]["camera"]["fx"] == pytest.approx(32)
    np.testing.assert_allclose(positions(read_ply(Path("out/a.points.ply")))[0], np.array([-63, -47, 64]) / 64 * 3.5)


# --resume


def test_what_was_done_with_another_lens_is_done_again(infer: Infer, capfd) -> None:
    def resumed(*options: str) -> str:
        capfd.readouterr()
        assert infer(*options, "--resume") == 0
        return capfd.readouterr().out.partition(",")[0]

    write("a", (48, 64))
    assert infer("--save", "depth") == 0
    write("b", (48, 64))
    assert resumed("--save", "depth") == "1 done and 1 before"
    assert resumed("--save", "depth", "--fov", "60") == "2 done"
    assert {line["camera"]["from"] for line in lines().values()} == {"--fov 60"}
    write("c", (48, 64))
    assert resumed("--save", "depth", "--fov", "60.0") == "1 done and 2 before"
    assert resumed("--save", "depth", "--fov", "60.5") == "3 done"
    assert resumed("--save", "depth", "--focal", "60.5") == "3 done"
    assert resumed("--save", "depth") == "3 done" and "camera" not in lines()["a"]
    assert resumed("--save", "points") == "3 done"  # the files are missing
    Path("out/b.points.ply").unlink()
    assert resumed("--save", "points") == "1 done and 2 before"
    assert resumed("--save", "points", "--fov", "60") == "3 done"
    Path("out/results.jsonl").write_text(
        Path("out/results.jsonl").read_text().replace('"camera": {', '"camera": 3, "c": {')
    )
    assert resumed("--save", "points", "--fov", "60") == "3 done"
