"""What is not finite in one process raises in all of them, with the same words: none waits for the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import test_distributed as two
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mtl_vision.balancers import Shared
from mtl_vision.engine import distributed


def steps(rank: int, name: str) -> list[str]:
    """What each of three steps says: b's loss is bad in process 1, then c's gradient in process 0, then nothing."""
    net, balancer = two.make(name)
    said = []
    for step, (bad_rank, task) in enumerate([(1, "b"), (0, "c"), (None, "")]):
        g = torch.Generator().manual_seed(step)
        shared = Shared.cut(net["shared"](net["trunk"](torch.randn(4, 3, generator=g).double())), net["shared"].weight)
        predictions = {t: net[t](shared.leaf) for t in two.TASKS}
        if rank == bad_rank and step == 0:
            predictions[task] = predictions[task] * torch.nan
        elif rank == bad_rank:
            predictions[task].register_hook(lambda gradient: gradient * torch.inf)
        losses = {t: (prediction - 1).square().mean() for t, prediction in predictions.items()}
        net.zero_grad()
        balancer.observe({t: 1 / (1 + loss.detach().nan_to_num()) for t, loss in losses.items()})
        try:
            balancer.backward(losses, shared, mean=distributed.mean)
            balancer.step(distributed.mean, distributed.mean_values(dict.fromkeys(losses, 1.0)))
            said.append("")
        except FloatingPointError as error:
            said.append(str(error))
    return said


def process(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    Path(folder, f"{rank}.json").write_text(json.dumps({name: steps(rank, name) for name in two.NAMES}))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_all_processes_raise_together(tmp_path: Path) -> None:
    mp.spawn(process, (2, str(tmp_path)), nprocs=2)  # type: ignore[attr-defined]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    for name, (loss, gradient, nothing) in first.items():
        assert loss.startswith("the loss of task 'b' is nan at step 0: "), name
        assert gradient.startswith("the gradient of task 'c' is not finite at step 0: "), name
        assert nothing == "", name
