"""Each known fault is found in a set that is broken that way, and no other; --fix fixes what a description can fix."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from breaking import (
    SPLITS,
    change,
    describe,
    described_axes,
    described_labels,
    forty_classes,
    labels_from_one,
    mirror,
    negate_x,
    rescale_depth,
    shorten_normals,
)
from data_testing import cut_short

from mtl_vision import prepare
from mtl_vision.check.run import check
from mtl_vision.datasets.description import DataError, Description, read_description

ALL = ("rgb", "depth", "normals", "label")


def found(root: Path, fix: bool = False) -> list[tuple[str, str | None]]:
    """(test, split) of every fault; None: the whole set."""
    report = check(root, out=root.parent / "out", fix=fix)
    written = json.loads((root.parent / "out/check.json").read_text())
    faults: list[tuple[str, str | None]] = [(fault["test"], None) for fault in written["faults"]]
    faults += [(fault["test"], split) for split, one in written["splits"].items() for fault in one["faults"]]
    assert len(report.faults) == len(faults) and written["fine"] == (not faults)
    return faults


def sentences(root: Path) -> str:
    written = json.loads((root.parent / "out/check.json").read_text())
    return "\n".join(fault["text"] for one in (written, *written["splits"].values()) for fault in one["faults"])


def test_a_good_set_has_no_faults(root: Path):
    before = (root / "dataset.yaml").read_text()
    assert found(root, fix=True) == []
    assert (root / "dataset.yaml").read_text() == before
    assert not list(root.glob("*.before*"))


Break = Callable[[Path], None]
FIXED: dict[str, tuple[Break, str, str]] = {
    "mirrored": (lambda root: mirror(root, *ALL), "mirrored_set", "set `mirrored: true`"),
    "13 ids from 1": (labels_from_one, "label_ids", "set `segmentation.first: 1` and `segmentation.void: "),
    "40 ids from 1": (
        forty_classes,
        "label_ids",
        "as labels, expected 0..39 for 40 classes",
    ),
    "13 ids from 0, read from 1": (
        lambda root: described_labels(root, 1, 0),
        "label_ids",
        "set `segmentation.first: 0`",
    ),
    "metres read for millimetres": (
        lambda root: rescale_depth(root, 0.1),
        "depth_unit",
        "depth.scale 0.001 -> depth.scale 0.01",
    ),
    "tenths of millimetres": (
        lambda root: rescale_depth(root, 10),
        "depth_unit",
        "depth.scale 0.001 -> depth.scale 0.0001",
    ),
    "y up": (lambda root: described_axes(root, "x", "-y", "z"), "normals_frame", "-> [x, y, z]"),
    "z towards the viewer": (lambda root: described_axes(root, "x", "-y", "-z"), "normals_frame", "-> [x, y, z]"),
    "inward": (lambda root: described_axes(root, "-x", "-y", "-z"), "normals_frame", "-> [x, y, z]"),
    "in another order": (lambda root: described_axes(root, "z", "x", "y"), "normals_frame", "-> [x, y, z]"),
    "x negated in the files": (
        lambda root: change(root, "normals", negate_x),
        "normals_frame",
        "normals.axes [x, y, z] -> [-x, y, z]",
    ),
}


@pytest.mark.parametrize("name", FIXED)
def test_what_a_description_fixes(root: Path, name: str, capsys: pytest.CaptureFixture[str]):
    spoil, test, todo = FIXED[name]
    spoil(root)
    before = (root / "dataset.yaml").read_text()
    assert found(root) == [(test, None)]
    assert todo in sentences(root)
    assert (root / "dataset.yaml").read_text() == before
    assert found(root, fix=True) == []
    assert (root / "dataset.yaml.before").read_text() == before
    assert "fixed: " in capsys.readouterr().out
    assert found(root) == []


def test_depth_that_wraps(root: Path):
    rescale_depth(root, 20)  # steps of 0.05 mm: they wrap at 3.28 m
    described = (root / "dataset.yaml").read_text().replace("scale: 0.001", "scale: 0.00005")
    (root / "dataset.yaml").write_text(described)
    assert found(root) == [("depth_wraps", None)]
    assert "depth wraps around at 3.277 m" in sentences(root) and "set `depth.wraps: true`" in sentences(root)
    assert found(root, fix=True) == []
    fixed = read_description(root / "dataset.yaml").depth
    assert fixed is not None and fixed.wraps


def test_depth_of_two_units(root: Path):
    """Every third map as an array of metres, or of 8 bits: the median of all would stay that of a room."""
    paths = sorted(root.glob("*/depth/*.png"))[::3]
    for path in paths:
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert stored is not None
        np.save(path.with_suffix(".npy"), stored.astype(np.float32) / 1000)
        path.unlink()
    assert found(root, fix=True) == [("depth_mixed", None)]
    assert "3 of 8 maps of depth (" in sentences(root) and "m (floats), that of the others" in sentences(root)


def test_depth_of_two_depths_of_bits(root: Path):
    path = min((root / "train/depth").iterdir())
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert stored is not None
    cv2.imwrite(str(path), np.rint(stored / 9995.5 * 255).astype(np.uint8))
    assert found(root) == [("depth_mixed", None)]
    assert "(whole numbers up to 255), that of the others" in sentences(root)
    assert "or give `depth.scale8`" in sentences(root)


def described_camera(root: Path, **factors: float) -> None:
    def how(one: Description) -> Description:
        assert one.intrinsics is not None
        return replace(one, intrinsics={key: value * factors.get(key, 1) for key, value in one.intrinsics.items()})

    describe(root, how)


def test_a_camera_for_images_of_another_size(root: Path, capsys: pytest.CaptureFixture[str]):
    described_camera(root, height=5, width=5)
    assert ("camera", None) in found(root)
    assert "by the intrinsics, images of 300x400 (height x width) show " in sentences(root)
    prepare.main(["convert", str(root), "--out", str(root.parent / "converted")])
    assert "WARNING    train: by the intrinsics, images of 300x400" in capsys.readouterr().err


def test_half_the_focal_length_is_said(root: Path):
    described_camera(root, fx=0.5, fy=0.5)
    report = check(root, out=root.parent / "out")
    assert any(
        "whether `intrinsics` are those of the images: the stored normals are 1" in one for one in report.unknown
    )


def test_images_of_another_shape_than_the_cameras(root: Path):
    described_camera(root, width=1.2)
    assert found(root) == []
    (note,) = json.loads((root.parent / "out/check.json").read_text())["notes"]
    assert note.startswith("images of 60x80 have another aspect ratio than the camera's, 60x96: they are taken to be")


def test_a_mirrored_set_whose_normals_were_not_turned(root: Path):
    """One fault hides the other: both are fixed, one after the other."""
    mirror(root, *ALL)
    change(root, "normals", negate_x)
    assert ("normals_frame", None) in found(root)
    assert found(root, fix=True) == []
    fixed = read_description(root / "dataset.yaml")
    assert fixed.mirrored and fixed.normals is not None and fixed.normals.axes == ("-x", "y", "z")


@pytest.mark.parametrize(
    ("folders", "todo"),
    [
        (("rgb",), "mirror the files of images"),
        (("depth",), "mirror the files of depth"),
        (("label",), "mirror the files of labels"),
        (("normals",), "mirror the files of normals"),
        (("depth", "normals", "label"), "mirror the files of images"),
        (("rgb", "label"), "mirror the files of either"),
    ],
)
def test_maps_mirrored_against_each_other(root: Path, folders: tuple[str, ...], todo: str):
    mirror(root, *folders)
    assert found(root, fix=True) == [("mirrored_maps", None)]
    assert "mirrored left to right against" in sentences(root) and todo in sentences(root)


def test_only_one_split_is_broken(root: Path):
    rescale_depth(root, 10, splits=["train"])
    assert found(root, fix=True) == [("depth_unit", "train")]
    assert "in this split only" in sentences(root)
    assert not (root / "dataset.yaml.before").exists()


def test_normals_that_are_not_unit_vectors(root: Path):
    shorten_normals(root, 0.6)
    assert found(root) == [("normals_length", None)]
    assert "lengths of 0.60 to 0.60 (median 0.60): expected 1" in sentences(root)


def test_normals_of_other_images(root: Path):
    for split in SPLITS:
        paths = sorted((root / split / "normals").glob("*.png"))
        stored = [path.read_bytes() for path in paths]
        for path, data in zip(paths, stored[1:] + stored[:1], strict=True):
            path.write_bytes(data)
    change(root, "normals", lambda stored: stored[::-1])
    assert {test for test, _ in found(root)} & {"normals_frame", "mirrored_maps"}


def test_splits_that_overlap(root: Path):
    stems = sorted(path.stem for path in (root / "train/rgb").glob("*.png"))[:3]
    for i, stem in enumerate(stems):
        for folder in ALL:
            shutil.copy(root / "train" / folder / f"{stem}.png", root / "test" / folder / f"copy{i}.png")
    again = root / "test/rgb/copy1.png"
    image = cv2.imread(str(again))
    assert image is not None
    again.unlink()
    cv2.imwrite(str(again.with_suffix(".jpg")), image, [cv2.IMWRITE_JPEG_QUALITY, 60])
    for folder in ALL:
        path = root / "test" / folder / "copy2.png"
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert stored is not None
        turned = stored[:, ::-1]
        cv2.imwrite(str(path), negate_x(turned) if folder == "normals" else turned)
    assert found(root) == [("overlap", None)]
    text = sentences(root)
    assert "train and test share 3 images" in text
    assert f"train/{stems[0]} = test/copy0," in text and f"train/{stems[1]} = test/copy1 (encoded again)" in text
    assert f"train/{stems[2]} = test/copy2 (mirrored)" in text


def test_files_missing_and_unreadable_are_all_named(root: Path):
    stems = sorted(path.stem for path in (root / "train/rgb").glob("*.png"))
    (root / "train/label" / f"{stems[0]}.png").unlink()
    (root / "train/rgb" / f"{stems[1]}.png").unlink()
    cut_short(root / "train/depth" / f"{stems[2]}.png")
    (root / "train/label" / f"{stems[2]}.png").write_bytes(b"")
    (root / "train/rgb" / f"{stems[3]}.png").write_text("no image")
    (root / "train/normals" / f"{stems[3]}.png").write_bytes(b"")
    (root / "train/depth" / f"{stems[3]}.png").write_bytes(b"")
    found_ones = found(root)
    assert set(found_ones) == {("files", "train")}
    text = sentences(root)
    for folder, i in (("label", 0), ("depth", 1), ("depth", 2), ("label", 2), ("rgb", 3), ("normals", 3), ("depth", 3)):
        assert f"train/{folder}/{stems[i]}.png" in text


def test_targets_that_only_some_samples_have_are_no_fault(root: Path):
    for path in sorted((root / "train/normals").glob("*.png"))[::2]:
        path.unlink()
    assert found(root) == []


def test_a_split_without_a_target_and_one_without_images(root: Path, capsys: pytest.CaptureFixture[str]):
    shutil.rmtree(root / "val/normals")
    for path in (root / "test/rgb").glob("*.png"):
        path.unlink()
    assert sorted(found(root)) == [("files", "test"), ("files", "val")]
    assert "no normals for split 'val'" in sentences(root) and "no images for split 'test'" in sentences(root)
    out = capsys.readouterr().out
    assert "test: cannot be read" in out and "train: 6 samples" in out


@pytest.mark.parametrize("how", [lambda mm: 9000 - mm, lambda mm: 3e6 / mm], ids=["inverted", "disparity"])
def test_depth_that_grows_towards_the_camera_is_no_fault_of_the_normals(root: Path, how: Callable):
    def grow(stored: np.ndarray) -> np.ndarray:
        return np.where(stored > 0, np.clip(how(np.maximum(stored, 1.0)), 1, 65535), 0).astype(np.uint16)

    change(root, "depth", grow)
    before = (root / "dataset.yaml").read_text()
    assert ("normals_frame", None) in found(root, fix=True)
    assert "the depth is inverted, or a disparity, or" in sentences(root)
    assert (root / "dataset.yaml").read_text() == before, "axes that leave it so bad are not written"


def test_sentences_that_are_alike_are_printed_once(root: Path, capsys: pytest.CaptureFixture[str]):
    for path in (root / "train/depth").glob("*.png"):
        path.write_bytes(b"")
    assert ("files", "train") in found(root)
    out = capsys.readouterr().out
    assert out.count("the file is empty") == 1 and "the same for 5 more: " in out
    assert sentences(root).count("the file is empty") == 6, "check.json names all"


@pytest.mark.parametrize("picked", [slice(0, 1), slice(0, 6, 2), slice(1, 6)])
def test_maps_that_are_mirrored_in_some_samples(root: Path, picked: slice):
    paths = sorted((root / "train/depth").glob("*.png"))
    for path in paths[picked]:
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert stored is not None
        cv2.imwrite(str(path), stored[:, ::-1])
    assert any(test == "mirrored_samples" for test, _ in found(root))
    some = {path.stem for path in paths[picked]}
    fewer = some if len(some) <= 3 else {path.stem for path in paths} - some
    assert all(stem in sentences(root) for stem in fewer) and "samples, compared with the others" in sentences(root)


def test_a_sensor_of_short_range_is_not_taken_for_mirrored(root: Path):
    change(root, "depth", lambda stored: np.where(stored < 2500, stored, 0).astype(np.uint16))
    assert not any(test.startswith("mirrored") for test, _ in found(root))


def test_names_with_spaces_are_printed_in_full(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    spaced = tmp_path / "my rooms"
    root.rename(spaced)
    for path in (spaced / "train/depth").glob("*.png"):
        path.write_bytes(b"")
    assert ("files", "train") in found(spaced)
    assert "the same for 5 more: 0" in capsys.readouterr().out


def test_names_that_do_not_match(root: Path):
    """Numbers with zeros before them and without: no image has its map, but for none of them is it missing."""
    for path in sorted((root / "train/depth").iterdir())[2:]:
        path.rename(path.with_name(f"{int(path.stem)}.png"))
    faults = found(root)
    assert ("files", "train") in faults and {test for test, _ in faults} == {"files"}
    text = sentences(root)
    assert "images and their files of depth do not match, such as 0" in text and "rename the files of depth" in text


def test_listed_files_that_are_not_there(root: Path):
    """Half of the depth of a list: too many to be named one by one."""
    stems = sorted(path.stem for path in (root / "train/rgb").iterdir())
    lines = [f"train/rgb/{stem}.png train/depth/{stem}{'_' * (i % 2)}.png" for i, stem in enumerate(stems)]
    for split in SPLITS:
        (root / f"{split}.txt").write_text("\n".join(lines if split == "train" else lines[:1]))
    describe(
        root,
        lambda d: replace(
            d, lists={"train": "train.txt"}, splits={"train": "train"}, columns=["image", "depth"], normals=None,
            segmentation=None,
        ),
    )  # fmt: skip
    assert ("files", "train") in found(root)
    assert f"{len(stems) // 2} files of depth are listed and not there, such as " in sentences(root)
    for nothing in ("None", "-"):  # samples without depth on purpose
        text = (root / "train.txt").read_text()
        (root / "sparse.txt").write_text("\n".join(re.sub(r"\S+_\.png$", nothing, line) for line in text.splitlines()))
        describe(root, lambda d: replace(d, lists={"train": "sparse.txt"}))
        assert found(root) == []


def test_a_split_whose_images_have_another_folder(root: Path):
    """It is not told as a split that is missing."""
    for split in SPLITS:
        (root / split / "rgb").rename(root / split / "images")
    with pytest.raises(DataError, match=r"has the split 'train', but not its images: expected .*rgb, found depth, ima"):
        check(root, out=root.parent / "out")
