"""What is not finite in one process raises in all of them, with the same words: none waits for the others."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import InProcesses
from torch import nn

from mtl_vision.balancers import BALANCERS, FROM_TORCHJD, Shared
from mtl_vision.engine import distributed

TASKS = ["a", "b", "c"]
NEEDS: dict[str, Any] = {
    "Fixed": {"weights": {"a": 0.5, "b": 2.0, "c": 1.0}},
    "ConvergedGradients": {"norms": {"a": 0.5, "b": 2.0, "c": 1.0}},
}
NAMES = [n for n, method in BALANCERS.items() if method not in FROM_TORCHJD or find_spec("torchjd")]


def steps(name: str) -> list[str]:
    """What each of three steps says: b's loss is bad in process 1, then c's gradient in process 0, then nothing."""
    torch.manual_seed(0)
    parts = {"trunk": nn.Linear(3, 5), "shared": nn.Linear(5, 4), **{task: nn.Linear(4, 2) for task in TASKS}}
    net, balancer = nn.ModuleDict(parts).double(), BALANCERS[name](TASKS, **NEEDS.get(name, {})).double()
    said = []
    for step, (bad_rank, task) in enumerate([(1, "b"), (0, "c"), (None, "")]):
        g = torch.Generator().manual_seed(step)
        shared = Shared.cut(net["shared"](net["trunk"](torch.randn(4, 3, generator=g).double())), net["shared"].weight)
        predictions = {t: net[t](shared.leaf) for t in TASKS}
        if distributed.rank() == bad_rank and step == 0:
            predictions[task] = predictions[task] * torch.nan
        elif distributed.rank() == bad_rank:
            predictions[task].register_hook(lambda gradient: gradient * torch.inf)
        losses = {t: (prediction - 1).square().mean() for t, prediction in predictions.items()}
        net.zero_grad()
        balancer.observe({t: 1 / (1 + loss.detach().nan_to_num()) for t, loss in losses.items()})
        try:
            balancer.backward(losses, shared, mean=distributed.mean)
            balancer.step(distributed.mean, dict.fromkeys(losses, 1.0))
            said.append("")
        except FloatingPointError as error:
            said.append(str(error))
    return said


def all_steps() -> dict[str, list[str]]:
    return {name: steps(name) for name in NAMES}


@pytest.mark.slow
def test_all_processes_raise_together(in_processes: InProcesses, tmp_path: Path) -> None:
    first, second = in_processes(all_steps, 2, tmp_path)
    assert first == second
    for name, (loss, gradient, nothing) in first.items():
        assert loss.startswith("the loss of task 'b' is nan at step 0: "), name
        assert gradient.startswith("the gradient of task 'c' is not finite at step 0: "), name
        assert nothing == "", name
