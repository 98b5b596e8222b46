"""Files that are either whole or absent: what is written appears under its name at once, when it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`, with its suffix; rename it to `path` when the block succeeds.

    When the block fails, the temporary file is removed and whatever stood at `path` stays. Raises OSError.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid4().hex[:12]}{path.suffix}")  # short: a long name must still fit
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, wholly or not at all. Raises OSError; the folder must exist."""
    with whole(path) as temporary:
        temporary.write_bytes(data)
