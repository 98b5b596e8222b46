"""L_i(0): what each task's loss was before anything was learnt, as GradNorm's training rates L_i(t) / L_i(0) need it.

A wrong one makes its task seem fast or slow for the whole training. So a loss that is 0 or below, as of a batch without
a valid pixel, never becomes L_i(0); and a first loss that is more than FAR times the geometric mean of the task's NEXT
losses, or less than that part of it, is replaced by that mean.
"""

from collections.abc import Callable, Mapping
from math import exp, log
from statistics import fmean
from typing import Literal

import torch
from torch import Tensor

from mtl_vision.balancers.base import Balancer, Tasks
from mtl_vision.ranges import one_of, within

Initial = Literal["first", "mean", "theoretical"]
FAR = 10.0
NEXT = 5
PATIENCE = 20  # losses of 0 of a task that the others wait for


class _InitialLosses(Balancer):
    """A balancer that takes L_i(0) from the first losses, or from what is known of them.

    initial: first, the mean of the first `initial_steps`, or theoretical: `TaskLoss.uninformed` of every task.
    """

    kept = ("seen", "zeros", "first")

    def __init__(self, tasks: Tasks, initial: Initial, initial_steps: int) -> None:
        super().__init__(tasks)
        one_of(Initial, initial=initial)
        within(1, 10**6, initial_steps=initial_steps)
        T = len(self.tasks)
        self.register_buffer("initial", torch.zeros(T))  # L_i(0)
        self.initial: Tensor
        self.initial_steps = initial_steps if initial == "mean" else 1
        self.seen = [0] * T  # losses that L_i(0) was taken from
        self.zeros = [0] * T  # losses that it could not be taken from
        # the first loss and those that follow, until it is compared with them; None: it is not, or no more
        self.first: list[list[float] | None] = [[] if initial == "first" else None for _ in self.tasks]
        if initial == "theoretical":
            self.initial.copy_(uninformed(tasks))
            self.seen = [1] * T

    def take_initial(self, names: list[str], losses: Tensor) -> list[str]:
        """Take in a step's losses. The tasks whose L_i(0) is known, none while another's is to be waited for.

        A task whose loss is 0 again and again is not waited for any longer.
        """
        at = {name: self.tasks.index(name) for name in names}
        for name, loss in zip(names, losses, strict=True):
            self._take(at[name], loss, self.values[name])
        known = [name for name, i in at.items() if self.seen[i] >= self.initial_steps]
        waits = any(self.zeros[i] < PATIENCE for name, i in at.items() if name not in known)
        return [] if waits else known

    def _take(self, i: int, loss: Tensor, value: float) -> None:
        """value: the loss as a number, which the device need not be asked for."""
        first = self.first[i]
        if value <= 0:
            self.zeros[i] += self.seen[i] < self.initial_steps
            return
        if self.seen[i] < self.initial_steps:  # running mean
            self.initial[i] += (loss - self.initial[i]) / (self.seen[i] + 1)
            self.seen[i] += 1
        if first is not None:
            first.append(value)
            if len(first) > NEXT:
                usual = exp(fmean(map(log, first[1:])))
                if not usual / FAR <= first[0] <= usual * FAR:
                    self.initial[i] = usual
                self.first[i] = None

    def set_extra_state(self, state: dict) -> None:
        super().set_extra_state({"first": [None] * len(self.tasks)} | state)  # older checkpoints compared nothing


def uninformed(tasks: Tasks) -> Tensor:
    """TaskLoss.uninformed of every task (T,). Raises ValueError for a task without one."""
    values: list[float] = []
    for name in tasks:
        value = tasks[name].uninformed if isinstance(tasks, Mapping) else None
        value = value() if isinstance(value, Callable) else value
        if value is None:
            raise ValueError(
                f"initial=theoretical: the uninformed loss of task '{name}' is not known; define uninformed_loss() in "
                f"its Task, or give tasks as {{'{name}': TaskLoss(uninformed=...)}}, or take another initial"
            )
        within(1e-9, 10**9, **{f"the uninformed loss of task '{name}'": value})
        values.append(value)
    return torch.tensor(values)
