"""What a balancer takes from runs that were made before: read once, when a run begins, and written into its config."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mtl_vision.config import BalancerConfig
from mtl_vision.engine.folder import CONFIG
from mtl_vision.engine.parse import read_config
from mtl_vision.engine.tracking import read_history

LAST = 0.1  # share of a run's steps, at its end, that stands for convergence


def settle(config: BalancerConfig) -> BalancerConfig:
    """`runs` read into `weights` (fixed) or `norms` (converged_gradients). Raises ValueError where one does not fit."""
    key = {"fixed": "weights", "converged_gradients": "norms"}.get(config.name)
    if not config.runs or key is None or getattr(config, key) is not None:
        return config  # numbers that are there stand: a run's config.yaml has both, and can be used as a recipe
    folders = [Path(run) for run in config.runs]
    for folder in folders:
        if not (folder / CONFIG).exists():
            raise ValueError(f"balancer.runs: {folder} is no run directory: expected {CONFIG} in it")
    if config.name == "converged_gradients":
        return replace(config, norms=converged_norms(folders))
    if len(folders) != 1:
        raise ValueError(f"balancer.runs has {len(folders)} runs: fixed takes its weights from one")
    return replace(config, weights=mean_weights(folders[0]))


def mean_weights(folder: Path) -> dict[str, float]:
    """The time average of a run's weights by task, E_t[w_i(t)]."""
    weights = [record["weight"] for record in read_history(folder) if "weight" in record]
    seen = {task: [w[task] for w in weights if w[task] is not None] for task in (weights[0] if weights else ())}
    if not seen or not all(seen.values()):
        raise ValueError(f"balancer.runs: {folder} lacks weights in its history: expected a run that took steps")
    return {task: float(np.mean(values)) for task, values in seen.items()}


def converged_norms(folders: list[Path]) -> dict[str, float]:
    """The gradient norm of each single-task run, mean over the last tenth of its steps, by task."""
    norms: dict[str, float] = {}
    for folder in folders:
        names = read_config(folder / CONFIG).tasks.names
        if len(names) != 1:
            raise ValueError(f"balancer.runs: {folder} trained {', '.join(names)}: expected a single task")
        norms_of = [record["grad_norm"][names[0]] for record in read_history(folder) if "grad_norm" in record]
        found = [norm for norm in norms_of if norm is not None]
        if not found:
            raise ValueError(
                f"balancer.runs: {folder} recorded no gradient norms: train it with balancer.name gradnorm, which has "
                "weight 1 for a task alone"
            )
        norms[names[0]] = float(np.mean(found[-max(round(LAST * len(found)), 1) :]))
    return norms
