"""What a training loop of one's own meets: errors have what was expected and what was found."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

import pytest
import torch
from jsonargparse import ArgumentParser, Namespace
from torch import Tensor, nn

from mtl_vision.balancers import (
    BALANCERS,
    DBMTL,
    DTP,
    FAMO,
    FROM_TORCHJD,
    Balancer,
    CAGrad,
    Equal,
    GradNorm,
    Shared,
    TaskMeans,
    Uncertainty,
    identity,
)
from mtl_vision.balancers.adam import adam_step

OWN_LOOP = [GradNorm, DBMTL, Equal]


def cut() -> Shared:
    """z = W u with u = 3, W = 2."""
    W = nn.Parameter(torch.tensor([[2.0]]))
    return Shared.cut(torch.tensor([[3.0]]) @ W, W)


@pytest.mark.parametrize("method", OWN_LOOP)
@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (lambda s: {"depht": s.leaf.sum()}, "unknown task 'depht', did you mean 'depth'.*: expected depth, normals"),
        (lambda s: {"depth": s.z.sum()}, "the loss of depth does not depend on cut.leaf: give it to the heads, not z"),
    ],
)
def test_losses_that_do_not_fit(method: type[Balancer], losses: Callable[[Shared], Any], message: str) -> None:
    shared = cut()
    with pytest.raises((ValueError, TypeError), match=message):
        method(["depth", "normals"]).backward(losses(shared), shared)


@pytest.mark.parametrize("method", [GradNorm, DBMTL])
def test_a_weight_that_z_does_not_depend_on(method: type[Balancer]) -> None:
    shared = Shared.cut(cut().z, nn.Parameter(torch.ones(4, 5)))
    with pytest.raises(ValueError, match=r"z \(1, 1\) does not depend on W \(4, 5\)"):
        method(["a"]).backward({"a": shared.leaf.sum()}, shared)


@pytest.mark.parametrize("method", OWN_LOOP)
def test_steps_and_backward_passes_alternate(method: type[Balancer]) -> None:
    balancer = method(["a", "b"])
    with pytest.raises(RuntimeError, match=r"step\(\) before backward"):
        balancer.step()
    for share in (1.0, 0.5):
        for _ in range(round(1 / share)):
            shared = cut()
            balancer.backward({"a": shared.leaf.sum()}, shared, share=share)
        shared = cut()
        with pytest.raises(RuntimeError, match=r"are (2|1.5) of a step for 'a': call step\(\)"):
            balancer.backward({"a": shared.leaf.sum()}, shared, share=share)
        balancer.step()
    with pytest.raises(RuntimeError, match=r"step\(\) before backward"):
        balancer.step()


def test_an_indicator_that_was_not_observed() -> None:
    balancer, shared = DTP(["a", "b"]), cut()
    balancer.observe({"a": torch.tensor(0.5)})
    balancer.backward({"a": shared.leaf.sum(), "b": 2 * shared.leaf.sum()}, shared)
    with pytest.raises(RuntimeError, match=r"no kpi of b: call observe\(\)"):
        balancer.step()


@pytest.mark.parametrize("tasks", ["depth", ["a", "a"]])
def test_tasks_are_names(tasks: Any) -> None:
    with pytest.raises(ValueError, match="expected the names of at least one task, each once"):
        GradNorm(tasks)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GradNorm(["a"], alpha=-1), "^alpha is -1: expected 0 to 10"),
        (lambda: GradNorm(["a"], lr=-0.1), "^lr is -0.1: expected 0 to 10"),
        (lambda: GradNorm(["a"], interval=0), "^interval is 0: expected 1 to 1000000"),
        (lambda: GradNorm(["a"], initial_steps=0), "^initial_steps is 0: expected 1 to 1000000"),
        (lambda: GradNorm(["a"], start=-1), "^start is -1: expected 0 to 1000000000"),
        (lambda: DBMTL(["a"], beta=1), "^beta is 1: expected 0 to 0.9999"),
        (lambda: DBMTL(["a"], place="head"), "^place is 'head': expected last_shared, backbone, encoder"),  # type: ignore[arg-type]
        (lambda: DTP(["a"], gamma=-1), "^gamma is -1: expected 0 to 100"),
        (lambda: Uncertainty(["a"], lr=-1), "^lr is -1: expected 0 to 10"),
        (lambda: CAGrad(["a"], c=-1), "^c is -1: expected 0 to 10"),
        (lambda: FAMO(["a"], lr=-1), "^lr is -1: expected 0 to 10"),
    ],
)
def test_ranges(make: Callable[[], Balancer], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_every_method_is_a_class_with_settings_of_its_own() -> None:
    """Each setting is typed and described, and a parser chooses the method by its name with these settings only."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Balancer, "balancer", skip={"tasks"}, instantiate=False)
    for name, method in BALANCERS.items():
        first, *settings = inspect.signature(method).parameters
        assert (method.__name__, first) == (name, "tasks")
        chosen = parser.parse_args([f"--balancer={name}", *NEEDS.get(name, [])]).balancer
        assert set(vars(chosen.get("init_args", Namespace()))) == set(settings)
        for key in settings:
            assert f"\n        {key}: " in (method.__doc__ or ""), (name, key)
            assert key in get_type_hints(method.__init__)
    with_place = [name for name, method in BALANCERS.items() if "place" in inspect.signature(method).parameters]
    assert with_place == ["GradNorm", "DBMTL"] and GradNorm(["a"], place="backbone").place == "backbone"
    assert Equal(["a"]).place == "last_shared"


