"""Processes and threads that work for another one: how they end, and how far they run ahead."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


def end_with_parent() -> None:
    """In a process that multiprocessing has started: end it as soon as the one that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), name="end with parent", daemon=True).start()


@contextmanager
def stopping(pool: ThreadPoolExecutor) -> Iterator[ThreadPoolExecutor]:
    """The pool; at the end what is under way in it is finished, and what waits is left."""
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def ahead(begin: Callable[[Any], Future[T]], items: Iterable[Any], most: int) -> Iterator[T]:
    """The results of what `begin` starts for the items, in order; at most `most` are under way before the one awaited.

    With processes little should wait: where one is killed while much is still handed over, or while `pool.map`
    cancels the rest, Python's pool hangs.
    """
    under_way: deque[Future[T]] = deque()
    for item in items:
        under_way.append(begin(item))
        del item  # only the pool holds it now
        if len(under_way) > most:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()
