"""Reader of nyu_depth_v2_labeled.mat (HDF5, MATLAB v7.3) and splits.mat.

MATLAB writes the axes in reverse: images (1449, 3, 640, 480) uint8, depths and rawDepths (1449, 640, 480) float32
metres (rawDepths: 0 = missing), labels (1449, 640, 480) uint16 ids of 894 classes, 0 = unlabelled, instances of the
same shape, uint8 numbers within a class, scenes (1, 1449) references to texts. The official split is by 1-based frame
numbers.
"""

import io
import warnings
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import scipy.io

from mtl_vision.datasets.arrays import MOST, read_mat, reading
from mtl_vision.datasets.camera import CAMERAS, camera_at
from mtl_vision.datasets.classes import facts, label_table
from mtl_vision.datasets.description import DataError
from mtl_vision.datasets.normals import normals_from_depth
from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.targets.depth import FARTHEST
from mtl_vision.datasets.text import shown
from mtl_vision.runtime.files import read_regular
from mtl_vision.runtime.kinds import IGNORE

MAT = "nyu_depth_v2_labeled.mat (MATLAB v7.3)"
NUMBERS = {np.dtype(one).str for one in "bBhHiIfd"}
TYPES = {"images": {"|u1"}, "instances": {"|u1"}}
FRAMES = 100_000  # that a file may have; the published one has 1449
SCENE = 200  # characters of a scene's name


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
        self.path, self.normals = path, normals
        self.depths = {"filled": "depths", "raw": "rawDepths"}[depth]
        with reading(path, MAT):
            if path.exists() and not path.is_file():
                raise DataError(f"expected {MAT}, found a folder, a device or a pipe")
            try:
                self.file = h5py.File(path, "r")
            except OSError as error:
                raise DataError(f"no HDF5 file ({error}); expected {MAT}") from error
            self.has_instances = "instances" in self.file
            self._expect_maps()
            scenes = self._scenes() if "scenes" in self.file else {}
        self.table = label_table("nyu894", classes, first=1, void=0)
        self.train, self.test = _published(self.count) if splits is None else _given(splits, self.count)
        self.frames = sorted(self.train | self.test)  # 1-based numbers of those that have a split
        self.scenes = {name: scene for name, scene in scenes.items() if int(name) in self.train | self.test}

    def _expect_maps(self) -> None:
        """Raises DataError where the maps are not those of the published file, or not in the file itself."""
        maps = (self.depths, "labels", "instances") if self.has_instances else (self.depths, "labels")
        for key, rank in (("images", 4), *((key, 3) for key in maps)):
            found = self._inside(key)
            if found is None or found.ndim != rank or found.dtype.str not in TYPES.get(key, NUMBERS):
                raise DataError(f"expected '{key}' of {rank} dimensions, found {shown(str(list(self.file)))}")
        shapes = {key: self._dataset(key).shape for key in ("images", *maps)}
        N, channels, *size = shapes["images"]
        if channels != 3 or any(shapes[key] != (N, *size) for key in maps):
            raise DataError(
                f"expected images (N, 3, W, H), depths and labels (N, W, H), as MATLAB writes them; found {shapes}"
            )
        if N > FRAMES or not 0 < size[0] * size[1] <= MOST // 16:
            expected = f"expected at most {FRAMES:,} frames of {MOST // 16:,} pixels"
            raise DataError(f"{expected}, found images {shapes['images']}")

    def _inside(self, key: Any) -> h5py.Dataset | None:
        """A dataset whose values are in this file; a link would have other files read."""
        if isinstance(key, str) and not isinstance(self.file.get(key, getlink=True), h5py.HardLink):
            return None
        found = self.file[key]
        if not isinstance(found, h5py.Dataset) or found.external is not None or found.is_virtual:
            return None
        return found

    def _scenes(self) -> dict[str, str]:
        """By the frames' names. MATLAB keeps a cell of texts as references to arrays of character codes."""
        cell = self._inside("scenes")
        if cell is None or cell.dtype != h5py.ref_dtype or cell.size != self.count:
            raise DataError(f"expected a reference for each of the {self.count} frames as 'scenes'")
        scenes: dict[str, str] = {}
        for number, text in enumerate(map(self._inside, cell[()].ravel()), 1):
            if text is None or text.dtype.kind != "u" or not text.shape or text.size > SCENE:  # type: ignore[operator]
                raise DataError(f"expected texts of at most {SCENE} characters as 'scenes'")
            scenes[f"{number:04d}"] = "".join(map(chr, text[()].ravel()))
        return scenes

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def count(self) -> int:
        """How many frames the file has, with those of no split."""
        return int(self._dataset("images").shape[0])

    def _dataset(self, key: str) -> h5py.Dataset:
        dataset = self.file[key]
        assert isinstance(dataset, h5py.Dataset)
        return dataset

    def _map(self, key: str, index: int) -> np.ndarray:
        return np.ascontiguousarray(self._dataset(key)[index].T)  # (3, W, H) becomes (H, W, 3)

    def __getitem__(self, index: int) -> tuple[str, Sample]:
        """One of the frames that have a split; its name is the official 1-based number. Raises DataError."""
        number = self.frames[index]
        with reading(self.path, MAT):
            return "test" if number in self.test else "train", self._read(number)

    def _read(self, number: int) -> Sample:
        index = number - 1
        image, labels = self._map("images", index), self._map("labels", index)
        depth = self._map(self.depths, index).astype(np.float32)
        depth[~((depth > 0) & (depth <= FARTHEST))] = 0
        camera = camera_at(CAMERAS["nyuv2"], image.shape[:2])
        targets = {"depth": depth, "segmentation": self.table[labels]}
        if self.normals:
            targets["normals"] = normals_from_depth(depth, camera)
        if self.has_instances:
            targets["instances"] = _renumbered(labels, self._map("instances", index))
        return Sample(f"{number:04d}", image, targets, camera)


