"""results.jsonl: a line for each image; only whole lines, and only of one process at a time."""

import errno
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from io import FileIO
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple, Self

from mtl_vision.runtime.files import sweep
from mtl_vision.runtime.lens import MANIFEST, made_with
from mtl_vision.runtime.lock import LockedError, lock

RESULTS = "results.jsonl"
OTHER_MODEL, OTHER_IMAGE = "other model", "other image"
PATIENCE = 10.0  # seconds that a shard waits for others to begin
FIRST = 2**16  # bytes of an earlier run's lines that say what it wrote
Line = dict[str, Any]


def shard_file(shard: int, count: int) -> str:
    """The name of the results of one shard of so many."""
    return f"results.{shard}-of-{count}.jsonl"


def is_results(name: str) -> bool:
    """Whether a file of this name, in lower case, holds results."""
    return bool(re.fullmatch(r"results(\.\d+-of-\d+)?\.jsonl", name))


class Item(NamedTuple):
    """An image's path, and the name of its results: no suffix, "/" between folders.

    found: in a folder, so that it may be something else than a photo; False where the user named the file itself.
    """

    path: Path
    name: str
    found: bool = False


class Results:
    """The lines of the folder `out`, open to add to, and locked until they are closed. What is there stays at first.

    name: the file's; of a shard, its own (`shard_file`). Shards may write to one folder at once: they share the lock of
    `results.jsonl`, which another run must have for itself.
    Raises LockedError where another process has them, OSError where they cannot be opened.
    """

    def __init__(self, out: Path, name: str = RESULTS) -> None:
        self.out, self.path = out, out / name
        self._stack = ExitStack()
        with self._stack:
            self._common = self._opened(out / RESULTS)
            self._file = self._common if name == RESULTS else self._opened(self.path)
            try:
                self._alone = self._locked(shared=name != RESULTS)
                if name != RESULTS:
                    lock(self._file)
            except LockedError as error:
                raise LockedError(
                    f"another process is writing its results to '{out}': wait until it ends, or choose another folder"
                ) from error
            self._stack = self._stack.pop_all()

    def _opened(self, path: Path) -> FileIO:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            found = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "a device or a pipe"
            raise OSError(f"'{path}' is {found}: expected a file; remove it, or choose another output folder")
        # without a buffer: what is written is on its way to the disk at once
        return self._stack.enter_context(path.open("a+b", buffering=0))

    def _locked(self, shared: bool) -> bool:
        """Lock the folder. Returns whether this is the only process: then what killed ones left may be removed."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return lock(self._common) or not shared
            except LockedError:
                if not shared:
                    raise
            try:
                lock(self._common, shared=True)
                return False
            except LockedError:  # a shard has it for itself for as long as it removes such files
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def start(
        self, items: Collection[Item], endings: list[str] | None, camera: str = MANIFEST, model: str | None = None
    ) -> tuple[list[Item], Counter[str]]:
        """Drop the lines of an earlier run, and its temporary files in the folders of the items.

        endings: those of the files that are kept of an image. With them the run is resumed: lines of images that are
        done and whose files are there stay, those of images that were skipped and are not named now, and those of other
        images. camera: what cameras are known from; model: its checksum. What was done with another is done again.
        Returns the items that are left to do, and how many of the others have which status, ok or skipped; with
        OTHER_MODEL, how many were done with another model; with OTHER_IMAGE, how many results of other images make way.
        """
        for folder in {item.name.rpartition("/")[0] for item in items} if self._alone else ():
            with suppress(OSError):  # there is no such folder yet
                sweep(self.out / folder)
        if self._alone and self._common is not self._file:
            lock(self._common, shared=True)  # the other shards may begin
        if endings is None:
            self._file.truncate(0)
            return list(items), Counter()
        named = {item.name: item for item in items}
        done: dict[str, str] = {}
        other = replaced = 0

        def stays(line: Line) -> bool:
            nonlocal other, replaced
            item, status = named.get(line["name"]), line.get("status")
            if item is None:
                return True
            if not _is_same(line.get("image"), item.path):
                replaced += status == "ok"
                return False
            finished = status == "ok" and made_with(line) == camera
            finished = finished and all(_is_written(self.out / f"{item.name}.{ending}") for ending in endings)
            if finished and line.get("model") != model:
                other, finished = other + 1, False
            if finished or (status == "skipped" and item.found):
                done[item.name] = str(status)
            return item.name in done

        self._keep(stays)
        left = [item for item in items if item.name not in done]
        return left, Counter({**Counter(done.values()), OTHER_MODEL: other, OTHER_IMAGE: replaced})

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


def expect_free(out: Path, items: Collection[Item], endings: Collection[str]) -> None:
    """Raises ValueError where results beside the images would replace files of the user's own, such as recorded depth.

    Those are the images themselves, and, in a folder that no run has written to, all files.
    """
    top = os.path.join(os.path.abspath(out), "")  # noqa: PTH100, PTH118 - with its last "/"
    own = {path for item in items if (path := os.path.abspath(item.path)).startswith(top)}  # noqa: PTH100
    if not own:
        return
    new = not any(is_results(name.lower()) for name in os.listdir(out))  # noqa: PTH208
    for file in (f"{top}{item.name}.{ending}" for item in items for ending in endings):
        if file in own or (new and os.path.lexists(file)):
            raise ValueError(
                f"'{file}' is there, and no earlier run wrote it: choose another output folder, or remove it"
            )


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


def _is_same(before: Any, path: Path) -> bool:
    """Whether an earlier line's image is that of this path, relative or not."""
    if not isinstance(before, str):
        return False
    return before == str(path) or os.path.abspath(before) == os.path.abspath(path)  # noqa: PTH100


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
