"""One process at a time: a lock on an open file, which ends with its process, however that ends."""

import errno
import sys
from contextlib import suppress
from typing import IO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

HELD = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)


class LockedError(OSError):
    """Another process has the lock."""


def lock(file: IO[bytes]) -> None:
    """Lock an open file until it is closed or the process ends. Raises LockedError where another process has it.

    A file system without locks gives none, and no error.
    """
    try:
        if sys.platform == "win32":
            file.seek(2**40)  # far behind the contents, which others may read on
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            raise LockedError(error.errno, "another process is writing to it", str(file.name)) from error


def unlock(file: IO[bytes]) -> None:
    """End the lock, also where processes that were forked meanwhile have the file open as well."""
    with suppress(OSError):  # a file system without locks
        if sys.platform == "win32":
            file.seek(2**40)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_UN)
