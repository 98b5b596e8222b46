"""Open a finished run again: its network with its weights, its tasks, its metrics."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mtl_vision.config import Config
from mtl_vision.datasets.description import FILE_NAME, Description, read_description
from mtl_vision.engine import build, checkpoint
from mtl_vision.engine.folder import CONFIG, METRICS
from mtl_vision.engine.parse import read_config
from mtl_vision.models import Network
from mtl_vision.runtime.files import read_regular
from mtl_vision.tasks import Task

MOST = 2**24  # bytes of metrics


@dataclass(frozen=True)
class Trained:
    """A trained run. `description` says what data it was trained on; the data themselves are not needed."""

    folder: Path
    config: Config
    description: Description
    tasks: dict[str, Task]
    model: Network
    metrics: dict[str, Any]


def load_run(folder: Path) -> Trained:
    """Read a run directory. Raises ValueError for one that is not finished."""
    for name, what in ((CONFIG, "a run directory"), (checkpoint.WEIGHTS, "a finished run")):
        if not (folder / name).exists():
            found = sorted(path.name for path in folder.glob("*")) if folder.is_dir() else "no such folder"
            raise ValueError(
                f"{folder} is not {what}: expected {name} in it, found {found}; train with mtl-train, which "
                "resumes an interrupted run by --run.resume"
            )
    parts = make_parts(folder)
    checkpoint.load_weights(parts.model, folder / checkpoint.WEIGHTS)
    return replace(parts, model=parts.model.eval(), metrics=_metrics(folder / METRICS))


def make_parts(folder: Path) -> Trained:
    """What a run directory's config and description make: tasks, and a network without its weights."""
    config = read_config(folder / CONFIG)
    description = read_description(folder / FILE_NAME)
    labels = description.segmentation
    tasks = build.make_tasks(config.tasks, labels and labels.class_set())
    return Trained(folder, config, description, tasks, build.make_network(config, tasks, pretrained=False), {})


def _metrics(path: Path) -> dict[str, Any]:
    """What was measured; nothing where there is no such file."""
    try:
        metrics = json.loads(read_regular(path, MOST)) if path.exists() else {}
    except (ValueError, RecursionError):
        metrics = None
    if not isinstance(metrics, dict):
        raise ValueError(f"{path} is damaged: expected the metrics as a JSON mapping; remove it to do without them")
    return metrics
