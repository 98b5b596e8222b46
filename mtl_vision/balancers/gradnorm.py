"""GradNorm, Algorithm 1 of Chen, Badrinarayanan, Lee, Rabinovich: "GradNorm: Gradient Normalization for Adaptive Loss
Balancing in Deep Multitask Networks", ICML 2018.

    G_i      = || grad_W  w_i L_i ||_2                     W: weights of the last shared layer
    Gbar     = mean_i G_i
    Ltilde_i = L_i(t) / L_i(0)                             inverse training rate
    r_i      = Ltilde_i / mean_j Ltilde_j                  relative inverse training rate
    L_grad   = sum_i | G_i - Gbar * r_i^alpha |            the target Gbar * r_i^alpha is a constant

L_grad is differentiated with respect to the w_i only. G_i = w_i ||grad_W L_i||, so the derivative has a closed form,

    d L_grad / d w_i = sign(G_i - Gbar r_i^alpha) * ||grad_W L_i||,

which needs no second backward pass and leaves nothing in the model's gradients. After every update the w_i are
renormalised to sum to T, the number of tasks.

How it is done cheaply: each head is run backward once, from w_i L_i to its own parameters and to z; grad_W of it comes
from z's gradient through the last shared layer alone; then the trunk is run backward once, from sum_i w_i dL_i/dz.

Beyond the paper: the w_i are kept at or above `floor` before they are renormalised, so that they stay positive under
Adam's step; a task that a batch lacks is left out of that update's means and gets no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_vision.balancers.base import Balancer, Mean, Shared

INITIAL = ("first", "mean", "theoretical")


class GradNorm(Balancer):
    """GradNorm with its own Adam on w.

    alpha: strength of the pull towards a common training rate. lr: Adam's rate for w. initial: L_i(0) is the loss of
    the `first` batch, the `mean` of the first `initial_steps` (the weights stay at 1 until then), or `theoretical`
    where `theoretical` gives a value (log C for C classes), the first batch elsewhere. interval: steps between updates.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        alpha: float = 1.5,
        lr: float = 0.025,
        initial: str = "first",
        initial_steps: int = 20,
        interval: int = 1,
        floor: float = 1e-3,
        theoretical: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(tasks)
        if initial not in INITIAL:
            raise ValueError(f"balancer.initial is '{initial}': expected {', '.join(INITIAL)}")
        if interval < 1 or initial_steps < 1:
            raise ValueError("balancer.interval and balancer.initial_steps must be at least 1")
        self.adam = torch.optim.Adam([self.weight], lr=lr)
        self.alpha, self.interval, self.floor = alpha, interval, floor
        self.initial_steps = initial_steps if initial == "mean" else 1
        self.register_buffer("initial", torch.zeros(len(self.tasks)))  # L_i(0)
        self.initial: Tensor
        self.seen = [0] * len(self.tasks)  # losses that L_i(0) was taken from
        for name, value in (theoretical or {}).items():
            if initial == "theoretical" and name in self.tasks:
                self.initial[self.tasks.index(name)] = value
                self.seen[self.tasks.index(name)] = self.initial_steps
        self.steps = 0
        self._losses: dict[int, Tensor] = {}
        self._shares: dict[int, float] = {}
        self._gradients: dict[int, Tensor] = {}
        self._no_gradient: Tensor | None = None
        self._report: dict[str, Tensor] = {}

    def backward(self, losses: Mapping[str, Tensor], shared: Shared, share: float = 1.0) -> None:
        w = self.weight.detach()
        update = self.steps % self.interval == 0
        self._no_gradient = torch.zeros_like(shared.W) if update else None
        total = torch.zeros_like(shared.z)
        for name, loss in losses.items():
            i = self.tasks.index(name)
            shared.leaf.grad = None
            (share * w[i] * loss).backward()  # head i, down to z
            g = shared.leaf.grad
            if g is None:
                continue  # a loss that does not depend on z
            total += g
            self._losses[i] = self._losses.get(i, 0) + share * loss.detach()
            self._shares[i] = self._shares.get(i, 0.0) + share
            if update:
                (grad_W,) = torch.autograd.grad(shared.z, shared.W, g, retain_graph=True)
                self._gradients[i] = self._gradients.get(i, 0) + grad_W
        shared.z.backward(total)

    @torch.no_grad()
    def step(self, mean: Mean = lambda tensor: tensor, shares: Mapping[str, float] | None = None) -> None:
        self._report = {"weight": self.weight.clone()}
        here = self._shares if shares is None else {self.tasks.index(name): share for name, share in shares.items()}
        here = {i: here[i] for i in sorted(here) if here[i] > 0}
        if here:
            none = self.weight.new_zeros(())
            sums = mean(torch.stack([self._losses.get(i, none).to(none.dtype) for i in here]))
            L = sums / torch.tensor(list(here.values()), dtype=none.dtype).to(none.device, non_blocking=True)
            self._remember_initial(list(here), L)
            if self._no_gradient is not None and all(self.seen[i] >= self.initial_steps for i in here):
                G = torch.stack([mean(self._gradients.get(i, self._no_gradient)).norm() for i in here])
                self._update(list(here), L, G)
        self.steps += 1
        self._losses, self._shares, self._gradients = {}, {}, {}

    def _remember_initial(self, here: list[int], L: Tensor) -> None:
        """L_i(0): running mean of the first `initial_steps` losses of each task."""
        for i, loss in zip(here, L, strict=True):
            if self.seen[i] < self.initial_steps:
                self.initial[i] += (loss - self.initial[i]) / (self.seen[i] + 1)
                self.seen[i] += 1

    def _update(self, tasks: list[int], L: Tensor, G: Tensor) -> None:
        """One step of Adam on w, from the L_i(t) and G_i of these tasks."""
        T = len(self.tasks)
        here = slice(None) if len(tasks) == T else tasks  # a list as an index would make a GPU wait
        w = self.weight.clone()
        inverse_rate = L / self.initial[here].clamp(min=1e-12)  # Ltilde_i
        r = inverse_rate / inverse_rate.mean()
        target = G.mean() * r**self.alpha
        self.weight.grad = torch.zeros_like(w)
        self.weight.grad[here] = torch.sign(G - target) * G / w[here]
        self.adam.step()
        self.weight.clamp_(min=self.floor)
        self.weight.mul_(T / self.weight.sum())
        for name, value in (("grad_norm", G), ("target", target), ("rate", r)):
            self._report[name] = torch.full_like(w, float("nan"))
            self._report[name][here] = value

    def report(self) -> dict[str, Tensor]:
        """weight: the w_i that the step used. Of a step that updated them also grad_norm: G_i, target: Gbar r_i^alpha,
        rate: r_i (NaN: task missing).
        """
        return self._report or super().report()

    def get_extra_state(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict(), "steps": self.steps, "seen": self.seen}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
        self.steps, self.seen = state["steps"], list(state["seen"])
