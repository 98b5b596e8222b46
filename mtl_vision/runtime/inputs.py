"""Which images a user meant, and a name for the results of each."""

import os
import unicodedata
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from glob import has_magic, iglob
from itertools import count, takewhile
from pathlib import Path

from mtl_vision.runtime.files import LONGEST, shortened
from mtl_vision.runtime.images import SUFFIXES
from mtl_vision.runtime.results import RESULTS, Item, is_results, written_in

File = tuple[Path, Path, bool]  # an image, the folder that its name begins below, whether it was found there


def collect(
    paths: Iterable[str | Path],
    out: str | Path,
    ending: int = len(".segmentation.png"),
    report: Callable[[str], None] = lambda text: None,
    written: Collection[str] = (),
    listed: Iterable[Sequence[Path]] = (),
) -> list[Item]:
    """The images in files and folders, each once, in the order given, folders sorted.

    A pattern (`photos/**/*.jpg`) stands for the images that it matches, as if found in the folder before its first
    wildcard. listed: paths of lists; their names begin below the folder that a list's paths have in common. A file that
    is named is always taken, image or not, there or not. A folder is searched with all folders in it for
    known suffixes, in any case; hidden files and folders and the folder `out` are left out, and so are the results of
    earlier runs: files in and below a folder with a `results.jsonl` that end as that run's did, or as `written` says
    that a run's do (".depth.png"). Links to folders are followed last, to each folder once. The name is the path below
    the folder, without suffix; with it, or with the folder in front, or numbered, where two would be the same;
    shortened, with a hash, where no name of a file could take `ending` more bytes. `report` gets a sentence when links
    were followed, names shortened, or results left out.
    Raises ValueError when `out` is one of the folders: results would be taken for images.
    """
    out_path = os.path.realpath(out)
    found: dict[str, File] = {}
    ends_there = cache(written_in)  # what an earlier run wrote there
    linked = results = 0

    def is_result(path: Path, root: Path) -> bool:
        below = [*takewhile(lambda folder: folder != root, path.parents), root]
        ends = (own for folder in below if (own := ends_there(folder)) is not None)
        return any(path.name.endswith((*own, *written)) for own in ends)

    def add(path: Path, root: Path, by_pattern: bool = False) -> None:
        nonlocal linked, results
        if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises an error for a name that is too long
            real = os.path.realpath(path)
            if not by_pattern:
                before = found.get(real, (path, root))[:2]
                linked += os.path.abspath(before[0]) != os.path.abspath(path)  # noqa: PTH100
                found[real] = (*before, False)
            elif path.suffix.lower() not in SUFFIXES or real.startswith(os.path.join(out_path, "")):  # noqa: PTH118
                return
            elif is_result(path, root):
                results += 1
            else:
                found.setdefault(real, (path, root, True))
            return
        if os.path.realpath(path) == out_path and not by_pattern:
            raise ValueError(f"'{path}' is both an input and the output folder; choose another output folder")
        for file in _walk(path, out_path, frozenset(written), report):
            found.setdefault(os.path.realpath(file), (file, root if by_pattern else path, True))

    for path in map(Path, paths):
        if matches := matching(path):
            for match in matches:
                add(match, _before_wildcards(path), by_pattern=True)
        else:
            add(path, path.parent)
    for paths_of_list in listed:
        root = _common_folder(paths_of_list)
        for path in paths_of_list:
            add(path, root or path.parent)
    if results:
        report(
            f"{results} results of earlier runs were left out of what a pattern matches (name a file itself to run it)"
        )
    if linked:
        report(f"{linked} files are links to others that are given: each image is done once")
    return _named(list(found.values()), ending, report)


def share(items: Iterable[Item], shard: int, count: int) -> list[Item]:
    """One of `count` shards, 1 to `count`: each image is in one of them, by its place among all in their order."""
    return sorted(items, key=lambda item: str(item.path))[shard - 1 :: count]


