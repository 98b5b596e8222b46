"""One file per task, which describes it once: channels, kind, activation, losses, metrics."""

from collections.abc import Iterable

from mtl_vision.tasks.base import Chart, Figure, Loss, Task
from mtl_vision.tasks.depth import Depth
from mtl_vision.tasks.edges import Edges
from mtl_vision.tasks.normals import Normals
from mtl_vision.tasks.segmentation import Segmentation

TASKS: dict[str, type[Task]] = {task.name: task for task in (Depth, Normals, Segmentation, Edges)}


def figures(tasks: Iterable[Task | type[Task]]) -> dict[str, Figure]:
    """What the tasks' metrics are, by full key (`depth.rmse`), in the tasks' order."""
    return {f"{task.name}.{short}": figure for task in tasks for short, figure in task.figures.items()}


__all__ = ["TASKS", "Chart", "Depth", "Edges", "Figure", "Loss", "Normals", "Segmentation", "Task", "figures"]
