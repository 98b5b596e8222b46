"""The methods that TorchJD keeps well, by name: its scalarizers, which weigh losses, and its aggregators, which weigh
gradients. TorchJD (https://torchjd.org, MIT) is an optional extra: `pip install mtl-vision[torchjd]`.

A scalarizer S gives w_i = dS(L) / dL_i, and the step is that of the weighted sum.

An aggregator sees the gradients at z, g_i = dL_i / dz, by their Gramian G_ij = <g_i, g_j> (divided by the mean of its
diagonal, since TorchJD takes very small Gramians for zero), and gives w; heads get their own loss's gradient, and the
trunk is run backward once, from sum_i w_i g_i. The papers use the gradients of all shared parameters, at T times the
cost; at z is what MGDA-UB (Sener, Koltun 2018) and IMTL (Liu et al. 2021) do.

Over several processes losses are averaged and Gramians summed before they are weighed, so that all have the same
weights; micro-batches are weighed each by itself. Weights are as TorchJD scales them: many sum to 1, not to T.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Any

import torch
from torch import Tensor

from mtl_vision.balancers.base import Balancer, Mean, Shared, Tally, alone

Method = Any  # a TorchJD Scalarizer or Weighting: the package may be missing


def torchjd(part: str) -> Any:
    """torchjd.scalarization or torchjd.aggregation. Raises ValueError, saying what to install."""
    try:
        from torchjd import aggregation, scalarization
    except ImportError as error:
        raise ValueError(
            f"this balancer comes from TorchJD, which is not there ({error}): pip install 'mtl-vision[torchjd]'"
        ) from None
    return {"scalarization": scalarization, "aggregation": aggregation}[part]


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

    def weigh(self, losses: Mapping[str, Tensor], mean: Mean) -> Tensor:
        """Also adds to the gradients of the scalarizer's own parameters."""
        found = torch.zeros(2, len(self.tasks), device=self.last.device)  # losses, and whether they are there
        for name, loss in losses.items():
            found[0, self.tasks.index(name)] = loss.detach()
            found[1, self.tasks.index(name)] = 1
        total, count = mean(found)
        self.last = torch.where(count > 0, total / count.clamp(min=1e-12), self.last)
        values = self.last.clone().requires_grad_()
        with torch.enable_grad():
            self.method(values).backward()
        assert values.grad is not None
        self.weight.copy_(values.grad)
        return self.weight

    def backward(self, losses: Mapping[str, Tensor], shared: Shared, share: float = 1.0, mean: Mean = alone) -> None:
        super().backward(losses, shared, share, mean)
        for i, name in enumerate(self.tasks):
            self._losses.add(name, self.last[i], share)

    @torch.no_grad()
    def step(self, mean: Mean = alone, shares: Mapping[str, float] | None = None) -> None:
        _, self._before = self._losses.take(alone, None, self.tasks)  # `last` is a mean over processes already
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
            setattr(self.method, key, value)
        if state["optimizer"] is not None:
            self.method._optimizer = torch.optim.Adam([self.method._w])
            self.method._optimizer.load_state_dict(state["optimizer"])


# What TorchJD 0.18 keeps in plain attributes, out of its state_dict: DWA's epoch means
CARRIED = ("_loss_sum", "_n_batches", "_previous_averages")


def _optimizer(method: Method) -> Any:
    """FAMO's own Adam, which is no part of its state_dict and is made at its first update."""
    return getattr(method, "_optimizer", None)


