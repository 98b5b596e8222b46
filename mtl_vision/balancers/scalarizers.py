"""Methods that weigh the losses, by TorchJD's scalarizers: DWA, FAMO, IMTL-L, random weights, the geometric mean.

A scalarizer S gives w_i = dS(L) / dL_i, and the step is that of the weighted sum. Over several processes the losses are
averaged before they are weighed, so that all have the same weights (random draws come from torch's global generator,
which all seed alike); micro-batches are weighed each by itself. Weights are as TorchJD scales them: some sum to 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_vision.balancers.base import Balancer, Mean, Shared, Tally, alone
from mtl_vision.balancers.from_torchjd import Method, torchjd


class Scalarized(Balancer):
    """Weights from a TorchJD scalarizer. A task that a batch lacks is told to it with the loss it had last (1 before
    its first). lr: where the scalarizer learns parameters, the rate of an Adam of their own.
    """

    def __init__(self, tasks: Sequence[str], method: Method, lr: float | None = None) -> None:
        super().__init__(tasks)
        self.method = method
        self.register_buffer("last", torch.ones(len(self.tasks)))
        self.last: Tensor
        self.looks_back = hasattr(method, "update")
        self.adam = torch.optim.Adam(method.parameters(), lr=lr) if lr is not None else None
        self._losses = Tally()
        self._before: Tensor | None = None

    def weigh(self, losses: Mapping[str, Tensor], share: float, mean: Mean) -> Tensor:
        """Also adds to the gradients of the scalarizer's own parameters."""
        found = torch.zeros(2, len(self.tasks), device=self.last.device)  # losses, and whether they are there
        for name, loss in losses.items():
            found[0, self.tasks.index(name)] = loss.detach()
            found[1, self.tasks.index(name)] = 1
        total, count = mean(found)
        seen = (total / count.clamp(min=1e-12)).clamp(min=1e-12)  # some methods take logarithms
        self.last = torch.where(count > 0, seen, self.last)
        values = self.last.clone().requires_grad_()
        learned = list(self.method.parameters()) if self.adam is not None else []
        weight, *gradients = torch.autograd.grad(self.method(values), [values, *learned])
        for parameter, gradient in zip(learned, gradients, strict=True):
            parameter.grad = share * gradient + (0 if parameter.grad is None else parameter.grad)
        self.weight.copy_(weight)
        return self.weight

    def backward(self, losses: Mapping[str, Tensor], shared: Shared, share: float = 1.0, mean: Mean = alone) -> None:
        super().backward(losses, shared, share, mean)
        for i, name in enumerate(self.tasks):
            self._losses.add(name, self.last[i], share)

    @torch.no_grad()
    def step(self, mean: Mean = alone, shares: Mapping[str, float] | None = None) -> None:
        # `last` is a mean over processes already
        _, self._before = self._losses.take(alone, None, self.tasks, self.last.device)
        if self.adam is not None:
            self.adam.step()
            self.adam.zero_grad()

    def look_back(self, losses: Mapping[str, Tensor]) -> None:
        if self._before is None or not len(self._before):
            return
        after = self._before.clone()
        for name, loss in losses.items():
            after[self.tasks.index(name)] = loss
        self.method(self._before)  # the losses before the step, over all micro-batches
        self.method.update(after)

    def end_epoch(self) -> None:
        if hasattr(self.method, "step"):
            self.method.step()

    def get_extra_state(self) -> dict[str, Any]:
        return {
            "adam": self.adam and self.adam.state_dict(),
            "plain": {key: getattr(self.method, key) for key in CARRIED if hasattr(self.method, key)},
            "optimizer": _optimizer(self.method) and _optimizer(self.method).state_dict(),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        if self.adam is not None:
            self.adam.load_state_dict(state["adam"])
        for key, value in state["plain"].items():
            setattr(self.method, key, _moved(value, self.weight.device))
        if state["optimizer"] is not None:
            self.method._optimizer = torch.optim.Adam([self.method._w])
            self.method._optimizer.load_state_dict(state["optimizer"])


# What TorchJD 0.18 keeps in plain attributes, out of its state_dict: DWA's epoch means
CARRIED = ("_loss_sum", "_n_batches", "_previous_averages")


def _moved(value: Any, device: torch.device) -> Any:
    """A checkpoint is read to the CPU."""
    if isinstance(value, list):
        return [_moved(part, device) for part in value]
    return value.to(device) if isinstance(value, Tensor) else value


def _optimizer(method: Method) -> Any:
    """FAMO's own Adam, which is no part of its state_dict and is made at its first update."""
    return getattr(method, "_optimizer", None)


def dwa(tasks: Sequence[str], temperature: float = 2.0) -> Balancer:
    """Dynamic weight average, Liu, Johns, Davison, CVPR 2019.

        r_i = L_i(t-1) / L_i(t-2)     w_i = T exp(r_i / temperature) / sum_j exp(r_j / temperature)

    L_i(t): mean over epoch t; w_i = 1 in the first two. Scale: follows, the weights do not see a factor on a loss.
    """
    return Scalarized(tasks, torchjd("scalarization").DWA(temperature))


def famo(tasks: Sequence[str], lr: float = 0.025) -> Balancer:
    """FAMO, Liu, Feng, Stone, Liu, NeurIPS 2023.

        w_i = c z_i / L_i     z = softmax(xi)     c = 1 / sum_j z_j / L_j

    xi has an Adam of its own (weight decay 1e-3, TorchJD's default), moved by the change of log L_i over the step. That
    takes a second forward pass on the same batch, in training mode: batch norm's running statistics see it too.
    Scale: a factor on a loss does not change the direction.
    """
    return Scalarized(tasks, torchjd("scalarization").FAMO(len(tasks), lr=lr))


def imtl_l(tasks: Sequence[str], lr: float = 0.01) -> Balancer:
    """The loss balance of IMTL, Liu et al., ICLR 2021.

        L = sum_i exp(s_i) L_i - s_i     w_i = exp(s_i)

    s is learned, here by an Adam of its own. Scale: weights follow 1 / L_i in the course of the training, not at once.
    """
    return Scalarized(tasks, torchjd("scalarization").IMTLL(len(tasks)), lr=lr)


def rlw(tasks: Sequence[str]) -> Balancer:
    """Random loss weighting, Lin et al., TMLR 2022: w = softmax(x), x ~ N(0, 1)^T, drawn anew each step.

    Scale: follows, the weights do not see the losses.
    """
    return Scalarized(tasks, torchjd("scalarization").Random())


def geometric_mean(tasks: Sequence[str]) -> Balancer:
    """Geometric loss strategy, Chennupati et al., CVPR workshops 2019.

        L = (prod_j L_j)^(1/T)     w_i = L / (T L_i)

    Scale: a factor on a loss does not change the direction.
    """
    return Scalarized(tasks, torchjd("scalarization").GeometricMean())
