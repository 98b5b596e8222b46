"""What a method takes from previous runs: means over the records of their history.jsonl, a line a step."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HISTORY = "history.jsonl"
LAST = 0.1  # share of a run's steps, at its end, that counts as converged


def read_history(folder: str | Path) -> list[dict[str, Any]]:
    """All records of a run. Raises ValueError where the folder has none."""
    path = Path(folder) / HISTORY
    if not path.is_file():
        raise ValueError(f"{folder} is no run directory: expected {HISTORY} in it")
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def mean_weights(folder: str | Path) -> dict[str, float]:
    """The time average of a run's weights by task, E_t[w_i(t)]."""
    weights = [record["weight"] for record in read_history(folder) if "weight" in record]
    seen = {task: [w[task] for w in weights if w[task] is not None] for task in (weights[0] if weights else ())}
    if not seen or not all(seen.values()):
        raise ValueError(f"the history of {folder} lacks weights: expected a run that took steps")
    return {task: float(np.mean(values)) for task, values in seen.items()}


def converged_norms(folders: Sequence[str | Path]) -> dict[str, float]:
    """The gradient norm of each single-task run, mean over the last tenth of its steps, by task."""
    norms: dict[str, float] = {}
    for folder in folders:
        task, *others = mean_weights(folder)
        if others:
            raise ValueError(f"{folder} trained {', '.join([task, *others])}: expected a single task")
        found = [record["grad_norm"].get(task) for record in read_history(folder) if "grad_norm" in record]
        values = [norm for norm in found if norm is not None]
        if not values:
            raise ValueError(f"{folder} recorded no gradient norms: train it with GradNorm, its weight is then 1")
        norms[task] = float(np.mean(values[-max(round(LAST * len(values)), 1) :]))
    return norms
