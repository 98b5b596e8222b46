"""The export: trace, write, verify, and measure."""

import statistics
import timeit
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mtl_vision.datasets import DataError
from mtl_vision.engine.build import data_root, open_split
from mtl_vision.engine.load import Trained
from mtl_vision.export.graph import OPSET, Deployed, make_manifest, trace, write
from mtl_vision.export.quantize import quantize
from mtl_vision.export.verify import differences, smooth_noise, verify
from mtl_vision.runtime.model import Model
from mtl_vision.runtime.predictor import letterbox


def export_run(
    run: Trained,
    out: Path,
    *,
    dynamic_size: bool = False,
    logits: bool = False,
    int8: bool = False,
    report: Callable[[str], object] = lambda line: None,
) -> None:
    """Write the ONNX file and compare it with the torch network on training images; `report` gets the figures.

    dynamic_size: the file takes any size that is a multiple of the stride. logits: label maps come as logits
    (N, C, H, W). int8: write an 8-bit copy beside it, OUT.int8.onnx. Raises VerifyError where they differ.
    """
    module = Deployed(run, logits)
    write(trace(run, module, dynamic_size), make_manifest(run, dynamic_size), out)
    H, W = run.config.data.size
    size = f"any size in steps of {run.model.multiple}" if dynamic_size else f"{H}x{W}"
    report(f"{out}: opset {OPSET}, {out.stat().st_size / 1e6:.1f} MB, input {size}, outputs {', '.join(run.tasks)}")
    images, source = sample_images(run)
    report(f"onnxruntime against torch, on {source}:")
    for figure in verify(out, module, images):
        report(f"  {figure}")
    report(f"verified; {milliseconds(out):.1f} ms an image here (median, batch 1)")
    if int8:
        small = out.with_suffix(".int8.onnx")
        quantize(out, small, images)
        size = f"{small.stat().st_size / 1e6:.1f} MB, {milliseconds(small):.1f} ms an image here"
        report(f"\n{small}: {size}, calibrated on {source}\nagainst the float model:")
        for figure in differences(out, small, images[:8]):
            report(f"  {figure}")


def sample_images(run: Trained, count: int = 32) -> tuple[np.ndarray, str]:
    """Images (N, H, W, 3) of the training split at the run's size; smooth noise where there are no data."""
    size = run.config.data.size
    try:
        split = open_split(run.config, data_root(run.config.data, make=False), run.config.data.train_split)
        picks = np.unique(np.linspace(0, len(split) - 1, count).round().astype(int))
        return np.stack([letterbox(split[int(i)].image, size, (0, 0, 0))[0] for i in picks]), "images of its training"
    except (DataError, OSError):
        return smooth_noise(count, size), "noise (the data it was trained on are not here)"


def milliseconds(path: Path, runs: int = 20) -> float:
    """Median time of an image through the file, after a warm-up."""
    session = Model(path)
    image = np.zeros((1, session.manifest.height, session.manifest.width, 3), np.uint8)
    return 1000 * statistics.median(timeit.repeat(lambda: session.run(image), number=1, repeat=runs + 1)[1:])
