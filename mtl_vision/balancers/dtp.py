"""Dynamic task prioritisation, Guo, Haque, Huang, Yeung, Fei-Fei: "Dynamic Task Prioritization for Multitask Learning",
ECCV 2018.

    kbar_i(t) = alpha k_i(t) + (1 - alpha) kbar_i(t-1)           k_i: key performance indicator of task i, in [0, 1]
    w_i       = FL(kbar_i; gamma_i) = -(1 - kbar_i)^gamma_i log kbar_i
    L         = sum_i w_i L_i

The focal weight is large for a task that does badly: hard tasks come first. k_i is taken from the task's own metric on
the training batch (`Task.kpi`).

Deviations: the paper also weighs examples within a task, by a focal loss in place of each L_i; that is left to the
tasks' losses. One gamma for all tasks; the weights are those of the indicators up to the step before, and 1 in the
first step; kbar is kept within [0.001, 0.999], so that weights stay positive and finite. The paper leaves alpha open.
Scale: the weights do not see the losses; a loss that is multiplied by c has c times its share in the gradient.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_vision.balancers.base import Balancer, Source, Tasks
from mtl_vision.ranges import within

EPS = 1e-3


class DTP(Balancer):
    """Dynamic task prioritisation. It reports kpi, kbar_i (NaN: not yet seen).

    Args:
        alpha: share of the newest indicator in the moving average
        gamma: focusing exponent
    """

    observes = True
    learns_from = ("kpi",)

    def __init__(self, tasks: Tasks, alpha: float = 0.1, gamma: float = 1.0) -> None:
        super().__init__(tasks)
        within(0.001, 1, alpha=alpha)
        within(0, 100, gamma=gamma)
        self.alpha, self.gamma = alpha, gamma
        self.register_buffer("kpi", torch.full((len(self.tasks),), float("nan")))  # kbar_i; NaN: not yet seen
        self.kpi: Tensor

    def learn(self, names: list[str], means: Mapping[Source, Tensor]) -> None:
        at, k = self.at(names), means["kpi"]
        before = self.kpi[at]
        moved = torch.where(before.isnan(), k, self.alpha * k + (1 - self.alpha) * before)
        self.kpi[at] = torch.where(k.isfinite(), moved, before).to(self.kpi)  # NaN: no pixel was valid
        p = self.kpi[at].clamp(EPS, 1 - EPS)
        focal = -((1 - p) ** self.gamma) * p.log()
        self.weight[at] = torch.where(p.isnan(), self.weight[at], focal)

    def report(self) -> dict[str, Tensor]:
        return super().report() | {"kpi": self.kpi.clone()}