def _renumbered(labels: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Objects numbered within the frame, from those numbered within their class; 255 where there is none."""
    things = np.where((labels == 0) | (numbers == 0), 0, labels.astype(np.int64) * 256 + numbers)
    ids, inverse = np.unique(things, return_inverse=True)
    order = np.where(ids > 0, np.minimum(np.cumsum(ids > 0) - 1, IGNORE), IGNORE)
    return order.astype(np.uint8)[inverse].reshape(labels.shape)


def _published(count: int) -> tuple[set[int], set[int]]:
    """The 1-based numbers of the frames for training and for testing, as published for the full set."""
    if count != 1449:
        raise DataError(f"the set has {count} frames, the published split is for 1449: give splits.mat as splits")
    test = set(facts()["test_indices"])
    return set(range(1, count + 1)) - test, test


def _given(path: Path, count: int) -> tuple[set[int], set[int]]:
    """The same from a splits.mat. A frame in neither list has no split; without trainNdxs all others are for training.

    Raises DataError for a number that is no frame, or in both lists.
    """
    try:
        data = read_regular(path, MOST)
        test = _numbers(data, "testNdxs")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scipy warns of names that it knows twice
            has_train = any(name == "trainNdxs" for name, *_ in scipy.io.whosmat(io.BytesIO(data)))
        train = _numbers(data, "trainNdxs") if has_train else set(range(1, count + 1)) - test
    except Exception as error:  # scipy raises many types of error for other files
        raise DataError(f"{path}: expected the official splits.mat with testNdxs ({error!r})") from error
    if odd := sorted(n for n in train | test if not 1 <= n <= count):
        raise DataError(f"{path}: expected numbers of frames from 1 to {count}, found {odd[0]}; take the set's own")
    if both := sorted(train & test):
        raise DataError(f"{path}: frame {both[0]} is in trainNdxs and in testNdxs: expected it in one; correct them")
    return train, test


def _numbers(data: bytes, key: str) -> set[int]:
    """The whole numbers of a variable of a .mat file."""
    found = read_mat(data, key).ravel()
    if (found != found.astype(np.int64)).any():
        raise DataError(f"expected whole numbers as the variable '{key}'")
    return set(found.astype(np.int64).tolist())
