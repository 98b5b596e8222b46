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
W may be an earlier layer's weight too: then grad_W takes a way back from z to that layer, once a task.

Two parametrisations: `direct`, the paper's, where Adam moves w_i; and `exponential`, w_i = exp(v_i), where Adam moves
v_i by d L_grad / d v_i = w_i * d L_grad / d w_i: its steps are relative, and w_i stays positive by itself.

Beyond the paper: with `direct` the w_i are kept at or above `floor` before they are renormalised, so that they stay
positive under Adam's step; a task that a batch lacks is left out of that update's means, and its weight moves by the
renormalisation alone.
Scale: weights answer a factor on a loss in the course of the training, by its gradient norm; not at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl_vision.balancers.base import Balancer, Mean, Shared, Tally, alone

INITIAL = ("first", "mean", "theoretical")
PARAMETRISATION = ("direct", "exponential")


class GradNorm(Balancer):
    """GradNorm with its own Adam on w.

    alpha: strength of the pull towards a common training rate. lr: Adam's rate for w. initial: L_i(0) is the loss of
    the `first` batch, the `mean` of the first `initial_steps` (the weights stay at 1 until then), or `theoretical`
    where `theoretical` gives a value (log C for C classes), the first batch elsewhere. interval: steps between updates.
    start: steps before the first update. parametrisation: direct or exponential.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        alpha: float = 1.5,
        lr: float = 0.025,
        initial: str = "first",
        initial_steps: int = 20,
        interval: int = 1,
        start: int = 0,
        parametrisation: str = "direct",
        floor: float = 1e-3,
        theoretical: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(tasks)
        for key, value, known in (
            ("initial", initial, INITIAL),
            ("parametrisation", parametrisation, PARAMETRISATION),
        ):
            if value not in known:
                raise ValueError(f"balancer.{key} is '{value}': expected {', '.join(known)}")
        if interval < 1 or initial_steps < 1 or start < 0:
            raise ValueError("balancer.interval and balancer.initial_steps must be at least 1, balancer.start 0")
        self.exponential = parametrisation == "exponential"
        if self.exponential:
            self.v = nn.Parameter(torch.zeros(len(self.tasks)), requires_grad=False)  # log w_i
        self.adam = torch.optim.Adam([self.v if self.exponential else self.weight], lr=lr)
        self.alpha, self.interval, self.start, self.floor = alpha, interval, start, floor
        self.initial_steps = initial_steps if initial == "mean" else 1
        self.register_buffer("initial", torch.zeros(len(self.tasks)))  # L_i(0)
        self.initial: Tensor
        self.seen = [0] * len(self.tasks)  # losses that L_i(0) was taken from
        for name, value in (theoretical or {}).items():
            if initial == "theoretical" and name in self.tasks:
                self.initial[self.tasks.index(name)] = value
                self.seen[self.tasks.index(name)] = self.initial_steps
        self.steps = 0
        self._losses = Tally()
        self._gradients: dict[int, Tensor] = {}
        self._no_gradient: Tensor | None = None
        self._report: dict[str, Tensor] = {}

    def backward(self, losses: Mapping[str, Tensor], shared: Shared, share: float = 1.0, mean: Mean = alone) -> None:
        w = self.weight.detach()
        update = self.steps >= self.start and (self.steps - self.start) % self.interval == 0
        self._no_gradient = torch.zeros_like(shared.W) if update else None
        total: Tensor | None = None
        for name, g in shared.head_gradients(
            {name: share * w[self.tasks.index(name)] * loss for name, loss in losses.items()}
        ):
            self._losses.add(name, losses[name], share)
            if update:
                (grad_W,) = torch.autograd.grad(shared.z, shared.W, g, retain_graph=True)
                i = self.tasks.index(name)
                self._gradients[i] = self._gradients.get(i, 0) + grad_W
            total = g if total is None else total.add_(g)
        if total is not None:
            shared.z.backward(total)

    @torch.no_grad()
    def step(self, mean: Mean = alone, shares: Mapping[str, float] | None = None) -> None:
        self._report = {"weight": self.weight.clone()}
        names, L = self._losses.take(mean, shares, self.tasks, self.weight.device)
        here = [self.tasks.index(name) for name in names]
        if here:
            self._remember_initial(here, L)
            if self._no_gradient is not None and all(self.seen[i] >= self.initial_steps for i in here):
                G = torch.stack([mean(self._gradients.get(i, self._no_gradient)).norm() for i in here])
                self._update(here, L, G)
        self.steps += 1
        self._gradients = {}

    def _remember_initial(self, here: list[int], L: Tensor) -> None:
        """L_i(0): running mean of the first `initial_steps` losses of each task."""
        for i, loss in zip(here, L, strict=True):
            if self.seen[i] < self.initial_steps:
                self.initial[i] += (loss - self.initial[i]) / (self.seen[i] + 1)
                self.seen[i] += 1

    def _update(self, tasks: list[int], L: Tensor, G: Tensor) -> None:
        """One step of Adam on w, from the L_i(t) and G_i of these tasks."""
        T = len(self.tasks)
        here = self.places([self.tasks[i] for i in tasks])
        inverse_rate = L / self.initial[here].clamp(min=1e-12)  # Ltilde_i
        r = inverse_rate / inverse_rate.mean()
        target = G.mean() * r**self.alpha
        pull = torch.sign(G - target) * G  # w_i * d L_grad / d w_i
        moved = self.v if self.exponential else self.weight
        before = moved.clone()
        moved.grad = torch.zeros_like(before)
        moved.grad[here] = pull if self.exponential else pull / before[here]
        self.adam.step()
        if len(tasks) < T:  # Adam's momentum would carry the missing on
            before[here] = moved[here]
            moved.copy_(before)
        if self.exponential:
            self.v.sub_(torch.logsumexp(self.v, 0) - math.log(T))
            self.weight.copy_(self.v.exp())
        else:
            self.weight.clamp_(min=self.floor)
            self.weight.mul_(T / self.weight.sum())
        for name, value in (("grad_norm", G), ("target", target), ("rate", r)):
            self._report[name] = torch.full_like(self.weight, float("nan"))
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
