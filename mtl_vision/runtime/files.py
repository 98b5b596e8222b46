"""Files and folders: written atomically, so that each appears under its name when it is complete, or not at all."""

import errno
import hashlib
import os
import re
import shutil
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

import cv2
import numpy as np

from mtl_vision.runtime.lock import LockedError, lock

LONGEST = 255  # bytes of a file's name, on all common disks
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what an OSError has where no more can be written
LOCK = ".lock"  # in a folder that is being made: held by its maker
# Of 16-bit PNGs: OpenCV's own choice is as fast, and makes those of depth 1.8 times as large. Of 8-bit ones it is best.
DEEP = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):
    DEEP += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
_PARTIAL = re.compile(r"\.[0-9a-f]{12}\.partial(\..*)?")


def read_regular(path: str | Path, most: int) -> bytes:
    """The bytes of a regular file of at most `most` bytes. Raises OSError, whose `strerror` says what is wrong.

    A pipe, a device or a socket is never waited for: it is an error, as a folder and a larger file are.
    """
    try:
        _checked_size(Path(path).stat(), path, most)
        # without waiting, should it have become a pipe meanwhile
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # NUL, or half a surrogate pair
        raise OSError(errno.EINVAL, "no name that a file can have", str(path)) from error
    with open(descriptor, "rb") as file:  # noqa: PTH123 (a Path opens no descriptor)
        return file.read(_checked_size(os.fstat(descriptor), path, most))


def _checked_size(status: os.stat_result, path: str | Path, most: int) -> int:
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
        raise OSError(errno.EINVAL, f"expected a file, found {what}", str(path))
    if status.st_size > most:
        found = f"expected at most {most:,} bytes, found {status.st_size:,}"
        raise OSError(errno.EINVAL, f"too large: {found}", str(path))
    return status.st_size


def partial_name(suffix: str = "") -> str:
    """The name of a temporary file, which `sweep` knows."""
    return f".{uuid4().hex[:12]}.partial{suffix}"  # short: a long name must still fit


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`, with its suffix; rename it to `path` when the block succeeds.

    When the block fails, the temporary file is removed and what was at `path` stays. Raises OSError, which names
    `path`.
    """
    path = Path(path)
    temporary = path.with_name(partial_name(path.suffix))
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, completely or not at all. Raises OSError; the folder must exist."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty folder beside `path`; rename it to `path` when the block succeeds, else remove it.

    What killed processes left beside `path` is removed first. Raises FileExistsError where another process has made
    `path` meanwhile, which stays; an empty folder at `path` is replaced. Other errors are OSErrors.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "expected a folder, found a file", str(path.parent)) from error
    remove_abandoned(path.parent)
    work = path.with_name(partial_name())
    try:
        while (held := _made_and_locked(work)) is None:
            work = path.with_name(partial_name())
        with held:
            yield work
            with suppress(OSError):  # some systems do not remove open files
                (work / LOCK).unlink()  # before the lock ends: nobody may take the folder for an abandoned one
        (work / LOCK).unlink(missing_ok=True)
        if path.is_dir():
            with suppress(OSError):  # it is not empty: renaming says so
                path.rmdir()
        try:
            work.rename(path)
        except OSError as error:
            if path.exists():
                raise FileExistsError(error.errno, "made by another process meanwhile", str(path)) from error
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _made_and_locked(work: Path) -> IO[bytes] | None:
    """The lock of a new folder; None where another process took it for an abandoned one before it was locked."""
    work.mkdir()
    held = (work / LOCK).open("wb")
    with suppress(LockedError):
        lock(held)
        if (work / LOCK).exists():
            return held
    held.close()
    return None


def sweep(folder: str | Path) -> None:
    """Remove the temporary files that killed processes left in a folder that no other process writes to."""
    for path in Path(folder).glob(".*.partial*"):
        if _PARTIAL.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def remove_abandoned(folder: Path) -> None:
    """Remove the unfinished folders of atomic_folder in `folder` whose makers are dead: nobody holds their locks."""
    for path in folder.glob(".*.partial"):
        with suppress(OSError):  # it has no lock, or another process has it, or is removing it as well
            if _PARTIAL.fullmatch(path.name):
                with (path / LOCK).open("r+b") as held:
                    if not lock(held) or not (path / LOCK).exists():  # it was finished before the lock was had
                        continue
                    shutil.rmtree(path, ignore_errors=True)  # locked, so that nobody begins to use it
                shutil.rmtree(path, ignore_errors=True)  # where an open file can not be removed


def shortened(name: str, most: int, always: bool = False) -> str:
    """A file's name in at most `most` bytes: whole characters, and a hash of the name where it is cut, or `always`."""
    if len(os.fsencode(name)) <= most and not always:
        return name
    end = "-" + hashlib.sha256(os.fsencode(name)).hexdigest()[:12]
    while len(os.fsencode(name)) > max(most - len(end), 0):
        name = name[:-1]
    return name + end


def png(pixels: np.ndarray) -> bytes:
    """Encode (H, W) or (H, W, 3) RGB, uint8 or uint16."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    flags = DEEP if pixels.dtype == np.uint16 else ()
    return cv2.imencode(".png", np.ascontiguousarray(bgr), flags)[1].tobytes()


def palette_png(ids: np.ndarray, table: np.ndarray) -> bytes:
    """Encode ids (H, W) uint8 as an indexed PNG: a reader gets the ids, a viewer the colours `table` (256, 3) uint8."""
    return _map_png(ids, 3, _chunk(b"PLTE", table.tobytes()))  # 3 = indexed


def map_png(rgb: np.ndarray) -> bytes:
    """Encode (H, W, 3) uint8 RGB, as `png` does; of maps in 0.8 of the time and the size."""
    return _map_png(rgb, 2)


def _map_png(pixels: np.ndarray, colours: int, before: bytes = b"") -> bytes:
    """Encode (H, W) or (H, W, 3) uint8 that changes little from row to row. colours: PNG's number for the kind."""
    height, width = pixels.shape[:2]
    pixels = pixels.reshape(height, -1)
    rows = np.full(
        (height, pixels.shape[1] + 1), 2, np.uint8
    )  # each row begins with its filter, 2 = less the row above
    rows[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])
    packer = zlib.compressobj(1, strategy=zlib.Z_RLE)  # of ids, level 4 without the filter: twice the time and the size
    body = before + _chunk(b"IDAT", packer.compress(rows.data) + packer.flush())
    header = struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0)  # 8 bits
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + body + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
