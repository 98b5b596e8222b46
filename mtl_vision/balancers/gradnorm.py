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

Beyond the paper, as options, against the noise of single batches and for losses of very different scale:

    solver=closed   w_i = T x_i / sum_j x_j,  x_i = r_i^alpha / || grad_W L_i ||       (G_i = c r_i^alpha, at once)
    beta            Lbar_i(k) = beta Lbar_i(k-1) + (1 - beta) L_i(k), in place of L_i in Ltilde_i; the same of the
                    vector grad_W L_i, whose norm times w_i is G_i (DB-MTL's); divided by 1 - beta^n after n steps
    decay           Adam's rate is lr / (1 + decay t), t steps after `start`

And unasked: what becomes L_i(0) is told in `initial_loss.py`. With `direct` the w_i are kept at or above FLOOR before
they are renormalised, so that they stay positive under Adam's step. A task that a step lacks, or whose L_i(0) is not
known, is left out of that update's means, and its weight moves only by the renormalisation. `closed` leaves the weight
of a task whose gradient is 0, and none falls below SMALLEST times the largest. L_i and G_i are means over the
micro-batches (and processes) that had the task.
Scale: weights answer a factor on a loss in the course of the training, by its gradient norm; not at once, but in the
next step with `closed`.
"""

import math
from collections.abc import Collection, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from mtl_vision.balancers.adam import adam_step
from mtl_vision.balancers.base import Place, Source, Tasks
from mtl_vision.balancers.cut import Shared
from mtl_vision.balancers.initial_loss import Initial, _InitialLosses
from mtl_vision.balancers.task_means import Mean
from mtl_vision.ranges import one_of, within

Parametrisation = Literal["direct", "exponential"]
Solver = Literal["adam", "closed"]
FLOOR = 1e-3
SMALLEST = 1e-12


class GradNorm(_InitialLosses):
    """GradNorm, with an Adam of its own on w.

    report: weight, w_i of the step; where it updated them also grad_norm: G_i, target: Gbar r_i^alpha, rate: r_i.

    Args:
        alpha: strength of the pull towards a common training rate; 0 equalises gradient norms
        lr: Adam's rate for w
        initial: L_i(0) is the loss of the first batch, the mean of the first `initial_steps` (the weights stay at 1
            until then), or theoretical: that of a prediction without knowledge, which every task must know
        initial_steps: batches that initial=mean averages
        interval: steps between updates of w
        start: steps before the first update
        parametrisation: whether Adam moves w_i or log w_i
        place: the layer whose weight is W; last_shared; backbone, the first one above it, or encoder, its own last one
            (both cost more)
        solver: adam, or closed: w_i as r_i^alpha / ||grad_W L_i|| in each update, without Adam
        beta: forgetting factor of the averages of losses and gradients over steps; 0 takes each step's own
        decay: fall of Adam's rate, lr / (1 + decay * steps)
    """

    learns_from = ("loss",)  # and the gradients at W in steps that update w
    kept = (*_InitialLosses.kept, "adam", "_average", "_count")

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
        solver: Solver = "adam",
        beta: float = 0.0,
        decay: float = 0.0,
    ) -> None:
        super().__init__(tasks, initial, initial_steps)
        within(0, 10, alpha=alpha, lr=lr)
        within(0, 10**9, start=start)
        within(1, 10**6, interval=interval)
        within(0, 0.9999, beta=beta)
        within(0, 10**6, decay=decay)
        one_of(Parametrisation, parametrisation=parametrisation)
        one_of(Place, place=place)
        one_of(Solver, solver=solver)
        if solver == "closed" and (decay or parametrisation != "direct"):
            raise ValueError("solver=closed takes no Adam: leave decay and parametrisation out")
        self.alpha, self.interval, self.start, self.place = alpha, interval, start, place
        self.lr, self.decay, self.beta, self.closed = lr, decay, beta, solver == "closed"
        self.exponential = parametrisation == "exponential"
        if self.exponential:
            self.v = nn.Parameter(torch.zeros(len(self.tasks)), requires_grad=False)  # log w_i
        self.adam = torch.optim.Adam([self.v if self.exponential else self.weight], lr=lr)
        self._average: dict[str, Tensor] = {}  # of losses, and of gradients at W
        self._count: dict[str, int] = {}  # n

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

    def positive(self) -> Collection[str]:
        """Those with an L_i(0), where the rates count; before it, and with alpha 0, a loss may be anything."""
        known = (name for name, seen in zip(self.tasks, self.seen, strict=True) if seen >= self.initial_steps)
        return list(known) if self.alpha and "W_gradient" in self.learns_from else ()

    def learn(self, names: list[str], means: Mapping[Source, Tensor]) -> None:
        known = self.take_initial(names, means["loss"])
        L = dict(zip(names, means["loss"], strict=True))
        if self.beta:
            L = {name: self.averaged(f"loss {name}", loss) for name, loss in L.items()}
        if "W_gradient" not in means:
            return
        norms = dict(zip(names, self.norms(names, means["W_gradient"]), strict=True))
        if known:
            self.update(known, torch.stack([L[name] for name in known]), torch.stack([norms[name] for name in known]))

    def norms(self, names: list[str], gradients: Tensor) -> list[Tensor]:
        """G_i, from the gradients of w_i L_i at W."""
        if not self.beta:
            return [gradient.norm() for gradient in gradients]
        weights = self.weight[self.at(names)]
        parts = zip(names, weights, gradients, strict=True)
        return [
            w * self.averaged(f"gradient {name}", gradient / w.clamp(min=1e-30)).norm() for name, w, gradient in parts
        ]

    def averaged(self, key: str, value: Tensor) -> Tensor:
        """The moving average with this value, corrected for its beginning at 0."""
        n = self._count[key] = self._count.get(key, 0) + 1
        self._average[key] = self.beta * self._average.get(key, 0) + (1 - self.beta) * value
        return self._average[key] / (1 - self.beta**n)

    def update(self, names: list[str], L: Tensor, G: Tensor) -> None:
        """Move w by the losses and gradient norms (len(names),) of these tasks."""
        T, at = len(self.tasks), self.at(names)
        inverse_rate = (L / self.initial[at].clamp(min=1e-12)).clamp(max=1e30)  # Ltilde_i
        r = inverse_rate / inverse_rate.mean()
        target = G.mean() * r**self.alpha
        if self.closed:
            self.weight[at] = closed(self.weight[at], r**self.alpha, G).to(self.weight)
        else:
            self.adam.param_groups[0]["lr"] = self.lr / (1 + self.decay * (self.steps - self.start))
            pull = torch.sign(G - target) * G  # w_i * d L_grad / d w_i
            adam_step(self.adam, pull if self.exponential else pull / self.weight[at], at)
        if self.exponential:
            self.v.sub_(torch.logsumexp(self.v, 0) - math.log(T))
            self.weight.copy_(self.v.exp())
        else:
            if not self.closed:
                self.weight.clamp_(min=FLOOR)
            self.weight.mul_(T / self.weight.sum())
        for name, value in (("grad_norm", G), ("target", target), ("rate", r)):
            self._report[name] = torch.full_like(self.weight, float("nan"))
            self._report[name][at] = value.to(self.weight)


def closed(w: Tensor, share: Tensor, G: Tensor) -> Tensor:
    """Weights (n,) of the same sum that make G_i = c share_i, from those with norms G; where G is 0 they stay."""
    here = G > 0
    x = w * share / G.clamp(min=1e-30)
    x = torch.where(here, x.clamp(min=SMALLEST * torch.where(here, x, 0).max()), 0)
    return torch.where(here, x * torch.where(here, w, 0).sum() / x.sum(), w)
