"""What the ONNX file says of itself, from the run."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np

import mtl_vision
from mtl_vision.engine.load import Trained
from mtl_vision.runtime.contract import Manifest


def make_manifest(run: Trained, dynamic_size: bool = False) -> Manifest:
    """Outputs, size, resize rule, camera, metrics and versions."""
    H, W = run.config.data.size
    camera = run.description.camera((H, W))
    fill = [round(float(v)) for v in np.ravel(run.model.mean.cpu().numpy())]
    return Manifest(
        outputs=[task.output() for task in run.tasks.values()],
        height=H,
        width=W,
        stride=run.model.multiple,
        dynamic_size=dynamic_size,
        fill=(fill[0], fill[1], fill[2]),
        intrinsics=camera and (camera.fx, camera.fy, camera.cx, camera.cy),
        metrics=run.metrics,
        versions={"mtl_vision": mtl_vision.__version__, **{name: version(name) for name in ("torch", "timm", "onnx")}},
    )
