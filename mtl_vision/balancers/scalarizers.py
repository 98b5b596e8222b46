"""Methods that weigh the losses, by TorchJD's scalarizers: DWA, FAMO, IMTL-L, random weights, the geometric mean.

A scalarizer S gives w_i = dS(L) / dL_i. Over several processes the losses are averaged before they are weighed, and
random draws come from torch's global generator, which all seed alike; micro-batches are weighed each by itself. Weights
are as TorchJD scales them: some sum to 1.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_vision.balancers.base import Balancer, Source, Tasks
from mtl_vision.balancers.from_torchjd import Method, torchjd
from mtl_vision.balancers.task_means import Mean
from mtl_vision.ranges import within

SMALLEST = 1e-12  # some methods take logarithms of losses


class _Scalarized(Balancer):
    """Weights from a TorchJD scalarizer. A task that a batch lacks counts by its last loss (1 before its first)."""

    moved = ("weight", "last")

    def __init__(self, tasks: Tasks, method: Method) -> None:
        super().__init__(tasks)
        self.method = method
        self.register_buffer("last", torch.ones(len(self.tasks)))
        self.last: Tensor

    def weigh(self, losses: Mapping[str, Tensor], mean: Mean) -> Tensor:
        found = self.last.new_zeros(2, len(self.tasks))  # losses, and whether they are there
        for name, loss in losses.items():
            found[0, self.tasks.index(name)] = loss.detach()
            found[1, self.tasks.index(name)] = 1
        total, count = mean(found)
        seen = (total / count.clamp(min=1e-12)).clamp(min=SMALLEST)
        self.last = torch.where(count > 0, seen, self.last)
        values = self.last.clone().requires_grad_()
        (weight,) = torch.autograd.grad(self.method(values), values)
        self.weight.copy_(weight)
        return self.weight

    def with_last(self, names: list[str], losses: Tensor) -> Tensor:
        """The losses (T,), of a step: of tasks that it lacked, the last ones."""
        values = self.last.clone()
        values[self.at(names)] = losses.clamp(min=SMALLEST).to(values)
        return values


class DWA(_Scalarized):
    """Dynamic weight average, Liu, Johns, Davison, CVPR 2019.

        r_i = L_i(t-1) / L_i(t-2)     w_i = T exp(r_i / temperature) / sum_j exp(r_j / temperature)

    L_i(t): mean over epoch t; w_i = 1 in the first two. Scale: follows, the weights do not see a factor on a loss.

    Args:
        temperature: higher is nearer to equal weights
    """

    needs_positive = True
    # not in the state_dict of TorchJD 0.18
    kept = ("method._loss_sum", "method._n_batches", "method._previous_averages")
    moved = ("weight", "last", "method._loss_sum", "method._n_batches")

    def __init__(self, tasks: Tasks, temperature: float = 2.0) -> None:
        within(0.01, 1000, temperature=temperature)
        super().__init__(tasks, torchjd("scalarization", "DWA", temperature))

    def end_epoch(self) -> None:
        self.method.step()


class FAMO(_Scalarized):
    """FAMO, Liu, Feng, Stone, Liu, NeurIPS 2023.

        w_i = c z_i / L_i     z = softmax(xi)     c = 1 / sum_j z_j / L_j

    xi has an Adam of its own (weight decay 1e-3, TorchJD's default), moved by the change of log L_i over the step. That
    takes a second forward pass on the same batch, in training mode: batch norm's running statistics see it too.
    Scale: a factor on a loss does not change the direction.

    Args:
        lr: Adam's rate for xi
    """

    needs_positive = True
    learns_from = ("loss",)
    wants_after_step = True
    kept = ("adam",)

    def __init__(self, tasks: Tasks, lr: float = 0.025) -> None:
        within(0, 10, lr=lr)
        super().__init__(tasks, torchjd("scalarization", "FAMO", len(tasks), lr=lr))
        # as TorchJD makes it, but there from the beginning: it is no part of TorchJD's state_dict
        self.adam = torch.optim.Adam(self.method.parameters(), lr=lr, weight_decay=self.method.weight_decay)
        self.method._optimizer = self.adam

    def learn(self, names: list[str], means: Mapping[Source, Tensor]) -> None:
        self.method(self.with_last(names, means["loss"]))  # what `update` compares with

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        if losses:
            values = torch.stack(list(losses.values()))
            self.raise_fault(dict(zip(losses, values.tolist(), strict=True)))
            self.method.update(self.with_last(list(losses), values))


class IMTLL(_Scalarized):
    """The loss balance of IMTL, Liu et al., ICLR 2021.

        L = sum_i exp(s_i) L_i - s_i     w_i = exp(s_i)

    s is learned, here by an Adam of its own. Scale: weights follow 1 / L_i in the course of the training, not at once.

    Args:
        lr: Adam's rate for s
    """

    needs_positive = True  # s_i would grow for ever
    learns_from = ("loss",)
    kept = ("adam",)

    def __init__(self, tasks: Tasks, lr: float = 0.01) -> None:
        within(0, 10, lr=lr)
        super().__init__(tasks, torchjd("scalarization", "IMTLL", len(tasks)))
        self.adam = torch.optim.Adam(self.method.parameters(), lr=lr)

    def learn(self, names: list[str], means: Mapping[Source, Tensor]) -> None:
        with torch.enable_grad():
            self.method(self.with_last(names, means["loss"])).backward()
        self.adam.step()
        self.adam.zero_grad()  # an optimizer of the caller's that has all parameters is not to move them again


class RLW(_Scalarized):
    """Random loss weighting, Lin et al., TMLR 2022: w = softmax(x), x ~ N(0, 1)^T, drawn anew each step.

    Scale: follows, the weights do not see the losses.
    """

    def __init__(self, tasks: Tasks) -> None:
        super().__init__(tasks, torchjd("scalarization", "Random"))


class GeometricMean(_Scalarized):
    """Geometric loss strategy, Chennupati et al., CVPR workshops 2019.

        L = (prod_j L_j)^(1/T)     w_i = L / (T L_i)

    Scale: a factor on a loss does not change the direction.
    """

    needs_positive = True

    def __init__(self, tasks: Tasks) -> None:
        super().__init__(tasks, torchjd("scalarization", "GeometricMean"))
