"""What a balancer is: it runs the backward pass of a step from the tasks' losses, and steers their weights.

The network is cut at z, the output of the last shared layer: heads see a leaf with z's values, so that each head can
be run backward on its own, down to z, and the trunk once for all tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Mean = Callable[[Tensor], Tensor]  # the mean of a tensor over all processes


def alone(tensor: Tensor) -> Tensor:
    """The mean over one process."""
    return tensor


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

    def head_gradients(self, losses: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Run each head backward on its own, down to z; gives the task and dL/dz. One that does not depend on z is
        left out.
        """
        for name, loss in losses.items():
            self.leaf.grad = None
            loss.backward()
            if self.leaf.grad is not None:
                yield name, self.leaf.grad


class Tally:
    """A number a task from each micro-batch of a step, for its mean over micro-batches and processes."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.shares: dict[str, float] = {}

    def add(self, name: str, value: Tensor, share: float) -> None:
        """Of a micro-batch that is `share` of the step."""
        self.sums[name] = self.sums.get(name, 0) + share * value.detach()
        self.shares[name] = self.shares.get(name, 0.0) + share

    def take(
        self, mean: Mean, shares: Mapping[str, float] | None, order: Sequence[str], device: torch.device
    ) -> tuple[list[str], Tensor]:
        """The tasks that the step had, in `order`, and their means, (len,) on the device; then it begins anew.

        mean, shares: as `Balancer.step` has them. A task that this process lacked counts by the others' values.
        """
        shares = self.shares if shares is None else shares
        names = [name for name in order if shares.get(name, 0) > 0]
        sums, self.sums, self.shares = self.sums, {}, {}
        if not names:
            return [], torch.zeros(0, device=device)
        none = torch.zeros_like(next(iter(sums.values()))) if sums else torch.zeros((), device=device)
        total = mean(torch.stack([sums.get(name, none) for name in names]))
        parts = torch.tensor([shares[name] for name in names]).to(total.device, non_blocking=True)
        return names, total / parts


class Balancer(nn.Module):
    """Base of all methods, and the plain weighted sum: L = sum_i w_i L_i with the weights as they stand.

    All state is in `state_dict`. `weight` is w (T,), float32, in the order of `tasks`. A micro-batch calls `backward`,
    an optimiser step calls `step` once afterwards.

    observes: it wants `observe` called before `backward`. looks_back: it wants `look_back` called after the optimiser's
    step.
    """

    observes = False
    looks_back = False

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        if not tasks:
            raise ValueError("a balancer needs at least one task")
        self.tasks = tuple(tasks)
        self.weight = nn.Parameter(torch.ones(len(tasks)), requires_grad=False)

    def observe(self, kpi: Mapping[str, Tensor], share: float = 1.0) -> None:
        """How well each task does on the micro-batch: a key performance indicator in [0, 1], higher is better."""

    def backward(self, losses: Mapping[str, Tensor], shared: Shared, share: float = 1.0, mean: Mean = alone) -> None:
        """Add the gradients of share * sum_i w_i L_i to the model's parameters.

        losses: a scalar a task; a task that the batch lacks is left out. share: 1 / number of micro-batches a step.
        mean: over processes, where there are more; all of them call `backward` equally often.
        """
        weight = self.weigh(losses, share, mean)
        total = sum(weight[self.tasks.index(name)] * loss for name, loss in losses.items())
        if isinstance(total, Tensor):
            (share * total).backward()
            shared.z.backward(shared.leaf.grad)

    def weigh(self, losses: Mapping[str, Tensor], share: float, mean: Mean) -> Tensor:
        """The weights (T,) for a micro-batch with these losses."""
        return self.weight

    def places(self, names: Sequence[str]) -> slice | list[int]:
        """Where these tasks stand in (T,) tensors; all of them as a slice: a list would make a GPU wait."""
        return slice(None) if len(names) == len(self.tasks) else [self.tasks.index(name) for name in names]

    def step(self, mean: Mean = alone, shares: Mapping[str, float] | None = None) -> None:
        """Steer the weights once all gradients of a step are there.

        mean: over processes, where there are more. shares: the share of all processes' micro-batches that had a task;
        by default, of this process' own.
        """

    def look_back(self, losses: Mapping[str, Tensor]) -> None:
        """The losses of the same batches after the optimiser's step, means over micro-batches and processes."""

    def end_epoch(self) -> None:
        """The training data were seen once more."""

    def report(self) -> dict[str, Tensor]:
        """What the method steers by, a (T,) tensor a name, detached and left on its device; NaN: task missing.

        `weight` at least: the weights of the step's trunk gradient; `head_weight` where those of the heads were others.
        """
        return {"weight": self.weight.detach().clone()}
