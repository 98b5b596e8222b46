"""dataset.yaml: what is written is read back, and what is wrong is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_testing import FULL, HELD

from mtl_vision.datasets.description import (
    DataError,
    DepthFiles,
    Description,
    LabelFiles,
    NormalsFiles,
    read_description,
)
from mtl_vision.datasets.sample import Intrinsics

CAMERA = "intrinsics: {fx: 500, fy: 510, cx: 320, cy: 240, height: 480, width: 640}"


def read(tmp_path: Path, text: str) -> Description:
    path = tmp_path / "dataset.yaml"
    path.write_text(text, encoding="utf-8")
    return read_description(path)


def cropped(text: str) -> str:
    return CAMERA + "\ncrop: {top: " + text + "}"


def own(names: list[str], palette: list[tuple[int, int, int]] | None) -> Description:
    return Description(segmentation=LabelFiles(folder="ids", first=1, void=0, classes=names, palette=palette))


@pytest.mark.parametrize(
    "description",
    [
        Description(),
        FULL,
        Description(source="Zürich: 80 % indoors", splits={"train": "a", "test": "b"}, image="left"),
        Description(depth=DepthFiles("d", 1e-5, -0.5, None), normals=NormalsFiles("n", ("x", "-y", "-z"))),
        Description(depth=DepthFiles(invalid=[0, 65535])),
        Description(depth=DepthFiles(invalid=[0, 65.535, -1, 1e10])),
        Description(depth=DepthFiles(invalid=0.5)),
        Description(depth=DepthFiles(), normals=NormalsFiles(derive=True), intrinsics=HELD),
        Description(intrinsics=HELD, crop={"top": 4, "left": 2, "height": 44, "width": 60}),
        own(["yes", "no", "1"], [(1, 2, 3), (4, 5, 6), (7, 8, 9)]),
        own(["one"], None),
    ],
)
def test_what_is_written_is_read_back(tmp_path: Path, description: Description):
    assert read(tmp_path, description.to_yaml()) == description


def test_defaults_and_targets(tmp_path: Path):
    found = read(tmp_path, "depth: {}\nsegmentation: {classes: nyu40}\n")
    assert found.depth == DepthFiles("depth", 0.001, 0.0, 0)
    assert found.targets() == ("depth", "segmentation")
    assert found.splits == {"train": "train", "val": "val", "test": "test"}
    assert found.camera((48, 64)) is None


def test_the_camera_at_half_the_size_keeps_its_pixel_centres(tmp_path: Path):
    assert read(tmp_path, CAMERA).camera((240, 320)) == Intrinsics(250, 255, 159.75, 119.75)


def test_a_number_without_a_point_is_a_number_though_yaml_takes_it_for_a_text(tmp_path: Path):
    depth = read(tmp_path, "depth: {scale: 1e-3}").depth
    assert depth is not None and depth.scale == 0.001


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dept: {}", "unknown key 'dept', did you mean 'depth'?"),
        ("depth: {sacle: 1}", "depth: unknown key 'sacle', did you mean 'scale'?"),
        ("qqqq: 1", "unknown key 'qqqq': expected .*'splits'"),
        ("7: 1", "unknown key '7'"),
        ("depth: {scale: 1", "is not valid YAML"),
        ("depth:\n\t- x", "is not valid YAML"),
        ("", "expected a mapping of source, splits.* found None"),
        ("- depth", "expected a mapping"),
        ("depth: metres", "depth: expected a mapping of folder, scale.* found 'metres'"),
        ("depth: true", "depth: expected a mapping"),
        ("depth: {scale: abc}", "depth: scale is 'abc': expected a number"),
        ("depth: {scale: true}", "depth: scale is True: expected a number"),
        ("depth: {scale: .nan}", "depth: scale is nan: expected a number"),
        ("depth: {scale: 0}", "depth.scale is 0"),
        ("depth: {offset: [1]}", "depth: offset is .*expected a number"),
        ("depth: {folder: 3}", "depth: folder is 3: expected the name of a folder"),
        ("depth: {folder: null}", "depth: folder is None: expected the name of a folder"),
        ("depth: {invalid: none}", "depth: invalid is 'none': expected a stored value, or a list of them, or null"),
        ("depth: {invalid: true}", "depth: invalid is True"),
        ("depth: {invalid: [0, true]}", "depth: invalid is .0, True.: expected a stored value"),
        ("depth: {invalid: [0, null]}", "depth: invalid is .0, None."),
        ("depth: {invalid: [0, .nan]}", "depth: invalid is .0, nan."),
        ("depth: {invalid: {a: 1}}", "depth: invalid is ..a.: 1.: expected a stored value"),
        ("depth: {invalid: []}", "depth.invalid is ..: expected .*a list of 1 to 100 of them, or null"),
        (f"depth: {{invalid: [{'0, ' * 101}]}}", "depth.invalid is .*a list of 1 to 100"),
        ("depth: {invalid: [0, 1.0e+39]}", "depth.invalid is .0, 1e.39.: expected a stored value of 32 bits"),
        ("source: 5", "source is 5: expected a text"),
        ("image: [rgb]", "image is .*expected the name of a folder"),
        ("splits: [train, test]", "splits is .*expected a mapping from a split to its folder"),
        ("splits: {train: 1}", "splits is .*expected a mapping"),
        ("segmentation: {first: x}", "segmentation: first is 'x': expected a whole number"),
        ("segmentation: {void: 1.5}", "segmentation: void is 1.5: expected a whole number"),
        ("segmentation: {classes: nyu14}", "segmentation.classes: unknown class set 'nyu14': expected nyu13 or nyu40"),
        ("segmentation: {classes: []}", "segmentation.classes has 0 names"),
        ("segmentation: {classes: 13}", "classes is 13: expected nyu13, nyu40 or a list of names"),
        ("segmentation: {classes: [a, 2]}", "classes is .*expected nyu13, nyu40 or a list of names"),
        ("segmentation: {classes: [a, b], palette: [[1, 2, 3]]}", "palette has 1 colours for 2 classes"),
        ("segmentation: {classes: [a], palette: [[1, 2]]}", "palette is .*expected a list of .red, green, blue"),
        ("segmentation: {classes: [a], palette: [[1, 2, 256]]}", "palette is .*each 0 to 255"),
        (f"segmentation: {{classes: [{'a, ' * 256}]}}", "has 256 names: expected 1 to 255"),
        ("segmentation: {first: 70000}", "first is 70000.*expected values of 16 bits"),
        ("segmentation: {first: -1}", "first is -1"),
        ("segmentation: {void: 65536}", "void 65536: expected values of 16 bits"),
        ("normals: {axes: [x, y]}", "normals.axes is .'x', 'y'.: expected x, y and z once each"),
        ("normals: {axes: [x, y, y]}", "expected x, y and z once each"),
        ("normals: {axes: [x, y, +z]}", "expected x, y and z once each"),
        ("normals: {axes: xyz}", "normals: axes is 'xyz': expected a list of three axes"),
        ("normals: {axes: [1, 2, 3]}", "normals: axes is .*expected a list of three axes"),
        ("normals: {derive: please}", "normals: derive is 'please': expected true or false"),
        ("normals: {derive: true}\n" + CAMERA, "normals.derive needs depth and intrinsics"),
        ("depth: {}\nnormals: {derive: true}", "normals.derive needs depth and intrinsics"),
        ("intrinsics: {fx: 500, fy: 500, cx: 320, cy: 240}", "expected fx, fy, cx, cy, height and width"),
        ("intrinsics: {f: 500}\nnormals: {derive: true}", "intrinsics has .'f'.: expected fx"),
        ("intrinsics: [500, 500]", "intrinsics is .*expected a mapping from fx"),
        (CAMERA.replace("500", "wide"), "intrinsics is .*to numbers"),
        (CAMERA.replace("500", "0"), "expected fx, fy, height and width above 0"),
        ("crop: {top: 0, left: 0, height: 9, width: 9}", "crop is part of the images of 'intrinsics', .*not given"),
        (cropped("0, left: 0, height: 9"), r"crop has .'height', 'left', 'top'.: expected top, left"),
        (cropped("0, left: 0, height: 9, width: 9, right: 9"), "crop has .*: expected top, left"),
        (cropped("0, left: 0, height: 481, width: 9"), r"which are 480x640 \(height x width\)"),
        (cropped("1, left: 0, height: 480, width: 9"), "expected a part of the images"),
        (cropped("0, left: 632, height: 9, width: 9"), "expected a part of the images"),
        (cropped("-1, left: 0, height: 9, width: 9"), "expected a part of the images"),
        (cropped("0, left: 0, height: 0, width: 9"), "expected a part of the images"),
        (cropped("0.5, left: 0, height: 9, width: 9"), "crop is .*expected a mapping from top, left, height"),
        (CAMERA + "\ncrop: [0, 0, 9, 9]", "crop is .*expected a mapping from top, left, height"),
        (CAMERA + "\ncrop: {}", "crop has .*expected top, left"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str):
    with pytest.raises(DataError, match=f"(?s)dataset.yaml.*{message}"):
        read(tmp_path, text)


def test_a_missing_description_says_where_and_what(tmp_path: Path):
    with pytest.raises(DataError, match=r"no description at .*dataset\.yaml: expected a dataset\.yaml .*README"):
        read_description(tmp_path / "dataset.yaml")


def test_a_folder_in_its_place(tmp_path: Path):
    with pytest.raises(DataError, match="can not be read"):
        read_description(tmp_path)


def test_other_bytes_than_text(tmp_path: Path):
    (tmp_path / "dataset.yaml").write_bytes(b"\xff\xfe\x00source")
    with pytest.raises(DataError, match="is not valid YAML"):
        read_description(tmp_path / "dataset.yaml")


def test_a_camera_known_by_name(tmp_path: Path):
    (tmp_path / "dataset.yaml").write_text("intrinsics: nyuv2\n")
    description = read_description(tmp_path / "dataset.yaml")
    camera = description.camera((480, 640))
    assert camera is not None and (camera.fx, camera.cy) == (518.857901, 253.736166)
    (tmp_path / "dataset.yaml").write_text("intrinsics: kinect9\n")
    with pytest.raises(DataError, match=r"intrinsics is 'kinect9': expected .* or a known camera \(nyuv2\)"):
        read_description(tmp_path / "dataset.yaml")


def test_a_crop_moves_the_camera_and_then_scales_it(tmp_path: Path):
    """Worked by hand: cx - left = 280, cy - top = 195; at half the size pixel centres stay, (280.5 / 2) - 0.5."""
    description = read(tmp_path, cropped("45, left: 40, height: 425, width: 560"))
    assert description.camera((425, 560)) == Intrinsics(500, 510, 280, 195)
    half = description.camera((850, 280))  # of another aspect, too
    assert half == Intrinsics(250, 1020, 139.75, 390.5)
    assert description.own_camera() == {"fx": 500, "fy": 510, "cx": 280, "cy": 195, "height": 425, "width": 560}


def test_a_crop_looks_along_the_same_rays_as_the_whole(tmp_path: Path):
    whole = read(tmp_path, CAMERA).camera((480, 640))
    part = read(tmp_path, cropped("45, left: 40, height: 425, width: 560")).camera((425, 560))
    assert whole is not None and part is not None
    np.testing.assert_allclose(part.rays((425, 560)), whole.rays((480, 640))[45:470, 40:600], atol=1e-12)


@pytest.mark.parametrize(
    ("text", "crop"),
    [
        ("layout: nyud_mt", {"top": 45, "left": 40, "height": 425, "width": 560}),
        ("layout: nyud_mt\n" + CAMERA, None),  # another camera is the picture's own
        ("layout: nyud_mt\nintrinsics: null\nnormals: {folder: normals}", None),
        ("layout: nyud_mt\ncrop: null", None),
        ("layout: nyud_mt\n" + cropped("1, left: 2, height: 3, width: 4"), (1, 2, 3, 4)),
    ],
)
def test_the_crop_of_a_layout_is_of_its_own_camera(tmp_path: Path, text: str, crop: dict[str, int] | tuple | None):
    expected = dict(zip(("top", "left", "height", "width"), crop, strict=True)) if isinstance(crop, tuple) else crop
    assert read(tmp_path, text).crop == expected
