"""What the benchmarks of a training step share: network and batch, the plain loop, our own step, the table."""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW

from benchmarks.common import Step, interleaved, machine, peak_memory, ratio
from mtl_vision.balancers import Balancer
from mtl_vision.engine.loop import Trainer
from mtl_vision.engine.optimizer import make_optimizer, make_schedule
from mtl_vision.loading.loader import Batch
from mtl_vision.models import Network
from mtl_vision.tasks import Depth, Normals, Segmentation, Task

LR, WEIGHT_DECAY = 1e-4, 0.01


@dataclass(frozen=True)
class Setup:
    """A network, its tasks and a random batch, on one device. precision: what autocast computes in."""

    model: Network
    tasks: dict[str, Task]
    batch: Batch
    device: torch.device
    precision: torch.dtype = torch.float32

    def twin(self) -> Setup:
        """The same, with a network of its own of the same weights."""
        return replace(self, model=copy.deepcopy(self.model))

    def losses(self, network: nn.Module) -> list[Tensor]:
        """The tasks' losses, in order; network: image -> predictions by task."""
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            predictions = network(self.batch.image)
            return [task.loss(predictions[name], self.batch.targets[name]) for name, task in self.tasks.items()]


def make_setup(
    backbone: str, batch: int, size: tuple[int, int], device: torch.device, precision: torch.dtype = torch.float32
) -> Setup:
    """A network with three tasks and a random batch; size: (H, W)."""
    torch.manual_seed(0)
    tasks: dict[str, Task] = {
        "depth": Depth(),
        "normals": Normals(),
        "segmentation": Segmentation([str(i) for i in range(13)]),
    }
    model = Network(tasks, backbone, size=size).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    H, W = size
    targets = {
        "depth": torch.rand(batch, 1, H, W) * 5 + 0.5,
        "normals": F.normalize(torch.randn(batch, 3, H, W), dim=1),
        "segmentation": torch.randint(0, 13, (batch, H, W), dtype=torch.uint8),
    }
    image = torch.randint(0, 256, (batch, H, W, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    return Setup(model, tasks, Batch([], image, targets, frozenset(tasks)).to(device), device, precision)


def loop(setup: Setup, backward: Callable[[list[Tensor]], object], network: nn.Module | None = None) -> Step:
    """The loop as one writes it by hand: forward, `backward` of the losses, AdamW. network: by default the setup's."""
    model = setup.model if network is None else network
    optimizer = AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY, fused=True)

    def step() -> None:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        backward(setup.losses(model))
        optimizer.step()

    return step


def plain(setup: Setup) -> Step:
    """L = sum_i L_i, one backward pass."""
    return loop(setup, lambda losses: torch.stack(losses).sum().backward())


def ours(setup: Setup, balancer: Balancer, compile: bool = False) -> Step:
    """A step of ours, as train.py takes it."""
    optimizer = make_optimizer(setup.model, LR, WEIGHT_DECAY)
    schedule = make_schedule(optimizer, 10**6, 0)
    balancer = balancer.to(setup.device)
    parts = (setup.model, setup.tasks, balancer, optimizer, schedule, setup.device, setup.precision)
    trainer = Trainer(*parts, compile=compile)
    return lambda: trainer.step([setup.batch])


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that these benchmarks share."""
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="few rounds, for trying")
    p.add_argument("--device", default="cpu")
    p.add_argument("--backbone", default="resnet18")
    p.add_argument("--size", default="192x256", help="HEIGHTxWIDTH")
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    p.add_argument("--rounds", type=int, default=40)
    return p


def from_arguments(args: argparse.Namespace) -> Setup:
    """The setup that the options ask for."""
    height, width = (int(side) for side in args.size.split("x"))
    precision = torch.bfloat16 if args.bf16 else torch.float32
    return make_setup(args.backbone, args.batch, (height, width), torch.device(args.device), precision)


def compare(steps: Mapping[str, Step], base: str, rounds: int, args: argparse.Namespace) -> dict[str, float]:
    """Time all steps in turns, print the table, fastest first, and give the ratios to `base` under flat keys."""
    return timed(steps, base, rounds, args)[1]


def timed(
    steps: Mapping[str, Step], base: str, rounds: int, args: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """As `compare`; with the seconds of each step in each round."""
    times = interleaved(steps, rounds, device=args.device)
    memory = {name: peak_memory(step, args.device) for name, step in steps.items()}
    time_ratio = {name: ratio(times[name], times[base]) for name in steps}
    memory_ratio = {name: memory[name] / memory[base] for name in steps}
    precision = "bfloat16" if args.bf16 else "float32"
    print(f"{args.backbone}, {args.batch} x {args.size}, {precision}, {rounds} rounds; {machine(args.device)}")
    print(f"{'step':<26}{'median ms':>10}{'time ratio':>12}{'peak MB':>10}{'memory ratio':>14}")
    for name in sorted(steps, key=time_ratio.__getitem__):
        print(
            f"{name:<26}{1000 * statistics.median(times[name]):>10.1f}{time_ratio[name]:>12.3f}"
            f"{memory[name] / 1e6:>10.0f}{memory_ratio[name]:>14.3f}"
        )
    figures = {f"time_ratio.{name}": value for name, value in time_ratio.items()}
    return times, figures | {f"memory_ratio.{name}": value for name, value in memory_ratio.items()}
