"""Floor 1: how the tasks' losses are balanced; one paper method a file, readable against the paper."""

from __future__ import annotations

from mtl_vision.balancers.base import Balancer, Shared
from mtl_vision.balancers.equal import Equal
from mtl_vision.balancers.gradnorm import GradNorm

BALANCERS: dict[str, type[Balancer]] = {"equal": Equal, "gradnorm": GradNorm}

__all__ = ["BALANCERS", "Balancer", "Equal", "GradNorm", "Shared"]
