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
from z's gradient, through the last shared layer only; then the trunk is run backward once, from sum_i w_i dL_i/dz.
W may be an earlier layer's weight too: then grad_W takes a way back from z to that layer, once a task.

Two parametrisations: `direct`, the paper's, where Adam moves w_i; and `exponential`, w_i = exp(v_i), where Adam moves
v_i by d L_grad / d v_i = w_i * d L_grad / d w_i: its steps are relative, and w_i stays positive by itself.

Beyond the paper: with `direct` the w_i are kept at or above FLOOR before they are renormalised, so that they stay
positive under Adam's step; a task that a step lacks is left out of that update's means, and its weight moves only by
the renormalisation. L_i and G_i are means over the micro-batches (and processes) that had the task.
Scale: weights answer a factor on a loss in the course of the training, by its gradient norm; not at once.
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from mtl_vision.balancers.base import Balancer, Place, Source, Tasks, adam_step
from mtl_vision.balancers.cut import Shared
from mtl_vision.balancers.task_means import Mean
from mtl_vision.ranges import one_of, within

Initial = Literal["first", "mean", "theoretical"]
Parametrisation = Literal["direct", "exponential"]
FLOOR = 1e-3


class GradNorm(Balancer):
    """GradNorm, with an Adam of its own on w.

    report: weight, w_i of the step; where it updated them also grad_norm: G_i, target: Gbar r_i^alpha, rate: r_i.

    Args:
        alpha: strength of the pull towards a common training rate; 0 equalises gradient norms
        lr: Adam's rate for w
        initial: L_i(0) is the loss of the first batch, the mean of the first `initial_steps` (the weights stay at 1
            until then), or theoretical: what the task's loss is uninformed, where that is known, else the first
        initial_steps: batches that initial=mean averages
        interval: steps between updates of w
        start: steps before the first update
        parametrisation: whether Adam moves w_i or log w_i
        place: the layer whose weight is W; last_shared, or backbone, the first one above it (costs more)
    """

    learns_from = ("loss",)  # and the gradients at W in steps that update w
    kept = ("adam", "seen")

    def __init__(
        self,
        tasks: Tasks,
        alpha: float = 1.5,
        lr: float = 0.025,
        initial: Initial = "first",
        initial_steps: int = 20,
        interval: int = 1,
        start: int = 0,
        parametrisation: Parametrisation = "direct",
        place: Place = "last_shared",
    ) -> None:
        super().__init__(tasks)
        within(0, 10, alpha=alpha, lr=lr)
        within(0, 10**9, start=start)
        within(1, 10**6, initial_steps=initial_steps, interval=interval)
        one_of(Initial, initial=initial)
        one_of(Parametrisation, parametrisation=parametrisation)
        one_of(Place, place=place)
        self.alpha, self.interval, self.start, self.place = alpha, interval, start, place
        self.exponential = parametrisation == "exponential"
        if self.exponential:
            self.v = nn.Parameter(torch.zeros(len(self.tasks)), requires_grad=False)  # log w_i
        self.adam = torch.optim.Adam([self.v if self.exponential else self.weight], lr=lr)
        self.initial_steps = initial_steps if initial == "mean" else 1
        self.register_buffer("initial", torch.zeros(len(self.tasks)))  # L_i(0)
        self.initial: Tensor
        self.seen = [0] * len(self.tasks)  # losses that L_i(0) was taken from
        for i, loss in enumerate(tasks.values() if isinstance(tasks, Mapping) else ()):
            if initial == "theoretical" and loss.uninformed is not None:
                self.initial[i] = loss.uninformed
                self.seen[i] = self.initial_steps

    def gradient_at_z(self, losses: Mapping[str, Tensor], shared: Shared, share: float, mean: Mean) -> Tensor | None:
        self._report = {"weight": self.weight.detach().clone()}
        update = self.steps >= self.start and (self.steps - self.start) % self.interval == 0
        self.learns_from = ("loss", "W_gradient") if update else ("loss",)
        total: Tensor | None = None
        for name, loss in losses.items():
            w = self.weight[self.tasks.index(name)]
            dz = self.run_heads(share * w * loss, shared, name)
            if update:
                self.weight_gradient(name, dz, shared, share)
            total = dz if total is None else total.add_(dz)
        return total

    def learn(self, names: list[str], means: Mapping[Source, Tensor]) -> None:
        T, L, here = len(self.tasks), means["loss"], [self.tasks.index(name) for name in names]
        for i, loss in zip(here, L, strict=True):  # L_i(0): running mean of the first `initial_steps` losses
            if self.seen[i] < self.initial_steps:
                self.initial[i] += (loss - self.initial[i]) / (self.seen[i] + 1)
                self.seen[i] += 1
        if "W_gradient" not in means or any(self.seen[i] < self.initial_steps for i in here):
            return
        at = self.at(names)
        G = torch.stack([gradient.norm() for gradient in means["W_gradient"]])
        inverse_rate = L / self.initial[at].clamp(min=1e-12)  # Ltilde_i
        r = inverse_rate / inverse_rate.mean()
        target = G.mean() * r**self.alpha
        pull = torch.sign(G - target) * G  # w_i * d L_grad / d w_i
        adam_step(self.adam, pull if self.exponential else pull / self.weight[at], at)
        if self.exponential:
            self.v.sub_(torch.logsumexp(self.v, 0) - math.log(T))
            self.weight.copy_(self.v.exp())
        else:
            self.weight.clamp_(min=FLOOR)
            self.weight.mul_(T / self.weight.sum())
        for name, value in (("grad_norm", G), ("target", target), ("rate", r)):
            self._report[name] = torch.full_like(self.weight, float("nan"))
            self._report[name][at] = value
