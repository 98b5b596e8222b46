"""Reader of nyu_depth_v2_labeled.mat (HDF5, MATLAB v7.3) and splits.mat.

MATLAB writes the axes in reverse: images (1449, 3, 640, 480) uint8, depths (1449, 640, 480) float32 metres, labels
(1449, 640, 480) uint16 ids of 894 classes, 0 = unlabelled. The official split is by 1-based frame numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from mtl_vision.data.classes import facts, label_table
from mtl_vision.data.description import DataError
from mtl_vision.data.normals import normals_from_depth
from mtl_vision.data.sample import Intrinsics, Sample

CAMERA = Intrinsics(518.857901, 519.469611, 325.582449, 253.736166)  # the colour camera at 640x480


class NYUv2Mat:
    """The labelled set as a sequence of (split, Sample); labels in `classes` (nyu13 or nyu40), normals from depth."""

    def __init__(self, path: Path, splits: Path | None = None, classes: str = "nyu40") -> None:
        self.path = Path(path)
        try:
            self.file = h5py.File(path, "r")
        except OSError as error:
            raise DataError(
                f"{path} is no HDF5 file ({error}); expected nyu_depth_v2_labeled.mat (MATLAB v7.3)"
            ) from error
        for key, rank in (("images", 4), ("depths", 3), ("labels", 3)):
            found = self.file.get(key)
            if not isinstance(found, h5py.Dataset) or found.ndim != rank:
                raise DataError(f"{path}: expected '{key}' of {rank} dimensions, found {list(self.file)}")
        N, channels, *size = self._dataset("images").shape
        shapes = {key: self._dataset(key).shape for key in ("images", "depths", "labels")}
        if channels != 3 or any(shapes[key] != (N, *size) for key in ("depths", "labels")):
            raise DataError(
                f"{path}: expected images (N, 3, W, H), depths and labels (N, W, H), as MATLAB writes them; "
                f"found {shapes}"
            )
        self.table = label_table("nyu894", classes, first=1, void=0)
        self.test = _test_indices(splits, len(self))

    def __len__(self) -> int:
        return int(self._dataset("images").shape[0])

    def _dataset(self, key: str) -> h5py.Dataset:
        dataset = self.file[key]
        assert isinstance(dataset, h5py.Dataset)
        return dataset

    def __getitem__(self, index: int) -> tuple[str, Sample]:
        """One frame, 0-based; its name is the official 1-based number."""
        image = np.ascontiguousarray(self._dataset("images")[index].transpose(2, 1, 0))
        depth = np.ascontiguousarray(self._dataset("depths")[index].T).astype(np.float32)
        depth[~np.isfinite(depth)] = 0
        labels = self.table[np.ascontiguousarray(self._dataset("labels")[index].T)]
        camera = CAMERA.resized((480, 640), image.shape[:2])
        targets = {"depth": depth, "normals": normals_from_depth(depth, camera), "segmentation": labels}
        split = "test" if index + 1 in self.test else "train"
        return split, Sample(f"{index + 1:04d}", image, targets, camera)

    def __iter__(self) -> Iterator[tuple[str, Sample]]:
        return (self[index] for index in range(len(self)))


def _test_indices(splits: Path | None, count: int) -> set[int]:
    """1-based numbers of the test frames: from splits.mat, else the published ones, which hold for the whole set."""
    if splits is not None:
        try:
            return {int(i) for i in scipy.io.loadmat(splits)["testNdxs"].ravel()}
        except Exception as error:  # scipy has many ways to say that a file is none of its own
            raise DataError(f"{splits}: expected the official splits.mat with testNdxs ({error!r})") from error
    if count != 1449:
        raise DataError(f"the set has {count} frames, the published split is for 1449: give --splits splits.mat")
    return set(facts()["test_indices"])
