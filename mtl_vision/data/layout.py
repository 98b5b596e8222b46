"""Which files make up the samples of a split: by folder, by pattern, by list, or by NYUv2's official numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

from mtl_vision.data.arrays import SUFFIXES
from mtl_vision.data.classes import facts
from mtl_vision.data.description import DataError, Description

Paths = dict[str, Path]


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
    listed = _list_of(root, d, split)
    if d.lists is not None and listed is None:
        return Layout([], {}, {})
    if d.columns is not None and listed is not None:
        layout = _by_columns(root, d, split, listed)
    else:
        images = _files(root, d, split, d.image)
        targets = {name: _files(root, d, split, folder) for name, folder in _folders(d).items()}
        stems = list(images)
        if listed is not None:
            stems = [_name(line.split()[0], images) for line in listed]
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
            return _list_file(root, description, split) is not None
        folder = place(root, description, split, description.image)
        return (folder.parent if "*" in folder.name else folder).is_dir()

    return [split for split in description.splits if is_there(split)]


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


# lists


def _list_file(root: Path, description: Description, split: str) -> Path | None:
    pattern = (description.lists or {}).get(split)
    found = sorted(root.glob(pattern)) if pattern else []
    if len(found) > 1:
        raise DataError(
            f"{root} has {len(found)} lists for split '{split}' ({', '.join(path.name for path in found)}): name one "
            "of them in 'lists' of the description"
        )
    return found[0] if found else None


def _list_of(root: Path, description: Description, split: str) -> list[str] | None:
    """The lines of a split's list, if it has one; empty ones and comments are left out."""
    path = _list_file(root, description, split)
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can not be read as a list of samples: {error}") from error
    return [line for line in map(str.strip, lines) if line and not line.startswith("#")]


def _name(entry: str, images: Paths) -> str:
    """The sample that a list's entry names, with or without folder and suffix."""
    name = PurePosixPath(entry).name
    return name if name in images else PurePosixPath(name).stem if "." in name else name


def _by_columns(root: Path, description: Description, split: str, lines: Iterable[str]) -> Layout:
    """The list's lines give the files themselves; the name is the picture's path with _ for /."""
    columns = description.columns or []
    bases = _bases(root, description, split)
    folder = "" if description.image == "." else f"{description.image}/"
    layout = Layout([], {}, {name: {} for name in _folders(description)})
    for line in lines:
        entries = dict(zip(columns, line.split(), strict=False))
        if "image" not in entries:
            raise DataError(f"the list of split '{split}' has the line '{line}': expected {' '.join(columns)}")
        entry = entries["image"].lstrip("/")
        inner = PurePosixPath(entry.removeprefix(folder)).with_suffix("")
        stem = "_".join(inner.parts)
        layout.stems.append(stem)
        layout.images[stem] = _where(entry, bases)
        if len(inner.parts) > 1:
            layout.scenes[stem] = "/".join(inner.parts[:-1])
        for name in layout.targets.keys() & entries.keys():
            if (path := _where(entries[name].lstrip("/"), bases)).exists():
                layout.targets[name][stem] = path
    return layout


def _bases(root: Path, description: Description, split: str) -> list[Path]:
    """Where a list's paths may begin: in the split's folder, in the root, in another split's folder."""
    others = [root / folder for name, folder in description.splits.items() if name != split]
    return [root / description.splits.get(split, split), root, *others]


def _where(entry: str, bases: list[Path]) -> Path:
    return next((base / entry for base in bases if (base / entry).exists()), bases[0] / entry)


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
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected lines of a sample and its scene ({error})") from error
    return dict(line.split(maxsplit=1) for line in lines if len(line.split(maxsplit=1)) == 2)
