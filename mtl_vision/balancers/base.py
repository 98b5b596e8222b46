"""What a balancer is: it runs the backward pass of a step from the tasks' losses, and steers their weights.

The network is cut at z, the output of the last shared layer: heads see a leaf with z's values, so that each head can
be run backward on its own, down to z, and the trunk once for all tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Mean = Callable[[Tensor], Tensor]  # the mean of a tensor over all processes


@dataclass(frozen=True)
class Shared:
    """The cut between trunk and heads. z: the trunk's output, with its graph. leaf: its values, as the heads saw them;
    its `.grad` collects dL/dz. W: the weight of the last shared layer, whose output z is.
    """

    z: Tensor
    leaf: Tensor
    W: Tensor

    @classmethod
    def cut(cls, z: Tensor, W: Tensor) -> Shared:
        """Cut at z."""
        return cls(z, z.detach().requires_grad_(), W)


class Balancer(nn.Module):
    """Base of all methods, and the plain weighted sum: L = sum_i w_i L_i with the weights as they stand.

    All state is in `state_dict`. `weight` is w (T,), float32, in the order of `tasks`. A micro-batch calls `backward`,
    an optimiser step calls `step` once afterwards.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        if not tasks:
            raise ValueError("a balancer needs at least one task")
        self.tasks = tuple(tasks)
        self.weight = nn.Parameter(torch.ones(len(tasks)), requires_grad=False)

    def backward(self, losses: Mapping[str, Tensor], shared: Shared, share: float = 1.0) -> None:
        """Add the gradients of share * sum_i w_i L_i to the model's parameters.

        losses: a scalar a task; a task that the batch lacks is left out. share: 1 / number of micro-batches a step.
        """
        total = sum(self.weight[self.tasks.index(name)] * loss for name, loss in losses.items())
        if isinstance(total, Tensor):
            (share * total).backward()
            shared.z.backward(shared.leaf.grad)

    def step(self, mean: Mean = lambda tensor: tensor, shares: Mapping[str, float] | None = None) -> None:
        """Steer the weights once all gradients of a step are there.

        mean: over processes, where there are more. shares: the share of all processes' micro-batches that had a task;
        by default, of this process' own.
        """

    def report(self) -> dict[str, Tensor]:
        """What the method steers by, a (T,) tensor a name, detached and left on its device: `weight` at least."""
        return {"weight": self.weight.detach().clone()}
