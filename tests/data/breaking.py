"""Ways to break a good set in place, as data sets come broken: every function changes files of a canonical folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from mtl_vision.datasets.classes import class_set
from mtl_vision.datasets.description import FILE_NAME, Description, LabelFiles, read_description

SPLITS = ("train", "val", "test")


def change(root: Path, folder: str, how: Callable[[np.ndarray], np.ndarray], splits: Sequence[str] = SPLITS) -> None:
    """Every map of a folder, as OpenCV reads it, changed."""
    for split in splits:
        for path in (root / split / folder).glob("*.png"):
            stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert stored is not None
            cv2.imwrite(str(path), how(stored))


def describe(root: Path, how: Callable[[Description], Description]) -> None:
    """Another description for what lies there."""
    path = root / FILE_NAME
    path.write_text(how(read_description(path)).to_yaml(), encoding="utf-8")


def mirror(root: Path, *folders: str, splits: Sequence[str] = SPLITS) -> None:
    """Maps mirrored left to right; normals turn with the image."""
    for folder in folders:
        change(root, folder, lambda stored: stored[:, ::-1], splits)
        if folder == "normals":
            change(root, folder, negate_x, splits)


def negate_x(stored: np.ndarray) -> np.ndarray:
    """BGR of (n + 1) / 2 with -x for x; black stays."""
    turned = stored.copy()
    turned[..., 2] = np.where(stored.any(axis=-1), np.iinfo(stored.dtype).max - stored[..., 2], 0)
    return turned


def rescale_depth(root: Path, factor: float, splits: Sequence[str] = SPLITS) -> None:
    """Other units in the files than the description says; they wrap around where 16 bits are too few."""
    change(root, "depth", lambda mm: (np.rint(mm * factor).astype(np.int64) % 65536).astype(np.uint16), splits)


def labels_from_one(root: Path) -> None:
    """0 for void, the classes from 1, as the published labels are."""
    change(root, "label", lambda ids: np.where(ids == 255, 0, ids + 1).astype(np.uint8))


def forty_classes(root: Path) -> None:
    """NYU40 ids from 1 to 40 as they are published, and a description that leaves that out."""
    thirteen, forty = class_set("nyu13").names, class_set("nyu40").names
    same = {"furniture": "cabinet", "objects": "otherprop", "tv": "television"}
    table = np.zeros(256, np.uint8)
    table[: len(thirteen)] = [forty.index(same.get(name, name)) + 1 for name in thirteen]
    change(root, "label", lambda ids: table[ids])
    describe(root, lambda one: replace(one, segmentation=LabelFiles(classes="nyu40")))


def described_labels(root: Path, first: int, void: int) -> None:
    def how(one: Description) -> Description:
        assert one.segmentation is not None
        return replace(one, segmentation=replace(one.segmentation, first=first, void=void))

    describe(root, how)


def described_axes(root: Path, *axes: str) -> None:
    def how(one: Description) -> Description:
        assert one.normals is not None
        return replace(one, normals=replace(one.normals, axes=axes))

    describe(root, how)


def shorten_normals(root: Path, length: float) -> None:
    """Vectors of another length."""

    def how(stored: np.ndarray) -> np.ndarray:
        vectors = (stored.astype(np.float64) / 32767.5 - 1) * length
        return np.where(stored.any(axis=-1, keepdims=True), np.rint((vectors + 1) * 32767.5), 0).astype(np.uint16)

    change(root, "normals", how)
