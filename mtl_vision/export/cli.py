"""python -m export RUN_DIR [--out model.onnx] [--int8]: graph and manifest, verified; says the figures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from mtl_vision.datasets.description import DataError
from mtl_vision.engine.build import data_root, open_split
from mtl_vision.engine.load import Trained, load_run
from mtl_vision.export.benchmark import milliseconds
from mtl_vision.export.graph import OPSET, Deployed, trace, write
from mtl_vision.export.manifest import make_manifest
from mtl_vision.export.quantize import quantize
from mtl_vision.export.verify import VerifyError, smooth_noise, verify
from mtl_vision.runtime.contract import ModelError
from mtl_vision.runtime.kinds import KINDS
from mtl_vision.runtime.preprocess import letterbox
from mtl_vision.runtime.session import Session


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m export",
        description="Export a trained run as one ONNX file that describes itself, and verify it.",
    )
    p.add_argument("run", type=Path, help="run directory, such as runs/NAME")
    p.add_argument("--out", type=Path, help="file to write (RUN_DIR/model.onnx)")
    p.add_argument("--dynamic-size", action="store_true", help="take any size that is a multiple of the stride")
    p.add_argument("--logits", action="store_true", help="give segmentation as logits (N, C, H, W), not ids")
    p.add_argument("--int8", action="store_true", help="write an 8-bit copy beside it, calibrated on the training data")
    return p


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0 exported and verified, 1 with a message otherwise."""
    args = parser().parse_args(argv)
    try:
        export(args.run, args.out or args.run / "model.onnx", args.dynamic_size, args.logits, args.int8)
    except (ValueError, OSError, DataError, ModelError, VerifyError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    return 0


def export(folder: Path, out: Path, dynamic_size: bool = False, logits: bool = False, int8: bool = False) -> None:
    """Trace, write, verify; print the figures."""
    run = load_run(folder)
    module = Deployed(run, logits)
    write(trace(run, module, dynamic_size), make_manifest(run, dynamic_size), out)
    H, W = run.config.data.size
    said = f"any size in steps of {run.model.multiple}" if dynamic_size else f"{H}x{W}"
    print(f"{out}: opset {OPSET}, {out.stat().st_size / 1e6:.1f} MB, input {said}, outputs {', '.join(run.tasks)}")
    pictures, source = sample_pictures(run)
    print(f"onnxruntime against torch, on {source}:")
    for figure in verify(out, module, pictures):
        print(f"  {figure}")
    print(f"verified; {milliseconds(out):.1f} ms a picture here (median, batch 1)")
    if int8:
        small = out.with_suffix(".int8.onnx")
        quantize(out, small, pictures)
        size, speed = small.stat().st_size / 1e6, milliseconds(small)
        print(f"\n{small}: {size:.1f} MB, {speed:.1f} ms a picture here, calibrated on {source}")
        print("against the float model:")
        for line in differences(out, small, pictures[:8]):
            print(f"  {line}")
    print(f"\nnext: python infer.py {out} IMAGES... --out out")


def sample_pictures(run: Trained, count: int = 32) -> tuple[np.ndarray, str]:
    """Pictures (N, H, W, 3) of the training split at the run's size; smooth noise where the data are not at hand."""
    size = run.config.data.size
    try:
        split = open_split(run.config.data, data_root(run.config.data, make=False), run.config.data.train_split)
        picks = np.unique(np.linspace(0, len(split) - 1, count).round().astype(int))
        return np.stack(
            [letterbox(split[int(i)].image, size, (0, 0, 0))[0] for i in picks]
        ), "pictures it was trained on"
    except (DataError, OSError):
        return smooth_noise(count, size), "noise (the data it was trained on are not at hand)"


def differences(a: Path, b: Path, pictures: np.ndarray) -> list[str]:
    """How far two models differ, a line an output."""
    first, second = Session(a), Session(b)
    x, y = first.run(pictures), second.run(pictures)
    lines = []
    for output in first.manifest.outputs:
        values = KINDS[output.kind].compare(x[output.name], y[output.name])
        lines.append(f"{output.name:<14}" + "  ".join(f"{name} {value:.3g}" for name, value in values.items()))
    return lines


if __name__ == "__main__":
    sys.exit(main())