NEEDS: Mapping[str, list[str]] = {
    "Fixed": ["--balancer.weights=runs/a"],
    "ConvergedGradients": ["--balancer.norms=[runs/a, runs/b]"],
}


def test_torchjd_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, mtl_vision.balancers; sys.exit('torchjd' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert all(method.__module__.endswith(("scalarizers", "aggregators")) for method in FROM_TORCHJD)


def test_task_means() -> None:
    """a: 2 and 4 in halves, mean 3; b: 6 in one half; the other process, as large, has b = 8 in both halves.

    Over both, a's share is 1/2 and its sum 3 / 2; b's share 3/4 and its sum (3 + 8) / 2: 3 and 22 / 3.
    """
    means = TaskMeans()
    means.add("a", torch.tensor(2.0), 0.5)
    means.add("a", torch.tensor(4.0), 0.5)
    means.add("b", torch.tensor(6.0), 0.5)
    assert {name: value.item() for name, value in means.here().items()} == {"a": 3, "b": 6}
    like = torch.zeros(())
    assert means.over(["a", "b"], means.shares, identity, like).tolist() == [3, 6]

    def both(tensor: Tensor) -> Tensor:
        return (tensor + torch.tensor([0.0, 8.0])) / 2

    assert means.over(["a", "b"], {"a": 0.5, "b": 0.75}, both, like).tolist() == pytest.approx([3, 22 / 3])
    nothing = TaskMeans().over(["a", "b"], {"a": 0.5, "b": 0.5}, identity, torch.ones(2, 3))
    assert nothing.shape == (2, 2, 3) and not nothing.any()


def test_gradient_norms_are_of_means_over_the_micro_batches_with_the_task() -> None:
    """a in both halves, dL/dW = 3 and 6: G = 4.5; b only in the second, 12: G = 12, not half of it."""
    balancer = GradNorm(["a", "b"])
    for slopes in ({"a": 1}, {"a": 2, "b": 4}):
        shared = cut()
        balancer.backward({name: slope * shared.leaf.sum() for name, slope in slopes.items()}, shared, share=0.5)
    balancer.step()
    assert balancer.report()["grad_norm"].tolist() == [4.5, 12]


def test_adams_momentum_does_not_carry_a_missing_task_on() -> None:
    """The first step moves each by lr against its gradient's sign; without b, b stays."""
    values = nn.Parameter(torch.ones(3), requires_grad=False)
    adam = torch.optim.Adam([values], lr=0.1)
    adam_step(adam, torch.tensor([1.0, -2.0, 3.0]), slice(None))
    assert values.tolist() == pytest.approx([0.9, 1.1, 0.9])
    b = values[1].item()
    adam_step(adam, torch.tensor([1.0, 3.0]), [0, 2])
    assert values.tolist() == pytest.approx([0.8, 1.1, 0.8]) and values[1].item() == b


def test_a_bad_loss_after_the_step_is_not_learnt_from() -> None:
    """FAMO compares losses before and after the optimiser's step."""
    pytest.importorskip("torchjd", reason="TorchJD is not installed")
    balancer, shared = FAMO(["a", "b"]), cut()
    balancer.backward({"a": 2 + shared.leaf.sum(), "b": 3 + shared.leaf.sum()}, shared)
    balancer.step()
    before = [p.clone() for p in balancer.parameters()]
    with pytest.raises(FloatingPointError, match="the loss of task 'b' is inf at step 1: "):
        balancer.after_step({"a": torch.tensor(1.0), "b": torch.tensor(math.inf)})
    assert all(map(torch.equal, before, balancer.parameters()))


def test_a_gradient_that_could_be_of_either_task() -> None:
    """Without parameters in the heads, and one backward pass of all, each may be the one."""
    balancer, shared = Equal(["a", "b"]), cut()
    bad = shared.leaf.sum()
    bad.register_hook(lambda gradient: gradient * math.nan)
    balancer.backward({"a": shared.leaf.sum(), "b": bad}, shared)
    with pytest.raises(FloatingPointError, match="the gradient of task 'a' or 'b' is not finite at step 0"):
        balancer.step()


def test_losses_may_share_a_head_where_losses_are_weighed() -> None:
    balancer, head = Equal(["a", "b"]), nn.Linear(1, 1)
    shared = cut()
    out = head(shared.leaf)
    balancer.backward({"a": out.sum(), "b": out.square().sum()}, shared)
    balancer.step()
    assert balancer.steps == 1
