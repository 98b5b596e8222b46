"""How the tasks' losses are balanced; one paper method a file, readable against the paper.

In a training loop of one's own, whatever the network: examples/own_loop.py.
"""

from mtl_vision.balancers.aggregators import IMTLG, MGDA, AlignedMTL, CAGrad, NashMTL, PCGrad, UPGrad
from mtl_vision.balancers.base import Balancer, Place, TaskLoss
from mtl_vision.balancers.cut import Shared
from mtl_vision.balancers.db_mtl import DBMTL
from mtl_vision.balancers.dtp import DTP
from mtl_vision.balancers.equal import Equal
from mtl_vision.balancers.fixed import ConvergedGradients, Fixed
from mtl_vision.balancers.gradnorm import GradNorm
from mtl_vision.balancers.scalarizers import DWA, FAMO, IMTLL, RLW, GeometricMean
from mtl_vision.balancers.task_means import TaskMeans, identity
from mtl_vision.balancers.uncertainty import Uncertainty

OWN = (Equal, Fixed, GradNorm, Uncertainty, DTP, ConvergedGradients, DBMTL)
FROM_TORCHJD = (DWA, FAMO, IMTLL, RLW, GeometricMean, UPGrad, PCGrad, CAGrad, MGDA, NashMTL, AlignedMTL, IMTLG)
BALANCERS: dict[str, type[Balancer]] = {method.__name__: method for method in (*OWN, *FROM_TORCHJD)}

__all__ = [
    "BALANCERS", "DBMTL", "DTP", "DWA", "FAMO", "FROM_TORCHJD", "IMTLG", "IMTLL", "MGDA", "RLW", "AlignedMTL",
    "Balancer", "CAGrad", "ConvergedGradients", "Equal", "Fixed", "GeometricMean", "GradNorm", "NashMTL", "PCGrad",
    "Place", "Shared", "TaskLoss", "TaskMeans", "UPGrad", "Uncertainty", "identity",
]  # fmt: skip
