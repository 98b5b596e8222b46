"""Surface normals: unit vectors in the camera frame that face the viewer."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from mtl_vision.runtime.contract import Output
from mtl_vision.tasks.base import Task, masked_mean


def cosine(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """mean 1 - n . n*, which is zero at agreement and 2 at opposition."""
    return masked_mean(1 - (prediction * target).sum(dim=1), valid)


def angular(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """mean angle in radians, as atan2(|n x n*|, n . n*), whose gradient stays finite where acos' does not."""
    dot = (prediction * target).sum(dim=1)
    cross = torch.linalg.cross(prediction, target, dim=1).square().sum(dim=1)
    return masked_mean(torch.atan2((cross + 1e-12).sqrt(), dot), valid)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"cosine": cosine, "angular": angular}


class Normals(Task):
    """Unit normals: n = x / |x|. loss: cosine or angular."""

    name = "normals"
    main_metric = ("normals.mean", False)
    channels = 3

    def __init__(self, loss: str = "cosine") -> None:
        if loss not in LOSSES:
            raise ValueError(f"unknown normals loss '{loss}': expected {', '.join(LOSSES)}")
        self.loss_function = LOSSES[loss]

    def activate(self, raw: Tensor) -> Tensor:
        return F.normalize(raw.float(), dim=1, eps=1e-6)

    def valid(self, target: Tensor) -> Tensor:
        return (target != 0).any(dim=1)

    def pixel_loss(self, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        return self.loss_function(prediction, target, valid)

    def hits(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Within 22.5 degrees."""
        return (prediction * target).sum(dim=1) > math.cos(math.radians(22.5))

    def decode(self, prediction: Tensor) -> Tensor:
        return prediction.permute(0, 2, 3, 1)

    def metrics(self) -> Metric:
        return NormalsMetrics()

    def output(self) -> Output:
        return Output(
            self.name,
            "unit_vector_map",
            frame="camera: x right, y down, z forward; facing the viewer",
            range=(-1.0, 1.0),
        )

    def initial_bias(self) -> list[float]:
        return [0.0, 0.0, -1.0]  # the surface that faces the camera


class NormalsMetrics(Metric):
    """Angular errors over all valid pixels of the split; the median from a histogram of 0.01 degree."""

    full_state_update = False
    BINS = 18000
    WITHIN = (11.25, 22.5, 30.0)

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("within", torch.zeros(len(self.WITHIN), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("histogram", torch.zeros(self.BINS, dtype=torch.int64), dist_reduce_fx="sum")
        self.sums: Tensor
        self.within: Tensor
        self.histogram: Tensor

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """prediction, target: (B, 3, H, W) unit vectors."""
        valid = (target != 0).any(dim=1)
        p, t = prediction.movedim(1, -1)[valid].double(), target.movedim(1, -1)[valid].double()
        p, t = F.normalize(p, dim=-1), F.normalize(t, dim=-1)
        angle = torch.rad2deg(2 * torch.asin(((p - t).norm(dim=-1) / 2).clamp(max=1)))
        self.sums += torch.stack([angle.sum(), angle.square().sum()])
        self.within += torch.stack([(angle < limit).sum() for limit in self.WITHIN])
        bins = (angle * (self.BINS / 180)).long().clamp(max=self.BINS - 1)
        self.histogram += torch.bincount(bins, minlength=self.BINS)

    def compute(self) -> dict[str, float]:
        """Degrees; within_* in percent of pixels."""
        count = int(self.histogram.sum())
        if count == 0:
            return {}
        mean, mean_square = (self.sums / count).tolist()
        # the bin in which the middle pixel lies; its centre is right to 0.005 degrees
        middle = int(torch.searchsorted(self.histogram.cumsum(0), (count + 1) // 2))
        result = {"mean": mean, "median": (middle + 0.5) * 180 / self.BINS, "rmse": math.sqrt(mean_square)}
        result |= {f"within_{limit:g}": 100 * int(n) / count for limit, n in zip(self.WITHIN, self.within, strict=True)}
        return {f"normals.{name}": value for name, value in result.items()}
