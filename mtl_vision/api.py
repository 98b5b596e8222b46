"""The Python API: train a network, load a trained one, predict with it, export it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtl_vision.config import Config
from mtl_vision.engine import run as engine
from mtl_vision.engine.device import pick_device
from mtl_vision.engine.load import load_run
from mtl_vision.engine.parse import resolve
from mtl_vision.export.deployed import Deployed
from mtl_vision.export.exporter import export_run
from mtl_vision.export.graph import make_manifest
from mtl_vision.runtime.predictor import Predictor


class Run(Predictor):
    """A trained run: its network predicts as its exported file does, with the same preprocessing, units and frames.

    folder: the run directory. config: its settings. metrics: those of the evaluation. manifest: the outputs. model: the
    network, in evaluation mode. Raises ValueError when `folder` holds no finished run.
    """

    def __init__(self, folder: str | Path, device: str = "auto") -> None:
        self.device = pick_device(device)
        self.trained = load_run(Path(folder))
        self.folder, self.config, self.metrics = self.trained.folder, self.trained.config, self.trained.metrics
        self.model = self.trained.model.to(self.device)
        self.manifest = make_manifest(self.trained)
        self._deployed = Deployed(self.trained).eval()

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """images: (N, H, W, 3) uint8 RGB of the manifest's size. Returns a map an output, (N, H, W) or (N, H, W, 3)."""
        with torch.inference_mode():
            maps = self._deployed.maps(torch.from_numpy(images).to(self.device))
        return {name: array.cpu().numpy() for name, array in zip(self.trained.tasks, maps, strict=True)}

    def export(self, out: str | Path | None = None, **options: Any) -> Path:
        """Write and verify the ONNX file (default: model.onnx in the run directory); returns its path.

        options: tasks, size, dynamic_size, logits, fp16, int8, core, opset, as `mtl_vision.export.exporter.export_run`
        has them. Raises VerifyError where onnxruntime and torch disagree.
        """
        path = self.folder / "model.onnx" if out is None else Path(out)
        export_run(load_run(self.folder), path, **options)
        return path


def load(folder: str | Path, device: str = "auto") -> Run:
    """A trained run, from its directory. device: auto, cpu, cuda or cuda:N."""
    return Run(folder, device)


def train(recipe: str | Path | Config | None = None, options: Mapping[str, Any] | None = None) -> Run:
    """Train, and return the run: `train("configs/smoke.yaml", {"balancer": "Equal", "train.epochs": 5})`.

    recipe: a YAML file, a Config, or None for the default, synthetic rooms. options: override the recipe's, by their
    keys on the command line. Raises ValueError or DataError for what does not fit.
    """
    return Run(engine.Run(resolve(recipe, options)).train())
