"""What is said on the terminal: names that cannot steer it, and progress that does not flood a log."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from tqdm import tqdm

T = TypeVar("T")
PAUSE = 10.0  # seconds between two lines of progress, where there is no terminal


def printable(text: object) -> str:
    """One line that a terminal shows as it is: what controls it (ESC, line ends, bidi marks) is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def say(text: object, stream: TextIO | None = None) -> None:
    """Print one line (default: to stderr), above a progress bar. Nothing happens where nobody reads it any more."""
    stream = stream or sys.stderr
    if stream is None:  # closed from the start
        return
    line = printable(text).encode(stream.encoding or "utf-8", "backslashreplace").decode(stream.encoding or "utf-8")
    try:
        with tqdm.external_write_mode(file=stream):
            print(line, file=stream, flush=True)
    except OSError:  # its disk is full, or its reader gone: what Python still holds of it must not fail at the end
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def progress(items: Iterable[T], total: int, quiet: bool, unit: str = "image") -> Iterator[T]:
    """The items as they come: with a bar on a terminal, elsewhere with a line now and then, and one at the end.

    total: 0 where it is not known.
    """
    if quiet:
        yield from items
    elif sys.stderr is not None and sys.stderr.isatty():
        yield from tqdm(items, total=total or None, unit=unit, smoothing=0.1)
    else:
        started = last = time.monotonic()
        shown = 0
        for count, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            if count == total or (now - last >= PAUSE and (count - shown) * 100 >= total):
                of = f"{count}/{total}" if total else str(count)
                say(f"{of} {unit}s, {count / max(now - started, 1e-9):.1f} {unit}s/s")
                last, shown = now, count
