"""The training loop: one step, one epoch.

Shape legend: B batch, C channels, H height, W width, T tasks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from mtl_vision.balancers import Balancer, Shared, Tally, alone
from mtl_vision.engine import distributed
from mtl_vision.engine.tracking import Tracker
from mtl_vision.loading.loader import Batch, Loader
from mtl_vision.models import Network
from mtl_vision.tasks import Task


def make_optimizer(model: Network, lr: float, weight_decay: float, backbone_lr: float = 1.0) -> AdamW:
    """AdamW; norms and biases are not decayed. backbone_lr: the backbone's rate as a share of the others'."""
    backbone = {id(p) for p in model.backbone.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for p in model.parameters():
        if p.requires_grad:
            groups.setdefault((id(p) in backbone, p.ndim > 1), []).append(p)
    return AdamW(
        [
            {
                "params": parameters,
                "lr": lr * (backbone_lr if inside else 1),
                "weight_decay": weight_decay if decayed else 0.0,
            }
            for (inside, decayed), parameters in groups.items()
        ],
        fused=True,
    )


def make_schedule(optimizer: AdamW, steps: int, warmup: float) -> LambdaLR:
    """Linear warm-up over a share of the steps, then a cosine down to zero."""
    rise = max(round(steps * warmup), 1)

    def rate(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1)))

    return LambdaLR(optimizer, rate)


@dataclass
class Trainer:
    """What a training step works on."""

    model: Network
    tasks: Mapping[str, Task]
    balancer: Balancer
    optimizer: AdamW
    schedule: LambdaLR
    device: torch.device
    precision: torch.dtype = torch.float32
    clip: float = 0.0
    accumulate: int = 1
    place: str = "last_shared"
    steps: int = 0

    def step(self, batches: list[Batch]) -> dict[str, Tensor]:
        """One optimiser step over micro-batches. Returns the losses, by task, left on the device."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        share = 1 / len(batches)
        tally = Tally()
        for batch in batches:
            for name, loss in self._backward(batch.to(self.device), share).items():
                tally.add(name, loss, share)
        shares = distributed.mean_values(tally.shares)
        distributed.average_gradients(self.model.parameters())
        self.balancer.step(distributed.mean, shares)
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.schedule.step()
        self.steps += 1
        if self.balancer.looks_back:
            self._look_back(batches, shares)
        return self._named(tally.take(alone, None, list(self.tasks), self.device))

    def _backward(self, batch: Batch, share: float) -> dict[str, Tensor]:
        shared, predictions, losses = self._forward(batch)
        if self.balancer.observes:
            with torch.no_grad():
                kpi = {name: self.tasks[name].kpi(map, batch.targets[name]) for name, map in predictions.items()}
            self.balancer.observe(kpi, share)
        del predictions  # at full size they would stand through the backward pass
        self.balancer.backward(losses, shared, share, distributed.mean)
        return losses

    def _forward(self, batch: Batch) -> tuple[Shared, dict[str, Tensor], dict[str, Tensor]]:
        """The cut, and predictions and losses of the tasks that the batch has."""
        names = [name for name in self.tasks if name in batch.present]
        size = (batch.image.shape[-2], batch.image.shape[-1])
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            shared = Shared.cut(self.model.encode(batch.image), self.model.shared_weight(self.place))
            predictions = self.model.decode(shared.leaf, size, names)
            losses = {name: self.tasks[name].loss(predictions[name], batch.targets[name]) for name in names}
        return shared, predictions, losses

    @torch.no_grad()
    def _look_back(self, batches: list[Batch], shares: Mapping[str, float]) -> None:
        """Tell the balancer the losses of the same batches after the step."""
        tally = Tally()
        for batch in batches:
            for name, loss in self._forward(batch.to(self.device))[2].items():
                tally.add(name, loss, 1 / len(batches))
        self.balancer.look_back(self._named(tally.take(distributed.mean, shares, list(self.tasks), self.device)))

    @staticmethod
    def _named(means: tuple[list[str], Tensor]) -> dict[str, Tensor]:
        return dict(zip(*means, strict=True))

    def epoch(self, loader: Loader, epoch: int, epochs: int, tracker: Tracker | None) -> None:
        """All steps of an epoch, with a progress bar. Raises FloatingPointError, with task and step, for a bad loss."""
        total = len(loader) // self.accumulate
        bar = tqdm(total=total, desc=f"epoch {epoch + 1}/{epochs}", leave=False, disable=tracker is None)
        pending: _Record | None = None
        start = time.perf_counter()
        for group in _groups(loader.epoch(epoch), self.accumulate, total):
            lr = max(self.schedule.get_last_lr())
            losses = self.step(group)
            now = time.perf_counter()
            plain = {"step": self.steps - 1, "epoch": epoch, "lr": lr, "seconds": now - start}
            start = now
            record = _Record(plain, losses, self.balancer.report())
            # a step late: while it is read, the device has the next step to do
            self._write(pending, tracker, bar)
            pending = record
        self.balancer.end_epoch()
        self._write(pending, tracker, bar)
        bar.close()
        if tracker is not None:
            tracker.flush()

    def _write(self, record: _Record | None, tracker: Tracker | None, bar: tqdm) -> None:
        if record is None:
            return
        losses, steered = record.read()
        for name, loss in losses.items():
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"the loss of task '{name}' is {loss} at step {record.plain['step']}: lower train.lr, or set "
                    "train.clip, and look at that task's data"
                )
        if tracker is None:
            return
        by_task = {key: dict(zip(self.balancer.tasks, values, strict=True)) for key, values in steered.items()}
        tracker.step({**record.plain, "loss": losses, **by_task})
        weight = by_task["weight"]
        said = "  ".join(f"{name} {losses[name]:.3f} (w {weight[name]:.2f})" for name in losses)
        bar.set_postfix_str(said, refresh=False)  # the bar's own pace: logs would get a line a step
        bar.update()


class _Record:
    """A step's figures on their way from the device: copied without waiting, read when they have arrived."""

    def __init__(self, plain: dict[str, Any], losses: dict[str, Tensor], steered: dict[str, Tensor]) -> None:
        self.plain = plain
        self.losses = {name: loss.to("cpu", non_blocking=True) for name, loss in losses.items()}
        self.steered = {name: values.to("cpu", non_blocking=True) for name, values in steered.items()}
        self.arrived = torch.cuda.Event() if any(v.is_cuda for v in steered.values()) else None
        if self.arrived is not None:
            self.arrived.record()

    def read(self) -> tuple[dict[str, float], dict[str, list[float]]]:
        """Losses by task; what the balancer reports, a list over tasks each."""
        if self.arrived is not None:
            self.arrived.synchronize()
        losses = {name: float(loss) for name, loss in self.losses.items()}
        return losses, {name: values.tolist() for name, values in self.steered.items()}


def _groups(batches: Iterator[Batch], size: int, count: int) -> Iterator[list[Batch]]:
    """`count` lists of `size` batches."""
    for _ in range(count):
        yield [next(batches) for _ in range(size)]
