"""Two processes of half the batch are one process of the whole one: gradients, weights of the tasks, parameters."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from mtl_vision.balancers import BALANCERS, Balancer, Shared
from mtl_vision.engine import distributed

TASKS = ["a", "b"]


def make(name: str) -> tuple[nn.ModuleDict, Balancer]:
    """A network without batch norm, in float64."""
    torch.manual_seed(0)
    parts = {"trunk": nn.Linear(3, 5), "shared": nn.Linear(5, 4), "a": nn.Linear(4, 1), "b": nn.Linear(4, 2)}
    return nn.ModuleDict(parts).double(), BALANCERS[name](TASKS).double()


def train(rank: int, world: int, name: str, missing: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Five steps of this process' share of a batch of 8. `missing`: the last process' samples have no target b."""
    net, balancer = make(name)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    gradients: list[Tensor] = []
    for step in range(5):
        g = torch.Generator().manual_seed(step)
        x, a, b = (torch.randn(8, n, generator=g, dtype=torch.float64) for n in (3, 1, 2))
        mine = slice(rank * 8 // world, (rank + 1) * 8 // world)
        optimizer.zero_grad()
        shared = Shared.cut(net["shared"](net["trunk"](x[mine]).tanh()), net["shared"].weight)
        losses = {"a": (net["a"](shared.leaf) - a[mine]).square().mean()}
        if not (missing and rank == 1):
            losses["b"] = (net["b"](shared.leaf) - b[mine]).square().mean()
        balancer.observe(
            {task: 1 - loss.detach() / 100 for task, loss in losses.items()}
        )  # linear, so that means agree
        balancer.backward(losses, shared, mean=distributed.mean)
        distributed.average_gradients(net.parameters())
        balancer.step(distributed.mean, distributed.mean_values(dict.fromkeys(losses, 1.0)))
        gradients = [p.grad.clone() for p in net.parameters() if p.grad is not None]
        optimizer.step()
    return gradients, [value for value in balancer.state_dict().values() if isinstance(value, Tensor)]


def process(rank: int, world: int, folder: str, names: list[str], missing: bool) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.save({name: train(rank, world, name, missing) for name in names}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("missing", [False, True])
def test_two_processes_equal_one(tmp_path: Path, missing: bool) -> None:
    """For db_mtl a process is one more micro-batch, so two are not one; but they agree with each other."""
    names = ["gradnorm", "uncertainty", "dtp", "db_mtl"]
    if find_spec("torchjd") is not None:
        names += ["geometric_mean", "imtl_l", "upgrad", "imtl_g"]
    mp.spawn(process, (2, str(tmp_path), names, missing), nprocs=2)  # type: ignore[attr-defined]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name in names:
        (gradients, state), (others, other_state) = first[name], second[name]
        assert all(torch.equal(a, b) for a, b in zip(gradients, others, strict=True)), name
        if name != "db_mtl":  # its `weight` is what a process' own micro-batch had
            assert all(torch.equal(a, b) for a, b in zip(state, other_state, strict=True)), name
        if not missing and name != "db_mtl":
            one_gradients, one_state = train(0, 1, name, missing)
            for a, b in zip([*gradients, *state], [*one_gradients, *one_state], strict=True):
                torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8, msg=lambda said, name=name: f"{name}: {said}")
    if missing:
        # L_b(0) is that of the process that has b, not half of it
        net, _ = make("gradnorm")
        g = torch.Generator().manual_seed(0)
        x, _, b = (torch.randn(8, n, generator=g, dtype=torch.float64) for n in (3, 1, 2))
        loss = (net["b"](net["shared"](net["trunk"](x[:4]).tanh())) - b[:4]).square().mean()
        assert first["gradnorm"][1][1][1].item() == pytest.approx(loss.item())
