"""Weights from the gradient norms at which single-task runs converge.

    w_i = scale * T * (1 / g_i) / sum_j (1 / g_j)         g_i: gradient norm of task i at the end of its own run

A task whose gradient stays large at its own optimum (it is noisy, or its loss is given in large units) would keep
pulling at the trunk when the others have nothing left to say: it is divided out. One scalar is left to choose. It is a
rule of thumb for fixed weights, without one paper of its own.

Here g_i is the mean of G_i = || grad_W L_i || over the last tenth of the single-task run's steps, as its
`history.jsonl` has it, so the noise of single batches counts in it.
Scale: follows the loss in which it was measured; weights do not change in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtl_vision.balancers.base import Balancer
from mtl_vision.balancers.fixed import set_weights


class ConvergedGradients(Balancer):
    """norms: task -> g_i, above 0. scale: multiplies all weights; at 1 they sum to T."""

    def __init__(self, tasks: Sequence[str], norms: Mapping[str, float] | None = None, scale: float = 1.0) -> None:
        super().__init__(tasks)
        if not norms:
            raise ValueError(
                "balancer converged_gradients has no gradient norms: give in balancer.runs a single-task run a task, "
                "or balancer.norms"
            )
        if scale <= 0:
            raise ValueError(f"balancer.scale is {scale}: expected a number above 0")
        set_weights(self, norms, "balancer.norms")  # g_i, and its checks
        inverse = 1 / self.weight
        self.weight.copy_(scale * len(self.tasks) * inverse / inverse.sum())
