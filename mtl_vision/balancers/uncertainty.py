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
Laplace likelihood's, sqrt(2) L_i / sigma_i + log sigma_i, and converge to twice the weight.
Scale: weights follow 1 / L_i in the course of the training, not at once.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mtl_vision.balancers.adam import adam_step
from mtl_vision.balancers.base import Balancer, Source, TaskLoss, Tasks
from mtl_vision.ranges import within


class Uncertainty(Balancer):
    """Homoscedastic uncertainty. It reports log_variance, s_i.

    Args:
        tasks: what is known of the loss of each task, or their names where all are regression
        lr: Adam's rate for s
    """

    needs_positive = True  # s_i would fall for ever
    learns_from = ("loss",)
    kept = ("adam",)

    def __init__(self, tasks: Tasks, lr: float = 0.01) -> None:
        super().__init__(tasks)
        within(0, 10, lr=lr)
        self.s = nn.Parameter(torch.zeros(len(self.tasks)), requires_grad=False)  # log sigma_i^2
        known = tasks.values() if isinstance(tasks, Mapping) else [TaskLoss()] * len(tasks)
        c = torch.tensor([1.0 if loss.classification else 0.5 for loss in known])
        self.register_buffer("c", c, persistent=False)
        self.c: Tensor
        self.adam = torch.optim.Adam([self.s], lr=lr)
        self.weight.copy_(c)

    def learn(self, names: list[str], means: Mapping[Source, Tensor]) -> None:
        at = self.at(names)
        adam_step(self.adam, 0.5 - self.weight[at] * means["loss"], at)
        self.weight.copy_(self.c * torch.exp(-self.s))

    def report(self) -> dict[str, Tensor]:
        return super().report() | {"log_variance": self.s.detach().clone()}
