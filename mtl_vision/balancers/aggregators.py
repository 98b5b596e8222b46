"""Methods that weigh the gradients, by TorchJD's aggregators: UPGrad, PCGrad, CAGrad, MGDA, Nash-MTL, Aligned-MTL and
IMTL-G.

They see the gradients at z, g_i = dL_i / dz, by their Gramian G_ij = <g_i, g_j> (divided by the mean of its diagonal,
since TorchJD takes very small Gramians for zero), and give w; heads get their own loss's gradient, and the trunk is run
backward once, from g = sum_i w_i g_i. The papers use the gradients of all shared parameters, at T times the cost; at z
is what MGDA-UB (Sener, Koltun 2018) and IMTL (Liu et al. 2021) do.

Over several processes the Gramians are summed before they are weighed, so that all have the same weights; micro-batches
are weighed each by itself. Weights are as TorchJD scales them: many sum to 1, not to T. A GPU waits for them: their
solvers run on the CPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Any

import torch
from torch import Tensor

from mtl_vision.balancers.base import Balancer, Mean, Shared, alone
from mtl_vision.balancers.from_torchjd import Method, torchjd


class Aggregated(Balancer):
    """Weights from a TorchJD weighting, of the tasks that the batch has; 1 for a task alone.

    make: number of tasks -> weighting of a Gramian (n, n). unit: it wants gradients, not their Gramian, and its
    answer for g_i / || g_i || is the one for g_i times || g_i ||: it gets the square root of the unit gradients'
    Gramian, which has the same products and suits its solver better.
    """

    def __init__(self, tasks: Sequence[str], make: Callable[[int], Method], unit: bool = False) -> None:
        super().__init__(tasks)
        self.make, self.unit = make, unit
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
            weight = self._weight.nan_to_num(0)  # of a task whose gradient is zero
            total = torch.zeros_like(shared.z)
            for name, g in dz.items():
                total += weight[self.tasks.index(name)] * g
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
        with warnings.catch_warnings():  # CVXPY's, of TorchJD's problem: it says that it could be faster
            warnings.filterwarnings("ignore", "You are solving a parameterized problem that is not DPP")
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


def upgrad(tasks: Sequence[str]) -> Balancer:
    """UPGrad, Quinton, Rey 2024.

        g = 1/T sum_i P(g_i)     P: projection onto { g : <g, g_j> >= 0 for all j }

    Scale: linear in a factor on a loss.
    """
    return Aggregated(tasks, lambda n: torchjd("aggregation").UPGradWeighting())


def pcgrad(tasks: Sequence[str]) -> Balancer:
    """PCGrad, Yu et al., NeurIPS 2020.

        g_i <- g_i - <g_i, g_j> / |g_j|^2 g_j  where <g_i, g_j> < 0, for the other g_j in random order
        g = sum_i g_i

    Scale: linear in a factor on a loss.
    """
    return Aggregated(tasks, lambda n: torchjd("aggregation").PCGradWeighting())


def cagrad(tasks: Sequence[str], c: float = 0.4) -> Balancer:
    """CAGrad, Liu et al., NeurIPS 2021.

        max_d min_i <g_i, d>  with  | d - g_0 | <= c | g_0 |     g_0 = 1/T sum_i g_i

    Scale: a factor on a loss changes the direction, but not in proportion.
    """
    return Aggregated(tasks, lambda n: torchjd("aggregation").CAGradWeighting(c))


def mgda(tasks: Sequence[str]) -> Balancer:
    """MGDA-UB, Sener, Koltun, NeurIPS 2018.

        min_w | sum_i w_i g_i |  with  w_i >= 0, sum_i w_i = 1

    Scale: a larger loss gets a smaller weight; a task with a small gradient may get all.
    """
    return Aggregated(tasks, lambda n: torchjd("aggregation").MGDAWeighting())


def nash_mtl(tasks: Sequence[str]) -> Balancer:
    """Nash-MTL, Navon et al., ICML 2022.

        G w = 1 / w, elementwise, up to a factor on w     G_ij = <g_i, g_j>

    The clipping of the update's norm is off (train.clip is there for that).
    Scale: a factor on a loss does not change the direction.
    """
    return Aggregated(tasks, lambda n: torchjd("aggregation").NashMTL(n, max_norm=0.0).weighting, unit=True)


def aligned_mtl(tasks: Sequence[str]) -> Balancer:
    """Aligned-MTL, Senushkin et al., CVPR 2023.

        G = V diag(lambda) V^T     w = sqrt(min lambda) V diag(1 / sqrt(lambda)) V^T 1/T

    The gradients' principal components are brought to the smallest one's length. Weights may be negative.
    Scale: a factor on a loss changes the direction, unless the gradients are orthogonal.
    """
    return Aggregated(tasks, lambda n: torchjd("aggregation").AlignedMTLWeighting())


def imtl_g(tasks: Sequence[str]) -> Balancer:
    """The gradient balance of IMTL, Liu et al., ICLR 2021.

        <g, u_i> = <g, u_j>  for all i, j     g = sum_i w_i g_i     u_i = g_i / |g_i|     sum_i w_i = 1

    Weights may be negative; they are 0 where no such g is left, as for opposed gradients.
    Scale: a factor on a loss does not change the direction.
    """
    return Aggregated(tasks, lambda n: torchjd("aggregation").IMTLGWeighting())
