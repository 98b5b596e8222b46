"""Which files make up the samples of a split: by folder, by pattern, by time, by list, or by official numbers."""

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
from mtl_vision.datasets.layouts import layouts
from mtl_vision.datasets.match import by_time
from mtl_vision.datasets.patterns import matching, name_of, scene_of
from mtl_vision.datasets.text import LONGEST, explained, read_text, shown

Paths = dict[str, Path]
SHOWN = 8  # names in a folder that an error shows
NO_FILE = {"", "-", "none", "null", "nan"}  # what lists have in the column of a target that a sample lacks
FILE = re.compile(rf"(.*?({'|'.join(map(re.escape, SUFFIXES))}))(\s|$)", re.IGNORECASE)


@dataclass(frozen=True)
class SplitFiles:
    """The files of a split by the samples' names. A listed image that is not there keeps its place in `images`.

    absent: files of targets that a list names and that are not there.
    """

    stems: list[str]
    images: Paths
    targets: dict[str, Paths]
    scenes: dict[str, str] = field(default_factory=dict)
    absent: dict[str, list[Path]] = field(default_factory=dict)
    no_list: str | None = None  # the list of the split, where it should be and is not


@explained
def find_files(root: Path, description: Description, split: str) -> SplitFiles:
    """The files of a split. An image without a target's file simply lacks the target. Raises DataError."""
    d = description
    path = _list(root, d, split)
    listed = _lines(path) if path else []
    if d.lists is not None and not listed:
        return SplitFiles([], {}, {}, no_list=d.lists.get(split))
    if d.columns is not None and path:
        between = "," if path.suffix.lower() == ".csv" else None  # else spaces
        found = _by_columns(root, d, split, [line.split(between) for line in listed])
    else:
        scenes: dict[str, str] = {}
        images = _files(root, d, split, d.image, scenes)
        targets = {name: _files(root, d, split, folder) for name, folder in d.folders().items()}
        if d.match is not None:
            images, targets = _matched(images, targets, d.match)
        stems = list(images)
        if listed:
            stems = list(names(listed, images))
            images |= {stem: place(root, d, split, d.image) / f"{stem}.jpg" for stem in stems if stem not in images}
        elif d.numbered is not None:
            stems = [stem for stem in stems if _official(stem, d.numbered, place(root, d, split, d.image)) == split]
        found = SplitFiles(stems, images, targets, scenes)
    if twice := [stem for stem, count in Counter(found.stems).items() if count > 1]:
        raise DataError(f"the list of split '{split}' names {twice[0]} twice: once is enough")
    return replace(found, scenes=found.scenes | _scenes(root, d))


def place(root: Path, description: Description, split: str, folder: str) -> Path:
    """The folder, or the pattern, that a name in the description means, for a split."""
    where, parts = _pattern(root, description, split, folder)
    return where.joinpath(*parts)


def _pattern(root: Path, description: Description, split: str, folder: str) -> tuple[Path, tuple[str, ...]]:
    """The folder that a name means, without what begins with its first star; and that."""
    base = description.splits.get(split, split)
    parts = PurePosixPath(folder.replace("{split}", base)).parts
    first = next((i for i, part in enumerate(parts) if "*" in part), len(parts))
    return (root if "{split}" in folder else root / base).joinpath(*parts[:first]), parts[first:]


@explained
def splits_there(root: Path, description: Description) -> list[str]:
    """The splits that are there: each has its list where there are lists, else its folder of images."""

    def is_there(split: str) -> bool:
        if description.lists is not None:
            return _list(root, description, split) is not None
        return _pattern(root, description, split, description.image)[0].is_dir()

    return [split for split in description.splits if is_there(split)]


def expect_splits(root: Path, description: Description) -> list[str]:
    """The splits that are there. Raises DataError where none is."""
    if found := splits_there(root, description):
        return found
    for split, folder in description.splits.items() if description.lists is None else ():
        if folder not in ("", ".") and (root / folder).is_dir():
            expected = place(root, description, split, description.image)
            there = ", ".join(sorted(path.name for path in (root / folder).iterdir())[:SHOWN]) or "nothing"
            raise DataError(
                f"{root} has the split '{split}', but not its images: expected {expected}, found {shown(there)}; name "
                "their folder as 'image' in the description"
            )
    key = "splits" if description.lists is None else "lists"
    places = shown(", ".join(getattr(description, key).values()))
    published = [
        known.taken_from for known in layouts().values() if known.description.get("lists") == description.lists
    ]
    source = next((said["lists"] for said in published if "lists" in said), None) if description.lists else None
    todo = f"put {source} there, or name others in" if source else "name them in"
    raise DataError(f"{root} has none of the {key} {places}: {todo} '{key}' of the description")


