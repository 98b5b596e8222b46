"""The training loop: one step, one epoch."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from mtl_vision.balancers import Balancer, Shared, TaskMeans
from mtl_vision.engine import checkpoint, distributed, nonfinite
from mtl_vision.engine.compiled import Compiled
from mtl_vision.engine.ema import Ema
from mtl_vision.engine.global_batch import Part, joined, parts
from mtl_vision.engine.loss_scale import LossScale
from mtl_vision.engine.nonfinite import NonFiniteError, OnNonFinite, Skipped
from mtl_vision.engine.progress import Progress
from mtl_vision.engine.record import Record
from mtl_vision.engine.reducer import Reducer
from mtl_vision.engine.tracking import Tracker
from mtl_vision.loading.loader import Batch, Loader
from mtl_vision.models import Network
from mtl_vision.runtime.terminal import printable
from mtl_vision.tasks import Task


@dataclass
class Trainer:
    """What a training step works on, and how far the training is.

    Over several processes, each takes its part of every batch, and all come to what one process would with the whole.
    """

    PARTS = ("model", "balancer", "optimizer", "schedule", "ema", "loss_scale")

    model: Network
    tasks: Mapping[str, Task]
    balancer: Balancer
    optimizer: AdamW
    schedule: LambdaLR
    device: torch.device
    precision: torch.dtype = torch.float32
    clip: float = 0.0
    accumulate: int = 1
    on_nonfinite: OnNonFinite = "stop"
    compile: bool = False
    ema: Ema | None = None
    steps: int = 0  # those that were left out among them
    epochs: int = 0  # done
    skipped: Skipped = field(default_factory=Skipped)
    made_with: Mapping[str, Any] = field(default_factory=dict)  # what a checkpoint's training must have had as well
    reducer: Reducer | None = field(default=None, init=False)  # of several processes
    loss_scale: LossScale | None = field(default=None, init=False)  # of float16

    def __post_init__(self) -> None:
        self.network = Compiled(self.model) if self.compile else self.model
        if self.precision == torch.float16:
            self.loss_scale = LossScale(self.device)
        if distributed.world() > 1:
            first = [*self.model.last_shared.parameters(), *self.model.heads.parameters()]
            known = set(map(id, first))
            self.reducer = Reducer(first, [p for p in self.model.parameters() if id(p) not in known])

    @joined()
    def step(self, batches: list[Batch]) -> dict[str, Tensor]:
        """One optimiser step over micro-batches. Returns the losses, by task, over all processes, left on the device.

        Where a loss or a gradient is not finite nothing is changed: the step is left out, or raises NonFiniteError.
        """
        if not self.model.training:  # it asks every module
            self.model.train()
        rng = checkpoint.generators()
        mine = list(zip(batches, parts(batches, self.tasks, self.balancer.observes), strict=True))
        undone = self.on_nonfinite == "skip" or self.loss_scale is not None
        buffers = [buffer.clone() for buffer in self.model.buffers()] if undone else []
        means, fault = self._attempt(mine)
        while fault and self._lowered(means):
            self._undo(buffers)
            checkpoint.set_generators(rng)
            means, fault = self._attempt(mine)
        if fault:
            self._leave_out(fault, batches, rng, buffers)
            self._next()
            return self._losses(means)
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        if self.loss_scale is not None:
            self.loss_scale.keep()
        if self.ema is not None:
            self.ema.update()
        self.skipped.row = 0
        self._next()
        if self.balancer.wants_after_step:
            self._after_step(mine)
        return self._losses(means)

    def _next(self) -> None:
        with warnings.catch_warnings():  # where the first step of all is left out
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            self.schedule.step()
        self.steps += 1

    def _attempt(self, batches: list[tuple[Batch, Part]]) -> tuple[TaskMeans, str]:
        """Leave the gradients in the parameters, and let the balancer learn from them.

        Returns losses and shares of the micro-batches, and what is not finite, the same in all processes.
        """
        means, norm = TaskMeans(), None
        self.optimizer.zero_grad(set_to_none=True) if self.reducer is None else self.reducer.zero_grad()
        try:
            norm = self._gradients(batches, means)
            self.balancer.step(distributed.mean, means.shares, norm)
        except FloatingPointError as error:
            if self.reducer is not None:
                self.reducer.wait()
            if norm is None or torch.isfinite(norm):
                return means, str(error)
            return means, nonfinite.fault(self._losses(means), list(self.model.named_parameters()), self.steps)
        return means, ""

    def _gradients(self, batches: list[tuple[Batch, Part]], means: TaskMeans) -> Tensor | None:
        """Leave the gradients in the parameters; their norm. None: there are none."""
        share = 1 / len(batches)
        for k, (batch, part) in enumerate(batches):
            if self.reducer is not None and k == len(batches) - 1:
                self.reducer.last()
            self._backward(batch.to(self.device), part, share, means)
        if self.reducer is not None:
            self.reducer.finish()
        trained = (p for group in self.optimizer.param_groups for p in group["params"])
        gradients = [p.grad for p in trained if p.grad is not None]
        if not gradients:
            return None
        if self.loss_scale is not None:
            self.loss_scale.unscale(self.optimizer)
        return torch.nn.utils.get_total_norm(gradients)

    def _lowered(self, means: TaskMeans) -> bool:
        """Whether the loss scale may have been too high, and was lowered for another attempt."""
        if self.loss_scale is None or not all(loss.isfinite() for loss in self._losses(means).values()):
            return False
        return self.loss_scale.lower()

    def _losses(self, means: TaskMeans) -> dict[str, Tensor]:
        """The means over the micro-batches, and processes, that had the task."""
        names = list(means.sums)
        if not names:
            return {}
        losses = means.over(names, means.shares, distributed.mean, torch.zeros((), device=self.device))
        return dict(zip(names, losses, strict=True))

    def _leave_out(self, text: str, batches: list[Batch], rng: dict[str, Any], buffers: list[Tensor]) -> None:
        """Go on without the step, or raise NonFiniteError."""
        reason = None
        self._undo(buffers)
        if self.loss_scale is not None:
            text += self.loss_scale.leave_out()
        if self.on_nonfinite == "skip":
            reason = self.skipped.count(self.steps + 1)
        if self.on_nonfinite == "stop" or reason is not None:
            step = {"step": self.steps, "fault": text, **rng, "batches": nonfinite.kept(batches)}
            step |= {name: getattr(self, name).state_dict() for name in ("model", "balancer")}
            raise NonFiniteError(f"{text}{f'; {reason}' if reason else ''}", step)

    def _undo(self, buffers: list[Tensor]) -> None:
        """Forget an attempt at the step. buffers: as they were before it, if they are to be again."""
        self.balancer.forget()
        for buffer, before in zip(self.model.buffers() if buffers else (), buffers, strict=True):
            buffer.copy_(before)  # batch norm has seen the batch

    def _backward(self, batch: Batch, part: Part, share: float, means: TaskMeans) -> None:
        """Add a micro-batch's gradients to those in the parameters, its losses to `means`."""
        shared, predictions, losses = self._forward(batch, part)
        for name, loss in losses.items():
            means.add(name, loss, share)
        if self.balancer.observes:
            with torch.no_grad():
                kpi = {name: self.tasks[name].kpi(map, batch.targets[name]) for name, map in predictions.items()}
                kpi = {name: part.kpi[name] * k if part.kpi[name] else torch.zeros_like(k) for name, k in kpi.items()}
            self.balancer.observe(kpi, share)
        del predictions  # at full size: not needed in the backward pass
        self.balancer.backward(losses, shared, share, distributed.mean)

    def _forward(self, batch: Batch, part: Part) -> tuple[Shared, dict[str, Tensor], dict[str, Tensor]]:
        """The cut, and predictions and losses of the tasks that the batch, or another process' part of it, has.

        The mean of the losses over processes is that over the pixels of all.
        """
        H, W = batch.image.shape[-2:]
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            scale = None if self.loss_scale is None else self.loss_scale.value()
            shared = Shared.cut(self.network.encode(batch.image), self.model.shared_weight(self.balancer.place), scale)
            predictions = self.network.decode(shared.leaf, (H, W), part.names)
            losses = {name: self.tasks[name].loss(map, batch.targets[name]) for name, map in predictions.items()}
            losses = {name: part.loss[name] * loss for name, loss in losses.items()}
        return shared, predictions, losses

    @torch.no_grad()
    def _after_step(self, batches: list[tuple[Batch, Part]]) -> None:
        """Give the balancer the losses of the same batches after the step."""
        means = TaskMeans()
        for batch, part in batches:
            for name, loss in self._forward(batch.to(self.device), part)[2].items():
                means.add(name, loss, 1 / len(batches))
        if losses := self._losses(means):
            self.balancer.after_step({name: losses[name] for name in self.tasks if name in losses})

    def state_dict(self) -> dict[str, Any]:
        """Everything that the training needs to resume as if it had never stopped.

        Raises FloatingPointError where the network is not finite: that is not to take a good one's place.
        """
        nonfinite.expect_finite(self.model, self.balancer, {} if self.ema is None else self.ema.named_averages())
        parts = {name: part.state_dict() for name in self.PARTS if (part := getattr(self, name)) is not None}
        counts = {"steps": self.steps, "epoch": self.epochs, "skipped": [self.skipped.total, self.skipped.row]}
        return parts | counts | {"made_with": dict(self.made_with)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume where `state_dict` was taken. Raises ValueError, which names what differs."""
        begun = state.get("made_with")
        for key, value in self.made_with.items():
            if isinstance(begun, dict) and key not in begun:  # a setting that did not exist then
                continue
            if (before := begun.get(key) if isinstance(begun, dict) else None) != value:
                raise ValueError(
                    f"it was made with {key} = {printable(before):.80}, found {value} now: a resumed run keeps "
                    "its settings and number of samples; restore that, or begin a new run"
                )
        mine = {name: part for name in self.PARTS if (part := getattr(self, name)) is not None}
        if missing := mine.keys() - state.keys():
            raise ValueError(f"it has no {', '.join(sorted(missing))}: it was made by a training without that")
        try:
            for name, part in mine.items():
                part.load_state_dict(state[name])
            self.steps, self.epochs = int(state["steps"]), int(state["epoch"])
            self.skipped = Skipped(*state.get("skipped", ()))
        except Exception as error:  # torch raises many types
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"it does not fit this run ({type(error).__name__}: {reason})") from error

    def averaged(self) -> AbstractContextManager[None]:
        """The model has its averaged weights, if there are any: those to measure and to keep."""
        return nullcontext() if self.ema is None else self.ema.applied()

    def epoch(self, loader: Loader, epochs: int, tracker: Tracker | None) -> None:
        """The next of `epochs` epochs. Raises NonFiniteError, with task and step."""
        self.model.train()  # a part of it may have come in evaluation mode
        epoch, total, batches = self.epochs, len(loader) // self.accumulate, loader.epoch(self.epochs)
        waiting: list[Record] = []
        start = time.perf_counter()
        with Progress(epoch, epochs, total, shown=tracker is not None) as progress:
            for _ in range(total):
                lr = max(self.schedule.get_last_lr())
                skipped = self.skipped.total
                try:
                    losses = self.step(list(islice(batches, self.accumulate)))
                except NonFiniteError:
                    for record in waiting:
                        self._write(record, tracker, progress)
                    raise
                now = time.perf_counter()
                plain = {"step": self.steps - 1, "epoch": epoch, "lr": lr, "seconds": now - start}
                start, applied = now, self.skipped.total == skipped
                if not applied:
                    plain["skipped"] = True
                waiting.append(Record(plain, losses, self.balancer.report() if applied else {}))
                if len(waiting) > 1:  # read a step late: until then the device has the next step to compute
                    self._write(waiting.pop(0), tracker, progress)
            self.balancer.end_epoch()
            self.epochs += 1
            for record in waiting:
                self._write(record, tracker, progress)
        progress.done()

    def _write(self, arriving: Record, tracker: Tracker | None, progress: Progress) -> None:
        record = arriving.read(self.balancer.tasks)
        if tracker is not None:
            tracker.step(record)
            progress.step(record)
