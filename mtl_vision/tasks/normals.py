"""Surface normals: unit vectors in the camera frame that face the viewer."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from mtl_vision.runtime.contract import Output
from mtl_vision.tasks.base import Chart, Figure, Loss, Task, masked_mean, widened

WITHIN = (11.25, 22.5, 30.0)  # degrees
BINS = 18000  # of 0.01 degree, for the median
DRAWN = 72  # of 2.5 degrees


class NormalsLoss(Loss):
    """A loss of unit vectors n against n*, both (B, 3, H, W); valid (B, H, W)."""


class Cosine(NormalsLoss):
    """mean 1 - n . n*, which is zero at agreement and 2 at opposition."""

    def __call__(self, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        return masked_mean(1 - (prediction * target).sum(dim=1), valid)


class Angular(NormalsLoss):
    """mean angle in radians, as atan2(|n x n*|, n . n*), whose gradient stays finite where acos' does not."""

    def __call__(self, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        dot = (prediction * target).sum(dim=1)
        cross = torch.linalg.cross(prediction, target, dim=1).square().sum(dim=1)
        return masked_mean(torch.atan2((cross + 1e-12).sqrt(), dot), valid)


class Normals(Task):
    """Unit normals: n = x / |x|.

    Args:
        loss: what is minimised
    """

    name = "normals"
    figures: ClassVar[Mapping[str, Figure]] = {
        "mean": Figure("deg", False, main=True, nine=True),
        "median": Figure("deg", False, nine=True),
        "rmse": Figure("deg", False),
        **{f"within_{limit:g}": Figure("%", True, nine=True) for limit in WITHIN},
    }
    channels = 3
    sums_shape = (2 + len(WITHIN) + BINS,)  # of the angle and its square, pixels within, histogram

    def __init__(self, loss: NormalsLoss = Cosine()) -> None:  # noqa: B008 (it never changes)
        self.loss_function = loss

    def activate(self, raw: Tensor) -> Tensor:
        return F.normalize(widened(raw), dim=1, eps=1e-6)

    def valid(self, target: Tensor) -> Tensor:
        return (target != 0).any(dim=1)

    def hits(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Within 22.5 degrees."""
        return (prediction * target).sum(dim=1) > math.cos(math.radians(22.5))

    def decode(self, prediction: Tensor) -> Tensor:
        return prediction.permute(0, 2, 3, 1)

    def sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        valid = self.valid(target)
        p, t = (F.normalize(x.movedim(1, -1)[valid].double(), dim=-1) for x in (prediction, target))
        angle = torch.rad2deg(2 * torch.asin(((p - t).norm(dim=-1) / 2).clamp(max=1)))
        terms = [angle, angle.square(), *(angle < limit for limit in WITHIN)]
        bins = (angle * (BINS / 180)).long().clamp(max=BINS - 1)
        return torch.cat([torch.stack([term.sum() for term in terms]), torch.bincount(bins, minlength=BINS)])

    def summary(self, sums: Tensor) -> dict[str, float]:
        """Degrees; within_* in percent of pixels."""
        total, squares, *within = sums[:-BINS].tolist()
        histogram = sums[-BINS:]
        count = int(histogram.sum())
        # the bin in which the middle pixel lies; its centre is right to 0.005 degrees
        middle = int(torch.searchsorted(histogram.cumsum(0), (count + 1) // 2))
        median, rmse = (middle + 0.5) * 180 / BINS, math.sqrt(squares / count)
        shares = {f"within_{limit:g}": 100 * n / count for limit, n in zip(WITHIN, within, strict=True)}
        return {"mean": total / count, "median": median, "rmse": rmse, **shares}

    def charts(self, sums: Tensor) -> list[Chart]:
        """How the angles are distributed."""
        counts = sums[-BINS:].view(DRAWN, -1).sum(1)
        return [
            Chart(
                "histogram",
                "Angular error",
                "angle to the true normal (degrees)",
                "pixels (%)",
                {"pixels": (100 * counts / counts.sum()).tolist()},
                edges=[180 / DRAWN * k for k in range(DRAWN + 1)],
            )
        ]

    def output(self) -> Output:
        frame = "camera: x right, y down, z forward; facing the viewer"
        return Output(self.name, "unit_vector_map", frame=frame, range=(-1.0, 1.0))

    def uninformed_loss(self, targets: Tensor | None = None) -> float:
        """Of a random direction: 1 for the cosine, pi/2 for the angle; whatever the targets."""
        axes = torch.cat([torch.eye(3), -torch.eye(3)])[..., None, None]  # their mean is that over all directions
        return self.loss(axes, torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1).expand_as(axes)).item()

    def initial_bias(self) -> list[float]:
        return [0.0, 0.0, -1.0]  # the surface that faces the camera
