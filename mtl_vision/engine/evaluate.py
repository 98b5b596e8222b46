"""Measure a network over a split: every metric over all valid pixels, never a mean of batch means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from tqdm import tqdm

from mtl_vision.engine import distributed
from mtl_vision.loading.loader import Loader
from mtl_vision.models import Network
from mtl_vision.tasks import Task


@torch.inference_mode()
def evaluate(model: Network, tasks: Mapping[str, Task], loader: Loader, device: torch.device) -> dict[str, float]:
    """Metrics of all tasks as flat keys, at the loader's size; in float32, as the exported graph computes."""
    model.eval()
    metrics = {name: task.metrics().to(device) for name, task in tasks.items()}
    bar = tqdm(loader.epoch(0), total=len(loader), desc="evaluating", leave=False, disable=distributed.rank() > 0)
    for batch in bar:
        batch = batch.to(device)
        predictions = model(batch.image)
        for name, metric in metrics.items():
            if name in batch.targets:
                metric.update(predictions[name], batch.targets[name])
    result: dict[str, float] = {}
    for metric in metrics.values():
        result |= metric.compute()
    return result


def delta_m(metrics: Mapping[str, Any], single: Mapping[str, Any], higher: Mapping[str, bool]) -> float:
    """Mean relative gain over single-task runs in percent, positive is better: 100 / M sum (-1)^lower (m - s) / s.

    higher: metric -> whether higher is better; the metrics that are compared.
    """
    gains = [(1 if up else -1) * (metrics[name] - single[name]) / single[name] for name, up in higher.items()]
    return 100 * sum(gains) / len(gains)


# the nine metrics of the literature's delta_m: whether higher is better
NINE = {
    "depth.abs_err": False,
    "depth.abs_rel": False,
    "normals.mean": False,
    "normals.median": False,
    "normals.within_11.25": True,
    "normals.within_22.5": True,
    "normals.within_30": True,
    "segmentation.miou": True,
    "segmentation.pixel_accuracy": True,
}
