"""Time and peak memory of a training step: equal weights, our GradNorm, and GradNorm by a double backward pass.

    python benchmarks/gradnorm_step.py [--quick] [--device cuda --backbone resnet50 --size 288x384 --batch 16 --bf16]

All three take turns in one process on the same batch; forward, backward and AdamW are in the time.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.common import finish, interleaved, machine, peak_memory, ratio
from mtl_vision.balancers import GradNorm
from mtl_vision.data.loader import Batch
from mtl_vision.engine.loop import Trainer, make_optimizer, make_schedule
from mtl_vision.models import Network
from mtl_vision.tasks import Depth, Normals, Segmentation, Task

Setup = tuple[Network, dict[str, Task], Batch]


def make_setup(backbone: str, batch: int, size: tuple[int, int], device: torch.device) -> Setup:
    """A network and a random batch."""
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
    return model, tasks, Batch([], image, targets, frozenset(tasks)).to(device)


def gradnorm(setup: Setup, device: torch.device, precision: torch.dtype) -> Callable[[], object]:
    """A step of ours, as train.py takes it."""
    model, tasks, batch = setup
    optimizer = make_optimizer(model, 1e-4, 0.01)
    balancer = GradNorm(list(tasks)).to(device)
    trainer = Trainer(model, tasks, balancer, optimizer, make_schedule(optimizer, 10**6, 0), device, precision)
    return lambda: trainer.step([batch])


def plain(setup: Setup, device: torch.device, precision: torch.dtype, double: bool) -> Callable[[], object]:
    """The plain loop: sum_i L_i, one backward pass; with `double`, GradNorm as it is usually written, by autograd."""
    model, tasks, batch = setup
    optimizer = make_optimizer(model, 1e-4, 0.01)
    w = torch.ones(len(tasks), device=device, requires_grad=True)
    adam = torch.optim.Adam([w], lr=0.025)
    initial: list[Tensor] = []

    def step() -> None:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            predictions = model(batch.image)
            losses = torch.stack([tasks[name].loss(predictions[name], batch.targets[name]) for name in tasks])
        if not double:
            losses.sum().backward()
        else:
            if not initial:
                initial.append(losses.detach())
            (w.detach() * losses).sum().backward(retain_graph=True)
            W = model.last_shared.weight
            G = torch.stack(
                [torch.autograd.grad(w[i] * losses[i], W, create_graph=True)[0].norm() for i in range(len(tasks))]
            )
            rate = losses.detach() / initial[0]
            target = (G.mean() * (rate / rate.mean()) ** 1.5).detach()
            (w.grad,) = torch.autograd.grad((G - target).abs().sum(), w)
            adam.step()
            with torch.no_grad():
                w.mul_(len(tasks) / w.sum())
        optimizer.step()

    return step


def main() -> None:
    """Print the table and the JSON line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="few rounds, for trying")
    p.add_argument("--device", default="cpu")
    p.add_argument("--backbone", default="resnet18")
    p.add_argument("--size", default="192x256", help="HEIGHTxWIDTH")
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    p.add_argument("--rounds", type=int, default=40)
    args = p.parse_args()
    device, precision = torch.device(args.device), torch.bfloat16 if args.bf16 else torch.float32
    height, width = (int(side) for side in args.size.split("x"))

    def setup() -> Setup:
        return make_setup(args.backbone, args.batch, (height, width), device)

    steps = {
        "equal": plain(setup(), device, precision, double=False),
        "gradnorm": gradnorm(setup(), device, precision),
        "double_backward": plain(setup(), device, precision, double=True),
    }
    times = interleaved(steps, 5 if args.quick else args.rounds, device=args.device)
    memory = {name: peak_memory(step, args.device) for name, step in steps.items()}
    print(f"{args.backbone}, {args.batch} x {args.size}, {precision}; {machine(args.device)}")
    print(f"{'step':<17}{'median ms':>10}{'time ratio':>12}{'peak MB':>10}{'memory ratio':>14}")
    figures: dict[str, float] = {}
    for name in steps:
        figures[f"time_ratio.{name}"] = ratio(times[name], times["equal"])
        figures[f"memory_ratio.{name}"] = memory[name] / memory["equal"]
        print(
            f"{name:<17}{1000 * statistics.median(times[name]):>10.1f}{figures[f'time_ratio.{name}']:>12.3f}"
            f"{memory[name] / 1e6:>10.0f}{figures[f'memory_ratio.{name}']:>14.3f}"
        )
    finish(figures)


if __name__ == "__main__":
    main()
