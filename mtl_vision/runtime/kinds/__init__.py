"""The kinds of dense map, by name: a network's output and a data set's target are each of one kind."""

from mtl_vision.runtime.kinds.base import INVALID, Kind, Limits, Output, Size, resize_pixels
from mtl_vision.runtime.kinds.label import IGNORE, LabelMap, colour_table
from mtl_vision.runtime.kinds.scalar import ProbabilityMap, ScalarMap
from mtl_vision.runtime.kinds.unit_vector import FULL_LENGTH, UnitVectorMap, normalise

KINDS: dict[str, Kind] = {kind.name: kind for kind in (ScalarMap(), UnitVectorMap(), LabelMap(), ProbabilityMap())}

__all__ = [
    "FULL_LENGTH",
    "IGNORE",
    "INVALID",
    "KINDS",
    "Kind",
    "Limits",
    "Output",
    "Size",
    "colour_table",
    "normalise",
    "resize_pixels",
]