class Aggregated(Balancer):
    """Weights from a TorchJD weighting, of the tasks that the batch has; 1 for a task alone.

    make: number of tasks -> weighting of a Gramian (n, n). unit: it wants gradients, not their Gramian, and its
    answer for g_i / || g_i || is the one for g_i times || g_i ||: it gets the square root of the unit gradients'
    Gramian, which has the same products and suits its solver better.
    """

    def __init__(
        self, tasks: Sequence[str], make: Callable[[int], Method], positive: bool = True, unit: bool = False
    ) -> None:
        super().__init__(tasks)
        self.make, self.unit, self.positive = make, unit, positive
        T = len(self.tasks)
        try:
            self.methods = {T: make(T)} if T > 1 else {}
        except ImportError as error:  # of a solver that one method needs
            raise ValueError(str(error)) from None
        self._weight = self.weight.detach().clone()

    def backward(self, losses: Mapping[str, Tensor], shared: Shared, share: float = 1.0, mean: Mean = alone) -> None:
        dz = dict(shared.head_gradients({name: share * loss for name, loss in losses.items()}))
        # of several processes the gradients are of disjoint samples: their Gramians add
        self._weight = self.weigh_gradients(mean(self._gramian(dz)))
        if dz:
            weights = {name: self._weight[self.tasks.index(name)] for name in dz}
            total = torch.zeros_like(shared.z)
            for name, g in dz.items():
                total.addcmul_(g, weights[name].to(g.dtype))
            shared.z.backward(total)

    def _gramian(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """G (T, T), with zeros for a task that has none."""
        T = len(self.tasks)
        gramian = torch.zeros(T, T, dtype=torch.float64, device=self.weight.device)
        rows = {self.tasks.index(name): _flat(g) for name, g in gradients.items()}
        for i, j in combinations_with_replacement(rows, 2):
            gramian[i, j] = gramian[j, i] = torch.dot(rows[i], rows[j])
        return gramian

    @torch.no_grad()
    def weigh_gradients(self, gramian: Tensor) -> Tensor:
        """w (T,) from the Gramian (T, T); NaN for a task without a gradient."""
        weight = torch.full_like(self.weight, float("nan"))
        here = (gramian.diagonal() > 0).nonzero().flatten()
        if len(here) == 1:
            weight[here] = 1
        elif len(here) > 1:
            part = gramian[here][:, here]
            weight[here] = self._weigh(part / part.diagonal().mean()).to(weight)
        self.weight[here] = weight[here]
        return weight

    def _weigh(self, gramian: Tensor) -> Tensor:
        n = len(gramian)
        method = self.methods.get(n) or self.methods.setdefault(n, self.make(n))
        if not self.unit:
            return method(gramian)
        norm = gramian.diagonal().sqrt()
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "You are solving a parameterized problem that is not DPP"
            )  # CVXPY says so
            return method(_root(gramian / (norm[:, None] * norm))) / norm

    def report(self) -> dict[str, Tensor]:
        """Of the last micro-batch. weight: the w_i of the trunk (NaN: task missing). head_weight: 1."""
        return {"weight": self._weight, "head_weight": torch.ones_like(self._weight)}

    def get_extra_state(self) -> dict[str, Any]:
        solvers = {n: method for n, method in self.methods.items() if hasattr(method, "prvs_alpha")}
        return {"previous": {n: torch.tensor(solver.prvs_alpha) for n, solver in solvers.items()}}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        for n, value in state["previous"].items():  # Nash-MTL starts its solver where the last step ended
            method = self.methods.get(n) or self.methods.setdefault(n, self.make(n))
            method.prvs_alpha = value.numpy()


def _flat(gradient: Tensor) -> Tensor:
    """One row, float32; a map (B, C, H, W) that is channels-last in memory is not copied."""
    return (gradient.movedim(1, -1) if gradient.ndim == 4 else gradient).reshape(-1).float()


def _root(gramian: Tensor) -> Tensor:
    """R (n, n) with R R^T = gramian."""
    values, vectors = torch.linalg.eigh(gramian)
    return vectors * values.clamp(min=0).sqrt()


def dwa(tasks: Sequence[str], temperature: float = 2.0) -> Balancer:
    """Dynamic weight average, Liu, Johns, Davison, CVPR 2019: w_i = T exp(r_i / temperature) / sum_j exp(r_j /
    temperature), r_i = L_i(t-1) / L_i(t-2) over epochs. Scale: follows the losses, the weights do not see it.
    """
    return Scalarized(tasks, torchjd("scalarization").DWA(temperature))


