"""Means over micro-batches and processes, of tasks that are not in all of them."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Mean = Callable[[Tensor], Tensor]  # the mean of a tensor over all processes


def identity(tensor: Tensor) -> Tensor:
    """The mean over one process."""
    return tensor


class TaskMeans:
    """A value a task from each micro-batch of a step."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}  # of share times value
        self.shares: dict[str, float] = {}  # of the step that had it

    def add(self, name: str, value: Tensor, share: float) -> None:
        """Of a micro-batch that is `share` of the step."""
        self.add_part(name, share * value.detach(), share)

    def add_part(self, name: str, part: Tensor, share: float) -> None:
        """A value that is multiplied by its share already."""
        self.sums[name] = self.sums[name] + part if name in self.sums else part
        self.shares[name] = self.shares.get(name, 0.0) + share

    def here(self) -> dict[str, Tensor]:
        """The means over this process' micro-batches."""
        return {name: total / self.shares[name] for name, total in self.sums.items()}

    def over(self, names: Sequence[str], shares: Mapping[str, float], mean: Mean, like: Tensor) -> Tensor:
        """The means (len, *like.shape) of these tasks over the micro-batches of all processes that had them.

        shares: of all processes' micro-batches. like: of a value's shape, dtype and device, for what is not here.
        """
        none = torch.zeros_like(like) if len(self.sums) < len(names) else like
        total = mean(torch.stack([self.sums.get(name, none) for name in names]))
        parts = [shares[name] for name in names]
        if all(part == 1 for part in parts):
            return total
        return total / torch.tensor(parts).to(total.device, non_blocking=True).view(-1, *(1,) * like.ndim)
