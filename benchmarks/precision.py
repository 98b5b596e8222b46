"""Time and peak memory of a training step by how it is computed: precision, memory format, torch.compile.

    python benchmarks/precision.py [--quick] [--device cuda --backbone resnet50 --size 288x384 --batch 16] [--only bf16]

With equal weights and with GradNorm, through the step that train.py takes; all take turns in one process on the same
batch. time_ratio.NAME is to equal weights in float32, gradnorm_ratio.NAME that of GradNorm to equal weights alike. In
fp32 a GPU's convolutions use no TF32, in tf32 they do, which is torch's default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from benchmarks.common import Step, finish, ratio
from benchmarks.setup import Setup, from_arguments, ours, parser, timed
from mtl_vision.balancers import BALANCERS
from mtl_vision.engine.device import pick_device

BASE = "fp32"


@dataclass(frozen=True)
class Way:
    """How a step is computed."""

    precision: torch.dtype = torch.float32
    channels_last: bool = True
    compile: bool = False
    tf32: bool = True


WAYS = {
    "fp32": Way(tf32=False),
    "tf32": Way(),
    "bf16": Way(torch.bfloat16),
    "fp16": Way(torch.float16),
    "bf16_channels_first": Way(torch.bfloat16, channels_last=False),
    "bf16_compile": Way(torch.bfloat16, compile=True),
    "fp16_compile": Way(torch.float16, compile=True),
}


def make_step(setup: Setup, way: Way, balancer: str) -> Step:
    """A step of ours, computed so, on a network of its own."""
    own = replace(setup.twin(), precision=way.precision)
    if not way.channels_last:
        own.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        own = replace(own, batch=replace(own.batch, image=own.batch.image.contiguous()))
    step = ours(own, BALANCERS[balancer](list(own.tasks)), way.compile)
    return step if way.tf32 or setup.device.type != "cuda" else without_tf32(step)


def without_tf32(step: Step) -> Step:
    """The step with all digits of float32."""

    def exact() -> None:
        torch.backends.cudnn.allow_tf32 = False
        try:
            step()
        finally:
            torch.backends.cudnn.allow_tf32 = True

    return exact


def make_steps(setup: Setup, names: list[str], warm: Callable[[Step], object]) -> dict[str, Step]:
    """The steps of these ways, with both methods; what does not work here is left out and said."""
    steps: dict[str, Step] = {}
    for name in names:
        try:
            found = {f"{name}.{balancer}": make_step(setup, WAYS[name], balancer) for balancer in ("Equal", "GradNorm")}
            for step in found.values():
                warm(step)
        except Exception as error:  # a compiler that is missing, a type that this device does not compute in
            print(f"{name} left out: {type(error).__name__}: {str(error).splitlines()[0]}")
        else:
            steps |= found
    return steps


def main() -> None:
    """Print the table and the JSON line."""
    p = parser(__doc__)
    p.add_argument("--only", nargs="+", choices=list(WAYS), default=list(WAYS), help="some of the ways, beside fp32")
    args = p.parse_args()
    pick_device(args.device)  # which has cuDNN choose its kernels, as a training does
    steps = make_steps(from_arguments(args), list(dict.fromkeys([BASE, *args.only])), lambda step: [step(), step()])
    times, figures = timed(steps, f"{BASE}.Equal", 3 if args.quick else args.rounds, args)
    for name in dict.fromkeys(key.partition(".")[0] for key in steps):
        figures[f"gradnorm_ratio.{name}"] = ratio(times[f"{name}.GradNorm"], times[f"{name}.Equal"])
    finish(figures)


if __name__ == "__main__":
    main()
