"""Edges by hand: where the class changes, where one surface hides another, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from data_testing import planes, write_folder

from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.targets.edges import edges

SIZE = (24, 32)  # lines are two pixels wide, gaps of two pixels are bridged


def labels(*columns: tuple[int, int]) -> np.ndarray:
    """Class ids that change at columns: (first column, id)."""
    ids = np.zeros(SIZE, np.uint8)
    for first, value in columns:
        ids[:, first:] = value
    return ids


def columns_of(found: np.ndarray, value: float = 1) -> list[int]:
    """The columns that have a value in all rows but the first and the last."""
    return np.flatnonzero((found[1:-1] == value).all(axis=0)).tolist()


FLAT = np.full(SIZE, 2, np.float32)


def test_where_the_class_changes():
    found = edges(labels((16, 3)), FLAT)
    assert found.dtype == np.float32 and set(np.unique(found)) == {0, 1}
    assert columns_of(found) == [15, 16] and (found == 1).mean() == 2 / 32
    np.testing.assert_array_equal(edges(np.ascontiguousarray(labels((16, 3))[:, ::-1]), FLAT), found[:, ::-1])
    one_class = np.full(SIZE, 3, np.uint8)
    one_class[12:] = 5
    assert np.flatnonzero((edges(one_class, FLAT) == 1).all(axis=1)).tolist() == [11, 12]


def test_a_gap_without_labels_is_bridged_in_its_middle():
    found = edges(labels((14, 255), (16, 3)), FLAT)
    assert columns_of(found) == [14, 15] and not (found == 1)[:, [13, 16]].any()
    wide = edges(labels((10, 255), (20, 3)), FLAT)
    assert not (wide == 1).any(), "who knows where the border is"


@pytest.mark.parametrize(("behind", "hidden"), [(1.05, False), (1.2, True), (3.0, True)])
def test_where_one_surface_hides_another(behind: float, hidden: bool):
    depth = np.where(np.arange(32) < 16, 1, behind).astype(np.float32) * np.ones(SIZE, np.float32)
    found = edges(labels(), depth)
    assert columns_of(found) == ([15, 16] if hidden else [])
    assert not (found[0] == 1).any(), "the image's border shows nothing"


def test_a_slanted_surface_is_no_edge_however_steep():
    inverse = np.linspace(0.02, 2, 32, dtype=np.float32) * np.ones(SIZE, np.float32)  # from 50 m to half a metre
    assert not (edges(labels(), 1 / inverse) == 1).any()
    folded = np.abs(np.linspace(-0.6, 0.6, 32, dtype=np.float32)) * np.ones(SIZE, np.float32) + 1
    assert not (edges(labels(), 1 / folded) == 1).any(), "nor is a corner of two"


def test_near_a_class_border_the_step_in_depth_is_the_same_edge():
    depth = np.where(np.arange(32) < 17, 1, 3).astype(np.float32) * np.ones(SIZE, np.float32)
    assert columns_of(edges(labels((16, 3)), depth)) == [15, 16]


def test_invalid_where_neither_labels_nor_depth_are():
    ids, depth = labels((8, 255)), FLAT.copy()
    depth[:, 20:] = 0
    found = edges(ids, depth)
    assert columns_of(found, 0) == list(range(20)) and columns_of(found, -1) == list(range(20, 32))
    assert (found[0, 8:20] == -1).all(), "depth at the image's border is filled in"
    assert (edges(np.full(SIZE, 255, np.uint8), np.zeros(SIZE, np.float32)) == -1).all()


def test_lines_are_wider_in_larger_images():
    ids = np.zeros((480, 640), np.uint8)
    ids[:, 320:] = 1
    found = edges(ids, np.full(ids.shape, 2, np.float32))
    assert np.flatnonzero(found[100] == 1).tolist() == [318, 319, 320, 321]


def test_derived_in_a_data_set(tmp_path):
    root = write_folder(tmp_path / "set", {"train": planes(2)})
    plain, source = FolderDataset(root, "train"), FolderDataset(root, "train", derived=("edges",))
    assert plain.target_names == ("depth", "normals", "segmentation") and "edges" not in plain[0].targets
    assert source.target_names == (*plain.target_names, "edges")
    sample = source[1]
    np.testing.assert_array_equal(
        sample.targets["edges"], edges(sample.targets["segmentation"], sample.targets["depth"])
    )
    assert (sample.targets["edges"] == 1).any()
    for name, target in plain[1].targets.items():
        np.testing.assert_array_equal(target, sample.targets[name])
