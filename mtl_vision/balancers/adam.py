"""Adam on the values of tasks, of which a step may lack some."""

import torch
from torch import Tensor
from torch.optim import Adam


@torch.no_grad()
def adam_step(adam: Adam, gradient: Tensor, at: slice | list[int]) -> None:
    """One step on the values `at` of Adam's one parameter (T,), from their gradients.

    The tasks that the step lacked stay: Adam's momentum would carry them on.
    """
    (values,) = adam.param_groups[0]["params"]
    before = values.clone()
    values.grad = torch.zeros_like(values)
    values.grad[at] = gradient.to(values)
    adam.step()
    values.grad = None  # an optimizer of the caller's that has all parameters is not to move them again
    if not isinstance(at, slice):
        before[at] = values[at]
        values.copy_(before)
