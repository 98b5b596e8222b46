"""The lines of results.jsonl as a table, for what reads millions of them: results.parquet."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from mtl_vision.runtime.files import atomic_path

ROWS = 2**16  # of a group, which is what is in memory at once
WORDS = ("image", "name", "status", "error", "model")


def write_table(lines: Path) -> Path:
    """Write `results.parquet` beside `results.jsonl`, a row for each line, in its order. Returns its path.

    Columns are the lines' fields; null where a line has none. Characters of a file's name that no text has are escaped
    as \\\\udcff. Needs pyarrow, which Ray Data brings. Raises OSError.
    """
    import pyarrow as pa  # type: ignore[import-not-found]
    import pyarrow.parquet as pq  # type: ignore[import-not-found]

    camera = pa.struct([*((name, pa.float64()) for name in ("fx", "fy", "cx", "cy")), ("from", pa.string())])
    schema = pa.schema(
        [
            *((name, pa.string()) for name in WORDS),
            ("width", pa.int32()), ("height", pa.int32()), ("files", pa.list_(pa.string())),
            ("camera", camera), ("depth_scale", pa.float64()), ("seconds", pa.float64()),
        ]
    )  # fmt: skip
    path = lines.with_suffix(".parquet")
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for rows in _groups(lines):
            writer.write_table(pa.Table.from_pylist(rows, schema))
    return path


def _groups(lines: Path) -> Iterator[list[dict[str, Any]]]:
    with lines.open("rb") as file:
        while rows := [_row(text) for text in islice(file, ROWS)]:
            yield rows


def _row(text: bytes) -> dict[str, Any]:
    line = json.loads(text)
    return line | {"files": [*map(_text, line["files"])]} | {name: _text(line.get(name)) for name in WORDS}


def _text(value: str | None) -> str | None:
    return value and value.encode("utf-8", "backslashreplace").decode()
