"""Which files make up the samples of a split: by folder, by pattern, by list, or by NYUv2's official numbers."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from mtl_vision.datasets import DataError
from mtl_vision.datasets.arrays import SUFFIXES
from mtl_vision.datasets.classes import facts
from mtl_vision.datasets.description import Description
from mtl_vision.datasets.text import LONGEST, explained, read_text, shown

Paths = dict[str, Path]
FILE = re.compile(rf"(.*?({'|'.join(map(re.escape, SUFFIXES))}))(\s|$)", re.IGNORECASE)


@dataclass(frozen=True)
class SplitFiles:
    """The files of a split by the samples' names. A listed image that is not there keeps its place in `images`."""

    stems: list[str]
    images: Paths
    targets: dict[str, Paths]
    scenes: dict[str, str] = field(default_factory=dict)


@explained
def find_files(root: Path, description: Description, split: str) -> SplitFiles:
    """The files of a split. An image without a target's file simply lacks the target. Raises DataError."""
    d = description
    path = _list(root, d, split)
    listed = _lines(path) if path else []
    if d.lists is not None and not listed:
        return SplitFiles([], {}, {})
    if d.columns is not None and listed:
        found = _by_columns(root, d, split, listed)
    else:
        images = _files(root, d, split, d.image)
        targets = {name: _files(root, d, split, folder) for name, folder in _folders(d).items()}
        stems = list(images)
        if listed:
            stems = list(names(listed, images))
            images |= {stem: place(root, d, split, d.image) / f"{stem}.jpg" for stem in stems if stem not in images}
        elif d.numbered is not None:
            stems = [stem for stem in stems if _official(stem, d.numbered, place(root, d, split, d.image)) == split]
        found = SplitFiles(stems, images, targets)
    if twice := [stem for stem, count in Counter(found.stems).items() if count > 1]:
        raise DataError(f"the list of split '{split}' names {twice[0]} twice: once is enough")
    return replace(found, scenes=found.scenes | _scenes(root, d))


def place(root: Path, description: Description, split: str, folder: str) -> Path:
    """The folder that a name in the description means, for a split."""
    base = description.splits.get(split, split)
    if "{split}" in folder:
        return root / folder.replace("{split}", base)
    return root / base / folder


@explained
def splits_there(root: Path, description: Description) -> list[str]:
    """The splits that are there: each has its list where there are lists, else its folder of images."""

    def is_there(split: str) -> bool:
        if description.lists is not None:
            return _list(root, description, split) is not None
        folder = place(root, description, split, description.image)
        return (folder.parent if "*" in folder.name else folder).is_dir()

    return [split for split in description.splits if is_there(split)]


def expect_splits(root: Path, description: Description) -> list[str]:
    """The splits that are there. Raises DataError where none is."""
    if found := splits_there(root, description):
        return found
    key = "splits" if description.lists is None else "lists"
    places = shown(", ".join(getattr(description, key).values()))
    raise DataError(f"{root} has none of the {key} {places}: name them in '{key}' of the description")


def _folders(description: Description) -> dict[str, str]:
    """The folder of each target that has files."""
    return description.folders()


def _files(root: Path, description: Description, split: str, folder: str) -> Paths:
    """Files of a folder by the samples' names, numbers in their order; hidden ones (macOS leaves ._1.png) are none."""
    where = place(root, description, split, folder)
    before, star, after = where.name.partition("*")
    where = where.parent if star else where
    files: Paths = {}
    for path in sorted(where.iterdir(), key=natural) if where.is_dir() else ():
        stem = path.name[len(before) : len(path.name) - len(after)] if star else path.stem
        fits = not star or (stem and path.name == before + stem + after)
        if not fits or path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if stem in files:
            raise DataError(f"{where} has both {files[stem].name} and {path.name}: keep one file a sample")
        files[stem] = path
    return files


def spread(count: int, most: int | None) -> list[int]:
    """At most `most` indices, evenly over 0..count - 1."""
    return sorted({round(i) for i in np.linspace(0, count - 1, count if most is None else min(count, most))})


