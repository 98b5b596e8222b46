"""One-number and two-number networks on which a step can be worked by hand."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.optim import Optimizer

from mtl_vision.balancers import Balancer, Shared


def step(balancer: Balancer, losses: Mapping[str, tuple[float, float]], finish: bool = True) -> float:
    """A step on losses {task: (value, dL/dz)}; the trunk's gradient dL/dW."""
    W = nn.Parameter(torch.tensor([[2.0]]))
    shared = Shared.cut(torch.tensor([[3.0]]) @ W, W)
    zero = shared.leaf.sum() - shared.leaf.detach().sum()
    balancer.backward({name: value + slope * zero for name, (value, slope) in losses.items()}, shared)
    if finish:
        balancer.step()
    return 0.0 if W.grad is None else W.grad.item()


def watched(adam: Optimizer) -> list[list[float]]:
    """The gradient that the Adam of a balancer gets, appended in each of its steps: the balancer leaves none behind."""
    seen: list[list[float]] = []
    adam.register_step_pre_hook(lambda adam, *_: seen.append(adam.param_groups[0]["params"][0].grad.tolist()))
    return seen


def weights(balancer: Balancer) -> list[float]:
    return balancer.report()["weight"].tolist()


def vectors(balancer: Balancer, gradients: Mapping[str, list[float]]) -> list[float]:
    """A step on losses <g_i, z>; the trunk's gradient, dL/dz, since z = W and W is a vector."""
    W = nn.Parameter(torch.ones(len(next(iter(gradients.values())))))
    shared = Shared.cut(W * 1, W)
    balancer.backward({name: shared.leaf @ torch.tensor(g) + 20 for name, g in gradients.items()}, shared)
    balancer.step()
    assert W.grad is not None
    return W.grad.tolist()
