"""A step's line of the history."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Record:
    """A step's figures on their way from the device: copied without waiting, read when they have arrived."""

    def __init__(self, plain: dict[str, Any], losses: dict[str, Tensor], report: dict[str, Tensor]) -> None:
        self.plain = plain
        self.losses = {name: loss.to("cpu", non_blocking=True) for name, loss in losses.items()}
        self.report = {name: values.to("cpu", non_blocking=True) for name, values in report.items()}
        self.arrived = torch.cuda.Event() if any(v.is_cuda for v in (*losses.values(), *report.values())) else None
        if self.arrived is not None:
            self.arrived.record()

    def read(self, tasks: Sequence[str]) -> dict[str, Any]:
        """The record as `history.jsonl` has it."""
        if self.arrived is not None:
            self.arrived.synchronize()
        losses = {name: loss.item() for name, loss in self.losses.items()}
        report = {key: dict(zip(tasks, values.tolist(), strict=True)) for key, values in self.report.items()}
        return self.plain | {"loss": losses} | report
