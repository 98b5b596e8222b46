"""The methods that come from TorchJD against values worked by hand from their papers.

The network is one number: z = W u with u = 3, W = 2, so z = 6; a loss a * z + b has dL/dz = a and dL/dW = 3 a.
"""

from __future__ import annotations

import math
import os
import sys
from importlib.util import find_spec

import pytest
import torch
from balancer_testing import step, vectors, weights

from mtl_vision.balancers import BALANCERS

if find_spec("torchjd") is None:
    assert "CI" not in os.environ, "the dev extra brings TorchJD"
    pytest.skip("TorchJD is not installed: pip install 'mtl-vision[torchjd]'", allow_module_level=True)


def test_geometric_mean() -> None:
    """sqrt(L_a L_b) = 12 at (6, 24): w = 12 / (2 L) = (1, 1/4)."""
    balancer = BALANCERS["GeometricMean"](["a", "b"])
    assert step(balancer, {"a": (6, 1), "b": (24, 4)}) == pytest.approx(3 * (1 + 1))
    assert weights(balancer) == pytest.approx([1, 0.25])


def test_dwa() -> None:
    """Epoch means a: 4, 2 (rate 1/2), b: 5, 5 (rate 1); w = 2 softmax((1/2, 1) / 2)."""
    balancer = BALANCERS["DWA"](["a", "b"])
    for epoch in (((3.0, 4.0), (5.0, 6.0)), ((1.0, 4.0), (3.0, 6.0))):
        for a, b in epoch:
            step(balancer, {"a": (a, 1), "b": (b, 1)})
            assert weights(balancer) == [1, 1]
        balancer.end_epoch()
    step(balancer, {"a": (1, 1), "b": (1, 1)})
    e = [math.exp(0.25), math.exp(0.5)]
    assert weights(balancer) == pytest.approx([2 * e[0] / sum(e), 2 * e[1] / sum(e)], rel=1e-5)


def test_famo() -> None:
    """z = (1/2, 1/2), c = 1 / (1/12 + 1/48) = 9.6: w = c z / L = (0.8, 0.2).

    Afterwards L_a has halved and L_b stands: delta = (log 2, 0), the gradient of xi is z_i (delta_i - z . delta) =
    (log 2, -log 2) / 4; Adam's first step is lr = 0.025 against it: the task that fell less gains, z = softmax(-d, d).
    """
    balancer = BALANCERS["FAMO"](["a", "b"])
    assert balancer.wants_after_step
    assert step(balancer, {"a": (6, 1), "b": (24, 4)}) == pytest.approx(3 * 0.8 + 12 * 0.2)
    assert weights(balancer) == pytest.approx([0.8, 0.2])
    balancer.after_step({"a": torch.tensor(3.0), "b": torch.tensor(24.0)})
    step(balancer, {"a": (6, 1), "b": (6, 4)})
    z = 1 / (1 + math.exp(0.05))
    assert weights(balancer) == pytest.approx([z, 1 - z], abs=1e-4)


def test_imtl_l() -> None:
    """w = exp(s) = 1; dL/ds = exp(s) L - 1 = (5, -0.75): Adam's first step moves s to (-0.1, 0.1)."""
    balancer = BALANCERS["IMTLL"](["a", "b"], lr=0.1)
    step(balancer, {"a": (6, 1), "b": (0.25, 4)})
    assert weights(balancer) == [1, 1]
    step(balancer, {"a": (6, 1), "b": (0.25, 4)})
    assert weights(balancer) == pytest.approx([math.exp(-0.1), math.exp(0.1)], rel=1e-5)


IMTL_C = (math.sqrt(5) + 1) / (6 + 2 * math.sqrt(5))


