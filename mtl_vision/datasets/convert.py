"""From any known form to the canonical folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from tqdm import tqdm

from mtl_vision.datasets.description import (
    DataError,
    DepthFormat,
    Description,
    InstancesFormat,
    LabelFormat,
    NormalsFormat,
)
from mtl_vision.datasets.folder import FolderDataset, open_splits
from mtl_vision.datasets.nyuv2_mat import CAMERA, NYUv2Mat
from mtl_vision.datasets.readable import readable_part
from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.write import FolderWriter
from mtl_vision.runtime.kinds import Size

STRETCH = 0.02  # relative difference of aspect ratios that nobody sees
DERIVED = "; normals derived from depth"


def with_choices(description: Description, depth: str = "filled", normals: str | None = None) -> Description:
    """The description with raw depth in place of the filled one, and normals stored, derived or none."""
    if depth == "raw":
        if description.depth is None or description.depth.raw is None:
            raise DataError("--depth raw: the description names no folder of raw depth ('depth.raw'): take filled")
        depth_format = replace(description.depth, folder=description.depth.raw)
        description = replace(description, depth=depth_format, source=f"{description.source}; raw depth")
    stored = description.normals is not None and not description.normals.derive
    if normals == "stored" and not stored:
        raise DataError("--normals stored: there are none; take derived or none")
    derivable = description.depth is not None and description.intrinsics is not None
    if normals == "derived" and not derivable:
        raise DataError("--normals derived: they need depth and the camera ('intrinsics' in the description)")
    if normals == "none":
        return replace(description, normals=None)
    if normals == "derived" or (derivable and description.normals is None):
        return replace(description, normals=NormalsFormat(derive=True))
    return description


def convert_folder(
    root: Path,
    out: Path,
    described: Description,
    classes: str | None = None,
    size: Size | None = None,
    skip: bool = False,
) -> int:
    """A folder as its description tells, to the canonical one at `out`; derived normals are stored. Returns a count.

    classes: nyu13 or nyu40 to store the labels in that set; size: (H, W) to store at; skip: leave out the samples that
    can not be read, and say which.
    """
    if classes is not None and described.segmentation is None:
        raise DataError(f"--classes {classes}: {root} has no labels; leave it out")
    sources = open_splits(root, described, classes)
    if skip:
        sources = [_readable(source) for source in sources]
    labels = sources[0].classes
    derived = described.normals is not None and described.normals.derive
    description = Description(
        source=described.source + (DERIVED if derived and DERIVED not in described.source else ""),
        splits={source.split: source.split for source in sources},
        depth=described.depth and DepthFormat(),
        normals=described.normals and NormalsFormat(),
        segmentation=labels
        and LabelFormat(
            classes=labels.name or list(labels.names), palette=None if labels.name else list(labels.palette)
        ),
        instances=described.instances and InstancesFormat(),
        intrinsics=described.intrinsics,
    )
    scenes = {stem: scene for source in sources for stem, scene in source.scenes.items()}
    with FolderWriter(out, description, scenes) as writer:
        for source in sources:

            def store(index: int, source: FolderDataset = source) -> None:
                writer.write(source.split, _fitted(source[index], size))

            _each(store, len(source), f"converting {source.split}")
    return sum(len(source) for source in sources)


def convert_mat(
    path: Path,
    out: Path,
    splits: Path | None = None,
    classes: str = "nyu40",
    depth: str = "filled",
    normals: str | None = None,
    size: Size | None = None,
) -> int:
    """nyu_depth_v2_labeled.mat to the canonical folder at `out`; normals are derived, or none. Returns a count."""
    if normals == "stored":
        raise DataError(f"{path} has no normals (--normals stored): take derived or none")
    source = NYUv2Mat(path, splits, classes, depth, normals != "none")
    told = f"NYUv2 labelled set (nyu_depth_v2_labeled.mat), {'in-filled' if depth == 'filled' else 'raw'} depth"
    description = Description(
        source=told + (DERIVED if normals != "none" else ""),
        splits={"train": "train", "test": "test"},
        depth=DepthFormat(),
        normals=None if normals == "none" else NormalsFormat(),
        segmentation=LabelFormat(classes=classes),
        instances=InstancesFormat() if source.has_instances else None,
        intrinsics={**asdict(CAMERA), "height": 480, "width": 640},
    )
    with FolderWriter(out, description, source.scenes) as writer:

        def store(index: int) -> None:
            split, sample = source[index]
            writer.write(split, _fitted(sample, size))

        _each(store, len(source), "converting")
    return len(source)


def _each(store: Callable[[int], None], count: int, told: str) -> None:
    """Call `store` for 0..count - 1 by threads: decoding, fitting and encoding run outside Python's lock."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for _ in tqdm(pool.map(store, range(count)), total=count, desc=told):
            pass


def _readable(source: FolderDataset) -> FolderDataset:
    part, faults = readable_part(source, os.cpu_count() or 1)
    for message in faults.values():
        print(f"left out of {source.split}: {message}")
    return part


def _fitted(sample: Sample, size: Size | None) -> Sample:
    if size is None:
        return sample
    height, width = sample.size
    if abs(size[0] * width / (size[1] * height) - 1) > STRETCH:
        raise DataError(
            f"--size {size[0]}x{size[1]} (height x width) would stretch {sample.name}, which is {height}x{width}: give "
            f"it that aspect ratio, such as {size[0]}x{round(size[0] * width / height)}"
        )
    return sample.resized(size)
