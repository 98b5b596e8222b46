"""results.jsonl: a line for each image; only whole lines, and only of one process at a time."""

import errno
import json
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any, Self

from mtl_vision.runtime.files import sweep
from mtl_vision.runtime.lens import MANIFEST, made_with
from mtl_vision.runtime.lock import LockedError, lock

RESULTS = "results.jsonl"
Line = dict[str, Any]
Item = tuple[Path, str]  # an image's path, and the name of its results: no suffix, "/" between folders


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
    ) -> tuple[list[Item], int]:
        """Drop the lines of an earlier run, and its temporary files in the folders of the items.

        endings: those of the files that are kept of an image. With them the run is resumed: lines of images that are
        done and whose files are there stay, and lines of other images. camera: what cameras are known from; what was
        done with another is done again. Returns the items that are left to do, and how
        many are done.
        """
        for folder in {name.rpartition("/")[0] for _, name in items}:
            with suppress(OSError):  # there is no such folder yet
                sweep(self.out / folder)
        if endings is None:
            self._file.truncate(0)
            return list(items), 0
        images = {name: str(path) for path, name in items}

        def stays(line: Line) -> bool:
            name = line["name"]
            same = line.get("image") == images.get(name) and made_with(line) == camera
            done = line.get("status") == "ok" and same
            return name not in images or (done and all(_is_written(self.out / f"{name}.{e}") for e in endings))

        done = self._keep(stays) & images.keys()
        return [item for item in items if item[1] not in done], len(done)

    def _keep(self, stays: Callable[[Line], bool]) -> set[str]:
        """Drop all lines but those that stay; torn ones never do. Returns their names."""
        self._file.seek(0)
        raw = [line + b"\n" for line in self._file.readall().split(b"\n")[:-1]]  # the last one has no end: torn
        kept = {line["name"]: text for text in raw if (line := _parse(text)) and stays(line)}
        same = [old for old, new in takewhile(lambda pair: pair[0] == pair[1], zip(raw, kept.values(), strict=False))]
        self._file.truncate(sum(map(len, same)))
        self._append(b"".join([*kept.values()][len(same) :]))
        return set(kept)

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
