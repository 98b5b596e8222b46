"""Time and peak memory of a training step: equal weights, our GradNorm, and GradNorm by a double backward pass.

    python benchmarks/gradnorm_step.py [--quick] [--device cuda --backbone resnet50 --size 288x384 --batch 16 --bf16]

All three take turns in one process on the same batch; forward, backward and AdamW are in the time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.common import Step, finish
from benchmarks.setup import Setup, compare, from_arguments, loop, ours, parser, plain
from mtl_vision.balancers import GradNorm


def double_backward(setup: Setup) -> Step:
    """GradNorm as it is usually written: a differentiable gradient a task, then one of L_grad, by autograd."""
    T = len(setup.tasks)
    w = torch.ones(T, device=setup.device, requires_grad=True)
    adam = torch.optim.Adam([w], lr=0.025)
    initial: list[Tensor] = []

    def backward(losses: list[Tensor]) -> None:
        L = torch.stack([loss.detach() for loss in losses])
        if not initial:
            initial.append(L)
        sum(w[i].detach() * loss for i, loss in enumerate(losses)).backward(retain_graph=True)  # type: ignore[union-attr]
        W = setup.model.last_shared.weight
        gradients = [torch.autograd.grad(w[i] * loss, W, create_graph=True)[0] for i, loss in enumerate(losses)]
        G = torch.stack([gradient.norm() for gradient in gradients])
        rate = L / initial[0]
        target = (G.mean() * (rate / rate.mean()) ** 1.5).detach()
        (w.grad,) = torch.autograd.grad((G - target).abs().sum(), w)
        adam.step()
        with torch.no_grad():
            w.mul_(T / w.sum())

    return loop(setup, backward)


def main() -> None:
    """Print the table and the JSON line."""
    args = parser(__doc__).parse_args()
    setup = from_arguments(args)
    steps = {
        "equal": plain(setup.twin()),
        "gradnorm": ours(setup.twin(), GradNorm(list(setup.tasks))),
        "double_backward": double_backward(setup.twin()),
    }
    finish(compare(steps, "equal", 5 if args.quick else args.rounds, args))


if __name__ == "__main__":
    main()
