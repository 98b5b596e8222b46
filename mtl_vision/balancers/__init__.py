"""Floor 1: how the tasks' losses are balanced; one paper method a file, readable against the paper."""

from __future__ import annotations

from collections.abc import Callable

from mtl_vision.balancers import from_torchjd
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
    "dwa": from_torchjd.dwa,
    "famo": from_torchjd.famo,
    "imtl_l": from_torchjd.imtl_l,
    "rlw": from_torchjd.rlw,
    "geometric_mean": from_torchjd.geometric_mean,
    "upgrad": from_torchjd.upgrad,
    "pcgrad": from_torchjd.pcgrad,
    "cagrad": from_torchjd.cagrad,
    "mgda": from_torchjd.mgda,
    "nash_mtl": from_torchjd.nash_mtl,
    "aligned_mtl": from_torchjd.aligned_mtl,
    "imtl_g": from_torchjd.imtl_g,
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
