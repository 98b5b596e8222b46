"""What a folder holds: by the description that was named, the one beside the data, or the form that it has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from mtl_vision.datasets.description import (
    FILE_NAME,
    DataError,
    Description,
    NormalsFormat,
    known_description,
    make_description,
    read_yaml,
)
from mtl_vision.datasets.files import find_files, splits_there
from mtl_vision.datasets.layouts import fitting, formats
from mtl_vision.runtime.near import did_you_mean

MAT = "nyu_depth_v2_labeled.mat"


def describe(root: Path, named: str | Path | None = None) -> Description:
    """The description of the data at `root`.

    named: a description's file, or the name of a known form (formats.py). Raises DataError where none can be told.
    """
    if not root.is_dir():
        raise DataError(_no_folder(root))
    if named is not None and str(named) in formats():
        return as_found(root, known_description(str(named)))
    if named is not None or (root / FILE_NAME).exists():
        return _described(root, Path(named) if named is not None else root / FILE_NAME)
    found = fitting(root)
    if len(found) == 1:
        return as_found(root, known_description(found[0]))
    if found:
        raise DataError(
            f"{root} could be {' or '.join(found)}: name it by --description (train.py: --data.description)"
        )
    if (root / MAT).exists():
        raise DataError(_to_convert(root))
    there = sorted(path.name for path in root.iterdir())[:20]
    raise DataError(
        f"{root} has no {FILE_NAME} and is none of the known forms ({', '.join(formats())}): expected a folder as "
        f"data/README.md tells, or a description of it; found {there}"
    )


def _no_folder(root: Path) -> str:
    if root.suffix == ".mat" and root.exists():
        return _to_convert(root)
    if root.name == FILE_NAME and root.exists():
        return f"{root} is a description: give the folder that it stands in, or give it by --description"
    return f"{root}: {'expected a folder, found a file' if root.exists() else 'no such folder'}"


def _to_convert(place: Path) -> str:
    return f"{place}: expected a folder of samples, found {MAT}: python data/prepare.py convert {place} --out DIR"


def _described(root: Path, path: Path) -> Description:
    """By a file; of a form that it takes over, what it does not speak of is as it is found."""
    if not path.exists() and not path.suffix:
        near = did_you_mean(path, formats())
        raise DataError(f"{path} is no file and no known form{near}; expected one of {', '.join(formats())}")
    data = read_yaml(path)
    description = make_description(data, str(path))
    return as_found(root, description, set(data)) if isinstance(data, Mapping) and "format" in data else description


def as_found(root: Path, description: Description, said: Collection[str] = ()) -> Description:
    """The description without the targets that no file holds; normals are then taken from depth, where that is told.

    said: targets that stay as they are.
    """
    stored: set[str] = set()
    any_read = False
    for split in splits_there(root, description):
        try:
            layout = find_files(root, description, split)
        except DataError:  # to open the split will say it
            continue
        any_read = True
        stored |= {name for name, files in layout.targets.items() if files}
    if not any_read:
        return description
    for name in set(description.targets()) - stored - set(said):
        if name != "normals" or not (description.normals and description.normals.derive):
            description = replace(description, **{name: None})
    if "normals" in said:
        return description
    normals = description.normals
    if description.depth is None or description.intrinsics is None:
        return replace(description, normals=None) if normals and normals.derive else description
    return description if normals else replace(description, normals=NormalsFormat(derive=True))
