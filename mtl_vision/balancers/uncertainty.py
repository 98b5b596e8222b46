"""Homoscedastic uncertainty, Kendall, Gal, Cipolla: "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene
Geometry and Semantics", CVPR 2018.

    regression        L_i / (2 sigma_i^2) + log sigma_i         (a Gaussian likelihood, their equation 7)
    classification    L_i / sigma_i^2     + log sigma_i         (a softmax scaled by 1 / sigma_i^2, their equation 10)

With the log-variance s_i = log sigma_i^2, as they learn it, L = sum_i c_i exp(-s_i) L_i + s_i / 2, where c_i is 1/2 or
1; so w_i = c_i exp(-s_i), and s_i moves by the gradient

    dL / ds_i = 1/2 - c_i exp(-s_i) L_i,

which is zero where w_i L_i = 1/2. s_i begins at 0.

Deviations: s has an Adam of its own (`lr`), where the paper learns it with the network. A task that a batch lacks keeps
its s_i. Depth and normals count as regression, with the Gaussian's form whatever their loss: an L1 loss would have the
Laplace likelihood's, sqrt(2) L_i / sigma_i + log sigma_i, and settle at twice the weight.
Scale: weights follow 1 / L_i in the course of the training, not at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl_vision.balancers.base import Balancer, Mean, Shared, Tally, alone


class Uncertainty(Balancer):
    """lr: Adam's rate for s. classification: the tasks whose loss is a cross-entropy."""

    def __init__(self, tasks: Sequence[str], lr: float = 0.01, classification: Collection[str] = ()) -> None:
        super().__init__(tasks)
        self.s = nn.Parameter(torch.zeros(len(self.tasks)), requires_grad=False)  # log sigma_i^2
        c = torch.tensor([1.0 if name in classification else 0.5 for name in self.tasks])
        self.register_buffer("c", c, persistent=False)
        self.c: Tensor
        self.adam = torch.optim.Adam([self.s], lr=lr)
        self.weight.copy_(c)
        self._losses = Tally()
        self._used = self.weight.clone()

    def backward(self, losses: Mapping[str, Tensor], shared: Shared, share: float = 1.0, mean: Mean = alone) -> None:
        super().backward(losses, shared, share, mean)
        for name, loss in losses.items():
            self._losses.add(name, loss, share)

    @torch.no_grad()
    def step(self, mean: Mean = alone, shares: Mapping[str, float] | None = None) -> None:
        self._used = self.weight.clone()
        names, L = self._losses.take(mean, shares, self.tasks, self.s.device)
        if not names:
            return
        here, before = self.places(names), self.s.clone()
        self.s.grad = torch.zeros_like(self.s)
        self.s.grad[here] = 0.5 - self.weight[here] * L
        self.adam.step()
        if len(names) < len(self.tasks):  # Adam's momentum would carry the missing on
            before[here] = self.s[here]
            self.s.copy_(before)
        self.weight.copy_(self.c * torch.exp(-self.s))

    def report(self) -> dict[str, Tensor]:
        """weight: the w_i that the step used. log_variance: s_i."""
        return {"weight": self._used, "log_variance": self.s.detach().clone()}

    def get_extra_state(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
