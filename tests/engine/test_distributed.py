"""Processes that share a batch come to what one process does with the whole of it, whatever the balancer."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from processes import InProcesses
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from mtl_vision.balancers import BALANCERS, FROM_TORCHJD
from mtl_vision.engine import distributed
from mtl_vision.engine.global_batch import parts
from mtl_vision.engine.loop import Trainer
from mtl_vision.engine.optimizer import make_optimizer, make_schedule
from mtl_vision.engine.sync_norm import synchronise
from mtl_vision.loading.loader import Batch
from mtl_vision.models import Backbone, Fusion, Network
from mtl_vision.tasks import Task
from mtl_vision.tasks.depth import BerHu, Depth, SiLog
from mtl_vision.tasks.edges import Edges, WeightedCrossEntropy
from mtl_vision.tasks.normals import Normals
from mtl_vision.tasks.segmentation import CrossEntropy, Segmentation

KNOWN = {"depth": 0.5, "normals": 2.0, "segmentation": 1.0, "edges": 0.3}
NEEDS: dict[str, Any] = {"Fixed": {"weights": KNOWN}, "ConvergedGradients": {"norms": KNOWN}}
AT_BACKBONE = {"GradNorm at the backbone": "GradNorm", "DBMTL at the backbone": "DBMTL"}
NAMES = [n for n, method in BALANCERS.items() if method not in FROM_TORCHJD or find_spec("torchjd")] + [*AT_BACKBONE]
STEPS, MICRO, SAMPLES, SIDE = 5, 2, 4, 32
SPLITS = {1: [SAMPLES], 2: [3, 1], 3: [2, 1, 1]}  # samples of a micro-batch, by process
# tasks that samples lack: (step, micro-batch, sample, task). The last process' sample is the last one.
LACKING = {(0, 0, 3, "normals"), (1, 1, 3, "depth"), *((1, 1, i, "segmentation") for i in range(3))}
LACKING |= {(0, 0, 3, "segmentation"), (4, 0, 3, "edges"), *((4, 1, i, "depth") for i in range(3))}
LACKING |= {(2, 0, i, "normals") for i in range(SAMPLES)}  # nobody has it
LACKING |= {(3, m, i, "segmentation") for m in range(MICRO) for i in range(SAMPLES)}  # in the whole step


class TwoLevels(Backbone):
    """With both kinds of batch norm, a layer that nothing is made of, and parameters that are frozen."""

    channels, strides = (8, 12), (4, 8)

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8, momentum=None), nn.ReLU(inplace=True))
        self.two = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), BatchNormAct2d(12))
        self.unused = nn.Linear(2, 2)
        self.two[0].bias.requires_grad_(False)
        self.two[1].weight.requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        one = self.one(image)
        return [one, self.two(one)]


def batch(step: int, micro: int, rank: int, world: int) -> Batch:
    """A process' part of a micro-batch, with different numbers of valid pixels."""
    g = torch.Generator().manual_seed(100 * step + micro)
    image = torch.randint(0, 256, (SAMPLES, 3, SIDE, SIDE), generator=g, dtype=torch.uint8)
    share = torch.rand(4, SAMPLES, 1, 1, 1, generator=g)  # of valid pixels
    valid = torch.rand(4, SAMPLES, 1, SIDE, SIDE, generator=g) < share
    for i, name in enumerate(TASKS):
        for k in range(SAMPLES):
            valid[i, k] &= (step, micro, k, name) not in LACKING
    normals = nn.functional.normalize(torch.randn(SAMPLES, 3, SIDE, SIDE, generator=g))
    labels = torch.randint(0, 5, (SAMPLES, SIDE, SIDE), generator=g, dtype=torch.uint8)
    targets = {
        "depth": valid[0] * (1 + 4 * torch.rand(SAMPLES, 1, SIDE, SIDE, generator=g)),
        "normals": valid[1] * normals,
        "segmentation": labels.where(valid[2, :, 0], torch.tensor(255, dtype=torch.uint8)),
        "edges": (labels[:, None] < torch.arange(SAMPLES).view(-1, 1, 1, 1)).float().where(valid[3], -1.0),
    }
    begin = sum(SPLITS[world][:rank])
    mine = slice(begin, begin + SPLITS[world][rank])
    present = frozenset(name for i, name in enumerate(TASKS) if valid[i, mine].any())
    return Batch(["x"] * SPLITS[world][rank], image[mine], {n: t[mine] for n, t in targets.items()}, present)


# three losses that are no means over valid pixels, and one that is
WEIGHTED = CrossEntropy(0.1, [0.1, 1, 3, 0.5, 2])
TASKS: dict[str, Task] = {
    "depth": Depth(SiLog()),
    "normals": Normals(),
    "segmentation": Segmentation([*"abcde"], loss=WEIGHTED),
    "edges": Edges(),
}
OTHERS = TASKS | {"depth": Depth(BerHu()), "edges": Edges(WeightedCrossEntropy(3.0))}


