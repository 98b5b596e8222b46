"""How several processes end when one fails: the first one says why, and none waits for the others."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NoReturn

import torch
from torch.distributed.distributed_c10d import Store

SOON = timedelta(seconds=10)  # that the store is waited for


class PeerError(ConnectionError):
    """Another process has ended, or cannot be reached."""

    def __init__(self, reason: object) -> None:
        line = (str(reason).splitlines() or [""])[0]
        super().__init__(f"another process does not answer ({line}): it was killed, or its machine is not reached")


@contextmanager
def answered() -> Iterator[None]:
    """What torch raises within it, of which it says no more than RuntimeError, is told as PeerError."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise PeerError(error) from error


def is_first(store: Store | None) -> bool:
    """Whether no process that shares the store has failed before this one; True where that cannot be told."""
    if store is None:
        return True
    try:
        store.set_timeout(SOON)
        return store.add("failed", 1) == 1
    except RuntimeError:  # it has ended with the process that kept it
        return True


def leave(code: int) -> NoReturn:
    """End this process at once, and its connections: in good order it would wait for what the others do not send."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:  # on a full disk, too
        os._exit(code)
