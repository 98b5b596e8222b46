"""A table of ids in columns between tabs, such as ScanNet's scannetv2-labels.combined.tsv."""

from functools import lru_cache
from pathlib import Path

from mtl_vision.datasets import DataError
from mtl_vision.datasets.text import read_text, shown


def id_table(path: Path, before: str, after: str) -> dict[int, int]:
    """The ids of column `after` by those of column `before`, which the first line names. Raises DataError."""
    try:
        stat = path.stat()
        return _read(path, before, after, stat.st_mtime_ns, stat.st_size)
    except (OSError, UnicodeDecodeError) as error:
        wanted = f"expected a table with the columns '{shown(before)}' and '{shown(after)}'"
        raise DataError(f"{path}: {wanted} ({shown(str(getattr(error, 'strerror', None) or error))})") from error


@lru_cache(maxsize=8)
def _read(path: Path, before: str, after: str, *version: int) -> dict[int, int]:
    head, *rows = [line.split("\t") for line in read_text(path).splitlines()] or [[]]
    if before not in head or after not in head:
        found = shown(" ".join(head))
        raise DataError(f"{path}: expected columns '{shown(before)}' and '{shown(after)}' between tabs, found {found}")
    columns = head.index(before), head.index(after)
    ids: dict[int, int] = {}
    for number, row in enumerate(rows, 2):
        texts = [row[column].strip() if column < len(row) else "" for column in columns]
        if not all(text.isdecimal() and len(text) <= 6 for text in texts):
            raise DataError(f"{path}: line {number} has {shown(str(texts))}: expected two ids")
        ids[int(texts[0])] = int(texts[1])
    return ids
