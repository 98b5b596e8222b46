"""What a task is. Shape legend: B batch, C channels, H height, W width."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from mtl_vision.runtime.contract import Output


class Task(ABC):
    """One dense prediction. A subclass gives the class variables and the methods; nothing else knows the task.

    main_metric: (name, higher is better), the metric that stands for the task in delta_m. classification: the loss is a
    cross-entropy.
    """

    name: ClassVar[str]
    main_metric: ClassVar[tuple[str, bool]]
    classification: ClassVar[bool] = False
    channels: int

    @abstractmethod
    def activate(self, raw: Tensor) -> Tensor:
        """From the head's raw map (B, C, H, W) to the prediction (B, C, H, W), in physical units where it has any."""

    @abstractmethod
    def valid(self, target: Tensor) -> Tensor:
        """The pixels of a target that count: bool (B, H, W)."""

    @abstractmethod
    def pixel_loss(self, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The loss over the valid pixels, a scalar; there is at least one."""

    @abstractmethod
    def hits(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The pixels that are predicted well, by the task's own standard: bool (B, H, W)."""

    @abstractmethod
    def decode(self, prediction: Tensor) -> Tensor:
        """From the prediction to the map that the exported graph gives: batch first, channels (if any) last."""

    @abstractmethod
    def metrics(self) -> Metric:
        """A fresh metric: `update(prediction, target)`, `compute()` gives {name: float}."""

    @abstractmethod
    def output(self) -> Output:
        """How the manifest describes the map."""

    def initial_loss(self) -> float | None:
        """The loss of a network that knows nothing, where theory tells it."""
        return None

    def initial_bias(self) -> list[float] | None:
        """Bias of the head's last layer (C values) that starts the prediction at a sensible place."""
        return None

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The mean loss over valid pixels in float32, a scalar; without any it is a zero that trains nothing."""
        prediction = prediction.float()
        valid = self.valid(target)
        # `where` keeps the graph, so that a batch without a valid pixel gives zero gradients, never NaN
        loss = self.pixel_loss(prediction, target, valid)
        return torch.where(valid.any(), loss, prediction.sum() * 0)

    def kpi(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Key performance indicator of a batch: the share of valid pixels predicted well, a scalar in [0, 1].

        Of every fourth row and column: it is a running figure, and costs next to nothing so. NaN when none is valid.
        """
        prediction, target = prediction[..., ::4, ::4], target[..., ::4, ::4]
        valid = self.valid(target)
        return (self.hits(prediction, target) & valid).sum() / valid.sum()


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of values (B, H, W) over valid (B, H, W); 0 where there is none, with zero gradients."""
    return torch.where(valid, values, 0).sum() / valid.sum().clamp(min=1)
