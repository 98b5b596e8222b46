"""What an exported model is, and how to run it over images: numpy, OpenCV and onnxruntime; never torch.

The names below are imported when they are first used: importing this package loads nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtl_vision.runtime.contract import ModelError
    from mtl_vision.runtime.images import ImageError
    from mtl_vision.runtime.model import Model
    from mtl_vision.runtime.predictor import Predictor
    from mtl_vision.runtime.render import draw

__all__ = ["ImageError", "Model", "ModelError", "Predictor", "draw"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    places = dict(zip(__all__, ("images", "model", "contract", "predictor", "render"), strict=True))
    return getattr(import_module(f"{__name__}.{places[name]}"), name)
