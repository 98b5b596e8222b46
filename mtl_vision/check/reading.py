"""Reading a split: what can be read of its samples, its missing files, and the statistics that the tests need."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from mtl_vision.check.labels import unknown_ids
from mtl_vision.check.outlines import kept as kept_lines
from mtl_vision.check.outlines import outlines
from mtl_vision.check.statistics import Lines, SampleStatistics, SplitStatistics, Thumbnail
from mtl_vision.datasets.arrays import read_values
from mtl_vision.datasets.description import DataError, Description
from mtl_vision.datasets.files import spread
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.normals import normals_from_depth
from mtl_vision.datasets.sample import Intrinsics, Sample
from mtl_vision.datasets.sentinel import Tail, tail
from mtl_vision.runtime.kinds import KINDS

FEW = 0.05  # of the samples; where more lack a target, only some are meant to have it
THUMBNAILS, WIDTH = 100, 160  # samples of a split that have one, and its width in pixels
OUTLINED = 2000  # samples of a split whose outlines are kept, 4 KiB a map
LOOKED_AT = 4096  # samples that were not read, and whose outlines are kept, too
FINGERPRINT = (12, 16)
WRAP = 65536  # values of 16 bits
T = TypeVar("T")


@dataclass(frozen=True)
class Reading:
    """What can be read of one sample. metres: stored depth; ids: labels; vectors: normals, at their stored length.

    tail: the greatest values of the depth's file.
    """

    stem: str
    sample: Sample | None
    metres: np.ndarray | None
    ids: np.ndarray | None
    vectors: np.ndarray | None
    problems: tuple[str, ...]
    tail: Tail | None = None


def open_split(
    root: Path, split: str, description: Description, classes: str | None
) -> tuple[FolderDataset | None, list[str]]:
    """The split with the targets that can be opened, and what is wrong with the others.

    Normals that are derived are not among its targets: they show nothing that the depth does not.
    """
    derived = description.normals is not None and description.normals.derive
    names = [name for name in description.targets() if not (derived and name == "normals")]
    problems: list[str] = []

    def with_targets(*kept: str) -> FolderDataset | None:
        shown = replace(description, **dict.fromkeys(set(description.targets()) - set(kept)))
        return attempt(lambda: FolderDataset(root, split, shown, classes if "segmentation" in kept else None), problems)

    return with_targets(*(name for name in names if with_targets(name) is not None)), problems


def missing_files(dataset: FolderDataset) -> list[str]:
    """A sentence for each target that few samples lack, and for images that few targets lack; all are named."""
    problems: list[str] = []

    def add(sentence: str, paths: list[Path], todo: str) -> None:
        if 0 < len(paths) <= max(FEW * len(dataset), 1) and len(dataset) > 3:
            problems.append(f"{sentence}: {', '.join(map(str, paths))}; {todo}")

    for target, files in dataset.files.items():
        stored = [files[stem] for stem in dataset.stems if stem in files]
        lacking = [stored[0].with_name(s + stored[0].suffix) for s in dataset.stems if s not in files] if stored else []
        found = f"{len(stored)} of {len(dataset)} samples have {target}, these files are missing"
        add(found, lacking, "copy them again from their source, or remove the samples")
        without_image = [path for stem, path in files.items() if stem not in dataset.images]
        found = f"no image belongs to these files of {target}"
        add(found, without_image, "copy the images again from their source, or remove the files")
        if pairs := misnamed(lacking, without_image):
            problems.append(
                f"the names of {len(pairs)} images and their files of {target} do not match, such as "
                f"{pairs[0][0].stem} and {pairs[0][1].stem}: rename the files of {target}"
            )
        if absent := dataset.absent.get(target):
            problems.append(
                f"{len(absent)} files of {target} are listed and not there, such as {absent[0]}: correct the list, or "
                "copy them again from their source"
            )
    return problems


def misnamed(images: Sequence[Path], maps: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Images without a map and maps without an image of one number, written in two ways, as 007 and 7."""
    numbers = {int(path.stem): path for path in maps if path.stem.isdecimal()}
    pairs = [(path, numbers[int(path.stem)]) for path in images if path.stem.isdecimal() and int(path.stem) in numbers]
    return pairs if len(pairs) > 1 else []


def read(dataset: FolderDataset, index: int) -> Reading:
    """Whatever can be read of a sample. Labels that are no class are no fault of the file: labels.py reports them."""
    problems: list[str] = []
    stored = attempt(lambda: dataset.stored("depth", index), problems)
    metres = None if stored is None else attempt(lambda: dataset.values("depth", index, stored), problems)
    section = dataset.description.depth
    greatest = tail(stored, section) if stored is not None and metres is not None and section is not None else None
    ids, vectors = (attempt(lambda n=name: dataset.values(n, index), problems) for name in ("segmentation", "normals"))
    sample = attempt(lambda: dataset[index], [])
    if sample is None:
        fmt = dataset.description.segmentation
        unknown = fmt is not None and ids is not None and unknown_ids(np.unique(ids).tolist(), fmt)
        for name in dataset.files or [None]:  # one target at a time: the file of another may be broken
            part = copy(dataset)
            part.files = {} if name is None else {name: dataset.files[name]}
            found = [] if unknown and name == "segmentation" else problems
            if (piece := attempt(lambda part=part: part[index], found)) is not None:
                sample = replace(sample or piece, targets={**(sample.targets if sample else {}), **piece.targets})
    return Reading(dataset.stems[index], sample, metres, ids, vectors, tuple(problems), greatest)


