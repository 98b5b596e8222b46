"""The targets that a sample can have: one file a target, registered here or from outside the package."""

from mtl_vision.datasets.targets.base import TARGETS, Target, kind_of, register, target_of
from mtl_vision.datasets.targets.depth import DEPTH, DepthFiles
from mtl_vision.datasets.targets.edges import EDGES
from mtl_vision.datasets.targets.labels import INSTANCES, SEGMENTATION, InstancesFiles, LabelFiles
from mtl_vision.datasets.targets.normals import NORMALS, NormalsFiles

for _target in (DEPTH, NORMALS, SEGMENTATION, INSTANCES, EDGES):
    register(_target)

__all__ = ["TARGETS", "DepthFiles", "InstancesFiles", "LabelFiles", "NormalsFiles", "Target"]
__all__ += ["kind_of", "register", "target_of"]
