"""Measure a network over a split: every metric over all valid pixels, never a mean of batch means."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from mtl_vision.engine import distributed
from mtl_vision.loading.loader import Loader
from mtl_vision.models import Network
from mtl_vision.tasks import Chart, Task


@dataclass(frozen=True)
class Evaluation:
    """What was measured over a split, the same in all processes.

    metrics: by flat key. charts: of each task. samples: the main metric of each sample by itself, a column a task:
    (N, T) float64 on the CPU; NaN where it has none.
    """

    metrics: dict[str, float]
    charts: dict[str, list[Chart]]
    samples: Tensor


@torch.inference_mode()
def evaluate(model: Network, tasks: Mapping[str, Task], loader: Loader, device: torch.device) -> Evaluation:
    """Metrics of all tasks as flat keys, at the loader's size; in float32, as the exported graph computes.

    TASK.loss among them: the mean of the batches' losses, each by its number of valid pixels.
    """
    model.eval()
    metrics = {name: task.metrics().to(device) for name, task in tasks.items()}
    losses = {name: torch.zeros(2, dtype=torch.float64, device=device) for name in tasks}  # losses by pixels, pixels
    samples = torch.zeros(loader.sampler.count, len(tasks), dtype=torch.float64)
    at = range(loader.sampler.rank, len(samples), loader.sampler.world)  # those that come to this process, in order
    seen = 0
    batches = loader.epoch(0)
    disable = True if distributed.rank() > 0 else None  # None: where there is no terminal
    for batch in tqdm(batches, "evaluating", len(loader), leave=False, disable=disable):
        batch = batch.to(device)
        predictions = model(batch.image)
        rows = list(at[seen : seen + len(batch.names)])
        seen += len(rows)
        for column, (name, task) in enumerate(tasks.items()):
            if name in batch.targets:
                prediction, target = predictions[name], batch.targets[name]
                metrics[name].update(prediction, target)
                count = task.valid(target).sum()
                losses[name] += torch.stack([task.loss(prediction, target) * count, count])
                own = task.main_metrics(prediction, target)
                samples[rows, column] = torch.tensor(own, dtype=torch.float64)
    values: dict[str, float] = {}
    charts: dict[str, list[Chart]] = {}
    for name, metric in metrics.items():
        metric.total = distributed.total(metric.total)
        summed, count = distributed.total(losses[name]).tolist()
        found = metric.compute() | ({"loss": summed / count} if count else {})
        values |= {f"{name}.{short}": value for short, value in found.items()}
        charts[name] = metric.charts()
    return Evaluation(values, charts, distributed.total(samples))
