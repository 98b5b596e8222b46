"""One process at a time: a lock on an open file, which ends with its process, however that ends."""

import errno
import sys
from contextlib import suppress
from typing import IO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

FAR = 2**30  # bytes
HELD = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)


class LockedError(OSError):
    """Another process has the lock."""


def lock(file: IO[bytes], shared: bool = False) -> bool:
    """Lock an open file until it is closed or the process ends. Raises LockedError where another process has it.

    shared: with others who share it (not on Windows). Returns False where the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            file.seek(FAR)  # far behind the contents, which others may read on
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB if shared else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            raise LockedError(error.errno, "another process is writing to it", str(file.name)) from error
        return False
    return True


def unlock(file: IO[bytes]) -> None:
    """End the lock, also where processes that were forked meanwhile have the file open as well."""
    with suppress(OSError):  # a file system without locks
        if sys.platform == "win32":
            file.seek(FAR)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_UN)
