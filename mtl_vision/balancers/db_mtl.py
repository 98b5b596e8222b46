"""Dual balancing, Lin, Jiang, Ye, Zhang, Chen, Chen, Liu, Kwok: "Dual-Balancing for Multi-Task Learning", 2023.

    g_i      = grad log(L_i + epsilon)                            losses on a logarithmic scale
    ghat_i   = beta ghat_i(k-1) + (1 - beta) g_i                  moving average over the steps k, ghat_i(0) = 0
    alpha_k  = max_j || ghat_j ||                                 the largest norm
    gtilde   = alpha_k sum_i ghat_i / || ghat_i ||                the trunk's gradient

Each head gets the gradient of its own log(L_i + epsilon).

Deviations, for a trunk that is run backward once: the norms are those of the gradients with respect to W, the last
shared layer's weight, in place of all shared parameters; and the moving average gives only the norms, while the
direction is the batch's own: gtilde = alpha_k sum_i g_i / || ghat_i ||. At beta = 0 the two are one. beta is constant,
where the authors let it fall with the steps. Each ghat_i is divided by 1 - beta^n after n steps with the task, so that
one that comes late is not taken for small; where all tasks come in every batch this cancels. Micro-batches are
normalised each by itself; the average moves once a step, by their mean.
Scale: a factor on a loss changes nothing.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_vision.balancers.base import Balancer, Place, Source, Tasks
from mtl_vision.balancers.cut import Shared
from mtl_vision.balancers.task_means import Mean
from mtl_vision.ranges import one_of, within

EPSILON = 1e-8


class DBMTL(Balancer):
    """Dual balancing.

    report, of the last micro-batch: weight, alpha_k / (|| ghat_i || (L_i + epsilon)), which is grad L_i's factor in the
    trunk; head_weight, 1 / (L_i + epsilon); grad_norm, || ghat_i ||.

    Args:
        beta: forgetting factor of the moving average
        place: the layer whose weight is W; last_shared; backbone, the first one above it, or encoder, its own last one
            (both cost more)
    """

    needs_positive = True
    learns_from = ("W_gradient",)
    kept = ("_average", "_count")
    moved = ("weight",)

    def __init__(self, tasks: Tasks, beta: float = 0.9, place: Place = "last_shared") -> None:
        super().__init__(tasks)
        within(0, 0.9999, beta=beta)
        one_of(Place, place=place)
        self.beta, self.place = beta, place
        self._average: dict[str, Tensor] = {}  # ghat_i, of W's shape
        self._count: dict[str, int] = {}  # n

    def gradient_at_z(self, losses: Mapping[str, Tensor], shared: Shared, share: float, mean: Mean) -> Tensor | None:
        dz: dict[str, Tensor] = {}
        norm, head_weight = (torch.full_like(self.weight, float("nan")) for _ in range(2))
        # over several processes, a loss and its gradient are means of theirs
        L = mean(torch.stack([loss.detach() for loss in losses.values()])) if losses else ()
        grad_W: list[Tensor] = []
        for (name, loss), value in zip(losses.items(), L, strict=True):
            head_weight[self.tasks.index(name)] = 1 / (value + EPSILON)
            dz[name] = self.run_heads(share * (loss / (value + EPSILON)), shared, name)  # as of log(L_i + epsilon)
            grad_W.append(self.weight_gradient(name, dz[name], shared, share))
        for name, gradient in zip(dz, mean(torch.stack(grad_W)) if grad_W else (), strict=True):
            correction = 1 - self.beta ** (self._count.get(name, 0) + 1)
            moved = self._moved(name, gradient / share) / correction
            norm[self.tasks.index(name)] = moved.norm().clamp(min=1e-12)  # || ghat_i ||
        largest = norm.nan_to_num(0).max()  # alpha_k
        weight = head_weight * largest / norm
        self.weight.copy_(torch.where(weight.isnan(), self.weight, weight))
        self._report = {"weight": weight, "head_weight": head_weight, "grad_norm": norm}
        parts = ((largest / norm[self.tasks.index(name)]) * g for name, g in dz.items())
        return sum(parts, torch.zeros_like(shared.z))

    def learn(self, names: list[str], means: Mapping[Source, Tensor]) -> None:
        for name, gradient in zip(names, means["W_gradient"], strict=True):
            self._average[name] = self._moved(name, gradient)
            self._count[name] = self._count.get(name, 0) + 1

    def _moved(self, name: str, gradient: Tensor) -> Tensor:
        """ghat_i after this gradient."""
        return self.beta * self._average.get(name, 0) + (1 - self.beta) * gradient
