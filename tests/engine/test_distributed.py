"""Two processes of half the batch are one process of the whole one: gradients, weights of the tasks, parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from mtl_vision.balancers import GradNorm, Shared
from mtl_vision.engine import distributed

TASKS = ["a", "b"]


def make() -> tuple[nn.ModuleDict, GradNorm]:
    """A network without batch norm, in float64."""
    torch.manual_seed(0)
    parts = {"trunk": nn.Linear(3, 5), "shared": nn.Linear(5, 4), "a": nn.Linear(4, 1), "b": nn.Linear(4, 2)}
    return nn.ModuleDict(parts).double(), GradNorm(TASKS).double()


def train(rank: int, world: int, missing: bool) -> tuple[list[Tensor], Tensor]:
    """Five steps of this process' share of a batch of 8. `missing`: the last process' samples have no target b."""
    net, balancer = make()
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
        balancer.backward(losses, shared)
        distributed.average_gradients(net.parameters())
        balancer.step(distributed.mean, distributed.mean_values(dict.fromkeys(losses, 1.0)))
        gradients = [p.grad.clone() for p in net.parameters() if p.grad is not None]
        optimizer.step()
    return gradients, torch.cat([balancer.weight, balancer.initial])


def process(rank: int, world: int, folder: str, missing: bool) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.save(train(rank, world, missing), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("missing", [False, True])
def test_two_processes_equal_one(tmp_path: Path, missing: bool) -> None:
    mp.spawn(process, (2, str(tmp_path), missing), nprocs=2)  # type: ignore[attr-defined]
    (first, weight), (second, other) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert torch.equal(weight, other)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
    if not missing:
        gradients, alone = train(0, 1, missing)
        torch.testing.assert_close(weight, alone, rtol=1e-10, atol=1e-12)
        for a, b in zip(first, gradients, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    else:
        # L_b(0) is that of the process that has b, not half of it
        net, _ = make()
        g = torch.Generator().manual_seed(0)
        x, _, b = (torch.randn(8, n, generator=g, dtype=torch.float64) for n in (3, 1, 2))
        loss = (net["b"](net["shared"](net["trunk"](x[:4]).tanh())) - b[:4]).square().mean()
        assert weight[3].item() == pytest.approx(loss.item())
