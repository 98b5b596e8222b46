"""A run's history.jsonl: a record a line, of a step or of a measurement. Light: torch is not needed to read it."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

HISTORY = "history.jsonl"
MOST = 2**30  # bytes of a history: a million steps


def read_history(folder: str | Path) -> list[dict[str, Any]]:
    """All records of a run; lines that are none are counted, and left out. Raises ValueError where there is no file."""
    path = Path(folder) / HISTORY
    if not path.is_file():
        raise ValueError(f"{folder} is no run directory: expected {HISTORY} in it")
    if path.stat().st_size > MOST:
        raise ValueError(f"{path} has {path.stat().st_size} bytes: expected at most {MOST}")
    with path.open("rb") as file:
        found = [parse_record(line) for line in file]
    records = [record for record in found if record is not None]
    if bad := len(found) - len(records):
        print(f"note       {bad} of {len(found)} lines of {path} are damaged and left out")
    return records


def parse_record(line: bytes) -> dict[str, Any] | None:
    """A line of a history, a mapping with a step; None for what is none, such as half a line."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    step = record.get("step") if isinstance(record, dict) else None
    return record if isinstance(step, int) and 0 <= step < 2**53 else None


def curves(history: Iterable[Mapping[str, Any]], key: str) -> dict[str, list[tuple[int, float]]]:
    """Task -> (step, value) of the records that have a finite number for it under `key`, such as weight."""
    found: dict[str, list[tuple[int, float]]] = {}
    for record in history:
        group = record.get(key)
        for task, value in group.items() if isinstance(group, dict) else ():
            if isinstance(value, (int, float)) and abs(value) < 1e300:  # which NaN is not
                found.setdefault(task, []).append((record["step"], value))
    return found
