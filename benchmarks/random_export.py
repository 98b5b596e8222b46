"""Networks with random weights as ONNX files, exported as a trained run is: they take as long as trained ones.

python -m benchmarks.random_export FILE [--backbone NAME] [--size HxW] [--tasks depth normals segmentation]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import warnings
from pathlib import Path

import torch

from mtl_vision.config import Config, DataConfig, ModelConfig, TasksConfig
from mtl_vision.datasets.description import Description
from mtl_vision.engine.load import Trained
from mtl_vision.export.deployed import Deployed
from mtl_vision.export.graph import make_manifest, trace, write
from mtl_vision.models import Network
from mtl_vision.tasks import Depth, Normals, Segmentation, Task


def random_run(backbone: str, size: tuple[int, int], names: list[str]) -> Trained:
    """A run whose network was never trained: 13 classes, a decoder of the default width."""
    torch.manual_seed(0)
    known: dict[str, Task] = {
        "depth": Depth(),
        "normals": Normals(),
        "segmentation": Segmentation([f"class {i}" for i in range(13)]),
    }
    tasks = {name: known[name] for name in names}
    config = Config(data=DataConfig(size=size), model=ModelConfig(backbone), tasks=TasksConfig(names))
    return Trained(Path(), config, Description(), tasks, Network(tasks, backbone, size=size).eval(), {})


def made(file: Path, *options: str) -> Path:
    """Have a file written by a process of its own, as what torch leaves behind is no part of what is measured."""
    subprocess.run([sys.executable, "-m", "benchmarks.random_export", str(file), *options], check=True)
    return file


def main() -> None:
    """Write one file."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("file", type=Path)
    p.add_argument("--backbone", default="mobilenetv4_conv_small")
    p.add_argument("--size", default="240x320", help="HEIGHTxWIDTH")
    p.add_argument("--tasks", nargs="+", default=["depth", "normals", "segmentation"])
    args = p.parse_args()
    height, width = (int(side) for side in args.size.split("x"))
    run = random_run(args.backbone, (height, width), args.tasks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(trace(run, Deployed(run)), make_manifest(run), args.file)


if __name__ == "__main__":
    main()
