"""Each method against values worked by hand from its paper.

The network is one number: z = W u with u = 3, W = 2, so z = 6; a loss a * z + b has dL/dz = a and dL/dW = 3 a.
"""

from __future__ import annotations

import math

import pytest
import torch
from balancer_testing import step, vectors, watched, weights

from mtl_vision.balancers import DBMTL, DTP, ConvergedGradients, Fixed, GradNorm, TaskLoss, Uncertainty

A_AND_CLASSES = {"a": TaskLoss(), "b": TaskLoss(classification=True)}


def test_fixed() -> None:
    """0.5 * 3 * 1 + 2 * 3 * 4 = 25.5."""
    balancer = Fixed(["a", "b"], {"b": 2.0, "a": 0.5})
    assert step(balancer, {"a": (6, 1), "b": (24, 4)}) == pytest.approx(25.5)
    assert weights(balancer) == [0.5, 2]


@pytest.mark.parametrize(
    "values, message",
    [
        ({}, "weights has nothing: expected a value for each of a, b"),
        ({"a": 1.0}, "weights has a: expected a value for each of a, b"),
        ({"a": 1.0, "b": 0.0}, r"weights\['b'\] is 0.0: expected 1e-09 to 1000000000"),
        ({"a": 1.0, "b": math.inf}, "is inf: expected 1e-09"),
    ],
)
def test_fixed_says_what_is_wrong(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fixed(["a", "b"], values)


def test_converged_gradients() -> None:
    """1/g = (2, 1/2), sum 2.5, T = 2: w = 2 * (2, 0.5) / 2.5 = (1.6, 0.4); scale 10 multiplies them."""
    assert weights(ConvergedGradients(["a", "b"], {"a": 0.5, "b": 2.0})) == pytest.approx([1.6, 0.4])
    assert weights(ConvergedGradients(["a", "b"], {"a": 0.5, "b": 2.0}, scale=10)) == pytest.approx([16, 4])
    with pytest.raises(ValueError, match="norms has a: expected a value for each of a, b"):
        ConvergedGradients(["a", "b"], {"a": 0.5})
    with pytest.raises(ValueError, match="scale is 0: expected 1e-06 to 1000000"):
        ConvergedGradients(["a"], {"a": 0.5}, scale=0)


def test_uncertainty() -> None:
    """a regression, b classification; s = 0: w = (1/2, 1), so the gradient is 3 * (1/2 * 1 + 1 * 4) = 13.5.

    dL/ds = 1/2 - w L: a: 1/2 - 1/2 * 6 = -2.5, b: 1/2 - 0.25 = 0.25. Adam's first step is lr = 0.1 against the sign:
    s = (0.1, -0.1), w = (1/2 exp(-0.1), exp(0.1)).
    """
    balancer = Uncertainty(A_AND_CLASSES, lr=0.1)
    gradients = watched(balancer.adam)
    assert step(balancer, {"a": (6, 1), "b": (0.25, 4)}) == pytest.approx(13.5)
    assert weights(balancer) == [0.5, 1.0]
    assert gradients == [pytest.approx([-2.5, 0.25])]
    assert balancer.s.tolist() == pytest.approx([0.1, -0.1], abs=1e-6)
    step(balancer, {"a": (6, 1), "b": (0.25, 4)})
    assert weights(balancer) == pytest.approx([0.5 * math.exp(-0.1), math.exp(0.1)], rel=1e-6)


def test_uncertainty_settles_where_the_weighted_loss_is_a_half() -> None:
    balancer = Uncertainty(A_AND_CLASSES, lr=0.02)
    for _ in range(1500):
        step(balancer, {"a": (6, 1), "b": (0.25, 4)})
    assert weights(balancer) == pytest.approx([0.5 / 6, 0.5 / 0.25], rel=1e-3)


def test_uncertainty_leaves_a_missing_task_alone() -> None:
    balancer = Uncertainty(["a", "b"], lr=0.1)
    step(balancer, {"a": (6, 1), "b": (3, 4)})
    s = balancer.s.tolist()
    step(balancer, {"a": (6, 1)})
    assert balancer.s[0] != s[0] and balancer.s[1] == s[1]


def test_uncertainty_agrees_with_torchjd() -> None:
    """All regression: the same objective. Weights and the gradient of s are equal at any s and L."""
    scalarization = pytest.importorskip("torchjd.scalarization", reason="TorchJD is not installed")
    theirs = scalarization.UW(3)
    ours = Uncertainty(["a", "b", "c"], lr=0.05)
    adam = torch.optim.Adam(theirs.parameters(), lr=0.05)
    gradients, g = watched(ours.adam), torch.Generator().manual_seed(0)
    for _ in range(20):
        values = torch.rand(3, generator=g) * 5 + 0.1
        L = values.clone().requires_grad_()
        adam.zero_grad()
        theirs(L).backward()
        assert L.grad is not None
        torch.testing.assert_close(ours.weight.detach(), L.grad)
        step(ours, {name: (value, 1.0) for name, value in zip("abc", values.tolist(), strict=True)})
        (log_variance,) = theirs.parameters()
        torch.testing.assert_close(torch.tensor(gradients[-1]), log_variance.grad)
        adam.step()
        torch.testing.assert_close(ours.s.detach(), log_variance.detach())


def test_dtp() -> None:
    """k = (0.5, 0.9): FL = -(0.5)^2 log 0.5 = 0.1733 and -(0.1)^2 log 0.9 = 0.001054 at gamma = 2, a step later.

    Then k_a = 0.7 with alpha = 0.25: kbar = 0.25 * 0.7 + 0.75 * 0.5 = 0.55, FL = -(0.45)^2 log 0.55 = 0.12106.
    """
    balancer = DTP(["a", "b"], alpha=0.25, gamma=2.0)
    balancer.observe({"a": torch.tensor(0.5), "b": torch.tensor(0.9)})
    assert step(balancer, {"a": (6, 1), "b": (24, 4)}) == 15
    balancer.observe({"a": torch.tensor(0.7), "b": torch.tensor(0.9)})
    gradient = step(balancer, {"a": (6, 1), "b": (24, 4)})
    assert weights(balancer) == pytest.approx([0.1732868, 0.0010536], rel=1e-4)
    assert gradient == pytest.approx(3 * 0.1732868 + 12 * 0.0010536, rel=1e-4)
    assert balancer.weight.tolist() == pytest.approx([0.121061, 0.0010536], rel=1e-4)
    with pytest.raises(ValueError, match="alpha is 1.5: expected 0.001 to 1"):
        DTP(["a"], alpha=1.5)


def test_dtp_stays_finite_at_the_ends() -> None:
    balancer = DTP(["a", "b"])
    balancer.observe({"a": torch.tensor(0.0), "b": torch.tensor(1.0)})
    step(balancer, {"a": (6, 1), "b": (24, 4)})
    assert balancer.weight.isfinite().all() and (balancer.weight > 0).all()


def test_db_mtl() -> None:
    """grad_W log L = (3 / 6, 12 / 3) = (0.5, 4). beta = 0.5: ghat = (0.25, 2), the largest norm is 2.

    gtilde = 2 * (0.5 / 0.25 + 4 / 2) = 8: both tasks give the same 4. Weights: 2 / (0.25 * 6), 2 / (2 * 3).
    Next, L_a = 3: g = (1, 4), ghat = (0.125 + 0.5, 1 + 2) = (0.625, 3), gtilde = 3 * (1.6 + 4 / 3).
    """
    balancer = DBMTL(["a", "b"], beta=0.5)
    assert step(balancer, {"a": (6, 1), "b": (3, 4)}) == pytest.approx(8)
    assert weights(balancer) == pytest.approx([2 / 1.5, 2 / 6])
    assert balancer.report()["head_weight"].tolist() == pytest.approx([1 / 6, 1 / 3])
    assert step(balancer, {"a": (3, 1), "b": (3, 4)}) == pytest.approx(3 * (1.6 + 4 / 3))


def test_db_mtl_gives_every_task_the_largest_norm() -> None:
    """beta = 0, the paper's normalisation: gradients (4, 0) and (0, 1) of losses that are both 24 and 21."""
    got = vectors(DBMTL(["a", "b"], beta=0.0), {"a": [4.0, 0.0], "b": [0.0, 1.0]})
    assert got == pytest.approx([4 / 24, 4 / 24])


def test_gradnorm_exponential() -> None:
    """G = (3, 12), targets 7.5: dL_grad/dv = w * dL_grad/dw = (-3, 12); Adam's first step: v = (0.1, -0.1).

    Then exp(v) is brought to the sum 2: w = 2 (e^0.1, e^-0.1) / (e^0.1 + e^-0.1) = (1.09967, 0.90033).
    """
    balancer = GradNorm(["a", "b"], alpha=1.0, lr=0.1, parametrisation="exponential")
    gradients = watched(balancer.adam)
    assert step(balancer, {"a": (6, 1), "b": (24, 4)}) == 15
    assert gradients == [pytest.approx([-3, 12])]
    assert balancer.weight.tolist() == pytest.approx([1.099668, 0.900332], abs=1e-5)
    with pytest.raises(ValueError, match="expected direct, exponential"):
        GradNorm(["a"], parametrisation="log")


@pytest.mark.parametrize("parametrisation", ["direct", "exponential"])
def test_gradnorm_starts_late(parametrisation: str) -> None:
    """L_i(0) is the first loss, the weights stand still for two steps."""
    balancer = GradNorm(["a", "b"], start=2, interval=2, parametrisation=parametrisation)
    history = []
    for k in range(5):
        step(balancer, {"a": (6 - k, 1), "b": (24, 4)})
        history.append(balancer.weight.tolist())
    assert balancer.initial.tolist() == [6, 24]
    assert history[0] == history[1] == [1, 1]
    assert history[2] == history[3] != [1, 1]
    assert history[4] != history[3]
