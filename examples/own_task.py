"""A task of one's own in one file: where the class or the depth changes. Train, export and run it like the others:

python train.py --config examples/own_task.yaml
"""

import numpy as np
import torch
from torch import Tensor

from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.targets import Target, register
from mtl_vision.runtime.contract import Output
from mtl_vision.tasks.base import Figure, Loss, ScalarTask


def boundaries(sample: Sample) -> np.ndarray:
    """The target (H, W): 1 where a pixel two further right or down has another class, or depth 10 % off; else 0."""
    labels, depth = sample.targets["segmentation"], np.maximum(sample.targets["depth"], 0.1)
    found = np.zeros(labels.shape, np.float32)
    for here, there in ((np.s_[:, :-2], np.s_[:, 2:]), (np.s_[:-2], np.s_[2:])):
        ratio = depth[here] / depth[there]
        found[here] = np.maximum(found[here], (labels[here] != labels[there]) | (np.abs(np.log(ratio)) > 0.1))
    return found


register(Target("boundaries", "probability_map", derive=boundaries, needs=("segmentation", "depth")))


class BoundaryLoss(Loss):
    """-sum (w y log p + (1 - y) log(1 - p)) / N.

    Args:
        weight: w, of a boundary pixel
    """

    def __init__(self, weight: float = 5.0) -> None:
        self.weight = weight

    def __call__(self, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        p, y = prediction.clamp(1e-6, 1 - 1e-6), target.clamp(min=0)
        loss = -(self.weight * y * p.log() + (1 - y) * (1 - p).log())
        return torch.where(valid, loss, 0).sum() / valid.sum().clamp(min=1)


class Boundaries(ScalarTask):
    """Probability of a boundary.

    Args:
        loss: what is minimised
    """

    name = "boundaries"
    sums_shape = (3,)
    figures = {"f_measure": Figure("", higher_is_better=True, main=True)}  # noqa: RUF012

    def __init__(self, loss: BoundaryLoss = BoundaryLoss()) -> None:  # noqa: B008
        self.loss_function = loss

    def activate(self, raw: Tensor) -> Tensor:
        return torch.sigmoid(raw.float())

    def valid(self, target: Tensor) -> Tensor:
        return target[:, 0] >= 0

    def hits(self, prediction: Tensor, target: Tensor) -> Tensor:
        return ((prediction >= 0.5) == (target >= 0.5))[:, 0]

    def sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        found, true, valid = prediction >= 0.5, target >= 0.5, target >= 0
        return torch.stack([(found & true).sum(), (found & valid).sum(), true.sum()])

    def summary(self, sums: Tensor) -> dict[str, float]:
        right, found, true = sums.tolist()
        return {"f_measure": 2 * right / max(found + true, 1)}

    def uninformed_loss(self, targets: Tensor | None = None) -> float | None:
        """Of 1/2 everywhere. Without this method only `--balancer.initial theoretical` would be missing."""
        return None if targets is None else self.loss(torch.full_like(targets, 0.5), targets).item()

    def output(self) -> Output:
        return Output(self.name, "probability_map", range=(0.0, 1.0))
