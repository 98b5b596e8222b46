"""Dual balancing, Lin, Jiang, Ye, Zhang, Chen, Chen, Liu, Kwok: "Dual-Balancing for Multi-Task Learning", 2023.

    g_i      = grad log(L_i + epsilon)                            losses on a logarithmic scale
    ghat_i   = beta ghat_i(k-1) + (1 - beta) g_i                  moving average over the steps k, ghat_i(0) = 0
    alpha_k  = max_j || ghat_j ||                                 the largest norm
    gtilde   = alpha_k sum_i ghat_i / || ghat_i ||                the trunk's gradient

Each head gets the gradient of its own log(L_i + epsilon).

Deviations, for a trunk that is run backward once: the norms are those of the gradients with respect to W, the last
shared layer's weight, in place of all shared parameters; and the moving average gives the norms alone, while the
direction is the batch's own: gtilde = alpha_k sum_i g_i / || ghat_i ||. At beta = 0 the two are one. beta is constant,
where the authors let it fall with the steps. Each ghat_i is divided by 1 - beta^n after n steps with the task, so that
one that comes late is not taken for small; where all tasks come in every batch this cancels. Micro-batches (and
processes) are normalised each by itself; the average moves once a step, by their mean.
Scale: a factor on a loss changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_vision.balancers.base import Balancer, Mean, Shared, alone

EPSILON = 1e-8


class DBMTL(Balancer):
    """beta: forgetting factor of the moving average."""

    def __init__(self, tasks: Sequence[str], beta: float = 0.9) -> None:
        super().__init__(tasks)
        if not 0 <= beta < 1:
            raise ValueError(f"balancer.beta is {beta}: expected at least 0 and below 1")
        self.beta = beta
        self._average: dict[str, Tensor] = {}  # ghat_i, of W's shape
        self._count: dict[str, int] = {}  # n
        self._gradients: dict[str, Tensor] = {}
        self._shares: dict[str, float] = {}
        self._like: Tensor | None = None
        self._report: dict[str, Tensor] = {}

    def backward(self, losses: Mapping[str, Tensor], shared: Shared, share: float = 1.0, mean: Mean = alone) -> None:
        self._like = shared.W.detach()
        logs = {name: share * torch.log(loss + EPSILON) for name, loss in losses.items()}
        dz: dict[str, Tensor] = {}
        norms: dict[str, Tensor] = {}
        for name, g in shared.head_gradients(logs):
            (grad_W,) = torch.autograd.grad(shared.z, shared.W, g, retain_graph=True)
            dz[name] = g
            self._gradients[name] = self._gradients.get(name, 0) + grad_W
            self._shares[name] = self._shares.get(name, 0.0) + share
            correction = 1 - self.beta ** (self._count.get(name, 0) + 1)
            norms[name] = (self._moved(name, grad_W / share) / correction).norm().clamp(min=1e-12)
        self._remember(losses, norms)
        if not dz:
            return
        largest = torch.stack(list(norms.values())).max()
        total = sum(((largest / norms[name]) * g for name, g in dz.items()), torch.zeros_like(shared.z))
        shared.z.backward(total)

    def _moved(self, name: str, gradient: Tensor) -> Tensor:
        """ghat_i after this gradient."""
        return self.beta * self._average.get(name, 0) + (1 - self.beta) * gradient

    def _remember(self, losses: Mapping[str, Tensor], norms: Mapping[str, Tensor]) -> None:
        largest = torch.stack([self.weight.new_zeros(()), *norms.values()]).max()
        nothing = torch.full_like(self.weight, float("nan"))
        self._report = {key: nothing.clone() for key in ("weight", "head_weight", "grad_norm")}
        for name, norm in norms.items():
            i = self.tasks.index(name)
            head = 1 / (losses[name].detach() + EPSILON)
            self._report["weight"][i] = self.weight[i] = head * largest / norm
            self._report["head_weight"][i] = head
            self._report["grad_norm"][i] = norm

    @torch.no_grad()
    def step(self, mean: Mean = alone, shares: Mapping[str, float] | None = None) -> None:
        shares = self._shares if shares is None else shares
        for name in self.tasks:
            if shares.get(name, 0) > 0 and self._like is not None:
                gradient = mean(self._gradients.get(name, torch.zeros_like(self._like)))
                self._average[name] = self._moved(name, gradient / shares[name])
                self._count[name] = self._count.get(name, 0) + 1
        self._gradients, self._shares = {}, {}

    def report(self) -> dict[str, Tensor]:
        """Of the last micro-batch. weight: alpha_k / (|| ghat_i || (L_i + epsilon)), grad L_i's factor in the trunk.
        head_weight: 1 / (L_i + epsilon). grad_norm: || ghat_i ||.
        """
        return self._report or super().report()

    def get_extra_state(self) -> dict[str, Any]:
        return {"average": dict(self._average), "count": dict(self._count)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self._count = dict(state["count"])
        self._average = {name: value.to(self.weight.device) for name, value in state["average"].items()}
