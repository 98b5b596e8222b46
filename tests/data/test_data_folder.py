"""The canonical folder: read back as written, other conventions brought to ours, every fault named."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_testing import CAMERA, FULL, cut_short, degrees, plane_sample, planes, unit, write_folder

from mtl_vision.datasets.description import DataError, DepthFiles, Description, LabelFiles, NormalsFiles
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.write import FolderWriter

PICTURE = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def put(root: Path, folder: str, array: np.ndarray, name: str = "a.png", split: str = "train") -> Path:
    path = root / split / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)
    return path


def only(root: Path, description: Description, folder: str, array: np.ndarray) -> Sample:
    """The one sample of a folder with a 2x4 image and one target as it is stored."""
    put(root, "rgb", PICTURE)
    put(root, folder, array)
    return FolderDataset(root, "train", description)[0]


def labelled(first: int, void: int, classes: str | list[str] = "nyu13") -> Description:
    return Description(segmentation=LabelFiles(first=first, void=void, classes=classes))


# what is written


def test_read_back_as_written(tmp_path: Path):
    sample = plane_sample(unit(0.3, -0.5, -1))
    sample.targets["depth"][:5], sample.targets["normals"][:, :4] = 0, 0
    back = FolderDataset(write_folder(tmp_path / "set", {"train": [sample]}), "train")[0]
    assert back.name == sample.name and back.intrinsics == CAMERA
    np.testing.assert_array_equal(back.image, sample.image)
    np.testing.assert_array_equal(back.targets["segmentation"], sample.targets["segmentation"])
    np.testing.assert_allclose(back.targets["depth"], sample.targets["depth"], rtol=0, atol=0.0005001)
    assert (back.targets["depth"][:5] == 0).all() and (back.targets["depth"][5:] > 0).all()
    assert degrees(back.targets["normals"], sample.targets["normals"]).max() < 0.01
    assert (back.targets["normals"][:, :4] == 0).all()
    assert {k: v.dtype.name for k, v in back.targets.items()} == {
        "depth": "float32",
        "normals": "float32",
        "segmentation": "uint8",
    }


def test_samples_stand_in_the_order_of_their_names(tmp_path: Path):
    dataset = FolderDataset(write_folder(tmp_path / "set", {"test": planes(3)[::-1]}), "test")
    assert len(dataset) == 3 and [dataset[i].name for i in range(3)] == ["0000", "0001", "0002"]
    assert dataset.target_names == ("depth", "normals", "segmentation")
    assert len(list(dataset.paths())) == 12


def test_a_split_may_lie_in_a_folder_of_another_name(tmp_path: Path):
    description = replace(FULL, splits={"train": "training"})
    root = write_folder(tmp_path / "set", {"train": planes(1)}, description)
    assert (root / "training").is_dir() and len(FolderDataset(root, "train")) == 1


def test_a_depth_that_16_bits_do_not_hold_is_an_error_and_leaves_nothing(tmp_path: Path):
    with pytest.raises(DataError, match=r"depth of .* m does not fit 16 bits at scale 0.001"):
        write_folder(tmp_path / "set", {"train": [plane_sample(unit(0, 0, -1), 66.0)]})
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_where_something_is(tmp_path: Path):
    root = write_folder(tmp_path / "set", {"train": planes(1)})
    with pytest.raises(DataError, match="exists and is not empty"):
        FolderWriter(root, FULL)
    (tmp_path / "empty").mkdir()
    assert len(FolderDataset(write_folder(tmp_path / "empty", {"train": planes(1)}), "train")) == 1


def test_the_folder_that_one_stands_in_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_folder(Path(), {"train": planes(1)})
    assert (tmp_path / "here" / "dataset.yaml").is_file()


# depth


def test_depth_of_8_bits_with_scale_and_offset(tmp_path: Path):
    description = Description(depth=DepthFiles(scale=0.04, offset=0.02, invalid=None))
    stored = np.array([[0, 1, 2, 255], [10, 20, 30, 40]], np.uint8)
    depth = only(tmp_path, description, "depth", stored).targets["depth"]
    np.testing.assert_allclose(depth, [[0.02, 0.06, 0.1, 10.22], [0.42, 0.82, 1.22, 1.62]], atol=1e-6)


def test_the_invalid_value_wins_over_the_offset(tmp_path: Path):
    description = Description(depth=DepthFiles(scale=0.01, offset=1.0, invalid=65535))
    stored = np.array([[0, 1, 2, 65535], [100, 65535, 300, 400]], np.uint16)
    depth = only(tmp_path, description, "depth", stored).targets["depth"]
    np.testing.assert_allclose(depth, [[1, 1.01, 1.02, 0], [2, 0, 4, 5]], atol=1e-6)


def test_depth_behind_the_camera_is_invalid(tmp_path: Path):
    description = Description(depth=DepthFiles(scale=0.01, offset=-1.0, invalid=None))
    stored = np.full((2, 4), 50, np.uint8)
    assert (only(tmp_path, description, "depth", stored).targets["depth"] == 0).all()


# normals


def test_normals_of_8_bits(tmp_path: Path):
    normal = unit(0.6, -0.2, -0.77)
    stored = np.zeros((2, 4, 3), np.uint8)
    stored[:, 1:] = np.rint((normal[::-1] + 1) * 127.5)  # OpenCV writes BGR
    normals = only(tmp_path, Description(normals=NormalsFiles()), "normals", stored).targets["normals"]
    assert degrees(normals[:, 1:], normal).max() < 0.4, "half a step of 1 / 127.5 on each axis"
    assert (normals[:, 0] == 0).all(), "black is invalid"
    np.testing.assert_allclose(np.linalg.norm(normals[:, 1:], axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("axes", "stored"),
    [
        (("x", "-y", "-z"), (0.6, 0.2, 0.77)),  # y up, z towards the viewer (OpenGL)
        (("-x", "-y", "-z"), (-0.6, 0.2, 0.77)),  # away from the viewer
        (("y", "-z", "-x"), (0.77, 0.6, 0.2)),  # our x is the stored y; our y the stored -z; our z the stored -x
    ],
)
def test_axes_bring_other_frames_to_ours(tmp_path: Path, axes: tuple[str, str, str], stored: tuple[float, ...]):
    picture = np.zeros((2, 4, 3), np.uint16) + np.rint((unit(*stored)[::-1] + 1) * 32767.5).astype(np.uint16)
    normals = only(tmp_path, Description(normals=NormalsFiles(axes=axes)), "normals", picture).targets["normals"]
    assert degrees(normals, unit(0.6, -0.2, -0.77)).max() < 0.01


def test_derived_normals_lie_in_the_plane_of_the_depth(tmp_path: Path):
    root = write_folder(tmp_path / "set", {"train": [plane_sample(unit(0.3, -0.5, -1))]})
    derived = FolderDataset(root, "train", replace(FULL, normals=NormalsFiles(derive=True)))[0]
    assert np.median(degrees(derived.targets["normals"], unit(0.3, -0.5, -1))) < 1


# labels


def test_labels_from_zero_and_from_one(tmp_path: Path):
    stored = np.array([[0, 1, 12, 255], [3, 3, 3, 3]], np.uint8)
    ids = only(tmp_path, labelled(0, 255), "label", stored).targets["segmentation"]
    assert ids.tolist() == stored.tolist()
    stored = np.array([[0, 1, 13, 2], [3, 3, 3, 3]], np.uint8)
    ids = only(tmp_path, labelled(1, 0), "label", stored).targets["segmentation"]
    assert ids.tolist() == [[255, 0, 12, 1], [2, 2, 2, 2]]


def test_own_classes_of_16_bits(tmp_path: Path):
    stored = np.array([[1000, 1001, 7, 1000]] * 2, np.uint16)
    sample = only(tmp_path, labelled(1000, 7, ["cat", "dog"]), "label", stored)
    assert sample.targets["segmentation"].tolist() == [[0, 1, 255, 0]] * 2
    dataset = FolderDataset(tmp_path, "train", labelled(1000, 7, ["cat", "dog"]))
    assert dataset.classes is not None and dataset.classes.names == ("cat", "dog")


@pytest.mark.parametrize("classes", ["nyu13", [f"class {i}" for i in range(13)]])
def test_void_may_be_a_value_among_the_classes(tmp_path: Path, classes: str | list[str]):
    stored = np.array([[5, 6, 7, 6]] * 2, np.uint8)
    assert (
        only(tmp_path, labelled(0, 6, classes), "label", stored).targets["segmentation"].tolist()
        == [[5, 255, 7, 255]] * 2
    )


def test_forty_classes_read_as_thirteen(tmp_path: Path):
    only(tmp_path, labelled(1, 0, "nyu40"), "label", np.array([[0, 1, 4, 22]] * 2, np.uint8))
    dataset = FolderDataset(tmp_path, "train", labelled(1, 0, "nyu40"), classes="nyu13")
    assert dataset[0].targets["segmentation"].tolist() == [[255, 11, 0, 2]] * 2
    told = dataset.as_trained().segmentation
    assert told == LabelFiles(first=0, void=255, classes="nyu13")


def test_classes_that_cannot_be_had(tmp_path: Path):
    only(tmp_path, labelled(0, 255), "label", np.zeros((2, 4), np.uint8))
    with pytest.raises(DataError, match=r"classes: labels of class set nyu13 can not be read as nyu40"):
        FolderDataset(tmp_path, "train", labelled(0, 255), classes="nyu40")
    with pytest.raises(DataError, match="unknown class set 'nyu14'"):
        FolderDataset(tmp_path, "train", labelled(0, 255), classes="nyu14")
    with pytest.raises(DataError, match="have classes of their own: leave it at None"):
        FolderDataset(tmp_path, "train", labelled(0, 255, ["a"]), classes="nyu13")


@pytest.mark.parametrize("classes", ["nyu13", [f"class {i}" for i in range(13)]])
@pytest.mark.parametrize(("first", "void", "value"), [(0, 255, 13), (1, 0, 14), (1, 255, 0)])
def test_a_label_out_of_range_names_file_and_value(tmp_path: Path, classes, first: int, void: int, value: int):
    stored = np.array([[first, first, void, value]] * 2, np.uint8)
    message = rf"a\.png: label {value} is not a class: expected {first}\.\.{first + 12}, or {void} for void"
    with pytest.raises(DataError, match=message):
        only(tmp_path, labelled(first, void, classes), "label", stored)


# what is missing


def test_a_sample_may_lack_a_target(tmp_path: Path):
    root = write_folder(tmp_path / "set", {"train": planes(2)})
    (root / "train/depth/0001.png").unlink()
    dataset = FolderDataset(root, "train")
    assert set(dataset[0].targets) == {"depth", "normals", "segmentation"}
    assert set(dataset[1].targets) == {"normals", "segmentation"}
    derived = FolderDataset(root, "train", replace(FULL, normals=NormalsFiles(derive=True)))
    assert set(derived[1].targets) == {"segmentation"}


def test_no_images_says_where_and_what_there_is(tmp_path: Path):
    root = write_folder(tmp_path / "set", {"train": planes(1)})
    with pytest.raises(DataError, match=r"no images for split 'val': expected .*val/rgb.*dataset.yaml', 'train'"):
        FolderDataset(root, "val")
    with pytest.raises(DataError, match="no such folder"):
        FolderDataset(tmp_path / "nowhere", "train", FULL)


def test_a_target_without_a_single_file(tmp_path: Path):
    put(tmp_path, "rgb", PICTURE)
    put(tmp_path, "depth", PICTURE[..., 0], "b.png")  # of another image
    with pytest.raises(DataError, match=r"no depth for split 'train': expected .*depth/a\.png.*leave 'depth' out"):
        FolderDataset(tmp_path, "train", Description(depth=DepthFiles()))


def test_hidden_files_are_no_images(tmp_path: Path):
    put(tmp_path, "rgb", PICTURE)
    (tmp_path / "train/rgb/._a.png").write_bytes(b"macOS")
    assert FolderDataset(tmp_path, "train", Description()).stems == ["a"]


def test_two_files_of_one_name_are_not_chosen_from(tmp_path: Path):
    put(tmp_path, "rgb", PICTURE)
    put(tmp_path, "rgb", PICTURE, "a.bmp")
    with pytest.raises(DataError, match=r"rgb has both a\.bmp and a\.png"):
        FolderDataset(tmp_path, "train", Description())


# what does not fit


@pytest.mark.parametrize("name", ["depth", "normals", "label"])
def test_sizes_that_differ_name_both_files(tmp_path: Path, name: str):
    root = write_folder(tmp_path / "set", {"train": planes(1)})
    path = root / "train" / name / "0000.png"
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert stored is not None and cv2.imwrite(str(path), stored[:-1])
    with pytest.raises(DataError, match=rf"{name}/0000\.png is 47x64 .*rgb/0000\.png is 48x64"):
        FolderDataset(root, "train")[0]


@pytest.mark.parametrize("name", ["rgb", "depth", "normals", "label"])
@pytest.mark.parametrize("damage", ["empty", "cut short", "no image", "folder"])
def test_an_unreadable_file_is_named(tmp_path: Path, name: str, damage: str):
    root = write_folder(tmp_path / "set", {"train": planes(1)})
    path = root / "train" / name / "0000.png"
    if damage == "cut short":
        cut_short(path)
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(b"" if damage == "empty" else b"hello, I am a text")
    with pytest.raises(DataError, match=rf"{name}/0000\.png: \w"):
        FolderDataset(root, "train")[0]


def test_an_image_that_claims_to_be_enormous_is_named(tmp_path: Path):
    put(tmp_path, "rgb", PICTURE)
    path = put(tmp_path, "depth", PICTURE[..., 0])
    data = bytearray(path.read_bytes())
    data[16:24] = (10**6).to_bytes(4, "big") * 2  # the header's width and height
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"depth/a\.png: too large"):
        FolderDataset(tmp_path, "train", Description(depth=DepthFiles()))[0]


def test_a_label_of_three_channels(tmp_path: Path):
    with pytest.raises(DataError, match=r"a\.png: expected one channel of 8 or 16 bits, found uint8 of shape"):
        only(tmp_path, labelled(0, 255), "label", PICTURE)


def test_normals_of_one_channel(tmp_path: Path):
    with pytest.raises(DataError, match=r"a\.png: expected three channels of 8 or 16 bits"):
        only(tmp_path, Description(normals=NormalsFiles()), "normals", PICTURE[..., 0])


def test_normals_of_floats_are_vectors(tmp_path: Path):
    put(tmp_path, "rgb", PICTURE)
    vectors = np.zeros((2, 4, 3), np.float32)
    vectors[:, :2] = (0, -0.6, -0.8)
    np.save(tmp_path / "train/rgb/a.npy", PICTURE)
    (tmp_path / "train/rgb/a.png").unlink()
    (tmp_path / "train/normals").mkdir()
    np.save(tmp_path / "train/normals/a.npy", vectors)
    normals = FolderDataset(tmp_path, "train", Description(normals=NormalsFiles()))[0].targets["normals"]
    np.testing.assert_allclose(normals, vectors, atol=1e-6)
