"""What a method takes from previous runs: means over the records of their history.jsonl, a line a step."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtl_vision.history import curves, read_history

LAST = 0.1  # share of a run's steps, at its end, that counts as converged


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
