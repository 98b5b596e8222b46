"""L_i(0): what becomes it, and what does not."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from balancer_testing import step, weights

from mtl_vision.balancers import GradNorm, TaskLoss
from mtl_vision.balancers.initial_loss import NEXT, PATIENCE


def steps(balancer: GradNorm, losses: list[tuple[float, float]]) -> None:
    """Steps with these losses of a and b, whose gradients at z are 1 and 4."""
    for a, b in losses:
        step(balancer, {"a": (a, 1), "b": (b, 4)})


@pytest.mark.parametrize("first", [0.0, -1.0, 1e-30, 1e-3, 1e3])
def test_a_first_loss_far_off_does_not_stay(first: float) -> None:
    """The weights end where those of a healthy first loss do; before, they were 1.998 and 0.002 for good."""
    healthy, other = (GradNorm(["a", "b"], lr=0.1) for _ in range(2))
    steps(healthy, [(2.0, 3.0)] * 300)
    steps(other, [(first, 3.0)] + [(2.0, 3.0)] * 299)
    assert other.initial.tolist() == pytest.approx([2, 3])
    assert weights(other) == pytest.approx(weights(healthy), abs=0.15)


def test_the_mean_that_takes_its_place() -> None:
    """After the next five losses (zeros do not count) it is their geometric mean: 1, 2, 4, 8, 16 give 4."""
    balancer = GradNorm(["a", "b"])
    following = [(1.0, 3.0), (0.0, 3.0), (2.0, 3.0), (4.0, 3.0), (8.0, 3.0), (16.0, 3.0)]
    steps(balancer, [(0.001, 3.0), *following[:-1]])
    assert balancer.initial.tolist() == pytest.approx([0.001, 3])
    steps(balancer, following[-1:])
    assert balancer.initial.tolist() == pytest.approx([4, 3])
    steps(balancer, [(1e-3, 1e3)] * 2 * NEXT)  # it is compared once
    assert balancer.initial.tolist() == pytest.approx([4, 3])


@pytest.mark.parametrize("losses", [[1.0, 0.9, 0.5, 0.3, 0.2, 0.15], [1.0, 1.0, 1e4, 1.0, 1.0, 1.0]])
def test_a_healthy_first_loss_stays(losses: list[float]) -> None:
    """A loss that falls fast, or a single one far off among the next, changes nothing."""
    balancer = GradNorm(["a", "b"])
    steps(balancer, [(loss, 3.0) for loss in losses])
    assert balancer.initial.tolist() == [1, 3]


def test_the_weights_wait_for_a_first_loss_but_not_for_ever() -> None:
    """As long as they wait they are 1; then the other two go on without it; its first loss brings it back."""
    balancer = GradNorm(["a", "b", "c"])
    losses = {"a": (2.0, 1.0), "b": (3.0, 4.0)}
    for _ in range(PATIENCE - 1):
        step(balancer, losses | {"c": (0.0, 0.0)})
    assert weights(balancer) == [1, 1, 1] and balancer.initial.tolist() == [2, 3, 0]
    for _ in range(3):
        step(balancer, losses | {"c": (0.0, 0.0)})
    a, b, c = balancer.weight.tolist()
    assert a > 1 > b and c == pytest.approx(1, abs=0.02) and balancer.report()["target"].isnan().tolist() == [0, 0, 1]
    step(balancer, losses | {"c": (5.0, 1.0)})
    assert balancer.initial.tolist() == [2, 3, 5] and not balancer.report()["target"].isnan().any()


def test_the_mean_of_the_first_counts_no_zero() -> None:
    balancer = GradNorm(["a", "b"], initial="mean", initial_steps=2)
    steps(balancer, [(0.0, 3.0), (2.0, 3.0), (0.0, 3.0)])
    assert weights(balancer) == [1, 1]
    steps(balancer, [(4.0, 3.0)])
    assert balancer.initial.tolist() == [3, 3] and balancer.weight.tolist() != [1, 1]


@pytest.mark.parametrize("at", [1, 3, 6])
def test_a_resumed_run_compares_as_an_unbroken_one(at: int) -> None:
    losses = [(0.001, 3.0), (0.0, 3.0), *[(2.0, 0.0), (1.0, 2.0)] * 4]
    unbroken, resumed = GradNorm(["a", "b"]), GradNorm(["a", "b"])
    steps(unbroken, losses[:at])
    resumed.load_state_dict(copy.deepcopy(unbroken.state_dict()))
    for balancer in (unbroken, resumed):
        steps(balancer, losses[at:])
    assert torch.equal(unbroken.weight, resumed.weight) and torch.equal(unbroken.initial, resumed.initial)
    assert unbroken.initial.tolist() == pytest.approx([2 ** (3 / 5), 3])


def test_a_checkpoint_from_before_goes_on_with_its_initial_losses() -> None:
    """It had no losses to compare with: what fell to a hundredth since is no mistake."""
    balancer, old = GradNorm(["a", "b"]), GradNorm(["a", "b"])
    steps(balancer, [(100.0, 3.0), (90.0, 3.0)])
    state = copy.deepcopy(balancer.state_dict())
    state["_extra_state"] = {key: state["_extra_state"][key] for key in ("adam", "steps", "seen")}
    old.load_state_dict(state)
    steps(old, [(1.0, 3.0)] * 2 * NEXT)
    assert old.initial.tolist() == [100, 3] and old.steps == 2 + 2 * NEXT


@pytest.mark.parametrize(
    "tasks, message",
    [
        (["a"], "initial=theoretical: the uninformed loss of task 'a' is not known; define uninformed_loss"),
        ({"a": TaskLoss(1.0), "b": TaskLoss()}, "of task 'b' is not known; .*'b': TaskLoss"),
        ({"a": TaskLoss(lambda: None)}, "of task 'a' is not known"),
        ({"a": TaskLoss(0.0)}, "the uninformed loss of task 'a' is 0.0: expected 1e-09 to 1000000000"),
        ({"a": TaskLoss(lambda: math.nan)}, "the uninformed loss of task 'a' is nan"),
    ],
)
def test_an_uninformed_loss_that_is_not_known(tasks: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GradNorm(tasks, initial="theoretical")


def test_an_uninformed_loss_is_asked_for_only_when_it_is_needed() -> None:
    def find() -> float:
        raise AssertionError("it takes long")

    assert GradNorm({"a": TaskLoss(find)}).seen == [0]
    with pytest.raises(AssertionError, match="it takes long"):
        GradNorm({"a": TaskLoss(find)}, initial="theoretical")
