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

    Args:
        folder: the run directory
        device: auto (CUDA where there is one), cpu, cuda or cuda:N

    Attributes:
        folder (Path): the run directory
        config (Config): its settings
        metrics (dict[str, Any]): those of the evaluation by their keys in metrics.json, such as depth.rmse (metres)
        manifest (Manifest): size, outputs, units, classes and camera
        model (torch.nn.Module): the network, in evaluation mode
        device (torch.device): where it is

    Raises:
        ValueError: `folder` holds no finished run.
    """

    def __init__(self, folder: str | Path, device: str = "auto") -> None:
        self.device = pick_device(device)
        self.trained = load_run(Path(folder))
        self.folder, self.config, self.metrics = self.trained.folder, self.trained.config, self.trained.metrics
        self.model = self.trained.model.to(self.device)
        self.manifest = make_manifest(self.trained)
        self._deployed = Deployed(self.trained).eval()

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Run a batch at the network's own size; `predict` takes images of any size.

        Args:
            images: (N, H, W, 3) uint8 RGB of the manifest's height and width

        Returns:
            (N, H, W), or (N, H, W, 3) of unit vectors, by output name: float32 in the output's unit, labels uint8
        """
        with torch.inference_mode():
            maps = self._deployed.maps(torch.from_numpy(images).to(self.device))
        return {name: array.cpu().numpy() for name, array in zip(self.trained.tasks, maps, strict=True)}

    def export(self, out: str | Path | None = None, **options: Any) -> Path:
        """Write the ONNX file, and compare it with the torch network before it takes its name.

        Args:
            out: its path; model.onnx in the run directory if not given
            options: `tasks` (names of the heads that are kept), `size` ((H, W) of the images), `dynamic_size`,
                `logits`, `fp16`, `int8`, `core` (true or false) and `opset` (17 to 20), as of `mtl-export`

        Returns:
            the file's path; fp16, int8 and core are beside it, with .fp16.onnx and so on as their ending

        Raises:
            VerifyError: a file differs from the network; it is OUT.failed.onnx then, and what was at OUT stays.
            ValueError: the run or the network does not have what an option asks for.
        """
        path = self.folder / "model.onnx" if out is None else Path(out)
        export_run(load_run(self.folder), path, **options)
        return path


def load(folder: str | Path, device: str = "auto") -> Run:
    """A trained run, from its directory.

    Args:
        folder: the run directory, `runs/NAME`
        device: auto (CUDA where there is one), cpu, cuda or cuda:N

    Returns:
        the run, whose network predicts

    Raises:
        ValueError: the folder holds no finished run, or one of another version that does not fit.
    """
    return Run(folder, device)


def train(recipe: str | Path | Config | None = None, options: Mapping[str, Any] | None = None) -> Run:
    """Train, and return the run: `train("configs/smoke.yaml", {"balancer": "Equal", "train.epochs": 5})`.

    Args:
        recipe: a YAML file, a Config, or None for the default, synthetic rooms
        options: override the recipe's, by their keys on the command line

    Returns:
        the finished run; its directory has everything that `mtl-train` leaves

    Raises:
        ValueError: an option or a key is wrong (the message names it, and the nearest), or settings do not fit.
        DataError: the data are missing, unreadable or not as described.
        FloatingPointError: a loss or gradient is not finite; nothing of that step counts.
    """
    return Run(engine.Run(resolve(recipe, options)).train())