def natural(path: Path) -> tuple[tuple[int, int | str], ...]:
    """Sorts 2.npy before 10.npy."""
    parts = re.split(r"(\d+)", path.name)
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def _list(root: Path, description: Description, split: str) -> Path | None:
    """The file that lists a split, by its name or a pattern; None if there is none."""
    if not (pattern := (description.lists or {}).get(split)):
        return None
    if (root / pattern).exists():  # a folder or a pipe is an error when it is read
        return root / pattern
    folder, _, name = pattern.rpartition("/")
    if "**" in name or any(sign in folder for sign in "*?["):  # which could lead through all folders there are
        raise DataError(f"lists: '{shown(pattern)}' is no pattern of a file's name: expected the * in its last part")
    found = sorted((root / folder).glob(name)) if any(sign in name for sign in "*?[") else []
    found = [path for path in found if not path.name.startswith(".")]  # macOS leaves ._train.txt
    if len(found) > 1:
        there = f"{len(found)} lists for split '{split}' ({', '.join(path.name for path in found)})"
        raise DataError(f"{root} has {there}: name one of them in 'lists' of the description")
    return found[0] if found else None


def _lines(path: Path) -> list[str]:
    """The lines of a list, paths with slashes, without empty ones and comments. Raises DataError if none is left."""
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can not be read as a list of samples: {error}") from error
    lines = [line.strip().replace("\\", "/") for line in text.splitlines()]
    if not (kept := [line for line in lines if line and not line.startswith("#")]):
        raise DataError(f"{path} lists no sample: expected one a line")
    if wrong := next((line for line in kept if "\0" in line or len(line) > LONGEST), None):
        raise DataError(f"{path} has the line {shown(repr(wrong))}: expected a sample's name, or paths of its files")
    return kept


def names(lines: Sequence[str], images: Paths) -> Iterator[str]:
    """The samples that lines name, with or without folder and suffix, in their first column."""
    for line in lines:
        found = FILE.match(line)  # which may have spaces
        entry = found.group(1) if found else line if PurePosixPath(line).name in images else line.split()[0]
        name = PurePosixPath(entry).name
        yield name if name in images or not found else PurePosixPath(name).stem


def _by_columns(root: Path, description: Description, split: str, lines: Sequence[str]) -> SplitFiles:
    """The list's lines give the files themselves; the name is the image's path with _ for /."""
    # in the split's folder, in the root, in another split's folder
    others = [root / folder for name, folder in description.splits.items() if name != split]
    bases = [root / description.splits.get(split, split), root, *others]
    folder = PurePosixPath(description.image)
    found = SplitFiles([], {}, {name: {} for name in _folders(description)})
    columns = description.columns or []
    for line in lines:
        entries = dict(zip(columns, line.split(), strict=False))
        if not PurePosixPath(entries.get("image", "")).name:
            raise DataError(f"the list of split '{split}' has the line '{shown(line)}': expected {' '.join(columns)}")
        row = {column: _within(entry, bases) for column, entry in entries.items()}
        image = row["image"]
        inner = (image.relative_to(folder) if folder in image.parents else image).with_suffix("")
        inner = inner.relative_to(inner.anchor)  # of an image elsewhere: a name must not lead out of a folder
        stem = "_".join(inner.parts)
        found.stems.append(stem)
        found.images[stem] = _place_of(image, bases)
        if len(inner.parts) > 1:
            found.scenes[stem] = "/".join(inner.parts[:-1])
        for name in found.targets.keys() & row.keys():
            if (path := _place_of(row[name], bases)).exists():
                found.targets[name][stem] = path
    return found


def _within(entry: str, bases: Sequence[Path]) -> PurePosixPath:
    """A list's path without what leads to the base: some lists begin them with a slash, some are absolute."""
    path = Path(entry)
    if not path.is_absolute() or not path.exists():
        return PurePosixPath(entry.lstrip("/"))
    base = next((base for base in map(Path.absolute, bases) if path.is_relative_to(base)), None)
    return PurePosixPath(path.relative_to(base) if base else path)


def _place_of(entry: PurePosixPath, bases: Sequence[Path]) -> Path:
    """Where it is, or would be."""
    return next((base / entry for base in bases if (base / entry).exists()), bases[0] / entry)


def _official(stem: str, first: int, folder: Path) -> str:
    """train or test, by NYUv2's official split; `first` is the number of the first frame."""
    number = int(stem) - first + 1 if stem.isdecimal() else 0
    if not 1 <= number <= 1449:
        raise DataError(
            f"{folder} has the image {stem}: expected NYUv2's official numbers from {first} to {first + 1448}, as "
            "'numbered' in the description says"
        )
    return "test" if number in facts()["test_indices"] else "train"


def _scenes(root: Path, description: Description) -> dict[str, str]:
    if description.scenes is None:
        return {}
    path = root / description.scenes
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected lines of a sample and its scene ({error})") from error
    return dict(line.split(maxsplit=1) for line in lines if len(line.split(maxsplit=1)) == 2)
