"""What a folder holds: by the description that was named, the one beside the data, or the form that it has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mtl_vision.data.description import (
    FILE_NAME,
    DataError,
    Description,
    NormalsFormat,
    known_description,
    read_description,
)
from mtl_vision.data.formats import fitting, formats
from mtl_vision.data.layout import find_files, splits_there

MAT = "nyu_depth_v2_labeled.mat"


def describe(root: Path, named: str | Path | None = None) -> Description:
    """The description of the data at `root`.

    named: a description's file, or the name of a known form (formats.py). Raises DataError where none can be told.
    """
    if named is not None and str(named) in formats():
        return as_found(root, known_description(str(named)))
    if named is not None or (root / FILE_NAME).exists():
        return read_description(Path(named) if named is not None else root / FILE_NAME)
    found = fitting(root) if root.is_dir() else []
    if len(found) == 1:
        return as_found(root, known_description(found[0]))
    if found:
        raise DataError(f"{root} could be {' or '.join(found)}: name the one that it is")
    if root.suffix == ".mat" or (root / MAT).exists():
        raise DataError(
            f"{root}: expected a folder of samples, found {MAT}: python data/prepare.py convert {root} --out DIR"
        )
    there = sorted(path.name for path in root.iterdir())[:20] if root.is_dir() else "no such folder"
    raise DataError(
        f"{root} has no {FILE_NAME} and is none of the known forms ({', '.join(formats())}): expected a folder as "
        f"data/README.md tells, or a description of it; found {there}"
    )


def as_found(root: Path, description: Description) -> Description:
    """The description without the targets that no file holds; normals are then taken from depth, where that is told."""
    layouts = [find_files(root, description, split) for split in splits_there(root, description)]
    stored = {name for layout in layouts for name, files in layout.targets.items() if files}
    for name in set(description.targets()) - stored:
        if name != "normals" or not (description.normals and description.normals.derive):
            description = replace(description, **{name: None})
    normals = description.normals
    if description.depth is None or description.intrinsics is None:
        return replace(description, normals=None) if normals and normals.derive else description
    return description if normals else replace(description, normals=NormalsFormat(derive=True))