def make(name: str, tasks: dict[str, Task] = TASKS, **more: Any) -> Trainer:
    torch.manual_seed(0)
    settings = {"place": "backbone"} if name in AT_BACKBONE else NEEDS.get(name, {})
    balancer = BALANCERS[AT_BACKBONE.get(name, name)](list(tasks), **settings).double()
    net = Network(tasks, TwoLevels(), Fusion(16), size=(SIDE, SIDE)).double()
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if distributed.world() > 1:
        net = synchronise(net, torch.device("cpu"))
    optimizer = make_optimizer(net, 0.01, 0.01)
    schedule = make_schedule(optimizer, 10, 0.1)
    return Trainer(net, tasks, balancer, optimizer, schedule, torch.device("cpu"), accumulate=MICRO, **more)


def train(name: str, tasks: dict[str, Task] = TASKS, steps: int = STEPS, fault: int | None = None) -> dict[str, Any]:
    """What comes of some steps. fault: a step in which the last sample has a depth that is infinite."""
    trainer = make(name, tasks, clip=1.0, on_nonfinite="skip")
    losses, reports = [], []
    for step in range(steps):
        rank, world = distributed.rank(), distributed.world()
        batches = [batch(step, micro, rank, world) for micro in range(MICRO)]
        if step == fault and rank == world - 1:
            batches[0].targets["depth"][-1, 0, 0, 0] = float("inf")
        losses.append({name: loss.clone() for name, loss in trainer.step(batches).items()})
        reports.append({name: value.clone() for name, value in trainer.balancer.report().items()})
        if step in (1, 3):
            trainer.balancer.end_epoch()
    state = {key: value for key, value in trainer.balancer.state_dict().items() if isinstance(value, Tensor)}
    return {"losses": losses, "reports": reports, "balancer": state, "model": trainer.model.state_dict()}


def train_all() -> dict[str, Any]:
    faults = {f"{name}, with a fault": train(name, steps=1, fault=0) for name in NAMES}
    return {name: train(name) for name in NAMES} | faults


def train_some() -> dict[str, Any]:
    return {name: train(name, OTHERS, fault=2) for name in ("Equal", "GradNorm", "FAMO", "DTP")}


@pytest.mark.slow
@pytest.mark.parametrize("function, world", [(train_all, 2), (train_some, 3)])
def test_processes_equal_one(
    in_processes: InProcesses, function: Callable[[], dict[str, Any]], world: int, tmp_path: Path
) -> None:
    """Batch norm and micro-batches included; samples lack tasks, processes, micro-batches and steps do; in float64."""
    first, *others = in_processes(function, world, tmp_path)
    for name, expected in function().items():
        for found in (first[name], *(other[name] for other in others)):
            torch.testing.assert_close(
                found, expected, rtol=1e-6, atol=1e-9, equal_nan=True, msg=lambda said, name=name: f"{name}: {said}"
            )
            assert all(torch.equal(v, first[name]["model"][key]) for key, v in found["model"].items()), name


def test_one_process_has_all() -> None:
    (part,) = parts([batch(0, 0, 0, 1)], TASKS, True)
    assert part.names == ["depth", "normals", "segmentation", "edges"]
    assert set(part.loss.values()) == set(part.kpi.values()) == {1.0}


def test_parts_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here 3 of 4 pixels of depth and none of normals, which others have; nobody has labels."""
    depth, normals = torch.tensor([[[[1.0, 2.0], [3.0, 0.0]]]]), torch.zeros(1, 3, 2, 2)
    labels = torch.full((1, 2, 2), 255, dtype=torch.uint8)
    targets = {"depth": depth, "normals": normals, "segmentation": labels, "edges": -depth}
    mine = Batch(["x"], torch.zeros(1, 3, 2, 2, dtype=torch.uint8), targets, frozenset(["depth"]))
    others = torch.tensor([[[1, 1, 0, 0], [1, 6, 0, 0], [0, 1, 0, 0]]])
    monkeypatch.setattr(distributed, "world", lambda: 2)
    monkeypatch.setattr(distributed, "total", lambda own: own + others)
    (part,) = parts([mine], TASKS, True)
    assert part.names == ["depth", "normals"]
    assert part.loss == {"depth": 3 * 2 / 4, "normals": 0, "segmentation": 1, "edges": 2}
    assert part.kpi == {"depth": 2, "normals": 0, "segmentation": 1, "edges": 1}


def test_a_mean_leaves_its_argument_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is summed in place: one tensor may stand for several tasks."""
    monkeypatch.setattr(distributed, "world", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: tensor.mul_(2))
    tensor = torch.ones(3)
    assert distributed.mean(tensor).tolist() == [1, 1, 1]
    assert tensor.tolist() == [1, 1, 1]
