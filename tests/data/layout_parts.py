"""What layouts.py is made of: the samples, what they are in each layout's terms, how files are named and written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import scipy.io

from mtl_vision.datasets.classes import facts
from mtl_vision.datasets.sample import Sample
from mtl_vision.synthetic.render import render_room

Splits = dict[str, list[Sample]]  # {"train": [...], "test": [...]}
FARTHEST = 9.9955  # metres at white in the 8-bit dumps
UINT16 = 65536
SCENES = {"train": ("kitchen_0028a", "bedroom_0002"), "test": ("bathroom", "office_0004")}  # frames alternate


# the samples


@cache
def rooms(count_train: int = 4, count_test: int = 3, size: tuple[int, int] = (48, 64)) -> Splits:
    """Synthetic rooms with NYU40 labels, some pixels invalid; the second of each split reaches to 8.5 m.

    Always the same objects: do not write into them. All depths stay below FARTHEST.
    """
    train = [room(seed, size, farthest=8.5 if seed == 1 else None) for seed in range(count_train)]
    test = [room(100 + i, size, farthest=8.5 if i == 1 else None) for i in range(count_test)]
    return {"train": train, "test": test}


def room(seed: int, size: tuple[int, int], farthest: float | None = None) -> Sample:
    """One room; `farthest` scales the depth so that it reaches so far, which leaves normals and camera true."""
    sample = render_room(seed, size)
    depth, normals = sample.targets["depth"].copy(), sample.targets["normals"].copy()
    labels = _classes40_of_13()[sample.targets["segmentation"]]
    if farthest is not None:
        depth *= farthest / depth.max()
    y, x = size[0] // 6, size[1] // 8  # 8 pixels each where the size is (48, 64)
    depth[y : 2 * y, x : 2 * x] = depth[-1, 0] = 0
    normals[2 * y : 3 * y, x : 2 * x] = normals[-1, 1] = 0
    labels[3 * y : 4 * y, x : 2 * x] = labels[-1, 2] = 255
    return replace(sample, targets={"depth": depth, "normals": normals, "segmentation": labels})


def _classes40_of_13() -> np.ndarray:
    """For every one of the 13 classes the first of the 40 that maps to it, both from 0."""
    to13 = facts()["id40_to_id13"]
    return np.array([to13.index(id13) - 1 for id13 in range(1, 14)], np.uint8)


# what a sample is in other terms


def raw_depth(sample: Sample) -> np.ndarray:
    """The depth with a block missing (0), as the sensor leaves holes that in-filling closes."""
    H, W = sample.size
    depth = sample.targets["depth"].copy()
    depth[H // 2 : 3 * H // 4, W // 2 : 5 * W // 8] = 0
    return depth


def instances(sample: Sample) -> np.ndarray:
    """Connected blocks of a label numbered from 1 within that label, 0 where there is none; uint8."""
    labels = sample.targets["segmentation"]
    found = np.zeros(sample.size, np.int32)
    for label in np.unique(labels[labels != 255]):
        found += cv2.connectedComponents((labels == label).astype(np.uint8))[1]
    return np.minimum(found, 255).astype(np.uint8)


def ids40(sample: Sample) -> np.ndarray:
    """Ids 1..40, 0 = unlabelled."""
    labels = sample.targets["segmentation"].astype(np.int64)
    return np.where(labels == 255, 0, labels + 1)


def ids13(sample: Sample) -> np.ndarray:
    """Ids 1..13, 0 = unlabelled."""
    return np.array(facts()["id40_to_id13"])[ids40(sample)]


def ids894(sample: Sample) -> np.ndarray:
    """For every class of the 40 the first of the 894 ids that maps to it; 0 = unlabelled."""
    to40 = facts()["id894_to_id40"]
    return np.array([0] + [to40.index(id40) for id40 in range(1, 41)])[ids40(sample)]


def from_zero(ids: np.ndarray, void: int = 255) -> np.ndarray:
    """Ids from 1 as classes from 0: id - 1, `void` where unlabelled."""
    return np.where(ids == 0, void, ids - 1)


def in_steps(depth: np.ndarray, step: float, top: int = UINT16 - 1) -> np.ndarray:
    """Depth as the nearest whole number of steps, at most `top`."""
    return np.minimum(np.round(depth.astype(np.float64) / step), top).astype(np.int64)


# The published maps' axes, each as what it is in ours (x right, y down, z forward; facing the viewer)
AXES_OF = {
    "ladicky": ((2, 1), (1, 1), (0, 1)),  # nyu_normals_gt.zip: forward, down, right
    "eigen": ((0, 1), (2, 1), (1, -1)),  # normals_gt.tgz: right, forward, up
    "outward": ((0, -1), (1, -1), (2, -1)),  # NYUD_MT: right, down, forward, away from the viewer
}


def in_axes(published: str, normals: np.ndarray) -> np.ndarray:
    """Our normals as the publisher has them."""
    return np.stack([sign * normals[..., axis] for axis, sign in AXES_OF[published]], axis=-1)


def coloured(normals: np.ndarray, black: bool = False) -> np.ndarray:
    """(n + 1) / 2 in 8 bits, so (0, 0, 0) is grey; black: (0, 0, 0) is stored as 0 instead."""
    colours = np.round((normals.astype(np.float64) + 1) / 2 * 255).astype(np.uint8)
    if black:
        colours[(normals == 0).all(axis=-1)] = 0
    return colours


# how the layouts name files


def scene(split: str, index: int) -> str:
    """The scene of a split's frame: the two of SCENES in turn."""
    return SCENES[split][index % 2]


