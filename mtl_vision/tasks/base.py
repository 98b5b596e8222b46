"""What a task is. Shape legend: B batch, C channels, H height, W width."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from mtl_vision.runtime.contract import Output


@dataclass(frozen=True)
class Figure:
    """What a metric is.

    Attributes:
        unit: empty for a plain number
        higher_is_better: its direction
        main: the task's metric in a delta_m over one metric per task
        nine: one of the nine metrics of the literature's delta_m
    """

    unit: str
    higher_is_better: bool
    main: bool = False
    nine: bool = False


@dataclass(frozen=True)
class Chart:
    """What a report draws of a split's sums, beside the metrics.

    Attributes:
        kind: bars, a value a name; matrix, counts, a row a true class by its id; binned, lines of a value a bin;
            histogram, the same of one share
        title: above it
        x: what the axis is, with its unit
        y: the same
        values: by series; None: a bin without pixels
        names: of bars and of a matrix' rows
        edges: of the bins, one more than there are
        shares: of all pixels in each bin, percent
    """

    kind: Literal["bars", "matrix", "binned", "histogram"]
    title: str
    x: str
    y: str
    values: Mapping[str, Sequence[float | None]]
    names: Sequence[str] = ()
    edges: Sequence[float] = ()
    shares: Sequence[float] = field(default=())


class Loss(ABC):
    """A loss function with its settings, which never change.

    A mean over valid pixels is the same over several processes. Any other number that it takes from the batch (a
    maximum, a share, a sum of weights, a mean that is squared) is taken from all of it by `whole_batch`.
    """

    @abstractmethod
    def __call__(self, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The mean loss over valid (B, H, W), a scalar; finite, with zero gradients, where nothing is valid."""


class Task(ABC):
    """One dense prediction.

    Attributes:
        name: also its target's
        figures: its metrics by short name; one is the main one
        classification: the loss is a cross-entropy
        of_largest: the map is the index of the raw map's largest channel, in each pixel
        of_classes: the constructor takes the data's `classes` and `palette`
        channels: of the head's map
        loss_function: what `loss` calls
        sums_shape: of the sums that the metrics are computed from
    """

    name: ClassVar[str]
    figures: ClassVar[Mapping[str, Figure]]
    classification: ClassVar[bool] = False
    of_largest: ClassVar[bool] = False
    of_classes: ClassVar[bool] = False
    channels: int
    loss_function: Loss
    sums_shape: tuple[int, ...]

    @abstractmethod
    def activate(self, raw: Tensor) -> Tensor:
        """From the head's raw map (B, C, H, W) to the prediction (B, C, H, W), in physical units where it has any."""

    @abstractmethod
    def valid(self, target: Tensor) -> Tensor:
        """The pixels of a target that count: bool (B, H, W)."""

    @abstractmethod
    def hits(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The pixels that are predicted well, by the task's own standard: bool (B, H, W)."""

    @abstractmethod
    def decode(self, prediction: Tensor) -> Tensor:
        """From the prediction to the map that the exported graph gives: batch first, channels (if any) last."""

    @abstractmethod
    def sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        """What a batch adds to the split's sums over valid pixels (sums_shape); any type."""

    @abstractmethod
    def summary(self, sums: Tensor) -> dict[str, float]:
        """The metrics, {short name: value}, from the split's sums (sums_shape) in float64, which are not all 0.

        Names that are not in `figures` are details: written with the others, not compared.
        """

    def charts(self, sums: Tensor) -> list[Chart]:
        """What a report draws of the split's sums (sums_shape) in float64, which are not all 0."""
        return []

    @abstractmethod
    def output(self) -> Output:
        """How the manifest describes the map."""

    def uninformed_loss(self, targets: Tensor | None = None) -> float | None:
        """The loss of a prediction that knows nothing of the image. None: not known; a task of one's own may say it.

        targets: some of the training split's, (B, ...) as batches have them; only where the loss depends on them.
        """
        return None

    def initial_bias(self) -> list[float] | None:
        """Bias of the head's last layer (C values) that starts the prediction at a sensible place."""
        return None

    def note(self, metrics: Mapping[str, float]) -> str:
        """What a reader of these metrics (by short name) has to know beside them; empty where there is nothing."""
        return ""

    def pixel_loss(self, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The loss over the valid pixels, a scalar."""
        return self.loss_function(prediction, target, valid)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The mean loss over valid pixels in float32, a scalar; without any it is a zero that trains nothing."""
        prediction = widened(prediction)
        valid = self.valid(target)
        # `where` keeps the graph, so that a batch without a valid pixel gives zero gradients, never NaN
        return torch.where(valid.any(), self.pixel_loss(prediction, target, valid), prediction.sum() * 0)

    @torch.no_grad()
    def main_metrics(self, prediction: Tensor, target: Tensor) -> list[float]:
        """The main metric of each sample of a batch by itself; NaN where it has none."""
        main = next((short for short, figure in self.figures.items() if figure.main), "")
        sums = (self.sums(p[None], t[None]) for p, t in zip(prediction, target, strict=True))
        return [self.summary(s.double()).get(main, math.nan) if s.any() else math.nan for s in sums]

    def metrics(self) -> "Sums":
        """What a split's metrics are gathered in, of no pixel yet."""
        return Sums(self)

    def kpi(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The share of valid pixels of a batch predicted well, a scalar; NaN when none is valid.

        Of every fourth row and column only, which is enough for a running figure and costs next to nothing.
        """
        prediction, target = thinned(prediction), thinned(target)
        valid = self.valid(target)
        return (self.hits(prediction, target) & valid).sum() / valid.sum().to(widened(prediction))


class ScalarTask(Task):
    """A task of one channel: its map in the graph, and what its loss gets, are (B, H, W)."""

    channels = 1

    def pixel_loss(self, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        return self.loss_function(prediction[:, 0], target[:, 0], valid)

    def decode(self, prediction: Tensor) -> Tensor:
        return prediction[:, 0]


class Sums:
    """A task's metrics over all valid pixels of a split; float64 counts them exactly.

    total: the sums (sums_shape) of all batches so far.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.total = torch.zeros(task.sums_shape, dtype=torch.float64)

    def to(self, device: torch.device) -> Self:
        """Gather there."""
        self.total = self.total.to(device)
        return self

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch."""
        self.total += self.task.sums(prediction, target)

    def compute(self) -> dict[str, float]:
        """{short name: value}; {} of no valid pixel."""
        return self.task.summary(self.total) if self.total.any() else {}

    def charts(self) -> list[Chart]:
        """What a report draws of them; [] of no valid pixel."""
        return self.task.charts(self.total) if self.total.any() else []


def widened(x: Tensor) -> Tensor:
    """In float32, or float64 if it is that."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def thinned(maps: Tensor) -> Tensor:
    """Every fourth row and column of maps (..., H, W)."""
    return maps[..., ::4, ::4]


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of values (B, H, W) over valid (B, H, W); 0 where there is none, with zero gradients."""
    return torch.where(valid, values, 0).sum() / valid.sum().clamp(min=1)
