"""A trained run for fewer tasks, or for another size of images."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

from torch import nn

from mtl_vision.engine.load import Trained
from mtl_vision.models.backbone import padded
from mtl_vision.runtime.contract import MAX_SIDE
from mtl_vision.runtime.near import did_you_mean


def of_tasks(run: Trained, names: Sequence[str]) -> Trained:
    """The run with these tasks' heads and metrics alone. Raises ValueError for a task that it does not have."""
    for name in names or [""]:
        if name not in run.tasks:
            near = did_you_mean(name, run.tasks)
            raise ValueError(f"tasks: the run has no '{name}'{near}: expected some of {', '.join(run.tasks)}")
    tasks = {name: task for name, task in run.tasks.items() if name in names}
    model = deepcopy(run.model)
    model.tasks = {name: model.tasks[name] for name in tasks}
    model.heads = nn.ModuleDict({name: model.heads[name] for name in tasks})
    others = run.tasks.keys() - tasks.keys()
    metrics = {key: value for key, value in run.metrics.items() if key.split(".")[0] not in others}
    return replace(run, tasks=tasks, model=model, metrics=metrics)


def at_size(run: Trained, size: tuple[int, int]) -> Trained:
    """The run for images of another size (H, W). Raises ValueError where the network does not take it."""
    fixed = run.model.backbone.fixed_size
    if fixed and padded(size, run.model.multiple) != fixed:
        raise ValueError(
            f"size is {size[0]}x{size[1]}: {run.config.model.backbone} takes images of {fixed} only; export it without"
        )
    if not all(1 <= side <= MAX_SIDE for side in size):
        raise ValueError(f"size is {size[0]}x{size[1]}: expected sides of 1 to {MAX_SIDE} pixels")
    run.model.backbone.check(size)
    return replace(run, config=replace(run.config, data=replace(run.config.data, size=size)))