def _files(
    root: Path, description: Description, split: str, folder: str, scenes: dict[str, str] | None = None
) -> Paths:
    """Files of a folder or a pattern by the samples' names, numbers in their order; scenes: gets the patterns'."""
    where, parts = _pattern(root, description, split, folder)
    files: Paths = {}
    for stars, path in matching(where, parts or ("*",)):
        if path.suffix.lower() not in SUFFIXES:
            continue
        stem = name_of(stars) if parts else path.stem
        if stem in files:
            both = f"{files[stem].relative_to(where)} and {path.relative_to(where)}"
            raise DataError(f"{where} has both {both}: keep one file a sample")
        files[stem] = path
        if scenes is not None and scene_of(stars):
            scenes[stem] = scene_of(stars)
    return files


def _matched(images: Paths, targets: dict[str, Paths], seconds: float) -> tuple[Paths, dict[str, Paths]]:
    """The images that have a map near in time, all where there are no targets, and the maps under the images' names."""
    if not targets:
        return images, targets
    pairs = {name: by_time(list(images), list(files), seconds) for name, files in targets.items()}
    kept = {stem: path for stem, path in images.items() if any(stem in found for found in pairs.values())}
    return kept, {name: {stem: targets[name][map_] for stem, map_ in found.items()} for name, found in pairs.items()}


def spread(count: int, most: int | None) -> list[int]:
    """At most `most` indices, evenly over 0..count - 1."""
    return sorted({round(i) for i in np.linspace(0, count - 1, count if most is None else min(count, most))})


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


def _by_columns(root: Path, description: Description, split: str, rows: Sequence[Sequence[str]]) -> SplitFiles:
    """The list's columns give the files themselves; the name is the image's path with _ for /."""
    # in the split's folder, in the root, in another split's folder
    own = description.splits.get(split, split)
    others = [root / folder for name, folder in description.splits.items() if name != split]
    bases = [root / own, root, *others]
    folder = PurePosixPath(description.image.replace("{split}", own))
    found = SplitFiles([], {}, {name: {} for name in description.folders()})
    columns = description.columns or []
    for entered in rows:
        entries = {column: entry.strip() for column, entry in zip(columns, entered, strict=False)}
        if not PurePosixPath(entries.get("image", "")).name:
            line, expected = shown(" ".join(entered)), " ".join(columns)
            raise DataError(f"the list of split '{split}' has the line '{line}': expected {expected}")
        row = {column: _within(entry, bases) for column, entry in entries.items()}
        image = row["image"]
        inner = (image.relative_to(folder) if folder in image.parents else image).with_suffix("")
        inner = inner.relative_to(inner.anchor)  # of an image elsewhere: a name must not lead out of a folder
        stem = "_".join(inner.parts)
        found.stems.append(stem)
        found.images[stem] = _place_of(image, bases)
        if len(inner.parts) > 1:
            found.scenes[stem] = "/".join(inner.parts[:-1])
        for name in (name for name in found.targets.keys() & row.keys() if entries[name].lower() not in NO_FILE):
            if (path := _place_of(row[name], bases)).exists():
                found.targets[name][stem] = path
            else:
                found.absent.setdefault(name, []).append(path)
    return found


def _within(entry: str, bases: Sequence[Path]) -> PurePosixPath:
    """A list's path without what leads to the base: some lists begin them with a slash, some are absolute."""
    path = Path(entry)
    if not path.is_absolute() or not path.exists():
        return PurePosixPath(entry.lstrip("/"))
    base = next((base for base in map(Path.absolute, bases) if path.is_relative_to(base)), None)
    return PurePosixPath(path.relative_to(base) if base else path)


def _place_of(entry: PurePosixPath, bases: Sequence[Path]) -> Path:
    """Where it is, or would be. A first folder that is nowhere may be what the data set's own was called."""
    inner = PurePosixPath(*entry.parts[1:])
    if inner.parts and not any((base / entry.parts[0]).exists() for base in bases):
        entry = inner
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
