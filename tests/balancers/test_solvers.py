"""How far TorchJD's solvers are from exact solutions: what the docstring of aggregators.py says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest
from balancer_testing import vectors

from mtl_vision.balancers import MGDA, CAGrad, UPGrad

pytest.importorskip("torchjd", reason="TorchJD is not installed")


def parts(T: int) -> Iterator[list[int]]:
    for k in range(T + 1):
        yield from map(list, combinations(range(T), k))


def mgda(J: np.ndarray) -> np.ndarray:
    """The shortest convex combination of the rows: of each set of rows the one with equal products, if it is convex."""
    found = []
    for S in list(parts(len(J)))[1:]:
        w = np.linalg.solve(J[S] @ J[S].T, np.ones(len(S)))
        if (w >= 0).all():
            found.append(w / w.sum() @ J[S])
    return min(found, key=lambda g: float(g @ g))


def upgrad(J: np.ndarray) -> np.ndarray:
    """The mean of the rows' projections, v J with the least length and v >= e_i: one candidate a set of free v_j."""
    T, total = len(J), np.zeros(J.shape[1])
    for e in np.eye(T):
        found = []
        for S in parts(T):
            v = e.copy()
            held = [j for j in range(T) if j not in S]
            v[S] = np.linalg.solve(J[S] @ J[S].T, -J[S] @ J[held].T @ e[held])
            if (v >= e - 1e-12).all():
                found.append(v @ J)
        total += min(found, key=lambda g: float(g @ g)) / T
    return total


def two(J: np.ndarray, c: float = 0.4) -> np.ndarray:
    """CAGrad's g of two rows: g_0 + c |g_0| g_w / |g_w|, w of the lowest value on ever finer grids."""
    g0 = J.mean(0)
    radius, low, high = c * np.linalg.norm(g0), 0.0, 1.0
    for _ in range(12):
        w = np.linspace(low, high, 101)
        gw = np.stack([w, 1 - w], 1) @ J
        best = int((gw @ g0 + radius * np.linalg.norm(gw, axis=1)).argmin())
        low, high = w[max(best - 1, 0)], w[min(best + 1, 100)]
    return g0 + radius * gw[best] / np.linalg.norm(gw[best])


@pytest.mark.parametrize(
    "method, exact, T, median, largest",
    [
        (UPGrad, upgrad, 3, 1e-3, 1e-2),
        (MGDA, mgda, 2, 1e-6, 1e-5),
        (MGDA, mgda, 3, 2e-2, 0.2),
        (CAGrad, two, 2, 1e-4, 1e-3),
    ],
)
def test_distance_from_exact_solutions(method: type, exact: object, T: int, median: float, largest: float) -> None:
    rng, found = np.random.default_rng(0), []
    for _ in range(30):
        J = (rng.standard_normal((T, 20)) * np.exp(rng.uniform(-1, 1, (T, 1)))).astype(np.float32)
        names = [str(i) for i in range(T)]
        g = np.array(vectors(method(names), dict(zip(names, J.tolist(), strict=True))))
        g_exact = exact(J.astype(float))  # type: ignore[operator]
        found.append(np.linalg.norm(g - g_exact) / np.linalg.norm(g_exact))
    assert np.median(found) < median and max(found) < largest
