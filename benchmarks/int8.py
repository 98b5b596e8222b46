"""How many times as many images a second an exported file does in 8 bits, and by OpenVINO, as in float32.

    python benchmarks/int8.py [--quick] [--backbone resnet18 mobilenetv4_conv_small --size 240x320 --threads 1 2]

Untrained networks, all convolutions but the heads' last ones in 8 bits, ranges from smooth noise: speed does not depend
on the weights, what stays in float after a search does (`mtl-export --int8` measures that). Batch 1; all files take
turns, medians of the ratios round by round.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from benchmarks.common import finish, interleaved, machine, ratio
from benchmarks.random_export import random_run
from mtl_vision.export.deployed import Deployed
from mtl_vision.export.graph import make_manifest, trace, write
from mtl_vision.export.quantize import Quantizer
from mtl_vision.export.verify import smooth_noise
from mtl_vision.runtime.model import Model

NETWORKS = ("resnet18", "mobilenetv4_conv_small")
SHORT = {"mobilenetv4_conv_small": "mobilenetv4"}
IMAGES = 8  # that ranges are measured on


def files(backbone: str, size: tuple[int, int], folder: Path) -> dict[str, Path]:
    """A network as float32 and in 8 bits."""
    run = random_run(backbone, size, ["depth", "normals", "segmentation"])
    model, manifest = trace(run, Deployed(run)), make_manifest(run)
    forms: dict[str, tuple[onnx.ModelProto, str]] = {
        "float32": (model, "float32"),
        "int8": (Quantizer(model, smooth_noise(IMAGES, size)).quantized(), "int8"),
    }
    paths = {name: folder / f"{backbone}.{name}.onnx" for name in forms}
    for name, (graph, precision) in forms.items():
        write(graph, replace(manifest, precision=precision), paths[name])
    return paths


def measured(paths: dict[str, Path], threads: int, rounds: int) -> dict[str, float]:
    """By way: times as fast as float32 in onnxruntime."""
    models = {name: Model(path, threads) for name, path in paths.items()}
    if find_spec("openvino"):
        for backend in ("openvino", "openvino-bf16"):
            models[backend] = Model(paths["float32"], threads, backend=backend)
    m = models["float32"].manifest
    image = np.random.default_rng(0).integers(0, 256, (1, m.height, m.width, 3), np.uint8)
    times = interleaved({name: partial(model.run, image) for name, model in models.items()}, rounds)
    return {name: ratio(times["float32"], found) for name, found in times.items() if name != "float32"}


def main() -> None:
    """Print the table and the JSON line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="one network, few rounds, for trying")
    p.add_argument("--backbone", nargs="+", default=NETWORKS)
    p.add_argument("--size", default="240x320", help="HEIGHTxWIDTH")
    p.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2], help="of the network; the first is in the JSON line"
    )
    p.add_argument("--rounds", type=int, default=60)
    args = p.parse_args()
    height, width = (int(side) for side in args.size.split("x"))
    rounds = 3 if args.quick else args.rounds
    figures: dict[str, float] = {}
    print(f"onnxruntime {onnxruntime.__version__}, batch 1, {args.size}; {machine()}; times as fast as float32")
    for backbone in args.backbone[:1] if args.quick else args.backbone:
        with tempfile.TemporaryDirectory() as folder:
            paths = files(backbone, (height, width), Path(folder))
            for threads in args.threads:
                found = measured(paths, threads, rounds)
                texts = "  ".join(f"{name} {value:.2f}" for name, value in found.items())
                print(f"{backbone}, {threads} threads: {texts}")
                if threads == args.threads[0]:
                    short = SHORT.get(backbone, backbone)
                    figures |= {f"{name}_ratio.{short}": value for name, value in found.items()}
    finish(figures)


if __name__ == "__main__":
    main()
