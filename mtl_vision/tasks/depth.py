"""Depth in metres along the camera's z axis."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric

from mtl_vision.runtime.contract import Output
from mtl_vision.tasks.base import Task, masked_mean

EPS = 1e-3  # metres: keeps logarithms and quotients finite


def l1(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """mean |d - d*|."""
    return masked_mean((prediction - target).abs(), valid)


def squared(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """mean (d - d*)^2, the loss of the GradNorm paper."""
    return masked_mean((prediction - target).square(), valid)


def silog(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Scale-invariant log error of Eigen et al. 2014: mean g^2 - lambda (mean g)^2, g = log d - log d*, lambda = 0.5.

    Means are over all valid pixels of the batch.
    """
    g = torch.log(prediction.clamp(min=EPS)) - torch.log(target.clamp(min=EPS))
    return masked_mean(g.square(), valid) - 0.5 * masked_mean(g, valid).square()


def berhu(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Reverse Huber of Laina et al. 2016: |x| where |x| <= c, else (x^2 + c^2) / 2c; c = max |x| / 5, a constant."""
    x = (prediction - target).abs()
    c = (torch.where(valid, x, 0).max() / 5).clamp(min=EPS).detach()
    return masked_mean(torch.where(x <= c, x, (x.square() + c * c) / (2 * c)), valid)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "l1": l1,
    "squared": squared,
    "silog": silog,
    "berhu": berhu,
}


class Depth(Task):
    """Depth between 0 and `max_depth` metres: d = max_depth * sigmoid(x).

    loss: l1, squared, silog or berhu.
    """

    name = "depth"
    main_metric = ("depth.rmse", False)
    channels = 1

    def __init__(self, loss: str = "l1", max_depth: float = 10.0) -> None:
        if loss not in LOSSES:
            raise ValueError(f"unknown depth loss '{loss}': expected {', '.join(LOSSES)}")
        self.loss_function = LOSSES[loss]
        self.max_depth = max_depth

    def activate(self, raw: Tensor) -> Tensor:
        return self.max_depth * torch.sigmoid(raw.float())

    def valid(self, target: Tensor) -> Tensor:
        return target[:, 0] > 0

    def pixel_loss(self, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        return self.loss_function(prediction[:, 0], target[:, 0], valid)

    def hits(self, prediction: Tensor, target: Tensor) -> Tensor:
        """max(d / d*, d* / d) < 1.25: delta1's pixels."""
        p, t = prediction[:, 0].clamp(min=EPS), target[:, 0].clamp(min=EPS)
        return torch.maximum(p / t, t / p) < 1.25

    def decode(self, prediction: Tensor) -> Tensor:
        return prediction[:, 0]

    def metrics(self) -> Metric:
        return DepthMetrics()

    def output(self) -> Output:
        return Output(self.name, "scalar_map", unit="m", frame="camera, along z", range=(0.0, self.max_depth))

    def initial_bias(self) -> list[float]:
        share = min(2.5 / self.max_depth, 0.5)  # rooms are about 2.5 m deep
        return [math.log(share / (1 - share))]


class DepthMetrics(Metric):
    """The field's depth metrics (Eigen et al. 2014) over all valid pixels of the split."""

    full_state_update = False
    NAMES = ("abs_err", "abs_rel", "squared", "log10", "delta1", "delta2", "delta3")

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(len(self.NAMES), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.sums: Tensor
        self.count: Tensor

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """prediction, target: (B, 1, H, W) metres."""
        valid = target > 0
        p, t = prediction[valid].double().clamp(min=EPS), target[valid].double()
        error = (p - t).abs()
        ratio = torch.maximum(p / t, t / p)
        terms = [error, error / t, error.square(), (p.log10() - t.log10()).abs()]
        terms += [(ratio < 1.25**k).double() for k in (1, 2, 3)]
        self.sums += torch.stack([term.sum() for term in terms])
        self.count += valid.sum()

    def compute(self) -> dict[str, float]:
        """Metres; abs_rel, log10 and the deltas are plain numbers (delta: share of pixels)."""
        if self.count == 0:
            return {}
        mean: dict[str, float] = dict(zip(self.NAMES, (self.sums / self.count).tolist(), strict=True))
        mean["rmse"] = math.sqrt(mean["squared"])
        return {
            f"depth.{name}": mean[name]
            for name in ("abs_err", "abs_rel", "rmse", "log10", "delta1", "delta2", "delta3")
        }