def attempt(action: Callable[[], T], problems: list[str]) -> T | None:
    """What the action gives, or None and one more problem."""
    try:
        return action()
    except DataError as error:
        if str(error) not in problems:
            problems.append(str(error))
        return None


def collect(dataset: FolderDataset, most: int | None = None) -> SplitStatistics:
    """Read up to `most` samples, spread over the split; what cannot be read is among the problems of its sample."""
    indices = spread(len(dataset), most)
    thumbnails, outlined = ({indices[i] for i in spread(len(indices), some)} for some in (THUMBNAILS, OUTLINED))
    look = lru_cache(LOOKED_AT)(partial(look_at, dataset))  # several tests look at the same samples

    def kept(index: int) -> SampleStatistics:
        reading = read(dataset, index)
        one = sample_statistics(reading, dataset.description, index in thumbnails, index in outlined)
        return replace(one, place=(dataset.split, index), look=look)

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:  # OpenCV and numpy release Python's lock
        found = pool.map(kept, indices)
        samples = tuple(tqdm(found, f"reading {dataset.split}", len(indices), leave=False, disable=None))
    return SplitStatistics(dataset.description, samples, _depth_bits(dataset))


def look_at(dataset: FolderDataset, index: int) -> tuple[str, Lines] | None:
    """Name and outlines of a sample, read again; None where there is no such index."""
    if not 0 <= index < len(dataset):
        return None
    reading = read(dataset, index)
    return reading.stem, {} if reading.sample is None else kept_lines(outlines(*_small(reading.sample, reading.ids)))


def _depth_bits(dataset: FolderDataset) -> int | None:
    """Of the first depth file that can be read."""
    fmt = dataset.description.depth
    for path in dataset.files.get("depth", {}).values():
        stored = attempt(lambda path=path: read_values(path, fmt and fmt.key), [])
        if stored is not None:
            return 8 * stored.dtype.itemsize if stored.dtype.kind in "ui" else None
    return None


def sample_statistics(
    reading: Reading, description: Description, with_thumbnail: bool = False, with_lines: bool = True
) -> SampleStatistics:
    kept = SampleStatistics(reading.stem, reading.problems)
    if reading.ids is not None:
        values, counts = np.unique(reading.ids, return_counts=True)
        kept.values.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    if reading.vectors is not None:
        kept.lengths = _lengths(reading.vectors)
    sample = reading.sample
    if sample is None:
        return kept
    grey = cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY)
    kept.size = sample.size
    kept.fingerprint = cv2.resize(grey, FINGERPRINT[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
    kept.digest = hashlib.blake2b(sample.image.tobytes(), digest_size=8).digest()
    if (depth := reading.metres) is not None:
        known = KINDS["scalar_map"].valid(depth)
        values = depth[known]
        kept.depth = values[:: (values.size // 200) | 1].copy()  # an odd step: not the same columns in every row
        kept.farthest, kept.tail = float(values.max(initial=0)), reading.tail
        kept.invalid_percent = 100 * float(1 - known.mean())
        kept.jumps = _jumps(depth, description)
    if (labels := sample.targets.get("segmentation")) is not None:
        kept.labels = np.bincount(labels.ravel(), minlength=256)
    if with_thumbnail or with_lines:
        small, ids = _small(sample, reading.ids)
        kept.lines = kept_lines(outlines(small, ids)) if with_lines else {}
        kept.thumbnail = _thumbnail(sample, small, ids) if with_thumbnail else None
    return kept


def _lengths(vectors: np.ndarray) -> np.ndarray:
    """Some of the lengths of stored vectors; black and grey pixels mean 'no normal'."""
    some = vectors.reshape(-1, 3)[:: (vectors.size // 3000) | 1]
    length = np.linalg.norm(some, axis=-1)
    black = (np.abs(some) > 0.98).all(axis=-1)
    return length[(length > 0.05) & ~black]


def _jumps(depth: np.ndarray, description: Description) -> int:
    """Pairs of neighbours nearly 65536 steps apart: one just below where 16 bits end, one next to the camera."""
    fmt = description.depth
    if fmt is None or fmt.wraps or fmt.full_scale is not None:
        return 0
    end = WRAP * abs(fmt.scale)
    if depth.max() > end + abs(fmt.offset):  # more than 16 bits
        return 0
    depth = np.where(depth < end - 1.5 * abs(fmt.scale), depth, 0)  # the last value means beyond range, or unknown
    pairs = ((depth[:, 1:], depth[:, :-1]), (depth[1:], depth[:-1]))
    return sum(int(np.count_nonzero((np.abs(a - b) > 0.95 * end) & (a > 0) & (b > 0))) for a, b in pairs)


def _small(sample: Sample, ids: np.ndarray | None) -> tuple[Sample, np.ndarray | None]:
    """The sample and its stored labels at most WIDTH wide."""
    height, width = sample.size
    small = sample.resized((max(round(height * WIDTH / width), 1), WIDTH)) if width > WIDTH else sample
    if ids is not None:
        rows, columns = (((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(small.size, ids.shape, strict=True))
        ids = ids[np.ix_(rows, columns)]
    return small, ids


def _thumbnail(sample: Sample, small: Sample, ids: np.ndarray | None) -> Thumbnail:
    height, width = sample.size
    derived = None
    if (depth := small.targets.get("depth")) is not None:
        h, w = small.size
        derived = normals_from_depth(depth, small.intrinsics or Intrinsics(w, w, (w - 1) / 2, (h - 1) / 2))
    middle = sample.image[height // 8 : height - height // 8].min(axis=2).mean(axis=0)
    reach = max(width // 16, 4)
    return Thumbnail(small, ids, derived, np.stack([middle[:reach], middle[::-1][:reach]]), width)
