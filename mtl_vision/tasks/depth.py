"""Depth in metres along the camera's z axis."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from mtl_vision.ranges import within
from mtl_vision.runtime.contract import Output
from mtl_vision.tasks.base import Chart, Figure, Loss, ScalarTask, masked_mean, widened
from mtl_vision.tasks.whole_batch import largest, total

EPS = 1e-3  # metres: keeps logarithms and quotients finite
BINS = 20  # of true depth, up to the largest
SUMS = ("abs_err", "abs_rel", "squared", "log10", "delta1", "delta2", "delta3", "count")


class DepthLoss(Loss):
    """A loss of depths d against d*: all (B, H, W), in metres."""


class L1(DepthLoss):
    """mean |d - d*|."""

    def __call__(self, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        return masked_mean((prediction - target).abs(), valid)


class Squared(DepthLoss):
    """mean (d - d*)^2, the loss of the GradNorm paper."""

    def __call__(self, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        return masked_mean((prediction - target).square(), valid)


class SiLog(DepthLoss):
    """Scale-invariant log error of Eigen et al. 2014: mean g^2 - lambda (mean g)^2 of the batch, g = log d - log d*.

    Args:
        variance_share: lambda, from 0 (mean square of g) to 1 (its variance: a common scale of all depths is free)
    """

    def __init__(self, variance_share: float = 0.5) -> None:
        within(0, 1, variance_share=variance_share)
        self.variance_share = variance_share

    def __call__(self, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        g = torch.log(prediction.clamp(min=EPS)) - torch.log(target.clamp(min=EPS))
        summed, count = total(torch.where(valid, g, 0).sum(), valid.sum())
        return masked_mean(g.square(), valid) - self.variance_share * (summed / count.clamp(min=1)).square()


class BerHu(DepthLoss):
    """Reverse Huber of Laina et al. 2016: |x| where |x| <= c, else (x^2 + c^2) / 2c; c = share max |x|, a constant.

    Args:
        share: of the batch's largest error, above which an error counts squared
    """

    def __init__(self, share: float = 0.2) -> None:
        within(0.001, 1, share=share)
        self.share = share

    def __call__(self, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        x = (prediction - target).abs()
        c = (largest(torch.where(valid, x, 0).max()) / (1 / self.share)).clamp(min=EPS)
        return masked_mean(torch.where(x <= c, x, (x.square() + c * c) / (2 * c)), valid)


class Depth(ScalarTask):
    """Depth between 0 and `max_depth` metres: d = max_depth * sigmoid(x).

    Args:
        loss: what is minimised
        max_depth: metres at the upper end of the output's range
    """

    name = "depth"
    figures: ClassVar[Mapping[str, Figure]] = {
        "abs_err": Figure("m", False, nine=True),
        "abs_rel": Figure("", False, nine=True),
        "rmse": Figure("m", False, main=True),
        "log10": Figure("", False),
        **{f"delta{k}": Figure("", True) for k in (1, 2, 3)},
    }

    sums_shape = (len(SUMS) + 3 * BINS,)  # then pixels, errors and squares by true depth

    def __init__(self, loss: DepthLoss = L1(), max_depth: float = 10.0) -> None:  # noqa: B008 (it never changes)
        within(0.1, 1000, max_depth=max_depth)
        self.loss_function = loss
        self.max_depth = max_depth

    def activate(self, raw: Tensor) -> Tensor:
        return self.max_depth * torch.sigmoid(widened(raw))

    def valid(self, target: Tensor) -> Tensor:
        return target[:, 0] > 0

    def hits(self, prediction: Tensor, target: Tensor) -> Tensor:
        """max(d / d*, d* / d) < 1.25: delta1's pixels."""
        p, t = prediction[:, 0].clamp(min=EPS), target[:, 0].clamp(min=EPS)
        return torch.maximum(p / t, t / p) < 1.25

    def sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The field's metrics (Eigen et al. 2014), and the error by distance."""
        valid = target > 0
        p, t = prediction[valid].double().clamp(min=EPS), target[valid].double()
        error = (p - t).abs()
        ratio = torch.maximum(p / t, t / p)
        terms = [error, error / t, error.square(), (p.log10() - t.log10()).abs()]
        terms += [ratio < 1.25**k for k in (1, 2, 3)]
        bins = (t * (BINS / self.max_depth)).long().clamp(max=BINS - 1)
        by_distance = [torch.bincount(bins, weight, BINS) for weight in (torch.ones_like(t), error, error.square())]
        return torch.cat([torch.stack([term.sum() for term in [*terms, valid]]), *by_distance])

    def summary(self, sums: Tensor) -> dict[str, float]:
        """Metres; abs_rel, log10 and the deltas are plain numbers (delta: share of pixels)."""
        own = sums[: len(SUMS)]
        mean: dict[str, float] = dict(zip(SUMS, (own / own[-1]).tolist(), strict=True))
        mean["rmse"] = math.sqrt(mean["squared"])
        return {name: mean[name] for name in self.figures}

    def charts(self, sums: Tensor) -> list[Chart]:
        """The error over the true depth."""
        count, error, squared = sums[len(SUMS) :].view(3, BINS)
        some = count > 0
        lines = {"RMSE": (squared / count).sqrt(), "mean error": error / count}
        values = {name: torch.where(some, line, math.nan).tolist() for name, line in lines.items()}
        return [
            Chart(
                "binned",
                "Error over distance",
                "true depth (m)",
                "error (m)",
                {name: [None if math.isnan(v) else v for v in line] for name, line in values.items()},
                edges=[self.max_depth * k / BINS for k in range(BINS + 1)],
                shares=(100 * count / count.sum()).tolist(),
            )
        ]

    def output(self) -> Output:
        return Output(self.name, "scalar_map", unit="m", frame="camera, along z", range=(0.0, self.max_depth))

    def uninformed_loss(self, targets: Tensor | None = None) -> float | None:
        """Of the mean depth of the valid pixels, everywhere: a constant, which every loss is finite for."""
        if targets is None:
            return None
        mean = masked_mean(targets[:, 0], self.valid(targets))
        return self.loss(mean.expand_as(targets), targets).item()

    def initial_bias(self) -> list[float]:
        share = min(2.5 / self.max_depth, 0.5)  # rooms are about 2.5 m deep
        return [math.log(share / (1 - share))]
