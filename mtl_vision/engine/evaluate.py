"""Measure a network over a split: every metric over all valid pixels, never a mean of batch means."""

from collections.abc import Mapping

import torch
from tqdm import tqdm

from mtl_vision.engine import distributed
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
    losses = {name: torch.zeros(2, dtype=torch.float64, device=device) for name in tasks}  # losses by pixels, pixels
    batches = loader.epoch(0)
    for batch in tqdm(batches, "evaluating", len(loader), leave=False, disable=distributed.rank() > 0):
        batch = batch.to(device)
        predictions = model(batch.image)
        for name, task in tasks.items():
            if name in batch.targets:
                prediction, target = predictions[name], batch.targets[name]
                metrics[name].update(prediction, target)
                count = task.valid(target).sum()
                losses[name] += torch.stack([task.loss(prediction, target) * count, count])
    values: dict[str, float] = {}
    for name, metric in metrics.items():
        metric.total = distributed.total(metric.total)
        summed, count = distributed.total(losses[name]).tolist()
        found = metric.compute() | ({"loss": summed / count} if count else {})
        values |= {f"{name}.{short}": value for short, value in found.items()}
    return values
