"""Stored values that mean no depth: as `depth.invalid` lists them, and as they are found where it does not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from data_testing import planes, write_folder
from hypothesis import given
from hypothesis import strategies as st

from mtl_vision.datasets.convert import convert_folder
from mtl_vision.datasets.description import DepthFiles, Description, read_description
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.targets import depth

# depth.invalid


@pytest.mark.parametrize(
    ("section", "metres"),
    [  # of the stored 0, 1000, 65535 and 20000
        (DepthFiles(), [0, 1, 65.535, 20]),
        (DepthFiles(invalid=[0, 65535]), [0, 1, 0, 20]),
        (DepthFiles(invalid=[0, 65535], offset=0.5), [0, 1.5, 0, 20.5]),
        (DepthFiles(offset=0.5), [0, 1.5, 66.035, 20.5]),
        (DepthFiles(invalid=65535), [0, 1, 0, 20]),
        (DepthFiles(invalid=[65535], offset=0.5), [0.5, 1.5, 0, 20.5]),
        (DepthFiles(invalid=None, offset=0.5), [0.5, 1.5, 66.035, 20.5]),
        (DepthFiles(invalid=[0, 65535.0, 1e10, 2**40, -1]), [0, 1, 0, 20]),
        (DepthFiles(invalid=[0, 65535], full_scale=65.535), [0, 1, 0, 20]),
        (DepthFiles(invalid=[0, 65535], wraps=True), [0, 1, 0, 20]),
    ],
)
def test_what_is_listed_is_no_depth(section: DepthFiles, metres: list[float]):
    stored = np.array([[0, 1000, 65535, 20000]], np.uint16)
    np.testing.assert_allclose(depth.read(stored, section), [metres], rtol=1e-6)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floats_are_the_same_however_they_were_rounded(kind: type):
    section = DepthFiles(scale=1, invalid=[0, 65.535])
    near = 65.5 if kind is np.float16 else 65.534
    stored = np.array([[0, 2.5, 65.535, near]], kind)
    np.testing.assert_allclose(depth.read(stored, section), [[0, 2.5, 0, near]], rtol=1e-6)
    of_float32 = np.array([[65.535]], np.float32).astype(np.float64)
    assert (depth.read(of_float32, section) == 0).all()
    product = np.array([[65535]], np.float32) * np.float32(0.001)
    assert (depth.read(product, section) == 0).all()


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=5), st.lists(st.integers(0, 65535), min_size=1))
def test_a_list_is_each_of_its_values(marks: list[int], stored: list[int]):
    values = np.array([stored], np.uint16)
    listed = depth.read(values, DepthFiles(invalid=[*marks]))
    one_by_one = np.min([depth.read(values, DepthFiles(invalid=mark)) for mark in marks], axis=0)
    np.testing.assert_array_equal(listed, one_by_one)


@pytest.mark.parametrize(
    ("invalid", "none"),
    [(0, 0), (None, 0), (7, 7), ([65535, 0], 65535), ([65.535, 9], 9), ([-1], 0), (2**20, 0)],
)
def test_no_depth_is_written_as_the_first_that_fits(invalid: object, none: int):
    section = DepthFiles(invalid=invalid)  # type: ignore[arg-type]
    metres = np.array([[0, 2.5]], np.float32)
    stored = depth.write(metres, section)
    assert stored.dtype == np.uint16 and stored.tolist() == [[none, 2500]]
    np.testing.assert_array_equal(depth.read(stored, section), metres)


def test_what_was_invalid_is_0_in_a_converted_set(tmp_path: Path):
    root = write_folder(tmp_path / "set", {"train": planes(2)})
    for path in (root / "train/depth").iterdir():
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert stored is not None
        stored[:4], stored[4:6] = 65535, 0
        cv2.imwrite(str(path), stored)
    described = Description(splits={"train": "train"}, depth=DepthFiles(invalid=[0, 65535]))
    convert_folder(root, tmp_path / "out", described)
    made = read_description(tmp_path / "out/dataset.yaml").depth
    assert made == DepthFiles()
    metres = FolderDataset(tmp_path / "out", "train")[1].targets["depth"]
    assert (metres[:6] == 0).all() and (metres[6:] > 0).all() and metres.max() < 10
