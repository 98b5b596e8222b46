"""What was trained on what: a line a fact."""

from collections.abc import Mapping
from typing import Any

from mtl_vision.report.compare import shown
from mtl_vision.report.reading import Recorded, flat, number


def facts(run: Recorded) -> list[tuple[str, str]]:
    """Name and text, from what the training told and from the config."""
    told = run.evaluation.get("facts")
    told = {str(key): str(value) for key, value in told.items()} if isinstance(told, dict) else {}
    model, data = run.section("model"), run.section("data")
    backbone = model.get("backbone")
    name = str(backbone.get("class_path")).rpartition(".")[2] if isinstance(backbone, dict) else backbone
    size = "x".join(str(side) for side in data.get("size") or ())
    found = {
        "data": data.get("root") or "synthetic rooms",
        "source": "",
        "network": f"{name}, {size}",
        "weights": "",
        "tasks": ", ".join(_task(run, task) for task in run.tasks),
        "balancer": _component(run.section("balancer")),
        "training": _training(run),
        "state": _state(run),
        "measured": _measured(run.metrics),
    }
    lines = found | told
    return [(key, str(value)) for key, value in lines.items() if value]


def headline(run: Recorded) -> list[tuple[str, str, str, str]]:
    """Task, metric, value and unit of each task's main metric."""
    rows = []
    for key, figure in run.figures.items():
        if figure.get("main") and (value := number(run.metrics.get(key))) is not None:
            task, _, name = key.partition(".")
            unit = str(figure.get("unit") or "")
            rows.append((task, name, shown(value, unit), unit))
    return rows


def _task(run: Recorded, task: str) -> str:
    settings = run.section("tasks").get(task)
    loss = settings.get("loss") if isinstance(settings, dict) else None
    return f"{task} ({str(loss.get('class_path')).rpartition('.')[2]})" if isinstance(loss, dict) else task


def _component(component: Mapping[str, Any]) -> str:
    name = str(component.get("class_path", "")).rpartition(".")[2]
    settings = flat(component.get("init_args") or {})
    listed = ", ".join(f"{key} {_plain(value)}" for key, value in settings.items())
    return f"{name}: {listed}" if listed else name


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def _training(run: Recorded) -> str:
    train, data = run.section("train"), run.section("data")
    seed = run.section("run").get("seed")
    parts = [
        f"{train.get('epochs')} epochs",
        f"batches of {data.get('batch_size')}",
        f"AdamW at {train.get('lr')}",
        f"augmentation {data.get('augment')}",
        f"seed {seed}",
    ]
    return ", ".join(part for part in parts if "None" not in part)


def _state(run: Recorded) -> str:
    steps = [record for record in run.history if "loss" in record]
    seconds = sum(number(record.get("seconds")) or 0 for record in steps)
    skipped = sum(bool(record.get("skipped")) for record in steps)
    epoch, epochs = run.evaluation.get("epoch"), run.section("train").get("epochs")
    if run.finished:
        state = "finished"
    elif epoch is not None:
        state = f"measured after {epoch} of {epochs} epochs"
    else:
        state = f"under way or interrupted, in epoch {(steps[-1].get('epoch') or 0) + 1 if steps else 1} of {epochs}"
    parts = [state, f"{len(steps):,} steps in {_time(seconds)}"]
    if steps:
        parts.append(f"{1000 * seconds / len(steps):.0f} ms a step")
    if skipped:
        parts.append(f"{skipped} steps left out, not finite")
    return ", ".join(parts)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _measured(metrics: Mapping[str, Any]) -> str:
    p = {key.removeprefix("protocol."): value for key, value in metrics.items() if key.startswith("protocol.")}
    if "samples" not in p:
        return ""
    size = p.get("size")
    at = f" at {size[0]}x{size[1]}" if isinstance(size, list) and len(size) == 2 else ""
    left = f", {p['left_out']} left out" if p.get("left_out") else ""
    truth = f"ground truth: {p.get('ground_truth')}; normals {p.get('normals')}"
    return f"on {p['samples']} images of '{p.get('split')}'{left}{at}; {truth}"
