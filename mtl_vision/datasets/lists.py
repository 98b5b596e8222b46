"""Lists of a split's samples, one per line: their names, or in columns the files themselves."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from mtl_vision.datasets.arrays import SUFFIXES
from mtl_vision.datasets.error import DataError

Paths = dict[str, Path]
FILE = re.compile(rf"(.*?({'|'.join(map(re.escape, SUFFIXES))}))(\s|$)", re.IGNORECASE)


def list_file(root: Path, pattern: str, split: str) -> Path | None:
    """The file of a list, by its name or a pattern; None if it is not there."""
    if (root / pattern).is_file():
        return root / pattern
    try:
        found = sorted(root.glob(pattern)) if any(sign in pattern for sign in "*?[") else []
    except (ValueError, NotImplementedError) as error:
        raise DataError(f"lists: '{pattern}' is no pattern of a file's name in {root} ({error})") from None
    found = [path for path in found if not path.name.startswith(".")]  # macOS leaves ._train.txt
    if len(found) > 1:
        there = f"{len(found)} lists for split '{split}' ({', '.join(path.name for path in found)})"
        raise DataError(f"{root} has {there}: name one of them in 'lists' of the description")
    return found[0] if found else None


def read_lines(path: Path) -> list[str]:
    """The lines of a list, paths with slashes, without empty ones and comments. Raises DataError if none is left."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can not be read as a list of samples: {error}") from error
    lines = [line.strip().replace("\\", "/") for line in text.splitlines()]
    if not (kept := [line for line in lines if line and not line.startswith("#")]):
        raise DataError(f"{path} lists no sample: expected one a line")
    return kept


def names(lines: Sequence[str], images: Paths) -> Iterator[str]:
    """The samples that lines name, with or without folder and suffix, in their first column."""
    for line in lines:
        found = FILE.match(line)  # which may have spaces
        entry = found.group(1) if found else line if PurePosixPath(line).name in images else line.split()[0]
        name = PurePosixPath(entry).name
        yield name if name in images or not found else PurePosixPath(name).stem


def rows(
    lines: Sequence[str], columns: Sequence[str], bases: Sequence[Path], split: str
) -> Iterator[dict[str, PurePosixPath]]:
    """Each line's paths by column, within the first of `bases` that has them."""
    for line in lines:
        entries = dict(zip(columns, line.split(), strict=False))
        if not PurePosixPath(entries.get("image", "")).name:
            raise DataError(f"the list of split '{split}' has the line '{line}': expected {' '.join(columns)}")
        yield {column: _within(entry, bases) for column, entry in entries.items()}


def _within(entry: str, bases: Sequence[Path]) -> PurePosixPath:
    """A list's path without what leads to the base: some lists begin them with a slash, some are absolute."""
    path = Path(entry)
    if not path.is_absolute() or not path.exists():
        return PurePosixPath(entry.lstrip("/"))
    base = next((base for base in map(Path.absolute, bases) if path.is_relative_to(base)), None)
    return PurePosixPath(path.relative_to(base) if base else path)


def place_of(entry: PurePosixPath, bases: Sequence[Path]) -> Path:
    """Where it is, or would be."""
    return next((base / entry for base in bases if (base / entry).exists()), bases[0] / entry)
