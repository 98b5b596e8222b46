"""Measure a network over a split: every metric over all valid pixels, never a mean of batch means."""

from collections.abc import Mapping
from contextlib import nullcontext

import torch
from torchmetrics import MeanMetric
from tqdm import tqdm

from mtl_vision.engine import distributed
from mtl_vision.engine.ending import answered
from mtl_vision.loading.loader import Loader
from mtl_vision.models import Network
from mtl_vision.tasks import Task


@torch.inference_mode()
def evaluate(model: Network, tasks: Mapping[str, Task], loader: Loader, device: torch.device) -> dict[str, float]:
    """Metrics of all tasks as flat keys, at the loader's size; in float32, as the exported graph computes.

    TASK.loss among them: the mean of the batches' losses, each by its number of valid pixels.
    """
    model.eval()
    metrics = {name: task.metrics().to(device) for name, task in tasks.items()}
    losses = {name: MeanMetric().to(device) for name in tasks}
    batches = loader.epoch(0)
    for batch in tqdm(batches, "evaluating", len(loader), leave=False, disable=distributed.rank() > 0):
        batch = batch.to(device)
        predictions = model(batch.image)
        for name, metric in metrics.items():
            if name in batch.targets:
                prediction, target, task = predictions[name], batch.targets[name], tasks[name]
                metric.update(prediction, target)
                losses[name].update(task.loss(prediction, target), task.valid(target).sum())
    with answered() if distributed.world() > 1 else nullcontext():
        values = {name: metric.compute() for name, metric in metrics.items()}
        means = {name: loss.compute().item() for name, loss in losses.items()}
    values = {name: found | {"loss": means[name]} if found else {} for name, found in values.items()}
    return {f"{name}.{short}": value for name, found in values.items() for short, value in found.items()}
