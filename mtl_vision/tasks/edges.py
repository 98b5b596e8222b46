"""Edges: the probability of a pixel to lie on the boundary between two things, in class or in depth."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from mtl_vision.ranges import within
from mtl_vision.runtime.contract import Output
from mtl_vision.tasks.base import Chart, Figure, Loss, ScalarTask, thinned, widened
from mtl_vision.tasks.whole_batch import total

EPS = 1e-7  # keeps the logarithms of a probability and of its complement finite in float32
TOLERANCE = 0.0075  # of an edge's place, as a share of the image's diagonal
THRESHOLDS = 99  # 0.01 to 0.99


class WeightedCrossEntropy(Loss):
    """-sum (w p* log p + (1 - p*) log(1 - p)) / sum (w p* + 1 - p*) of probabilities p, p* (B, H, W).

    Args:
        positive_weight: w, the weight of an edge pixel to any other's; if not given, the batch's number of others to
            that of edge pixels, by which both count the same (Xie and Tu, HED, 2015)
    """

    def __init__(self, positive_weight: float | None = None) -> None:
        if positive_weight is not None:
            within(1e-6, 10**6, positive_weight=positive_weight)
        self.positive_weight = positive_weight

    def __call__(self, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        p, target = prediction.clamp(EPS, 1 - EPS), target.to(prediction)
        edge, other = torch.where(valid, target, 0), torch.where(valid, 1 - target, 0)
        edges, others = total(edge.sum(), other.sum())
        w = others / edges.clamp(min=1) if self.positive_weight is None else self.positive_weight
        summed, weights = total((w * edge * p.log() + other * (1 - p).log()).sum(), (w * edge + other).sum())
        return -summed / weights.clamp(min=EPS)


class Edges(ScalarTask):
    """Probability of an edge: p = sigmoid(x). A target below 0 is invalid, one of 1/2 or more is an edge.

    Args:
        loss: what is minimised
    """

    name = "edges"
    figures: ClassVar[Mapping[str, Figure]] = {
        "f_measure": Figure("", True, main=True),
        "average_precision": Figure("", True),
    }
    classification = True
    # pixels by threshold reached: predicted, predicted near a true edge, true by the highest prediction nearby
    sums_shape = (3, THRESHOLDS + 1)

    def __init__(self, loss: Loss = WeightedCrossEntropy()) -> None:  # noqa: B008 (it never changes)
        self.loss_function = loss

    def activate(self, raw: Tensor) -> Tensor:
        return torch.sigmoid(widened(raw))

    def valid(self, target: Tensor) -> Tensor:
        return target[:, 0] >= 0

    def hits(self, prediction: Tensor, target: Tensor) -> Tensor:
        """On the right side of 1/2."""
        return ((prediction >= 0.5) == (target >= 0.5))[:, 0]

    def kpi(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The mean of the shares of edges and of other pixels predicted well: a map without edges scores 1/2."""
        prediction, target = thinned(prediction), thinned(target)
        right, edge = self.hits(prediction, target), target[:, 0] >= 0.5
        kinds = edge, self.valid(target) & ~edge
        counts = total(*((right & kind).sum() for kind in kinds), *(kind.sum() for kind in kinds)).to(prediction)
        return (counts[:2] / counts[2:]).nanmean()

    def sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        """For the F-measure at the one threshold that is best for the split (ODS of Martin et al. 2004, Arbelaez et al.
        2011). A predicted edge pixel is right if a true one lies within TOLERANCE, a true one is found if a predicted
        one does. Theirs match one to one after thinning; these counts need neither, and add up.
        """
        valid, edge = target >= 0, target >= 0.5
        radius = TOLERANCE * math.hypot(*target.shape[-2:])
        near = valid & (dilate(edge.float(), radius) > 0)
        highest = dilate(prediction.where(valid, 0), radius)
        thresholds = torch.arange(1, THRESHOLDS + 1, device=target.device) / (THRESHOLDS + 1)
        reached = [
            torch.bucketize(values, thresholds, right=True)
            for values in (prediction[valid], prediction[near], highest[edge])
        ]
        return torch.stack([torch.bincount(bins, minlength=THRESHOLDS + 1) for bins in reached])

    def summary(self, sums: Tensor) -> dict[str, float]:
        """Plain numbers; `threshold`: where the F-measure is best. Empty where the split has no edge."""
        if (curves := self._curves(sums)) is None:
            return {}
        precision, recall, f = curves
        best = int(f.argmax())
        average = (precision * -recall.diff(append=recall.new_zeros(1))).sum()
        return {
            "f_measure": float(f[best]),
            "threshold": (best + 1) / (THRESHOLDS + 1),
            "average_precision": float(average),
        }

    def _curves(self, sums: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Precision, recall and F-measure by threshold; None where the split has no edge."""
        predicted, right, found = sums.flip(1).cumsum(1).flip(1)
        if found[0] == 0:
            return None
        precision, recall = (right / predicted.clamp(min=1))[1:], (found / found[0])[1:]
        return precision, recall, 2 * precision * recall / (precision + recall).clamp(min=1e-9)

    def charts(self, sums: Tensor) -> list[Chart]:
        """Precision, recall and F-measure over the threshold."""
        curves = self._curves(sums) or ()
        values = {name: c.tolist() for name, c in zip(("precision", "recall", "F-measure"), curves, strict=False)}
        edges = [(k + 0.5) / (THRESHOLDS + 1) for k in range(THRESHOLDS + 1)]
        return [Chart("binned", "Edges by threshold", "threshold", "share", values, edges=edges)] if values else []

    def output(self) -> Output:
        return Output(self.name, "probability_map", range=(0.0, 1.0))

    def uninformed_loss(self, targets: Tensor | None = None) -> float:
        """Of 1/2 everywhere, the best constant where both kinds of pixel count the same: log 2."""
        targets = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2) if targets is None else targets
        return self.loss(torch.full_like(targets, 0.5), targets).item()


def dilate(x: Tensor, radius: float) -> Tensor:
    """The highest value of x (B, 1, H, W), none below 0, within a disc of `radius` pixels."""
    result = x
    for dy in range(int(radius) + 1):
        half = int(math.sqrt(radius**2 - dy**2))
        row = F.pad(F.max_pool2d(x, (1, 2 * half + 1), 1, (0, half)), (0, 0, dy, dy))
        result = torch.maximum(result, torch.maximum(row[..., 2 * dy :, :], row[..., : x.shape[-2], :]))
    return result
