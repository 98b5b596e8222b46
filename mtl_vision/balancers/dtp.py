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

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl_vision.balancers.base import Balancer, Mean, Tally, alone

EPS = 1e-3


class DTP(Balancer):
    """alpha: share of the newest indicator in the moving average. gamma: focusing exponent."""

    observes = True

    def __init__(self, tasks: Sequence[str], alpha: float = 0.1, gamma: float = 1.0) -> None:
        super().__init__(tasks)
        if not 0 < alpha <= 1:
            raise ValueError(f"balancer.alpha is {alpha}: dtp expects a share above 0, at most 1")
        if gamma < 0:
            raise ValueError(f"balancer.gamma is {gamma}: expected at least 0")
        self.alpha, self.gamma = alpha, gamma
        self.register_buffer("kpi", torch.full((len(self.tasks),), float("nan")))  # kbar_i; NaN: not yet seen
        self.kpi: Tensor
        self._seen = Tally()
        self._used = self.weight.clone()

    def observe(self, kpi: Mapping[str, Tensor], share: float = 1.0) -> None:
        for name, value in kpi.items():
            self._seen.add(name, value, share)

    @torch.no_grad()
    def step(self, mean: Mean = alone, shares: Mapping[str, float] | None = None) -> None:
        self._used = self.weight.clone()
        names, k = self._seen.take(mean, shares, self.tasks, self.kpi.device)
        if not names:
            return
        here = self.places(names)
        before = self.kpi[here]
        moved = torch.where(before.isnan(), k, self.alpha * k + (1 - self.alpha) * before)
        self.kpi[here] = torch.where(k.isnan(), before, moved)  # NaN: no pixel told anything
        p = self.kpi[here].clamp(EPS, 1 - EPS)
        focal = -((1 - p) ** self.gamma) * p.log()
        self.weight[here] = torch.where(p.isnan(), self.weight[here], focal)

    def report(self) -> dict[str, Tensor]:
        """weight: the w_i that the step used. kpi: kbar_i (NaN: not yet seen)."""
        return {"weight": self._used, "kpi": self.kpi.clone()}
