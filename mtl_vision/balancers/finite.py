"""Losses and gradients that are not finite, and losses below 0: whose they are, and what is said."""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

ROUNDING = 1e-6  # below 0: the difference of two means may be that


def fault(losses: Mapping[str, float], gradients: Sequence[str], step: int) -> str | None:
    """What is wrong with a step; None where nothing is. gradients: the tasks whose gradient is not finite."""
    bad = {name: value for name, value in losses.items() if not math.isfinite(value)}
    if bad:
        found = " and ".join(f"the loss of task '{name}' is {value}" for name, value in bad.items())
    elif gradients:
        names = " or ".join(f"'{name}'" for name in gradients)
        found = f"the gradient of task {names} is not finite"
    else:
        return None
    return (
        f"{found} at step {step}: leave the step out, or stop; lower the learning rate, or clip the gradients, and "
        "look at that task's data"
    )


def negative(losses: Mapping[str, float], step: int, method: str) -> str | None:
    """What is wrong with a step for a method that takes ratios or logarithms of losses; None where none is below 0."""
    for name, value in losses.items():
        if value < -ROUNDING:
            return (
                f"the loss of task '{name}' is {value:g} at step {step}: {method} takes ratios or logarithms of losses "
                "and expects none below 0; add a constant to it, or take another method, such as Equal"
            )
    return None


def parameters_of(loss: Tensor, leaf: Tensor) -> list[Tensor]:
    """What a loss is computed from and has a gradient, but for `leaf`: the parameters of its head."""
    found, seen, nodes = [], set(), [loss.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes += [before for before, _ in node.next_functions]
            if isinstance(variable := getattr(node, "variable", None), Tensor) and variable is not leaf:
                found.append(variable)
    return found


def is_finite(parameters: Sequence[Tensor]) -> bool:
    """Whether the gradients of all are."""
    return all(p.grad is None or bool(p.grad.isfinite().all()) for p in parameters)
