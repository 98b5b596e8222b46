"""Reader of nyu_depth_v2_labeled.mat (HDF5, MATLAB v7.3) and splits.mat.

MATLAB writes the axes in reverse: images (1449, 3, 640, 480) uint8, depths and rawDepths (1449, 640, 480) float32
metres (rawDepths: 0 = missing), labels (1449, 640, 480) uint16 ids of 894 classes, 0 = unlabelled, instances of the
same shape, uint8 numbers within a class, scenes (1, 1449) references to texts. The official split is by 1-based frame
numbers.
"""

from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import scipy.io

from mtl_vision.datasets.camera import CAMERAS, camera_at
from mtl_vision.datasets.classes import facts, label_table
from mtl_vision.datasets.description import DataError
from mtl_vision.datasets.normals import normals_from_depth
from mtl_vision.datasets.sample import Sample
from mtl_vision.runtime.kinds import IGNORE


class NYUv2Mat:
    """The labelled set as a sequence of (split, Sample); labels in `classes` (nyu13 or nyu40), normals from depth.

    depth: filled, or raw for the sensor's own with its holes. scenes: by the frames' names, where the file has them.
    Instances, where the file has them, are renumbered 0, 1, .. within a frame, each of one class.
    """

    def __init__(
        self,
        path: Path,
        splits: Path | None = None,
        *,
        classes: str = "nyu40",
        depth: Literal["filled", "raw"] = "filled",
        normals: bool = True,
    ) -> None:
        self.normals = normals
        try:
            self.file = h5py.File(path, "r")
        except OSError as error:
            expected = "expected nyu_depth_v2_labeled.mat (MATLAB v7.3)"
            raise DataError(f"{path} is no HDF5 file ({error}); {expected}") from error
        self.depths = {"filled": "depths", "raw": "rawDepths"}[depth]
        self.has_instances = "instances" in self.file
        maps = (self.depths, "labels", "instances") if self.has_instances else (self.depths, "labels")
        for key, rank in (("images", 4), *((key, 3) for key in maps)):
            found = self.file.get(key)
            if not isinstance(found, h5py.Dataset) or found.ndim != rank:
                raise DataError(f"{path}: expected '{key}' of {rank} dimensions, found {list(self.file)}")
        shapes = {key: self._dataset(key).shape for key in ("images", *maps)}
        N, channels, *size = shapes["images"]
        if channels != 3 or any(shapes[key] != (N, *size) for key in maps):
            raise DataError(
                f"{path}: expected images (N, 3, W, H), depths and labels (N, W, H), as MATLAB writes them; "
                f"found {shapes}"
            )
        self.table = label_table("nyu894", classes, first=1, void=0)
        self.test = _test_indices(splits, len(self))
        self.scenes: dict[str, str] = {}
        if "scenes" in self.file:  # MATLAB keeps a cell of texts as references to arrays of character codes
            references = self._dataset("scenes")[()].ravel()
            texts = ["".join(map(chr, self.file[one][()].ravel())) for one in references]  # type: ignore[index]
            self.scenes = {f"{number:04d}": text for number, text in enumerate(texts, 1)}

    def __len__(self) -> int:
        return int(self._dataset("images").shape[0])

    def _dataset(self, key: str) -> h5py.Dataset:
        dataset = self.file[key]
        assert isinstance(dataset, h5py.Dataset)
        return dataset

    def _map(self, key: str, index: int) -> np.ndarray:
        return np.ascontiguousarray(self._dataset(key)[index].T)  # (3, W, H) becomes (H, W, 3)

    def __getitem__(self, index: int) -> tuple[str, Sample]:
        """One frame, 0-based; its name is the official 1-based number."""
        image, labels = self._map("images", index), self._map("labels", index)
        depth = self._map(self.depths, index).astype(np.float32)
        depth[~np.isfinite(depth)] = 0
        camera = camera_at(CAMERAS["nyuv2"], image.shape[:2])
        targets = {"depth": depth, "segmentation": self.table[labels]}
        if self.normals:
            targets["normals"] = normals_from_depth(depth, camera)
        if self.has_instances:
            targets["instances"] = _renumbered(labels, self._map("instances", index))
        split = "test" if index + 1 in self.test else "train"
        return split, Sample(f"{index + 1:04d}", image, targets, camera)


def _renumbered(labels: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Objects numbered within the frame, from those numbered within their class; 255 where there is none."""
    things = np.where((labels == 0) | (numbers == 0), 0, labels.astype(np.int64) * 256 + numbers)
    ids, inverse = np.unique(things, return_inverse=True)
    order = np.where(ids > 0, np.minimum(np.cumsum(ids > 0) - 1, IGNORE), IGNORE)
    return order.astype(np.uint8)[inverse].reshape(labels.shape)


def _test_indices(splits: Path | None, count: int) -> set[int]:
    """1-based numbers of the test frames: from splits.mat, else the published ones, which are for the full set."""
    if splits is not None:
        try:
            return {int(i) for i in scipy.io.loadmat(splits)["testNdxs"].ravel()}
        except Exception as error:  # scipy raises many types of error for other files
            raise DataError(f"{splits}: expected the official splits.mat with testNdxs ({error!r})") from error
    if count != 1449:
        raise DataError(f"the set has {count} frames, the published split is for 1449: give splits.mat as splits")
    return set(facts()["test_indices"])
