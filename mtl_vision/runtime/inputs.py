"""Which images a user meant, and a name for the results of each."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, count
from pathlib import Path

from mtl_vision.runtime.images import SUFFIXES

Item = tuple[Path, str]  # an image's path, and the name of its results: no suffix, "/" between folders


def collect(paths: Iterable[str | Path], out: str | Path) -> list[Item]:
    """The images in files and folders, each once, in the order given, folders sorted.

    A file that is named is always taken, image or not, there or not. A folder is searched with all folders in it for
    known suffixes, in any case; hidden files and folders and the folder `out` are skipped. The name is the path below
    the folder, without suffix; with it, or with the folder in front, or numbered, where two would be the same.
    Raises ValueError when `out` is one of the folders: results would be taken for images.
    """
    out_path = os.path.realpath(out)
    found: dict[str, tuple[Path, Path]] = {}
    for path in map(Path, paths):
        if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises an error for a name that is too long
            found.setdefault(os.path.realpath(path), (path, path.parent))
            continue
        if os.path.realpath(path) == out_path:
            raise ValueError(f"'{path}' is both an input and the output folder; choose another output folder")
        for file in _walk(path, out_path):
            found.setdefault(os.path.realpath(file), (file, path))
    return _named(list(found.values()))


def _walk(folder: Path, out: str) -> Iterator[Path]:
    closed: list[Path] = []
    for root, folders, files in os.walk(folder, onerror=lambda e: closed.append(Path(e.filename))):
        folders[:] = sorted(f for f in folders if f[0] != "." and os.path.realpath(Path(root, f)) != out)
        # A folder with an image's suffix, or one that cannot be opened, is listed too, so that it fails by name
        names = (f for f in sorted(files + folders) if f[0] != "." and Path(f).suffix.lower() in SUFFIXES)
        yield from (Path(root, name) for name in names)
    yield from closed


def _named(files: list[tuple[Path, Path]]) -> list[Item]:
    """Name (path, root) pairs: the plainest of three names that no other file has, as case-blind disks see it."""
    choices = []
    for path, root in files:
        below = path.relative_to(root)
        choices.append([n.as_posix() for n in (below.with_suffix(""), below, Path(root.resolve().name, below))])
    counts = Counter(name.casefold() for names in choices for name in set(names))
    items, taken = [], set()
    for (path, _), names in zip(files, choices, strict=True):
        name = next((n for n in names if counts[n.casefold()] == 1), names[-1])
        numbered = chain([name], (f"{name}-{i}" for i in count(2)))
        name = next(n for n in numbered if n.casefold() not in taken)
        taken.add(name.casefold())
        items.append((path, name))
    return items
