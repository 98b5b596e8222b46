"""results.jsonl: a line for each image; only whole lines, and only of one process at a time."""

import errno
import json
import os
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple, Self

from mtl_vision.runtime.files import sweep
from mtl_vision.runtime.lens import MANIFEST, made_with
from mtl_vision.runtime.lock import LockedError, lock

RESULTS = "results.jsonl"
FIRST = 2**16  # bytes of an earlier run's lines that say what it wrote
Line = dict[str, Any]


class Item(NamedTuple):
    """An image's path, and the name of its results: no suffix, "/" between folders.

    found: in a folder, so that it may be something else than a photo; False where the user named the file itself.
    """

    path: Path
    name: str
    found: bool = False


class Results:
    """The lines of the folder `out`, open to add to, and locked until they are closed. What is there stays at first.

    Raises LockedError where another process has them, OSError where they cannot be opened.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.path = out, out / RESULTS
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_file()):
            found = "a link" if self.path.is_symlink() else "a folder" if self.path.is_dir() else "a device or a pipe"
            raise OSError(f"'{self.path}' is {found}: expected a file; remove it, or choose another output folder")
        self._file = self.path.open("a+b", buffering=0)  # what is written is on its way to the disk at once
        try:
            lock(self._file)
        except LockedError as error:
            self._file.close()
            raise LockedError(
                f"another process is writing its results to '{out}': wait until it ends, or choose another folder"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def start(
        self, items: Collection[Item], endings: list[str] | None, camera: str = MANIFEST
    ) -> tuple[list[Item], Counter[str]]:
        """Drop the lines of an earlier run, and its temporary files in the folders of the items.

        endings: those of the files that are kept of an image. With them the run is resumed: lines of images that are
        done and whose files are there stay, those of images that were skipped and are not named now, and those of other
        images. camera: what cameras are known from; what was done with another is done again. Returns the items that
        are left to do, and how many of the others have which status, ok or skipped.
        """
        for folder in {item.name.rpartition("/")[0] for item in items}:
            with suppress(OSError):  # there is no such folder yet
                sweep(self.out / folder)
        if endings is None:
            self._file.truncate(0)
            return list(items), Counter()
        named = {item.name: item for item in items}
        done: dict[str, str] = {}

        def stays(line: Line) -> bool:
            item, status = named.get(line["name"]), line.get("status")
            if item is None:
                return True
            if line.get("image") != str(item.path):
                return False
            finished = status == "ok" and made_with(line) == camera
            finished = finished and all(_is_written(self.out / f"{item.name}.{ending}") for ending in endings)
            if finished or (status == "skipped" and item.found):
                done[item.name] = str(status)
            return item.name in done

        self._keep(stays)
        return [item for item in items if item.name not in done], Counter(done.values())

    def _keep(self, stays: Callable[[Line], bool]) -> None:
        """Drop all lines but those that stay; torn ones never do."""
        self._file.seek(0)
        raw = [line + b"\n" for line in self._file.readall().split(b"\n")[:-1]]  # the last one has no end: torn
        kept = {line["name"]: text for text in raw if (line := _parse(text)) and stays(line)}
        same = [old for old, new in takewhile(lambda pair: pair[0] == pair[1], zip(raw, kept.values(), strict=False))]
        self._file.truncate(sum(map(len, same)))
        self._append(b"".join([*kept.values()][len(same) :]))

    def add(self, line: Line) -> None:
        """Add a line, whole or not at all. Raises OSError."""
        if not os.fstat(self._file.fileno()).st_nlink:
            raise FileNotFoundError(errno.ENOENT, "deleted while it was written", str(self.path))
        self._append(json.dumps(line).encode() + b"\n")

    def _append(self, data: bytes) -> None:
        end, rest = self._file.seek(0, os.SEEK_END), memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]  # a disk that fills up takes a part, and fails the next time
        except BaseException as error:
            with suppress(OSError):
                self._file.truncate(end)
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(self.path)) from error
            raise


def written_in(folder: Path) -> set[str] | None:
    """How the files end that an earlier run into this folder wrote, as ".depth.png"; None where there was none.

    Its first lines tell, and it may have none.
    """
    path = folder / RESULTS
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            start = file.read(FIRST)
    except OSError:
        return None
    lines = [line for text in start.split(b"\n") if (line := _parse(text))]
    if start and not any("status" in line for line in lines):
        return None  # another program's
    pairs = [(line["name"], file) for line in lines if isinstance(files := line.get("files"), list) for file in files]
    return {file.removeprefix(name) for name, file in pairs if isinstance(file, str) and file.startswith(f"{name}.")}


def _is_written(path: Path) -> bool:
    with suppress(OSError):
        return path.is_file() and path.stat().st_size > 0
    return False


def _parse(text: bytes) -> Line | None:
    with suppress(ValueError, RecursionError):
        line = json.loads(text)
        if isinstance(line, dict) and isinstance(line.get("name"), str):
            return line
    return None
