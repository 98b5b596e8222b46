"""From any known layout to the canonical folder."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from mtl_vision.datasets.camera import CAMERAS
from mtl_vision.datasets.description import DataError, Description
from mtl_vision.datasets.doubts import doubts, warn
from mtl_vision.datasets.folder import in_threads, open_splits
from mtl_vision.datasets.nyuv2_mat import NYUv2Mat
from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.splits import readable_part
from mtl_vision.datasets.targets import DepthFiles, InstancesFiles, LabelFiles, NormalsFiles
from mtl_vision.datasets.targets.depth import fits
from mtl_vision.datasets.write import FolderWriter, stem_of
from mtl_vision.runtime.kinds import Size

STRETCH = 0.02  # relative difference of aspect ratios that is not visible
DERIVED = "; normals derived from depth"
Depth = Literal["filled", "raw"]
Normals = Literal["stored", "derived", "none"]


def with_choices(description: Description, depth: Depth = "filled", normals: Normals | None = None) -> Description:
    """The description with raw depth in place of the filled one, and normals stored, derived or none."""
    if depth == "raw":
        if description.depth is None or description.depth.raw is None:
            raise DataError("depth='raw': the description names no folder of raw depth ('depth.raw'): take 'filled'")
        files = replace(description.depth, folder=description.depth.raw)
        description = replace(description, depth=files, source=f"{description.source}; raw depth")
    if normals == "stored" and (description.normals is None or description.normals.derive):
        raise DataError("normals='stored': there are none; take 'derived' or 'none'")
    derivable = description.depth is not None and description.intrinsics is not None
    if normals == "derived" and not derivable:
        raise DataError("normals='derived': they need depth and the camera ('intrinsics' in the description)")
    if normals == "none":
        return replace(description, normals=None)
    if normals == "derived" or (derivable and description.normals is None):
        return replace(description, normals=NormalsFiles(derive=True))
    return description


def convert_folder(
    root: Path,
    out: Path,
    described: Description,
    *,
    classes: str | None = None,
    size: Size | None = None,
    on_error: Literal["stop", "skip"] = "stop",
) -> int:
    """A folder as its description says, to the canonical one at `out`; derived normals are stored. Returns a count.

    classes: nyu13 or nyu40 to store the labels in that set; size: (H, W) to store at; on_error: skip leaves out the
    samples that can not be read, and prints why. What is most likely misread is said before and after, on stderr, and
    in how many samples depth was too far for 16 bits, which is stored as none.
    """
    if classes is not None and described.segmentation is None:
        raise DataError(f"classes is {classes}: {root} has no labels; leave it out")
    sources = open_splits(root, described, classes)
    if on_error == "skip":
        sources = [readable_part(source) for source in sources]
    for source in sources:
        for message in source.faults.values():
            print(f"left out of {source.split}: {message}")
    found = [sentence for source in sources for sentence in doubts(source)]
    warn(found)
    derived = described.normals is not None and described.normals.derive
    sections = {name: type(described.section(name))() for name in described.targets()}
    if labels := sources[0].as_trained().segmentation:
        sections["segmentation"] = replace(labels, folder="label", key=None)
    description = Description(
        source=described.source + (DERIVED if derived and DERIVED not in described.source else ""),
        splits={source.split: source.split for source in sources},
        intrinsics=described.own_camera(),
        **sections,
    )
    places = [(source, index) for source in sources for index in range(len(source))]
    scenes = {stem: source.scenes[stem] for source in sources for stem in source.stems if stem in source.scenes}
    if shortened := sum(stem_of(source.stems[index]) != source.stems[index] for source, index in places):
        print(f"{shortened} names are too long for a file: shortened, with a hash at their end")
    far: list[float] = []
    with FolderWriter(out, description, scenes) as writer:

        def store(number: int) -> None:
            source, index = places[number]
            writer.write(source.split, _storable(_resized(source[index], size), far))

        in_threads(store, len(places), "converting")
    found += _too_far(far, len(places))
    warn(found)  # once more: what was said first may have scrolled away
    return len(places)


def convert_mat(
    path: Path,
    out: Path,
    *,
    splits: Path | None = None,
    classes: str = "nyu40",
    depth: Depth = "filled",
    normals: Normals | None = None,
    size: Size | None = None,
) -> int:
    """nyu_depth_v2_labeled.mat to the canonical folder at `out`; normals are derived, or none. Returns a count."""
    if normals == "stored":
        raise DataError(f"{path} has no normals (normals='stored'): take 'derived' or 'none'")
    source = NYUv2Mat(path, splits=splits, classes=classes, depth=depth, normals=normals != "none")
    text = f"NYUv2 labelled set (nyu_depth_v2_labeled.mat), {'in-filled' if depth == 'filled' else 'raw'} depth"
    description = Description(
        source=text + (DERIVED if normals != "none" else ""),
        splits={"train": "train", "test": "test"},
        depth=DepthFiles(),
        normals=None if normals == "none" else NormalsFiles(),
        segmentation=LabelFiles(classes=classes),
        instances=InstancesFiles() if source.has_instances else None,
        intrinsics=CAMERAS["nyuv2"],
    )
    far: list[float] = []
    with FolderWriter(out, description, source.scenes) as writer:

        def store(index: int) -> None:
            split, sample = source[index]
            writer.write(split, _storable(_resized(sample, size), far))

        in_threads(store, len(source), "converting")
    warn(_too_far(far, len(source)))
    return len(source)


def _resized(sample: Sample, size: Size | None) -> Sample:
    if size is None:
        return sample
    height, width = sample.size
    if abs(size[0] * width / (size[1] * height) - 1) > STRETCH:
        raise DataError(
            f"size {size[0]}x{size[1]} (height x width) would stretch {sample.name}, which is {height}x{width}: give "
            f"it that aspect ratio, such as {size[0]}x{round(size[0] * width / height)}"
        )
    return sample.resized(size)


def _storable(sample: Sample, far: list[float]) -> Sample:
    """The sample without depth that 16 bits of millimetres do not hold; far: gets the greatest such, metres."""
    depth = sample.targets.get("depth")
    if depth is None or (held := fits(depth, DepthFiles())).all():
        return sample
    far.append(float(depth.max()))
    return replace(sample, targets={**sample.targets, "depth": np.where(held, depth, np.float32(0))})


def _too_far(far: list[float], count: int) -> list[str]:
    """A sentence where samples had depth that was not stored."""
    if not far:
        return []
    return [
        f"{len(far)} of {count} samples have depth beyond 65.535 m (up to {max(far):.4g} m), the most that 16 bits of "
        "millimetres hold: it was stored as none; train on the source itself to keep it"
    ]
