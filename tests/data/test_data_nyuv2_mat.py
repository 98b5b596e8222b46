"""nyu_depth_v2_labeled.mat: a small one in the published layout, read the right way round."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from mtl_vision.datasets.camera import CAMERAS, camera_at
from mtl_vision.datasets.classes import facts
from mtl_vision.datasets.description import DataError
from mtl_vision.datasets.nyuv2_mat import NYUv2Mat

H, W = 24, 32
LABELS = {(0, 0): 0, (0, 31): 21, (23, 0): 157, (23, 31): 894}  # unlabelled, wall, bed, the last one


def write_mat(path: Path, other: dict[str, np.ndarray] | None = None) -> Path:
    """Three frames. In frame i red is the row, green the column, blue i; depth is 1 m and grows by 1 cm a row; the
    labels are floor, but for those of LABELS.
    """
    row, column = np.mgrid[:H, :W]
    images = np.zeros((3, 3, W, H), np.uint8)
    depths, labels = np.zeros((3, W, H), np.float32), np.full((3, W, H), 11, np.uint16)  # floor
    for i in range(3):
        images[i] = np.stack([row.T, column.T, np.full((W, H), i)])
        depths[i] = (1 + 0.01 * row).T
        for (v, u), value in LABELS.items():
            labels[i, u, v] = value
    with h5py.File(path, "w") as file:
        for key, array in ({"images": images, "depths": depths, "labels": labels} | (other or {})).items():
            file[key] = array
    return path


def write_splits(path: Path, test: list[int], train: list[int]) -> Path:
    scipy.io.savemat(path, {"testNdxs": np.array(test).reshape(-1, 1), "trainNdxs": np.array(train).reshape(-1, 1)})
    return path


@pytest.fixture
def mat(tmp_path: Path) -> Path:
    return write_mat(tmp_path / "nyu_depth_v2_labeled.mat")


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    return write_splits(tmp_path / "splits.mat", [2], [1, 3])


def test_the_picture_stands_upright(mat: Path, splits: Path):
    _, sample = NYUv2Mat(mat, splits)[1]
    assert sample.image.shape == (H, W, 3) and sample.image.dtype == np.uint8
    assert sample.image[5, 9].tolist() == [5, 9, 1]
    assert sample.image.flags.c_contiguous


def test_depth_is_metres_and_upright(mat: Path, splits: Path):
    depth = NYUv2Mat(mat, splits)[0][1].targets["depth"]
    assert depth.shape == (H, W) and depth.dtype == np.float32
    assert depth[0, 20] == pytest.approx(1) and depth[10, 3] == pytest.approx(1.1)


def test_depth_that_is_no_number_is_invalid(tmp_path: Path, splits: Path):
    depths = np.full((3, W, H), 2, np.float32)
    depths[0, 4, 7] = np.nan
    depth = NYUv2Mat(write_mat(tmp_path / "a.mat", {"depths": depths}), splits)[0][1].targets["depth"]
    assert depth[7, 4] == 0 and (depth == 0).sum() == 1


@pytest.mark.parametrize(("classes", "expected"), [("nyu40", [255, 0, 3, 39, 1]), ("nyu13", [255, 11, 0, 6, 4])])
def test_the_894_ids_become_classes(mat: Path, splits: Path, classes: str, expected: list[int]):
    labels = NYUv2Mat(mat, splits, classes=classes)[0][1].targets["segmentation"]
    assert labels.dtype == np.uint8
    assert [labels[place] for place in [*LABELS, (9, 9)]] == expected


def test_normals_come_from_the_depth(mat: Path, splits: Path):
    _, sample = NYUv2Mat(mat, splits)[0]
    assert sample.intrinsics == camera_at(CAMERAS["nyuv2"], (H, W))
    normals = sample.targets["normals"]
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    assert (normals[5:-5, 5:-5, 2] < 0).all() and np.median(normals[..., 1]) > 0.1, "it recedes downwards: facing down"


def test_names_and_splits_are_the_official_ones(mat: Path, splits: Path):
    source = NYUv2Mat(mat, splits)
    assert [(split, sample.name) for split, sample in source] == [
        ("train", "0001"),
        ("test", "0002"),
        ("train", "0003"),
    ]


def test_the_published_split_is_for_the_whole_set(tmp_path: Path, mat: Path):
    with pytest.raises(DataError, match=r"the set has 3 frames, the published split is for 1449: give splits.mat"):
        NYUv2Mat(mat)
    shapes = {"images": (1449, 3, 1, 1), "depths": (1449, 1, 1), "labels": (1449, 1, 1)}
    whole = write_mat(tmp_path / "whole.mat", {key: np.zeros(shape, np.uint8) for key, shape in shapes.items()})
    assert NYUv2Mat(whole).test == set(facts()["test_indices"])


# what is wrong


def test_a_file_that_is_no_hdf5(tmp_path: Path):
    (tmp_path / "a.mat").write_text("hello")
    with pytest.raises(DataError, match=r"a\.mat: no HDF5 file.*expected nyu_depth_v2_labeled\.mat"):
        NYUv2Mat(tmp_path / "a.mat")
    with pytest.raises(DataError, match=r"b\.mat: no HDF5 file .*No such file"):
        NYUv2Mat(tmp_path / "b.mat")


def test_a_file_without_what_is_needed(tmp_path: Path):
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["rawDepths"] = np.zeros((1, 2, 2))
    with pytest.raises(DataError, match=r"expected 'images' of 4 dimensions, found \['rawDepths'\]"):
        NYUv2Mat(tmp_path / "a.mat")


@pytest.mark.parametrize(
    "other",
    [
        {"images": np.zeros((3, H, W, 3), np.uint8)},  # the usual order of axes
        {"depths": np.zeros((3, H, W), np.float32)},
        {"labels": np.zeros((2, W, H), np.uint16)},  # a frame short
    ],
)
def test_other_shapes_than_published(tmp_path: Path, other: dict[str, np.ndarray]):
    with pytest.raises(DataError, match=r"expected images \(N, 3, W, H\), depths and labels \(N, W, H\).*found"):
        NYUv2Mat(write_mat(tmp_path / "a.mat", other))


@pytest.mark.parametrize("content", [b"", b"hello", b"x" * 500, None])
def test_wrong_splits(tmp_path: Path, mat: Path, content: bytes | None):
    path = tmp_path / "wrong.mat"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"wrong\.mat: expected the official splits\.mat with testNdxs"):
        NYUv2Mat(mat, path)


def test_splits_of_another_kind(tmp_path: Path, mat: Path):
    scipy.io.savemat(tmp_path / "a.mat", {"something": np.ones(3)})
    with pytest.raises(DataError, match="testNdxs"):
        NYUv2Mat(mat, tmp_path / "a.mat")
    with pytest.raises(DataError, match="testNdxs"):
        NYUv2Mat(mat, mat)  # MATLAB v7.3, which scipy does not read


def test_frames_in_neither_list_are_left_out(tmp_path: Path, mat: Path):
    source = NYUv2Mat(mat, write_splits(tmp_path / "splits.mat", [3], [1]))
    assert len(source) == 2
    assert [(split, sample.name) for split, sample in source] == [("train", "0001"), ("test", "0003")]
    np.testing.assert_array_equal(source[1][1].image[0, 0], (0, 0, 2))


def test_without_a_list_for_training_the_others_are(tmp_path: Path, mat: Path):
    scipy.io.savemat(tmp_path / "a.mat", {"testNdxs": np.array([[2]])})
    assert [split for split, _ in NYUv2Mat(mat, tmp_path / "a.mat")] == ["train", "test", "train"]


@pytest.mark.parametrize(
    ("test", "train", "message"),
    [
        ([2, 4], [1], "expected numbers of frames from 1 to 3, found 4"),
        ([2], [0, 1], "expected numbers of frames from 1 to 3, found 0"),
        ([2, 3], [1, 2], "frame 2 is in trainNdxs and in testNdxs"),
        ([2.5], [1], "expected whole numbers as the variable 'testNdxs'"),
    ],
)
def test_splits_that_do_not_fit(tmp_path: Path, mat: Path, test: list[int], train: list[int], message: str):
    with pytest.raises(DataError, match=rf"splits\.mat: .*{message}"):
        NYUv2Mat(mat, write_splits(tmp_path / "splits.mat", test, train))


def test_other_class_sets(mat: Path, splits: Path):
    with pytest.raises(ValueError, match="nyu894 can not be read as nyu99"):
        NYUv2Mat(mat, splits, classes="nyu99")
