"""Methods that weigh the gradients, by TorchJD's aggregators: UPGrad, PCGrad, CAGrad, MGDA, Nash-MTL, Aligned-MTL and
IMTL-G.

From the Gramian G_ij = <g_i, g_j> of the gradients at z, g_i = dL_i / dz (divided by the mean of its diagonal: TorchJD
takes very small ones for zero), they give w; heads get their own loss's gradient, and the trunk is run backward once,
from g = sum_i w_i g_i. The papers use the gradients of all shared parameters, at T times the cost; MGDA-UB (Sener,
Koltun 2018) and IMTL (Liu et al. 2021) use those at z. Over several processes the Gramians are summed before they are
weighed; micro-batches are weighed each by itself. Weights are as TorchJD scales them: many sum to 1, not to T. A GPU
waits for them: the solvers run on the CPU.

Three solvers are not exact. || g - g* || / || g* || with g* from all supports of the quadratic programs (CAGrad: from
a solver at 1e-12), median (largest) of 200 draws of T normal vectors in 20 dimensions, times exp(-1) to exp(1):

    T         2                 3                 5
    UPGrad    4e-8 (1e-3)       1e-4 (4e-3)       6e-4 (5e-3)
    MGDA      5e-8 (1e-7)       3e-3 (1e-1)       5e-2 (2e-1)
    CAGrad    4e-8 (6e-5)       8e-8 (8e-5)       7e-6 (1e-4)
"""

import warnings
from collections.abc import Callable, Mapping
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtl_vision.balancers.base import Balancer, Tasks
from mtl_vision.balancers.cut import Shared
from mtl_vision.balancers.from_torchjd import Method, torchjd
from mtl_vision.balancers.task_means import Mean
from mtl_vision.ranges import within


class _Aggregated(Balancer):
    """Weights from a TorchJD weighting, of the tasks that the batch has; 1 for a single one.

    make: number of tasks -> weighting of a Gramian (n, n).
    """

    moved = ("weight",)

    def __init__(self, tasks: Tasks, make: Callable[[int], Method]) -> None:
        super().__init__(tasks)
        self.make = make
        T = len(self.tasks)
        self.methods = {T: make(T)} if T > 1 else {}

    def gradient_at_z(self, losses: Mapping[str, Tensor], shared: Shared, share: float, mean: Mean) -> Tensor | None:
        dz = {name: self.run_heads(share * loss, shared, name) for name, loss in losses.items()}
        T = len(self.tasks)
        found = torch.zeros(T + 1, T, dtype=torch.float64, device=self.weight.device)
        gramian = found[:T]
        # a map (B, C, H, W) that is channels-last in memory is not copied
        flat = {name: (g.movedim(1, -1) if g.ndim == 4 else g).reshape(-1) for name, g in dz.items()}
        rows = {self.tasks.index(name): g.to(torch.promote_types(g.dtype, torch.float32)) for name, g in flat.items()}
        for i, j in combinations_with_replacement(rows, 2):
            gramian[i, j] = gramian[j, i] = torch.dot(rows[i], rows[j])
        for name, loss in losses.items():
            found[T, self.tasks.index(name)] = share * loss.detach()
        found = mean(found)  # of several processes the gradients are of disjoint samples: their Gramians add
        gramian = self._finite(found)
        weight = torch.full_like(self.weight, float("nan"))
        here = (gramian.diagonal() > 0).nonzero().flatten()
        if len(here) == 1:
            weight[here] = 1
        elif len(here) > 1:
            part = gramian[here][:, here]
            weight[here] = self.weigh_gramian(part / part.diagonal().mean()).to(weight)
        self.weight[here] = weight[here]
        self._report = {"weight": weight, "head_weight": torch.ones_like(weight)}
        total = torch.zeros_like(shared.z)
        for name, g in dz.items():
            total = total + weight[self.tasks.index(name)].nan_to_num(0) * g  # NaN: of a task whose gradient is zero
        return total

    def _finite(self, found: Tensor) -> Tensor:
        """The Gramian, from it and the losses; before a solver meets it."""
        bad = [name for name, square in zip(self.tasks, found.diagonal().tolist(), strict=True) if square - square != 0]
        self.raise_fault(dict(zip(self.tasks, found[-1].tolist(), strict=True)), bad)
        return found[:-1]

    def weigh_gramian(self, gramian: Tensor) -> Tensor:
        """w (n,) from a Gramian (n, n) whose diagonal is above 0, 1 on average."""
        return self.method(len(gramian))(gramian)

    def method(self, n: int) -> Method:
        """The weighting of n tasks."""
        return self.methods.get(n) or self.methods.setdefault(n, self.make(n))


class UPGrad(_Aggregated):
    """UPGrad, Quinton, Rey 2024.

        g = 1/T sum_i P(g_i)     P: projection onto { g : <g, g_j> >= 0 for all j }

    TorchJD divides the Gramian by its Frobenius norm and adds 1e-4 to its diagonal, so P is not exact: above.
    Scale: linear in a factor on a loss.
    """

    def __init__(self, tasks: Tasks) -> None:
        super().__init__(tasks, lambda n: torchjd("aggregation", "UPGradWeighting"))


