"""Depth, surface normals and segmentation from one network: train it, load it, export it.

run = mtl_vision.train("configs/smoke.yaml")
run = mtl_vision.load("runs/NAME")
maps = run.predict("photo.jpg")
run.export("model.onnx")
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mtl_vision.importing import needs

__version__ = "0.1.0"
__all__ = ["Config", "Run", "load", "train"]

if TYPE_CHECKING:
    from mtl_vision.api import Run, load, train
    from mtl_vision.config import Config

# onnxruntime reads this when it is imported; otherwise it keeps a device id in the home folder and looks up a host
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    """The API is imported when it is first used: torch takes seconds, and the runtime does without it."""
    if name in __all__:
        try:
            return getattr(import_module("mtl_vision.config" if name == "Config" else "mtl_vision.api"), name)
        except ImportError as error:
            raise ImportError(needs("mtl_vision", error, "train"), name=error.name) from error
    raise AttributeError(f"module 'mtl_vision' has no attribute '{name}'")