def famo(tasks: Sequence[str], lr: float = 0.025) -> Balancer:
    """FAMO, Liu, Feng, Stone, Liu, NeurIPS 2023: w_i = c z_i / L_i, z = softmax(xi), xi moved by the change of log L_i
    over the step, which takes a second forward pass on the same batch. Scale: a factor on a loss changes nothing.
    """
    return Scalarized(tasks, torchjd("scalarization").FAMO(len(tasks), lr=lr))


def imtl_l(tasks: Sequence[str], lr: float = 0.01) -> Balancer:
    """The loss balance of IMTL, Liu et al., ICLR 2021: L = sum_i exp(s_i) L_i - s_i, s learned. Scale: weights follow
    1 / L_i in the course of the training, not at once.
    """
    return Scalarized(tasks, torchjd("scalarization").IMTLL(len(tasks)), lr=lr)


def rlw(tasks: Sequence[str]) -> Balancer:
    """Random loss weighting, Lin et al., TMLR 2022: w = softmax(N(0, 1)), anew each step. Scale: follows the losses."""
    return Scalarized(tasks, torchjd("scalarization").Random())


def geometric_mean(tasks: Sequence[str]) -> Balancer:
    """Geometric mean of the losses, Chennupati et al., CVPR workshops 2019: w_i = (prod_j L_j)^(1/T) / (T L_i).
    Scale: a factor on a loss does not change the direction.
    """
    return Scalarized(tasks, torchjd("scalarization").GeometricMean())


def upgrad(tasks: Sequence[str]) -> Balancer:
    """UPGrad, Quinton, Rey 2024: each gradient projected on the dual cone of all, then their mean. Scale: follows."""
    return Aggregated(tasks, lambda n: torchjd("aggregation").UPGradWeighting())


def pcgrad(tasks: Sequence[str]) -> Balancer:
    """PCGrad, Yu et al., NeurIPS 2020: each gradient without its components against others, in random order, summed.
    Scale: follows.
    """
    return Aggregated(tasks, lambda n: torchjd("aggregation").PCGradWeighting())


def cagrad(tasks: Sequence[str], c: float = 0.4) -> Balancer:
    """CAGrad, Liu et al., NeurIPS 2021: the direction with the best worst-case gain within a ball of radius c times the
    mean gradient's norm about it. Scale: follows in part.
    """
    return Aggregated(tasks, lambda n: torchjd("aggregation").CAGradWeighting(c))


def mgda(tasks: Sequence[str]) -> Balancer:
    """MGDA-UB, Sener, Koltun, NeurIPS 2018: the shortest convex combination of the gradients. Scale: prefers the task
    with the smallest gradient.
    """
    return Aggregated(tasks, lambda n: torchjd("aggregation").MGDAWeighting())


def nash_mtl(tasks: Sequence[str]) -> Balancer:
    """Nash-MTL, Navon et al., ICML 2022: w with G w = 1 / w, G the Gramian. Its clipping of the update's norm is off
    (train.clip is there for that). Scale: a factor on a loss changes nothing.
    """
    return Aggregated(tasks, lambda n: torchjd("aggregation").NashMTL(n, max_norm=0.0).weighting, unit=True)


def aligned_mtl(tasks: Sequence[str]) -> Balancer:
    """Aligned-MTL, Senushkin et al., CVPR 2023: the gradients' principal components brought to the shortest one's
    length, then their mean. Scale: nearly none.
    """
    return Aggregated(tasks, lambda n: torchjd("aggregation").AlignedMTLWeighting(), positive=False)


def imtl_g(tasks: Sequence[str]) -> Balancer:
    """The gradient balance of IMTL, Liu et al., ICLR 2021: the combination with equal projections on all the gradients'
    directions; weights sum to 1 and may be negative. Scale: a factor on a loss does not change the direction.
    """
    return Aggregated(tasks, lambda n: torchjd("aggregation").IMTLGWeighting(), positive=False)
