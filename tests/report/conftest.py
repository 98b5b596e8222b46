"""A run directory without a training: what a report reads, written by hand."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

MakeRun = Callable[..., Path]
TASKS = ("depth", "normals", "segmentation")
FIGURES = {
    "depth.rmse": {"unit": "m", "higher_is_better": False, "main": True, "nine": False},
    "depth.delta1": {"unit": "", "higher_is_better": True, "main": False, "nine": False},
    "normals.mean": {"unit": "deg", "higher_is_better": False, "main": True, "nine": True},
    "segmentation.miou": {"unit": "%", "higher_is_better": True, "main": True, "nine": True},
}
METRICS = {"depth.rmse": 0.5, "depth.delta1": 0.9, "normals.mean": 20.0, "segmentation.miou": 40.0}


def records(steps: int, tasks: tuple[str, ...] = TASKS) -> list[dict[str, Any]]:
    """The first task's weight falls to a third within 120 steps; the losses fall to a tenth in the end."""
    found = []
    for step in range(steps):
        low = max(1 - step / 120, 0) * 2 / 3 + 1 / 3
        weight = {task: low if k == 0 else (len(tasks) - low) / (len(tasks) - 1) for k, task in enumerate(tasks)}
        norm = {task: weight[task] * (4 if k == 0 else 1) for k, task in enumerate(tasks)}
        target = dict.fromkeys(tasks, sum(norm.values()) / len(tasks))
        loss = {task: 1 - 0.9 * step / max(steps - 1, 1) for task in tasks}
        found.append(
            {"step": step, "epoch": 0, "lr": 0.01, "seconds": 0.1, "loss": loss, "weight": weight, "grad_norm": norm}
            | {"target": target, "rate": dict.fromkeys(tasks, 1.0)}
        )
    return found


def picture() -> str:
    """A picture as evaluation.json has it."""
    return base64.b64encode(cv2.imencode(".webp", np.full((12, 16, 3), 90, np.uint8))[1].tobytes()).decode()


def evaluation(classes: list[str], tasks: tuple[str, ...] = TASKS, samples: int = 3) -> dict[str, Any]:
    C = len(classes)
    confusion = {str(i): [8 if i == j else (2 if j == (i + 1) % C else 0) for j in range(C)] for i in range(C)}
    edges = [0.5 * k for k in range(21)]
    charts = {
        "depth": [
            {"kind": "binned", "title": "Error over distance", "x": "true depth (m)", "y": "error (m)", "names": [],
             "values": {"RMSE": [None] * 2 + [0.5] * 18}, "edges": edges, "shares": [5.0] * 20},
        ],
        "normals": [
            {"kind": "histogram", "title": "Angular error", "x": "angle", "y": "pixels (%)", "names": [],
             "values": {"pixels": [60.0, 40.0] + [0.0] * 34}, "edges": [5.0 * k for k in range(37)], "shares": []},
        ],
        "segmentation": [
            {"kind": "bars", "title": "IoU", "x": "", "y": "IoU (%)", "names": classes, "edges": [], "shares": [],
             "values": {"IoU": [100 * (k + 1) / C for k in range(C - 1)] + [None]}},
            {"kind": "matrix", "title": "Confusion", "x": "", "y": "", "names": classes, "values": confusion,
             "edges": [], "shares": []},
        ],
    }  # fmt: skip
    outputs = {
        task: {
            "kind": "label_map" if task == "segmentation" else "scalar_map",
            "unit": "m",
            "error_unit": "m",
            "error_limit": 1.0,
            "classes": classes if task == "segmentation" else [],
            "palette": [[k, k, k] for k in range(C)],
            "main": {"name": "rmse", "unit": "m", "higher_is_better": task == "segmentation"},
        }
        for task in tasks
    }
    shown = [
        {
            "name": f"sample{k}",
            "index": k,
            "photo": picture(),
            "metrics": {task: float(k) for task in tasks},
            "maps": {
                task: {"truth": picture(), "prediction": picture(), "error": picture(), "limits": [0, 1], "ids": [0]}
                for task in tasks
            },
        }
        for k in range(samples)
    ]
    return {
        "format": 1, "epoch": 1, "step": 300, "metrics": METRICS, "figures": FIGURES, "notes": [], "facts": {},
        "charts": {task: charts[task] for task in tasks if task in charts},
        "gallery": {"of": 10, "worst": 6, "outputs": outputs, "samples": shown},
    }  # fmt: skip


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """make_run(name, steps=300, tasks=TASKS, classes=..., balancer=..., metrics=METRICS, measured=True) -> Path."""

    def make(
        name: str = "run",
        steps: int = 300,
        tasks: tuple[str, ...] = TASKS,
        classes: tuple[str, ...] = ("wall", "floor", "sofa"),
        balancer: str = "GradNorm",
        metrics: dict[str, float] = METRICS,
        measured: bool = True,
        history: list[dict[str, Any]] | None = None,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        config = {
            "run": {"name": name, "seed": 0},
            "data": {"root": "rooms", "size": [48, 64], "batch_size": 8},
            "model": {"backbone": "resnet10t"},
            "tasks": {"names": list(tasks)},
            "balancer": {"class_path": f"mtl_vision.balancers.{balancer}", "init_args": {"place": "last_shared"}},
            "train": {"epochs": 1, "lr": 0.01},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        lines = records(steps, tasks) if history is None else history
        (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if measured:
            own = {key: value for key, value in metrics.items() if key.partition(".")[0] in tasks}
            found = evaluation(list(classes), tasks) | {"metrics": own}
            (folder / "evaluation.json").write_text(json.dumps(found))
            (folder / "metrics.json").write_text(json.dumps(own))
        return folder

    return make
