"""Two copies of NYUv2 (the forms `pictures` and `images8`), where someone has them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from data_testing import degrees

from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.sample import Sample

ROOT = os.environ.get("MTL_NYUV2_ROOT")
pytestmark = pytest.mark.skipif(
    ROOT is None, reason="set MTL_NYUV2_ROOT to a folder that holds nyuv2/ and nyuv2_288x384/"
)


def one(name: str, split: str) -> Sample:
    root = Path(ROOT or ".") / name
    if not root.is_dir():
        pytest.skip(f"no {name}/ in MTL_NYUV2_ROOT")
    dataset = FolderDataset(root, split, classes="nyu13")
    assert len(dataset) == {"train": 795, "test": 654}[split]
    return dataset[100]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("name", "size"), [("nyuv2", (480, 640)), ("nyuv2_288x384", (288, 384))])
def test_a_frame_is_in_range(name: str, size: tuple[int, int], split: str):
    sample = one(name, split)
    assert sample.size == size and sample.image.std() > 10
    depth, normals, labels = (sample.targets[key] for key in ("depth", "normals", "segmentation"))
    assert depth.min() >= 0.5 and depth.max() <= 10, "in-filled: no holes"
    known = (normals != 0).any(axis=-1)
    assert known.mean() > 0.98
    np.testing.assert_allclose(np.linalg.norm(normals[known], axis=-1), 1, atol=1e-4)
    assert set(np.unique(labels)) <= {*range(13), 255} and (labels != 255).mean() > 0.5


@pytest.mark.parametrize("split", ["train", "test"])
def test_both_copies_show_the_same_frame(split: str):
    large, small = one("nyuv2", split).resized((288, 384)), one("nyuv2_288x384", split)
    assert large.name == small.name
    assert large.intrinsics is not None and small.intrinsics is not None
    assert vars(large.intrinsics) == pytest.approx(vars(small.intrinsics), abs=1e-4)
    assert np.abs(large.image.astype(int) - small.image).mean() < 6
    depth = np.abs(large.targets["depth"] - small.targets["depth"])
    assert np.median(depth) < 0.03, "both are stored in steps of 39 mm"
    assert (large.targets["segmentation"] == small.targets["segmentation"]).mean() > 0.95
    assert np.median(degrees(large.targets["normals"], small.targets["normals"])) < 5
