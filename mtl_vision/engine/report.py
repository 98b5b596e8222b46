"""What a run says to people: before it begins, on the way, and the table at its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl_vision.config import Config
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.tasks import Task

UNITS = {
    "depth.abs_err": "m",
    "depth.rmse": "m",
    "normals.mean": "deg",
    "normals.median": "deg",
    "normals.rmse": "deg",
    "normals.within_11.25": "%",
    "normals.within_22.5": "%",
    "normals.within_30": "%",
    "segmentation.miou": "%",
    "segmentation.pixel_accuracy": "%",
}


def introduction(
    config: Config,
    parameters: int,
    device: object,
    train: FolderDataset,
    test: FolderDataset,
    folder: Path,
    done: int,
) -> str:
    """What is about to happen. parameters: of the network. done: epochs that a resumed run has behind it."""
    H, W = config.data.size
    lines = [
        f"data       {train.root}: {len(train)} to train on, {len(test)} ({test.split}) to measure",
        f"           {train.description.source}",
        f"network    {config.model.backbone}, {parameters / 1e6:.1f} M parameters, {H}x{W}, on {device}",
        f"tasks      {', '.join(config.tasks.names)}, balanced by {config.balancer.name}",
        f"run        {folder}/" + (f", going on after epoch {done}" if config.run.resume else ""),
    ]
    return "\n".join(lines)


def brief(metrics: Mapping[str, float], tasks: Mapping[str, Task]) -> str:
    """The main metric of each task in a line."""
    names = [task.main_metric[0] for task in tasks.values()]
    return "  ".join(f"{name} {metrics[name]:.3f}" for name in names if name in metrics)


def describe_protocol(config: Config, test: FolderDataset) -> dict[str, Any]:
    """How the metrics were measured, as it stands beside them in metrics.json."""
    normals = test.description.normals
    return {
        "protocol.split": test.split,
        "protocol.samples": len(test),
        "protocol.left_out": test.left_out,
        "protocol.size": list(config.data.size),
        "protocol.crop": "none",
        "protocol.ground_truth": test.description.source,
        "protocol.normals": "none" if normals is None else "derived from depth" if normals.derive else "as stored",
        "protocol.seed": config.run.seed,
        "protocol.epochs": config.train.epochs,
        "protocol.balancer": config.balancer.name,
    }


def table(metrics: Mapping[str, float], tasks: Mapping[str, Task], protocol: Mapping[str, Any]) -> str:
    """A column a task, its metrics below it, and how they were measured."""
    columns = []
    for name in tasks:
        rows = [(key, value) for key, value in metrics.items() if key.startswith(f"{name}.") and ".iou." not in key]
        cells = [name, ""] + [
            f"{key.removeprefix(name + '.'):<15}{value:>8.3f} {UNITS.get(key, ''):<3}"
            for key, value in rows
            if not key.endswith("classes_counted")
        ]
        columns.append(cells if rows else [name, "", "no valid pixel"])
    height = max(len(cells) for cells in columns)
    width = 29
    lines = [
        "   ".join((cells[i] if i < len(cells) else "").ljust(width) for cells in columns).rstrip()
        for i in range(height)
    ]
    lines[1] = "   ".join("-" * width for _ in columns)
    said = f"{protocol['protocol.samples']} pictures of '{protocol['protocol.split']}'"
    said += f" ({protocol['protocol.left_out']} left out)" if protocol["protocol.left_out"] else ""
    said += " at "
    said += "x".join(map(str, protocol["protocol.size"])) + f", crop: {protocol['protocol.crop']}"
    lines += [
        "",
        f"measured on {said}",
        f"ground truth: {protocol['protocol.ground_truth']}; normals {protocol['protocol.normals']}",
    ]
    counted, classes = metrics.get("segmentation.classes_counted"), tasks.get("segmentation")
    if counted is not None and classes is not None and counted < classes.channels:
        lines.append(
            f"mIoU over {counted:.0f} of {classes.channels} classes: the others are in neither truth nor prediction"
        )
    return "\n" + "\n".join(lines) + "\n"
