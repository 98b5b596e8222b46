"""What a run prints: before it begins, on the way, and the table at its end."""

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mtl_vision.config import Config
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.engine.loop import Trainer
from mtl_vision.runtime.terminal import printable
from mtl_vision.tasks import Task, figures

WIDTH = 29  # characters, of a task's column


def facts(config: Config, trainer: Trainer, train: FolderDataset, test: FolderDataset) -> dict[str, str]:
    """Data and network, a line each."""
    (H, W), backbone = config.data.size, config.model.backbone
    name = backbone if isinstance(backbone, str) else backbone.name
    parameters = sum(p.numel() for p in trainer.model.parameters())
    found = {
        "data": f"{train.root}: {len(train)} to train on, {len(test)} ({test.split}) to measure",
        "source": train.description.source,
        "network": f"{name}, {parameters / 1e6:.1f} M parameters, {H}x{W}, on {trainer.device}",
        "weights": printable(trainer.model.loaded or ""),
    }
    return {key: text for key, text in found.items() if text}


def introduction(config: Config, trainer: Trainer, train: FolderDataset, test: FolderDataset, folder: Path) -> str:
    """Data, network, tasks and run directory, before the training."""
    told = facts(config, trainer, train, test)
    weights = f"weights    {told['weights']}\n" if "weights" in told else ""
    resuming = f", resuming after epoch {trainer.epochs}" if config.run.resume else ""
    return f"""\
data       {told["data"]}
           {train.description.source}
network    {told["network"]}
{weights}tasks      {", ".join(trainer.tasks)}, balanced by {config.balancer.name}
{_training(config, trainer)}run        {folder}/{resuming}"""


def _training(config: Config, trainer: Trainer) -> str:
    """The options that change what is trained, a line each."""
    t, lines = config.train, []
    if t.ema:
        lines.append(f"ema {t.ema:g}: the averaged weights are measured and kept")
    if t.layer_decay < 1:
        lines.append(f"layer_decay {t.layer_decay:g}: a part of the backbone has that share of the next one's rate")
    if t.freeze:
        frozen = sum(p.numel() for p in trainer.model.parameters() if not p.requires_grad)
        lines.append(f"freeze {t.freeze}: {frozen / 1e6:.1f} M parameters of the backbone stay as they are")
    return "".join(f"{'' if k else 'training':<11}{line}\n" for k, line in enumerate(lines))


def brief(metrics: Mapping[str, float], tasks: Mapping[str, Task]) -> str:
    """The main metric of each task in a line."""
    names = [key for key, figure in figures(tasks.values()).items() if figure.main]
    return "  ".join(f"{name} {metrics[name]:.3f}" for name in names if name in metrics)


def describe_protocol(config: Config, test: FolderDataset) -> dict[str, Any]:
    """How the metrics were measured, for metrics.json."""
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
    columns, notes = [], []
    for name, task in tasks.items():
        own = {key.removeprefix(f"{name}."): value for key, value in metrics.items() if key.startswith(f"{name}.")}
        rows = [f"{short:<15}{own[short]:>8.3f} {f.unit:<3}" for short, f in task.figures.items() if short in own]
        columns.append([name, "-" * WIDTH, *(rows or ["no valid pixel"])])
        notes.append(task.note(own))
    lines = ["   ".join(cell.ljust(WIDTH) for cell in cells).rstrip() for cells in zip_longest(*columns, fillvalue="")]
    p = {key.removeprefix("protocol."): value for key, value in protocol.items()}
    left_out = f" ({p['left_out']} left out)" if p["left_out"] else ""
    height, width = p["size"]
    lines += [
        "",
        f"measured on {p['samples']} images of '{p['split']}'{left_out} at {height}x{width}, crop: {p['crop']}",
        f"ground truth: {p['ground_truth']}; normals {p['normals']}",
        *filter(None, notes),
    ]
    return "\n" + "\n".join(lines) + "\n"