class PCGrad(_Aggregated):
    """PCGrad, Yu et al., NeurIPS 2020.

        g_i <- g_i - <g_i, g_j> / |g_j|^2 g_j  where <g_i, g_j> < 0, for the other g_j in random order
        g = sum_i g_i

    Scale: linear in a factor on a loss.
    """

    def __init__(self, tasks: Tasks) -> None:
        super().__init__(tasks, lambda n: torchjd("aggregation", "PCGradWeighting"))


class CAGrad(_Aggregated):
    """CAGrad, Liu et al., NeurIPS 2021.

        max_d min_i <g_i, d>  with  | d - g_0 | <= c | g_0 |     g_0 = 1/T sum_i g_i

    An interior point solver's precision remains, about 1e-4; where the w with the least || sum_i w_i g_i || comes below
    1e-4 of the gradients' scale, g is 0.
    Scale: a factor on a loss changes the direction, but not in proportion.

    Args:
        c: radius of the ball around the mean gradient, as a share of its length
    """

    def __init__(self, tasks: Tasks, c: float = 0.4) -> None:
        within(0, 10, c=c)
        super().__init__(tasks, lambda n: torchjd("aggregation", "CAGradWeighting", c))


class MGDA(_Aggregated):
    """MGDA-UB, Sener, Koltun, NeurIPS 2018.

        min_w | sum_i w_i g_i |  with  w_i >= 0, sum_i w_i = 1

    TorchJD's Frank-Wolfe steps end after 100, or with one below 1e-3: exact for two tasks, not for more: above.
    Scale: a larger loss gets a smaller weight; a task with a small gradient may get all.
    """

    def __init__(self, tasks: Tasks) -> None:
        super().__init__(tasks, lambda n: torchjd("aggregation", "MGDAWeighting"))


class NashMTL(_Aggregated):
    """Nash-MTL, Navon et al., ICML 2022.

        G w = 1 / w, elementwise, up to a factor on w     G_ij = <g_i, g_j>

    The clipping of the update's norm is off (clip the gradients yourself).
    Scale: a factor on a loss does not change the direction.
    """

    kept = ("starts",)
    moved = ("weight", "starts")

    def __init__(self, tasks: Tasks) -> None:
        super().__init__(tasks, lambda n: torchjd("aggregation", "NashMTL", n, max_norm=0.0).weighting)

    def weigh_gramian(self, gramian: Tensor) -> Tensor:
        # TorchJD's takes gradients, and its answer for g_i / || g_i || is the one for g_i times || g_i ||: it gets the
        # square root of the unit gradients' Gramian, which has the same products and suits its solver better
        norm = gramian.diagonal().sqrt()
        values, vectors = torch.linalg.eigh(gramian / (norm[:, None] * norm))
        with warnings.catch_warnings():  # CVXPY's, of TorchJD's problem: it says that it could be faster
            warnings.filterwarnings("ignore", "You are solving a parameterized problem that is not DPP")
            return self.method(len(gramian))(vectors * values.clamp(min=0).sqrt()) / norm

    @property
    def starts(self) -> dict[int, list[float]]:
        """Where the solver starts for n tasks: where the last step ended."""
        return {n: method.prvs_alpha.tolist() for n, method in self.methods.items()}

    @starts.setter
    def starts(self, values: dict[int, list[float]]) -> None:
        for n, value in values.items():
            self.method(n).prvs_alpha = np.array(value)

    def set_extra_state(self, state: dict[Any, Any]) -> None:
        if "starts" not in state:  # of an older checkpoint
            state = {"starts": {n: value.tolist() for n, value in state.items()}}
        super().set_extra_state(state)


class AlignedMTL(_Aggregated):
    """Aligned-MTL, Senushkin et al., CVPR 2023.

        G = V diag(lambda) V^T     w = sqrt(min lambda) V diag(1 / sqrt(lambda)) V^T 1/T

    The gradients' principal components are brought to the smallest one's length. Weights may be negative.
    Scale: a factor on a loss changes the direction, unless the gradients are orthogonal.
    """

    def __init__(self, tasks: Tasks) -> None:
        super().__init__(tasks, lambda n: torchjd("aggregation", "AlignedMTLWeighting"))


class IMTLG(_Aggregated):
    """The gradient balance of IMTL, Liu et al., ICLR 2021.

        <g, u_i> = <g, u_j>  for all i, j     g = sum_i w_i g_i     u_i = g_i / |g_i|     sum_i w_i = 1

    Weights may be negative; they are 0 where no such g is left, as for opposed gradients.
    Scale: a factor on a loss does not change the direction.
    """

    def __init__(self, tasks: Tasks) -> None:
        super().__init__(tasks, lambda n: torchjd("aggregation", "IMTLGWeighting"))
