"""Which images a user meant, and a name for the results of each."""

import os
import unicodedata
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path

from mtl_vision.runtime.files import LONGEST, shortened
from mtl_vision.runtime.images import SUFFIXES
from mtl_vision.runtime.results import RESULTS, Item


def collect(
    paths: Iterable[str | Path],
    out: str | Path,
    ending: int = len(".segmentation.png"),
    report: Callable[[str], None] = lambda text: None,
) -> list[Item]:
    """The images in files and folders, each once, in the order given, folders sorted.

    A file that is named is always taken, image or not, there or not. A folder is searched with all folders in it for
    known suffixes, in any case; hidden files and folders and the folder `out` are skipped. Links to folders are
    followed last, to each folder once. The name is the path below the folder, without suffix; with it, or with the
    folder in front, or numbered, where two would be the same; shortened, with a hash, where no name of a file could
    take `ending` more bytes. `report` gets a sentence when links were followed or names shortened.
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
        for file in _walk(path, out_path, report):
            found.setdefault(os.path.realpath(file), (file, path))
    return _named(list(found.values()), ending, report)


def _walk(folder: Path, out: str, report: Callable[[str], None]) -> Iterator[Path]:
    """What has an image's suffix below a folder, and folders that cannot be opened, so that each fails by its name."""
    waiting, links, seen, followed = [folder], deque[Path](), {_identity(out)}, 0
    below_out = os.path.join(out, "")  # noqa: PTH118 - with its last "/"
    apart = not os.path.realpath(folder).startswith(below_out)
    while waiting or links:
        linked = not waiting
        here = links.popleft() if linked else waiting.pop()
        identity = _identity(here)
        if identity in seen or (linked and apart and os.path.realpath(here).startswith(below_out)):
            continue
        seen.add(identity)
        followed += linked
        try:
            with os.scandir(here) as entries:
                kinds = sorted((entry.name, _kind(entry)) for entry in entries if entry.name[0] != ".")
        except OSError:
            yield here
            continue
        yield from (here / name for name, _ in kinds if Path(name).suffix.lower() in SUFFIXES)
        waiting += [here / name for name, kind in reversed(kinds) if kind == "folder"]
        links += [here / name for name, kind in kinds if kind == "link"]
    if followed:
        report(f"{followed} links to folders in '{folder}' were followed")


def _identity(folder: str | Path) -> object:
    """The same for all names of a folder; where it cannot be looked at, its name."""
    try:
        found = os.stat(folder)  # noqa: PTH116
        return found.st_dev, found.st_ino
    except OSError:
        return str(folder)


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        return ("link" if entry.is_symlink() else "folder") if entry.is_dir() else "file"
    except OSError:  # a link to itself, or a folder whose files may be listed but not looked at
        return "file"


def _named(files: list[tuple[Path, Path]], ending: int, report: Callable[[str], None]) -> list[Item]:
    """Name (path, root) pairs: the plainest of three names that no other file has, on any disk."""
    made: set[str] = set()

    def fitting(name: str) -> str:
        *folders, last = name.split("/")
        fits = [shortened(f, LONGEST, always=_key(f) == RESULTS) for f in folders] + [shortened(last, LONGEST - ending)]
        if (fit := "/".join(fits)) != name:
            made.add(fit)
        return fit

    fronts = {root: Path(os.path.realpath(root)).name for root in {root for _, root in files}}
    choices = []
    for path, root in files:
        below = path.relative_to(root)
        plain = (below.with_suffix(""), below, Path(fronts[root], below))
        choices.append([fitting(name.as_posix()) for name in plain])
    counts = Counter(_key(name) for names in choices for name in set(names))
    items, taken, numbers = [], set(), defaultdict[str, Iterator[int]](lambda: count(2))
    for (path, _), names in zip(files, choices, strict=True):
        last = names[-1]
        name = next((n for n in names if counts[_key(n)] == 1), last)
        while _key(name) in taken:
            name = fitting(f"{last}-{next(numbers[last])}")
        taken.add(_key(name))
        items.append((path, name))
    if cut := sum(name in made for _, name in items):
        report(f"{cut} names are too long for their results: shortened, with a hash ({RESULTS} lists them)")
    return items


def _key(name: str) -> str:
    """Equal for names that are one on some disk, blind to case or to how an accent is composed."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())