def official(splits: Splits) -> dict[str, list[int]]:
    """Numbers from 0 over the whole set, where test and train take turns as they mix in the real one."""
    order = sorted((i, split) for split, samples in splits.items() for i in range(len(samples)))
    return {split: [n for n, (_, of) in enumerate(order) if of == split] for split in splits}


def published(splits: Splits) -> dict[str, list[int]]:
    """The first numbers, from 0, that the published split gives to test and to the others."""
    test = {n - 1 for n in facts()["test_indices"]}
    numbers = {"test": sorted(test), "train": sorted(set(range(1449)) - test)}
    return {split: numbers[split][: len(samples)] for split, samples in splits.items()}


def within(splits: Splits) -> dict[str, list[int]]:
    """Numbers from 0 in each split."""
    return {split: list(range(len(samples))) for split, samples in splits.items()}


def running(splits: Splits) -> dict[str, list[int]]:
    """Numbers from 0, train then test, where the layout has no split."""
    start = len(splits["train"])
    return {"train": list(range(start)), "test": list(range(start, start + len(splits["test"])))}


def timestamp(number: int) -> str:
    """Seconds with six digits after the point, thirty frames a second."""
    return f"{1305031102.175304 + number / 30:.6f}"


NAMING: dict[str, tuple[Callable[[Splits], dict[str, list[int]]], Callable[[int], str]]] = {
    "nyu_mat": (official, lambda n: f"{n + 1:04d}"),  # the frame's number in the arrays, from 1
    "mtan": (within, str),
    "astmt": (official, lambda n: f"{n + 1:04d}"),
    "nyud_mt": (official, lambda n: f"{n + 1:04d}"),
    "invpt": (official, lambda n: f"{n + 1:04d}"),
    "vainf": (official, lambda n: f"{n + 1:05d}"),
    "xapharius": (official, lambda n: f"{n + 1:04d}"),
    "esanet": (official, lambda n: f"{n + 1:04d}"),
    "nicr": (official, lambda n: f"{n:04d}"),
    "dformer": (official, str),
    "dump8": (published, str),
    "images": (official, lambda n: f"{n + 1:04d}"),
    "images8": (official, lambda n: f"{n + 1:04d}"),
    "tum": (running, timestamp),
    "tum_times": (running, timestamp),
    "scannet": (running, lambda n: str(20 * n)),  # every twentieth frame; 100 sorts before 20 as text
    "scannet_frames": (running, lambda n: f"scene{n // 4:04d}_00_{100 * n:06d}"),
    "scannet_frames_scene": (running, lambda n: f"{100 * n:06d}"),
    "scannet_labels": (running, lambda n: f"scene{n // 4:04d}_01_{20 * n}"),
    "scannet_labels_scene": (running, lambda n: str(20 * n)),
    "hypersim": (running, lambda n: f"ai_001_{n // 4 + 1:03d}_cam_00_{n:04d}"),
}


def names(layout: str, splits: Splits) -> dict[str, list[str]]:
    """The name each sample has, in order: its files' stem, the scene before it where stems repeat; tum's picture's."""
    if layout == "bts":  # two scenes take turns, each numbered from 0, so that file names alone are not unique
        return {s: [f"{scene(s, i)}_rgb_{i // 2:05d}" for i in range(len(ones))] for s, ones in splits.items()}
    if layout.startswith("densedepth"):
        train = [f"{scene('train', i)}_out_{i // 2 + 1}" for i in range(len(splits["train"]))]
        return {"train": train, "test": [f"{n:05d}_colors" for n in range(len(splits["test"]))]}
    numbering, stem = NAMING[layout]
    return {split: [stem(n) for n in numbers] for split, numbers in numbering(splits).items()}


# files


def write_png(path: Path, array: np.ndarray, kind: Any = np.uint8) -> None:
    """A PNG of one channel, or of three in the order given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert array.min() >= 0 and array.max() <= np.iinfo(kind).max, f"{path}: out of {kind}"
    assert cv2.imwrite(str(path), np.ascontiguousarray(array[..., ::-1] if array.ndim == 3 else array, kind))


def write_jpeg(path: Path, image: np.ndarray) -> None:
    """A JPEG of three channels in the order given, with little lost: normals would not stand coarser colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    assert cv2.imwrite(str(path), np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 98, *sampling])


def write_webp(path: Path, image: np.ndarray) -> None:
    """A WebP of three channels in the order given; above 100 it loses nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, 101])


def write_npy(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def write_mat(path: Path, **arrays: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, arrays)


def write_hdf5(path: Path, array: np.ndarray) -> None:
    """One dataset called so, compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset", data=array, compression="gzip")


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
