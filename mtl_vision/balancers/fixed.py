"""Weights that do not change in training: L = sum_i w_i L_i with w constant.

GradNorm static (Chen et al., ICML 2018, section 5.2) takes for w_i the time average E_t[w_i(t)] of a GradNorm run, and
trains anew from scratch.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from mtl_vision.balancers.base import Balancer, Tasks
from mtl_vision.balancers.previous_runs import converged_norms, mean_weights
from mtl_vision.ranges import within


class Fixed(Balancer):
    """Fixed weights, and with them GradNorm static.

    Scale: a loss that is multiplied by c has c times its share in the gradient.

    Args:
        weights: a weight above 0 for each task, or the directory of a previous run whose mean weights are taken
    """

    reads: ClassVar = {"weights": mean_weights}

    def __init__(self, tasks: Tasks, weights: Mapping[str, float] | str) -> None:
        super().__init__(tasks)
        self.weight.copy_(_values_of(self, "weights", weights))


class ConvergedGradients(Balancer):
    """Weights from the gradient norms at which single-task runs converge; a rule of thumb, without a paper.

        w_i = scale * T * (1 / g_i) / sum_j (1 / g_j)

    g_i is the mean of G_i = || grad_W L_i || over the last tenth of the steps of the task's own run, as its
    `history.jsonl` has it, so the noise of single batches counts in it. A task whose gradient stays large at its own
    optimum (it is noisy, or its loss is in large units) would dominate the trunk late in training: it is divided out.
    Scale: follows the loss in which it was measured.

    Args:
        norms: a gradient norm above 0 for each task, or the directories of previous single-task runs, one a task
        scale: multiplies all weights; at 1 they sum to the number of tasks
    """

    reads: ClassVar = {"norms": converged_norms}

    def __init__(self, tasks: Tasks, norms: Mapping[str, float] | list[str], scale: float = 1.0) -> None:
        super().__init__(tasks)
        within(1e-6, 10**6, scale=scale)
        inverse = 1 / _values_of(self, "norms", norms)
        self.weight.copy_(scale * len(self.tasks) * inverse / inverse.sum())


def _values_of(balancer: Balancer, setting: str, given: object) -> Tensor:
    """A setting's values (T,), by task or from previous runs."""
    values = balancer.resolve({setting: given})[setting]
    if set(values) != set(balancer.tasks):
        has = ", ".join(values) or "nothing"
        raise ValueError(f"{setting} has {has}: expected a value for each of {', '.join(balancer.tasks)}")
    within(1e-9, 10**9, **{f"{setting}[{name!r}]": value for name, value in values.items()})
    return torch.tensor([values[name] for name in balancer.tasks])