@pytest.mark.parametrize(
    "name, expected",
    [
        # g_a = (1, 0), g_b = (-1, 2): <g_a, g_b> = -1, |g_b|^2 = 5
        # PCGrad: g_a + g_b / 5 = (0.8, 0.4) and g_b + g_a = (0, 2), summed
        ("PCGrad", [0.8, 2.4]),
        # MGDA: lambda minimises |lambda g_a + (1 - lambda) g_b|: lambda = 6 / 8, (0.75 - 0.25, 0.5)
        ("MGDA", [0.5, 0.5]),
        # IMTL-G: w_b = c, w_a = 1 - c with equal projections on g_a and g_b / sqrt 5: (1 - 2 c) sqrt 5 = 6 c - 1
        ("IMTLG", [1 - 2 * IMTL_C, 2 * IMTL_C]),
        # UPGrad: the mean of the projections on the dual cone, which for two gradients are PCGrad's
        ("UPGrad", [0.4, 1.2]),
    ],
)  # fmt: skip
def test_aggregators(name: str, expected: list[float]) -> None:
    """Two conflicting gradients at z; the trunk's gradient is their aggregation."""
    got = vectors(BALANCERS[name](["a", "b"]), {"a": [1.0, 0.0], "b": [-1.0, 2.0]})
    assert got == pytest.approx(expected, abs=2e-3)


def test_rlw() -> None:
    """w is the softmax of the generator's next normal draws."""
    torch.manual_seed(3)
    expected = torch.softmax(torch.randn(2), 0)
    torch.manual_seed(3)
    balancer = BALANCERS["RLW"](["a", "b"])
    gradient = step(balancer, {"a": (6, 1), "b": (24, 4)})
    assert weights(balancer) == pytest.approx(expected.tolist())
    assert gradient == pytest.approx(float(3 * expected[0] + 12 * expected[1]))


def test_nash_mtl_of_two_tasks_is_their_bisector() -> None:
    """Of two tasks G w = 1 / w has w_i = c / | g_i |: (3, 4) of length 5 and (-1, 0) give c (-0.4, 0.8)."""
    x, y = vectors(BALANCERS["NashMTL"](["a", "b"]), {"a": [3.0, 4.0], "b": [-1.0, 0.0]})
    assert x / y == pytest.approx(-0.5, rel=1e-3) and y > 0


def test_nash_mtl_solves_its_equation() -> None:
    """G w = 1 / w up to the scale of G: w_i (G w)_i is the same for all tasks."""
    balancer = BALANCERS["NashMTL"](["a", "b"])
    gradients = {"a": [1.0, 0.5], "b": [-2.0, 8.0]}
    vectors(balancer, gradients)
    J = torch.tensor(list(gradients.values()))
    w = balancer.report()["weight"]
    bargain = w * (J @ J.T @ w)
    assert bargain[0].item() == pytest.approx(bargain[1].item(), rel=1e-2)


def test_aligned_mtl_makes_orthogonal_gradients_equal() -> None:
    """(4, 0) and (0, 1): the principal components are brought to length 1, the mean is (1/2, 1/2)."""
    got = vectors(BALANCERS["AlignedMTL"](["a", "b"]), {"a": [4.0, 0.0], "b": [0.0, 1.0]})
    assert got == pytest.approx([0.5, 0.5], rel=1e-4)


def test_cagrad() -> None:
    """c = 0 is the mean g_0 = (0, 1). c = 0.5: d = (0.5, 1), half of |g_0| from it towards g_a, the worse off."""
    gradients = {"a": [1.0, 0.0], "b": [-1.0, 2.0]}
    mean = vectors(BALANCERS["CAGrad"](["a", "b"], c=0.0), gradients)
    assert mean == pytest.approx([0.0, 1.0], abs=1e-3)
    got = vectors(BALANCERS["CAGrad"](["a", "b"], c=0.5), gradients)
    assert got == pytest.approx([0.5, 1.0], abs=1e-3)


def test_without_torchjd_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("torchjd", "torchjd.scalarization", "torchjd.aggregation"):
        monkeypatch.setitem(sys.modules, part, None)
    for name in ("DWA", "UPGrad", "NashMTL"):
        with pytest.raises(ValueError, match=r"pip install 'mtl-vision\[torchjd\]'"):
            BALANCERS[name](["a", "b"])
