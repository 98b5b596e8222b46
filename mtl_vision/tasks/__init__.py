"""Floor 1: one file a task, which describes it once: channels, kind, activation, loss, metrics."""

from __future__ import annotations

from mtl_vision.tasks.base import Task
from mtl_vision.tasks.depth import Depth
from mtl_vision.tasks.normals import Normals
from mtl_vision.tasks.segmentation import Segmentation

TASKS: dict[str, type[Task]] = {"depth": Depth, "normals": Normals, "segmentation": Segmentation}

__all__ = ["TASKS", "Depth", "Normals", "Segmentation", "Task"]
