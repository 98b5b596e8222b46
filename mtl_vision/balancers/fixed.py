"""Fixed weights, and with them GradNorm static: Chen et al., ICML 2018, section 5.2.

    L = sum_i w_i L_i          w constant

GradNorm static takes for w_i the time average E_t[w_i(t)] of a GradNorm run and trains anew from scratch.
Scale: a loss that is multiplied by c has c times its share in the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mtl_vision.balancers.base import Balancer


class Fixed(Balancer):
    """weights: task -> w_i, each finite and above 0, taken as they are."""

    def __init__(self, tasks: Sequence[str], weights: Mapping[str, float] | None = None) -> None:
        super().__init__(tasks)
        if not weights:
            raise ValueError(
                "balancer fixed has no weights: give balancer.weights, one a task, or in balancer.runs a former run "
                "whose mean weights are taken"
            )
        set_weights(self, weights, "balancer.weights")


def set_weights(balancer: Balancer, values: Mapping[str, float], key: str) -> None:
    """Fill in the weights from a mapping; ValueError where it does not fit the tasks."""
    if set(values) != set(balancer.tasks):
        raise ValueError(f"{key} has {', '.join(values)}: expected a value for each of {', '.join(balancer.tasks)}")
    for i, name in enumerate(balancer.tasks):
        if not (values[name] > 0 and math.isfinite(values[name])):
            raise ValueError(f"{key} has {name}: {values[name]}: expected a number above 0")
        balancer.weight[i] = values[name]
