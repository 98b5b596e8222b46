"""What a method takes from previous runs: means over the records of their history.jsonl, a line a step."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HISTORY = "history.jsonl"
MOST = 2**30  # bytes of a history: a million steps
LAST = 0.1  # share of a run's steps, at its end, that counts as converged


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


def mean_weights(folder: str | Path) -> dict[str, float]:
    """The time average of a run's weights by task, E_t[w_i(t)]."""
    return _mean_weights(folder, read_history(folder))


def _mean_weights(folder: str | Path, history: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    means = {task: float(np.mean([w for _, w in points])) for task, points in curves(history, "weight").items()}
    if not means:
        raise ValueError(f"the history of {folder} lacks weights: expected a run that took steps")
    return means


def converged_norms(folders: Sequence[str | Path]) -> dict[str, float]:
    """The gradient norm of each single-task run, mean over the last tenth of its steps, by task."""
    norms: dict[str, float] = {}
    for folder in folders:
        history = read_history(folder)
        task, *others = _mean_weights(folder, history)
        if others:
            raise ValueError(f"{folder} trained {', '.join([task, *others])}: expected a single task")
        values = [norm for _, norm in curves(history, "grad_norm").get(task, [])]
        if not values:
            raise ValueError(f"{folder} recorded no gradient norms: train it with GradNorm, its weight is then 1")
        norms[task] = float(np.mean(values[-max(round(LAST * len(values)), 1) :]))
    return norms
