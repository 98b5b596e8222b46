"""The table at the end of a run, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
        columns.append(cells or [name, "", "no valid pixel"])
    height = max(len(cells) for cells in columns)
    width = 29
    lines = [
        "   ".join((cells[i] if i < len(cells) else "").ljust(width) for cells in columns).rstrip()
        for i in range(height)
    ]
    lines[1] = "   ".join("-" * width for _ in columns)
    said = f"{protocol['protocol.samples']} pictures of '{protocol['protocol.split']}' at "
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