def read_list(text: bytes) -> list[Path]:
    """The paths of a list: one a line, relative ones from where the program was called. Raises ValueError."""
    text = text.removeprefix(BOM_UTF8)
    if text.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or b"\0" in text:
        found = "UTF-16" if text.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "zero bytes, as find -print0 writes them"
        raise ValueError(f"the list has {found}: expected a path a line, in UTF-8")
    return [Path(os.fsdecode(line)) for line in text.splitlines() if line.strip()]


def matching(pattern: Path) -> list[Path]:
    """What a pattern matches; nothing where it has no wildcard, or is itself the name of a file."""
    if not has_magic(str(pattern)) or os.path.lexists(pattern):
        return []
    return [Path(name) for name in sorted(iglob(str(pattern), recursive=True))]  # noqa: PTH207 - a Path cannot glob itself


def _before_wildcards(pattern: Path) -> Path:
    return Path(*takewhile(lambda part: not has_magic(part), pattern.parts))


def _common_folder(paths: Sequence[Path]) -> Path | None:
    """The folder that all of a list's paths lie below; None where there is none, as on two drives."""
    with suppress(ValueError):
        return Path(os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths]))  # noqa: PTH100, PTH120
    return None


def _walk(folder: Path, out: str, written: frozenset[str], report: Callable[[str], None]) -> Iterator[Path]:
    """What has an image's suffix below a folder, and folders that cannot be opened, so that each fails by its name."""
    below_out = os.path.join(out, "")  # noqa: PTH118 - with its last "/"
    apart = not os.path.realpath(folder).startswith(below_out)
    # folders, each with how the results end that may lie there
    waiting, links = [(folder, frozenset() if apart else written)], deque[Path]()
    seen, followed, left_out = {_identity(out)}, 0, 0
    while waiting or links:
        linked = not waiting
        here, results = (links.popleft(), frozenset[str]()) if linked else waiting.pop()
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
        if (RESULTS, "file") in kinds and (own := written_in(here)) is not None:
            results |= written | own
        images = [name for name, _ in kinds if Path(name).suffix.lower() in SUFFIXES]
        kept = [name for name in images if not name.endswith(tuple(results))]
        left_out += len(images) - len(kept)
        yield from (here / name for name in kept)
        waiting += [(here / name, results) for name, kind in reversed(kinds) if kind == "folder"]
        links += [here / name for name, kind in kinds if kind == "link"]
    if followed:
        report(f"{followed} links to folders in '{folder}' were followed")
    if left_out:
        report(f"{left_out} results of earlier runs in '{folder}' were left out (name a file itself to run it)")


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


def _named(files: list[File], ending: int, report: Callable[[str], None]) -> list[Item]:
    """Name files: the plainest of three names that no other file has, on any disk."""
    made: set[str] = set()

    def fitting(name: str) -> str:
        *folders, last = name.split("/")
        fits = [shortened(f, LONGEST, always=is_results(_key(f))) for f in folders] + [
            shortened(last, LONGEST - ending)
        ]
        if (fit := "/".join(fits)) != name:
            made.add(fit)
        return fit

    fronts = {root: Path(os.path.realpath(root)).name for root in {root for _, root, _ in files}}
    choices = []
    for path, root, _ in files:
        below = Path(os.path.relpath(path, root))  # never with a "..", however the path is written
        plain = (below.with_suffix(""), below, Path(fronts[root], below))
        choices.append([fitting(name.as_posix()) for name in plain])
    counts = Counter(_key(name) for names in choices for name in set(names))
    items, taken, numbers = list[Item](), set[str](), defaultdict[str, Iterator[int]](lambda: count(2))
    for (path, _, found), names in zip(files, choices, strict=True):
        last = names[-1]
        name = next((n for n in names if counts[_key(n)] == 1), last)
        while _key(name) in taken:
            name = fitting(f"{last}-{next(numbers[last])}")
        taken.add(_key(name))
        items.append(Item(path, name, found))
    if cut := sum(item.name in made for item in items):
        report(f"{cut} names are too long for their results: shortened, with a hash ({RESULTS} lists them)")
    return items


def _key(name: str) -> str:
    """Equal for names that are one on some disk, blind to case or to how an accent is composed."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())
