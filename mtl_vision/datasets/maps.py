"""One map of a sample, from its file to the project's conventions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mtl_vision.datasets import DataError
from mtl_vision.datasets.arrays import read_values
from mtl_vision.datasets.classes import ClassSet
from mtl_vision.datasets.description import Description
from mtl_vision.datasets.targets import kind_of, target_of


def read_stored(path: Path, name: str, description: Description) -> np.ndarray:
    """A target's file as it is, (H, W) or (H, W, 3) of any type. Raises DataError that names the file."""
    return read_values(path, getattr(description.section(name), "key", None), target_of(name).kind == "label_map")


def read_map(
    path: Path, name: str, description: Description, root: Path, stored: np.ndarray | None = None
) -> np.ndarray | None:
    """What a target's file holds, upright: metres, stored ids, vectors of any length; None of a target without files.

    stored: the file as it is, where it has been read already. Raises DataError that names the file.
    """
    target, section = target_of(name), description.section(name)
    if target.read is None:
        return None
    stored = read_stored(path, name, description) if stored is None else stored
    with _named(path):
        values = target.read(stored, section)
        if description.mirrored:
            values = kind_of(name).flip(values)
        if target.place is None:
            return values
        return target.place(values, section, root, description.camera(values.shape[:2]))


def finish_map(
    values: np.ndarray, path: Path, name: str, description: Description, classes: ClassSet | None = None
) -> np.ndarray:
    """The map of what `read_map` gave, such as class ids in `classes`. Raises DataError that names the file."""
    finish = target_of(name).finish
    with _named(path):
        return values if finish is None else finish(values, description.section(name), classes)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors name the file. Numbers that are none (infinity, signalling NaN) raise no warnings of numpy's."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except (DataError, MemoryError) as error:
        found = error if isinstance(error, DataError) else "too large for the memory there is"
        raise DataError(f"{path}: {found}") from error
