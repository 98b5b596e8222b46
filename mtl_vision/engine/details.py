"""evaluation.json: what a report shows of a measurement, beside what the run directory has anyway."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import mtl_vision
from mtl_vision.engine.evaluate import Evaluation
from mtl_vision.engine.gallery import gallery
from mtl_vision.engine.loop import Trainer
from mtl_vision.loading.loader import Loader
from mtl_vision.report.reading import EVALUATION, FORMAT, json_text
from mtl_vision.runtime.files import atomic_write
from mtl_vision.tasks import Task, figures


def write_details(
    folder: Path,
    trainer: Trainer,
    loader: Loader,
    evaluation: Evaluation,
    protocol: Mapping[str, Any],
    facts: Mapping[str, str],
) -> None:
    """Write `evaluation.json` into the run directory. protocol: as metrics.json has it. facts: a line each."""
    tasks = trainer.tasks
    found = {
        "format": FORMAT,
        "epoch": trainer.epochs,
        "step": trainer.steps,
        "metrics": evaluation.metrics | dict(protocol),
        "figures": {key: asdict(figure) for key, figure in figures(tasks.values()).items()},
        "notes": _notes(tasks, evaluation.metrics),
        "facts": dict(facts) | {"versions": f"mtl-vision {mtl_vision.__version__}, torch {torch.__version__}"},
        "charts": {name: [asdict(chart) for chart in charts] for name, charts in evaluation.charts.items()},
        "gallery": gallery(trainer.model, tasks, loader, evaluation.samples, trainer.device),
    }
    atomic_write(folder / EVALUATION, json_text(found).encode())


def _notes(tasks: Mapping[str, Task], metrics: Mapping[str, float]) -> list[str]:
    own = {
        name: {k.removeprefix(f"{name}."): v for k, v in metrics.items() if k.startswith(f"{name}.")} for name in tasks
    }
    return [note for name, task in tasks.items() if (note := task.note(own[name]))]
