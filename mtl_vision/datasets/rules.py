"""What a `dataset.yaml` must keep to, beyond the types of its values."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mtl_vision.datasets import DataError
from mtl_vision.datasets.text import expect_name, shown
from mtl_vision.runtime.files import LONGEST

if TYPE_CHECKING:
    from mtl_vision.datasets.description import Description

FILE_NAME, SCENES = "dataset.yaml", "scenes.txt"  # what is written beside the splits
FAR_OFF = 1e6  # pixels
STARS = 4  # of a pattern: with links to folders above, each may lead to all of them once more
LONGEST_MATCH = 3600.0  # seconds between an image and its map


def check_rules(description: Description, where: str) -> None:
    """Raises DataError, which says what was expected; where: the file."""
    depth, normals, camera = description.depth, description.normals, description.intrinsics
    if description.numbered not in (None, 0, 1):
        raise DataError(f"{where}: numbered is {shown(str(description.numbered))}: expected 0 or 1, the first number")
    for name in description.targets():
        problem = getattr(description.section(name), "problem", lambda: None)()
        if problem is not None:
            raise DataError(f"{where}: {name}.{problem}")
    if camera is not None and set(camera) != {"fx", "fy", "cx", "cy", "height", "width"}:
        found = shown(str(sorted(camera)))
        raise DataError(f"{where}: intrinsics has {found}: expected fx, fy, cx, cy, height and width")
    if camera is not None and not (
        min(camera["fx"], camera["fy"]) > 1 / FAR_OFF
        and min(camera["height"], camera["width"]) >= 1
        and max(map(abs, camera.values())) <= FAR_OFF
    ):
        expected = "expected fx, fy, height and width above 0, in pixels, and none beyond a million"
        raise DataError(f"{where}: intrinsics is {camera}: {expected}")
    if description.crop is not None and (problem := _crop_problem(description.crop, camera)):
        raise DataError(f"{where}: crop {problem}")
    if normals is not None and normals.derive and (description.depth is None or camera is None):
        raise DataError(f"{where}: normals.derive needs depth and intrinsics; give both, or leave normals out")
    if camera is None and ((depth and depth.along == "ray") or (normals and normals.turn)):
        key = "depth.along: ray" if depth and depth.along == "ray" else "normals.turn"
        raise DataError(f"{where}: {key} needs intrinsics; give them, or leave it out")
    if description.match is not None and (not 0 < description.match <= LONGEST_MATCH or description.columns):
        found = f"match is {description.match:g}" + " beside columns" * bool(description.columns)
        raise DataError(f"{where}: {found}: expected seconds above 0 ({LONGEST_MATCH:g} at most), and no 'columns'")
    _check_patterns(description, where)
    if description.columns is not None and ("image" not in description.columns or description.lists is None):
        found = shown(str(description.columns))
        raise DataError(f"{where}: columns is {found}: expected 'image' among them, and lists")
    table = description.segmentation and description.segmentation.table
    for key, name in (("scenes", description.scenes), ("segmentation.table", table and table.get("file"))):
        if isinstance(name, str) and (PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts):
            raise DataError(f"{where}: {key} is {shown(repr(name))}: expected a file in the data set's folder")
    if starred := next((folder for folder in description.splits.values() if "*" in folder), None):
        raise DataError(f"{where}: the folder of a split is {shown(repr(starred))}: expected one without *")
    for name in (*description.splits, *(description.lists or ())):
        expect_name(name, f"{where}: the name of a split")
        if len(os.fsencode(name)) > LONGEST or name in (FILE_NAME, SCENES):
            raise DataError(
                f"{where}: the name of a split is {shown(repr(name))}: no folder can be called so; rename it"
            )


def _crop_problem(crop: dict[str, int], camera: dict[str, float] | None) -> str | None:
    """What is wrong with the crop of a camera's images."""
    if set(crop) != {"top", "left", "height", "width"}:
        return f"has {shown(str(sorted(crop)))}: expected top, left, height and width"
    if camera is None:
        return "is part of the images of 'intrinsics', which are not given: give both, or leave crop out"
    ends = crop["top"] + crop["height"], crop["left"] + crop["width"]
    fits = ends[0] <= camera["height"] and ends[1] <= camera["width"]
    if fits and min(crop["top"], crop["left"]) >= 0 and min(crop["height"], crop["width"]) >= 1:
        return None
    whole = f"{camera['height']:g}x{camera['width']:g}"
    return f"is {shown(str(crop))}: expected a part of the images of 'intrinsics', which are {whole} (height x width)"


def _check_patterns(description: Description, where: str) -> None:
    """Raises DataError for patterns that give other names than the images', or could lead through all folders."""
    sections = [description.section(name) for name in description.targets()]
    folders = [description.image, *(one.folder for one in sections if not getattr(one, "derive", False))]
    counts = {folder: folder.count("*") for folder in folders if "*" in folder}
    if counts and max(counts.values()) > STARS:
        raise DataError(f"{where}: {shown(max(counts, key=len))} has too many *: expected {STARS} at most")
    if len(set(counts.values())) > 1 and max(counts.values()) > 1:
        raise DataError(f"{where}: {shown(' and '.join(counts))} have different numbers of *: expected as many in each")
    if twice := next((folder for folder in counts if any(part.count("*") > 1 for part in folder.split("/"))), None):
        raise DataError(f"{where}: {shown(twice)} has two * in one name: expected one at most between two slashes")
