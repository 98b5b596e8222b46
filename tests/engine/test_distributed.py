"""Two processes of half the batch are one process of the whole one: gradients, weights of the tasks, their state."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from mtl_vision.balancers import BALANCERS, FROM_TORCHJD, Balancer, Shared
from mtl_vision.engine import distributed

TASKS = ["a", "b", "c"]
NEEDS: dict[str, Any] = {
    "Fixed": {"weights": {"a": 0.5, "b": 2.0, "c": 1.0}},
    "ConvergedGradients": {"norms": {"a": 0.5, "b": 2.0, "c": 1.0}},
}
NAMES = [n for n, method in BALANCERS.items() if method not in FROM_TORCHJD or find_spec("torchjd")]


def make(name: str) -> tuple[nn.ModuleDict, Balancer]:
    """A network without batch norm, in float64."""
    torch.manual_seed(0)
    parts = {"trunk": nn.Linear(3, 5), "shared": nn.Linear(5, 4), **{task: nn.Linear(4, 2) for task in TASKS}}
    return nn.ModuleDict(parts).double(), BALANCERS[name](TASKS, **NEEDS.get(name, {})).double()


def train(rank: int, world: int, name: str, missing: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Five steps of this process' share of a batch of 8. `missing`: the last process' samples have a alone."""
    net, balancer = make(name)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    gradients: list[Tensor] = []
    for step in range(5):
        g = torch.Generator().manual_seed(step)
        x, *targets = (torch.randn(8, n, generator=g, dtype=torch.float64) for n in (3, 2, 2, 2))
        mine = slice(rank * 8 // world, (rank + 1) * 8 // world)
        optimizer.zero_grad()
        shared = Shared.cut(net["shared"](net["trunk"](x[mine]).tanh()), net["shared"].weight)
        losses = {
            task: (i + 1) * (net[task](shared.leaf) - target[mine]).square().mean()
            for i, (task, target) in enumerate(zip(TASKS, targets, strict=True))
            if task == "a" or not (missing and rank == 1)
        }
        balancer.observe(
            {task: 1 - loss.detach() / 100 for task, loss in losses.items()}
        )  # linear, so that means agree
        torch.manual_seed(step)  # as a run seeds its processes alike
        balancer.backward(losses, shared, mean=distributed.mean)
        distributed.average_gradients(net.parameters())
        balancer.step(distributed.mean, distributed.mean_values(dict.fromkeys(losses, 1.0)))
        if balancer.wants_after_step:
            balancer.after_step({task: torch.tensor(0.5 + 0.1 * step, dtype=torch.float64) for task in TASKS})
        if step in (1, 3):
            balancer.end_epoch()
        gradients = [p.grad.clone() for p in net.parameters() if p.grad is not None]
        optimizer.step()
    return gradients, [value for value in balancer.state_dict().values() if isinstance(value, Tensor)]


def process(rank: int, world: int, folder: str, missing: bool) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.save({name: train(rank, world, name, missing) for name in NAMES}, f"{folder}/{rank}.pt")
    dist.barrier()  # gloo may abort a process that leaves while the other one still talks to it
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("missing", [False, True])
def test_two_processes_equal_one(tmp_path: Path, missing: bool) -> None:
    """For DBMTL a process is one more micro-batch, so two are not one; but their gradients agree with each other."""
    mp.spawn(process, (2, str(tmp_path), missing), nprocs=2)  # type: ignore[attr-defined]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name in NAMES:
        (gradients, state), (others, other_state) = first[name], second[name]
        assert all(torch.equal(a, b) for a, b in zip(gradients, others, strict=True)), name
        if name == "DBMTL":  # its `weight` is what a process' own micro-batch had
            continue
        assert all(torch.equal(a, b) for a, b in zip(state, other_state, strict=True)), name
        if not missing:
            one_gradients, one_state = train(0, 1, name, missing)
            for a, b in zip([*gradients, *state], [*one_gradients, *one_state], strict=True):
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7, msg=lambda said, name=name: f"{name}: {said}")


@pytest.mark.slow
def test_a_task_that_one_process_lacks_counts_by_the_other(tmp_path: Path) -> None:
    """L_b(0) and L_c(0) are those of the process that has them, not half of them."""
    mp.spawn(process, (2, str(tmp_path), True), nprocs=2)  # type: ignore[attr-defined]
    weight, initial = torch.load(tmp_path / "0.pt")["GradNorm"][1]
    net, _ = make("GradNorm")
    g = torch.Generator().manual_seed(0)
    x, _, b, c = (torch.randn(8, n, generator=g, dtype=torch.float64) for n in (3, 2, 2, 2))
    z = net["shared"](net["trunk"](x[:4]).tanh())
    expected = [
        i * (net[task](z) - target[:4]).square().mean().item() for i, task, target in ((2, "b", b), (3, "c", c))
    ]
    assert initial[1:].tolist() == pytest.approx(expected)
    assert weight.sum().item() == pytest.approx(3)


def test_a_mean_leaves_its_argument_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is summed in place: one tensor may stand for several tasks."""
    monkeypatch.setattr(distributed, "world", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: tensor.mul_(2))
    tensor = torch.ones(3)
    assert distributed.mean(tensor).tolist() == [1, 1, 1]
    assert tensor.tolist() == [1, 1, 1]
