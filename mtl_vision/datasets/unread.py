"""What lies in a data set's folders and is not read, and what is described and does not lie there."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from mtl_vision.datasets import DataError
from mtl_vision.datasets.arrays import SUFFIXES, read_values
from mtl_vision.datasets.description import Description
from mtl_vision.datasets.files import place
from mtl_vision.datasets.recognise import Recognised
from mtl_vision.datasets.text import shown

# formats of images and maps that are not read here
OTHERS = {".exr", ".npz", ".pfm", ".ppm", ".pgm", ".pnm", ".gif", ".jp2", ".hdr", ".dng", ".heic", ".avif", ".raw"}
FIRST = 10_000  # entries of a folder that are looked at
SMALLEST = 16  # pixels of a map's sides; arrays of fewer are poses and the like
NAMED = 8  # folders
WORD = re.compile(r"[^\W_]+")


def differences(root: Path, found: Recognised) -> list[str]:
    """What is described and not there, what is there and not read, axes that are not the layout's: a line each."""
    missing = [f"{name} ({folder})" for name, folder in found.missing.items()]
    unread = unread_maps(root, found.description, found.also)
    more = [f"and {len(unread) - NAMED} more"] * (len(unread) > NAMED)
    lines = {"described, but not there": missing, "there, but not read": unread[:NAMED] + more}
    said = [f"{what}: {', '.join(map(shown, names))}" for what, names in lines.items() if names]
    axes = [f"axes of the normals, by the depth of a few frames: [{', '.join(found.axes)}]"] if found.axes else []
    return said + axes


def unread_maps(root: Path, description: Description, also: Sequence[str] = ()) -> list[str]:
    """Folders of maps, and patterns of maps, that lie beside those that are read; as a description names them.

    also: folders that need not be read. Looks at the first entries of the data set's folder, of those of its splits
    and of those beside what is read, and no deeper.
    """
    d = description
    names = (d.image, *d.folders().values(), *([d.depth.raw] if d.depth and d.depth.raw else []), *also)
    read = {place(root, d, split, name) for split in d.splits for name in names}
    folder_of = {path: _folder(path, len(root.parts)) for path in read}
    folders = set(folder_of.values())
    # what lists name, and patterns of several stars, lies deeper
    deep = {folder for path, folder in folder_of.items() if d.columns is not None or folder not in (path, path.parent)}
    passed = folders | {parent for folder in folders for parent in folder.parents}
    candidates = {path for path in _beside(root, d, folders) if path not in passed and not deep & set(path.parents)}
    found = {_as_described(path, root, d) for path in candidates if _holds_maps(path)}
    for folder in folders & read if d.columns is None else ():  # lists name what lies deeper
        found |= {_as_described(path, root, d) for path in _inside(folder) if path not in passed and path not in read}
    for folder in folders - read:
        patterns = [path.name for path in read if path.parent == folder]
        found |= {_as_described(folder / kind, root, d) for kind in _kinds(folder, patterns)}
    return sorted(found)


def _inside(folder: Path) -> Iterator[Path]:
    """What lies in a folder that is read and is not: subfolders of maps, and files of formats that are not read."""
    yield from (path for path in _entries(folder, files=False) if _holds_maps(path))
    others = {path.suffix.lower() for path in _entries(folder, files=True)} & OTHERS
    yield from (folder / f"*{suffix}" for suffix in others)


def _folder(path: Path, inside: int) -> Path:
    """The folder of a pattern's files: what comes before its first star, `inside` parts from the start."""
    stars = [number for number, part in enumerate(path.parts) if number >= inside and "*" in part]
    return Path(*path.parts[: stars[0]]) if stars else path


def _beside(root: Path, d: Description, folders: set[Path]) -> Iterator[Path]:
    """Folders where maps may lie: the data set's, the splits', and those beside what is read."""
    bases = set(d.splits.values())
    parents = {root, *(root / base for base in bases), *(folder.parent for folder in folders)}
    # the split's folder may come last: depth/train lies beside normal/train
    ends = {(folder.parent.parent, folder.name) for folder in folders if folder.name in bases}
    for parent, last in {*((parent, "") for parent in parents), *ends}:
        if parent.is_relative_to(root):
            yield from (folder / last for folder in _entries(parent, files=False))


def _entries(folder: Path, files: bool) -> Iterator[Path]:
    """The first of a folder's files, or of its folders, without hidden ones; none where it cannot be listed."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in islice(entries, FIRST):
            if not entry.name.startswith((".", "__")) and entry.is_dir() != files:
                yield folder / entry.name


def _maps(folder: Path) -> Iterator[Path]:
    return (path for path in _entries(folder, files=True) if path.suffix.lower() in SUFFIXES)


def _holds_maps(folder: Path) -> bool:
    """Whether the first file of ours is an image or an array as large as one."""
    path = next(_maps(folder), None)
    if path is None or path.suffix.lower() not in (".npy", ".mat"):
        return path is not None
    try:
        return min(read_values(path).shape[:2]) >= SMALLEST
    except DataError:
        return path.suffix.lower() == ".mat"  # of several variables


def _kinds(folder: Path, patterns: Sequence[str]) -> set[str]:
    """Patterns of the files in a folder that none of the patterns matches."""
    ends = [pattern.partition("*")[::2] for pattern in patterns]
    samples: set[str] = set()
    others: list[str] = []
    for name in (path.name for path in _maps(folder)):
        fitting = [name[len(a) : len(name) - len(b)] for a, b in ends if name.startswith(a) and name.endswith(b)]
        samples.update(fitting)
        others += [] if fitting else [name]
    counts = Counter(kind for name in others if (kind := _kind(name, samples)) is not None)
    return {kind for kind, count in counts.items() if count > 1 or len(samples) < 2}  # one file is no kind


def _kind(name: str, samples: set[str]) -> str | None:
    """The name with a star for the sample's, or for its longest number."""
    spans = [word.span() for word in WORD.finditer(name)]
    parts = [name[start:end] for start, _ in spans for _, end in spans if end > start]
    known = [part for part in parts if part in samples] or re.findall(r"\d+", name)
    return name.replace(max(known, key=len), "*", 1) if known else None


def _as_described(path: Path, root: Path, d: Description) -> str:
    """A folder's name as in the description: in the split's folder, or with {split} for it."""
    bases = sorted({base for base in d.splits.values() if base not in (".", "")}, key=len, reverse=True)
    for base in bases:
        if path.is_relative_to(root / base):
            return path.relative_to(root / base).as_posix()
    name = path.relative_to(root).as_posix()
    for base in bases:
        name = re.sub(rf"(?<![^\W_]){re.escape(base)}(?![^\W_])", "{split}", name)
    return name
