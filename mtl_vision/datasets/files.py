"""Which files make up the samples of a split: by folder, by pattern, by list, or by NYUv2's official numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

from mtl_vision.datasets.arrays import SUFFIXES
from mtl_vision.datasets.classes import facts
from mtl_vision.datasets.description import DataError, Description
from mtl_vision.datasets.lists import Paths, list_file, names, place_of, read_lines, rows


@dataclass(frozen=True)
class Layout:
    """The files of a split by the samples' names. A listed picture that is not there keeps its place in `images`."""

    stems: list[str]
    images: Paths
    targets: dict[str, Paths]
    scenes: dict[str, str] = field(default_factory=dict)


def find_files(root: Path, description: Description, split: str) -> Layout:
    """The layout of a split. A picture without a target's file simply lacks the target. Raises DataError."""
    d = description
    listed = _lines(root, d, split)
    if d.lists is not None and listed is None:
        return Layout([], {}, {})
    if d.columns is not None and listed is not None:
        layout = _by_columns(root, d, split, listed)
    else:
        images = _files(root, d, split, d.image)
        targets = {name: _files(root, d, split, folder) for name, folder in _folders(d).items()}
        stems = list(images)
        if listed is not None:
            stems = list(names(listed, images))
            images |= {stem: place(root, d, split, d.image) / f"{stem}.jpg" for stem in stems if stem not in images}
        elif d.numbered is not None:
            stems = [stem for stem in stems if _official(stem, d.numbered, place(root, d, split, d.image)) == split]
        layout = Layout(stems, images, targets)
    return Layout(_unique(layout.stems, split), layout.images, layout.targets, layout.scenes | _scenes(root, d))


def place(root: Path, description: Description, split: str, folder: str) -> Path:
    """The folder that a name in the description means, for a split."""
    base = description.splits.get(split, split)
    if "{split}" in folder:
        return root / folder.replace("{split}", base)
    return root / base / folder


def splits_there(root: Path, description: Description) -> list[str]:
    """The splits that are there: each has its list where lists tell the samples, else its folder of pictures."""

    def is_there(split: str) -> bool:
        if description.lists is not None:
            pattern = description.lists.get(split)
            return pattern is not None and list_file(root, pattern, split) is not None
        folder = place(root, description, split, description.image)
        return (folder.parent if "*" in folder.name else folder).is_dir()

    return [split for split in description.splits if is_there(split)]


def no_splits(root: Path, description: Description) -> DataError:
    """What to say where none is there."""
    key = "splits" if description.lists is None else "lists"
    places = ", ".join(getattr(description, key).values())
    return DataError(f"{root} has none of the {key} {places}: name them in '{key}' of the description")


def _folders(description: Description) -> dict[str, str]:
    """Where each target lies; derived normals lie nowhere."""
    formats = {name: getattr(description, name) for name in description.targets()}
    return {name: fmt.folder for name, fmt in formats.items() if not getattr(fmt, "derive", False)}


def _files(root: Path, description: Description, split: str, folder: str) -> Paths:
    """Files of a folder by the samples' names, numbers in their order; hidden ones (macOS leaves ._1.png) are none."""
    where = place(root, description, split, folder)
    pattern = where.name if "*" in where.name else None
    where = where.parent if pattern else where
    files: Paths = {}
    for path in sorted(where.iterdir(), key=natural) if where.is_dir() else ():
        stem = _star(path.name, pattern) if pattern else path.stem
        if stem is None or path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if stem in files:
            raise DataError(f"{where} has both {files[stem].name} and {path.name}: keep one file a sample")
        files[stem] = path
    return files


def _star(name: str, pattern: str) -> str | None:
    """What the star of a pattern stands for in a file's name."""
    before, after = pattern.split("*", 1)
    fits = name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)
    return name[len(before) : len(name) - len(after)] if fits else None


def natural(path: Path) -> tuple[tuple[int, int | str], ...]:
    """Sorts 2.npy before 10.npy."""
    parts = re.split(r"(\d+)", path.name)
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in parts if part)


def _lines(root: Path, description: Description, split: str) -> list[str] | None:
    """The lines of a split's list, if it has one."""
    pattern = (description.lists or {}).get(split)
    path = list_file(root, pattern, split) if pattern else None
    return read_lines(path) if path else None


def _by_columns(root: Path, description: Description, split: str, lines: Sequence[str]) -> Layout:
    """The list's lines give the files themselves; the name is the picture's path with _ for /."""
    # in the split's folder, in the root, in another split's folder
    others = [root / folder for name, folder in description.splits.items() if name != split]
    bases = [root / description.splits.get(split, split), root, *others]
    folder = PurePosixPath(description.image)
    layout = Layout([], {}, {name: {} for name in _folders(description)})
    for row in rows(lines, description.columns or [], bases, split):
        image = row["image"]
        inner = (image.relative_to(folder) if image.is_relative_to(folder) else image).with_suffix("")
        inner = inner.relative_to(inner.anchor)  # of a picture elsewhere: a name must not lead out of a folder
        stem = "_".join(inner.parts)
        layout.stems.append(stem)
        layout.images[stem] = place_of(image, bases)
        if len(inner.parts) > 1:
            layout.scenes[stem] = "/".join(inner.parts[:-1])
        for name in layout.targets.keys() & row.keys():
            if (path := place_of(row[name], bases)).exists():
                layout.targets[name][stem] = path
    return layout


def _unique(stems: list[str], split: str) -> list[str]:
    seen: set[str] = set()
    for stem in stems:
        if stem in seen:
            raise DataError(f"the list of split '{split}' names {stem} twice: once is enough")
        seen.add(stem)
    return stems


def _official(stem: str, first: int, folder: Path) -> str:
    """train or test, by NYUv2's official split; `first` is the number of the first frame."""
    if not stem.isdigit() or not 1 <= int(stem) - first + 1 <= 1449:
        raise DataError(
            f"{folder} has the picture {stem}: expected NYUv2's official numbers from {first} to {first + 1448}, as "
            "'numbered' in the description says"
        )
    return "test" if int(stem) - first + 1 in _test_numbers() else "train"


@cache
def _test_numbers() -> frozenset[int]:
    return frozenset(facts()["test_indices"])


def _scenes(root: Path, description: Description) -> dict[str, str]:
    if description.scenes is None:
        return {}
    path = root / description.scenes
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected lines of a sample and its scene ({error})") from error
    return dict(line.split(maxsplit=1) for line in lines if len(line.split(maxsplit=1)) == 2)
