"""Floor 1: how the tasks' losses are balanced; one paper method a file, readable against the paper."""

from __future__ import annotations

from collections.abc import Callable

from mtl_vision.balancers import aggregators, scalarizers
from mtl_vision.balancers.base import Balancer, Shared, Tally, alone
from mtl_vision.balancers.converged_gradients import ConvergedGradients
from mtl_vision.balancers.db_mtl import DBMTL
from mtl_vision.balancers.dtp import DTP
from mtl_vision.balancers.equal import Equal
from mtl_vision.balancers.fixed import Fixed
from mtl_vision.balancers.gradnorm import GradNorm
from mtl_vision.balancers.uncertainty import Uncertainty

# name -> what makes the balancer of the tasks and of the settings that its signature names
BALANCERS: dict[str, Callable[..., Balancer]] = {
    "equal": Equal,
    "fixed": Fixed,
    "gradnorm": GradNorm,
    "uncertainty": Uncertainty,
    "dtp": DTP,
    "converged_gradients": ConvergedGradients,
    "db_mtl": DBMTL,
    "dwa": scalarizers.dwa,
    "famo": scalarizers.famo,
    "imtl_l": scalarizers.imtl_l,
    "rlw": scalarizers.rlw,
    "geometric_mean": scalarizers.geometric_mean,
    "upgrad": aggregators.upgrad,
    "pcgrad": aggregators.pcgrad,
    "cagrad": aggregators.cagrad,
    "mgda": aggregators.mgda,
    "nash_mtl": aggregators.nash_mtl,
    "aligned_mtl": aggregators.aligned_mtl,
    "imtl_g": aggregators.imtl_g,
}

__all__ = [
    "BALANCERS",
    "DBMTL",
    "DTP",
    "Balancer",
    "ConvergedGradients",
    "Equal",
    "Fixed",
    "GradNorm",
    "Shared",
    "Tally",
    "Uncertainty",
    "alone",
]
