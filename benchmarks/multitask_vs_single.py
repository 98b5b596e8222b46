"""One ONNX file with three outputs against three files with one each, same backbone: throughput of all three maps.

    python benchmarks/multitask_vs_single.py [--quick]

The networks are untrained: speed does not depend on the weights. An image goes through once, or three times; batch 1.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx.utils
import torch

from benchmarks.common import finish, interleaved, machine, ratio
from mtl_vision.config import Config, DataConfig, ModelConfig, TasksConfig
from mtl_vision.datasets.classes import class_set
from mtl_vision.datasets.description import Description
from mtl_vision.engine.build import make_network, make_tasks
from mtl_vision.engine.load import Trained
from mtl_vision.export.deployed import Deployed
from mtl_vision.export.graph import make_manifest, trace, write
from mtl_vision.runtime.model import Model


def exported(names: list[str], backbone: str, size: tuple[int, int], folder: Path, threads: int) -> list[Model]:
    """An untrained network with these tasks, as an ONNX session; and one for each task, with what its output needs."""
    torch.manual_seed(0)
    config = Config(data=DataConfig(size=size), model=ModelConfig(backbone=backbone), tasks=TasksConfig(names=names))
    tasks = make_tasks(config.tasks, class_set("nyu13"))
    run = Trained(folder, config, Description(), tasks, make_network(config, tasks).eval(), {})
    model, manifest = trace(run, Deployed(run)), make_manifest(run)
    paths = [folder / f"{name}.onnx" for name in ("multi", *names)]
    extractor = onnx.utils.Extractor(model)
    for path, name, output in zip(paths[1:], names, manifest.outputs, strict=True):
        write(extractor.extract_model(["image"], [name]), replace(manifest, outputs=[output]), path)
    write(model, manifest, paths[0])
    return [Model(path, threads) for path in paths]


def main() -> None:
    """Print the figures and the JSON line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="few rounds, for trying")
    p.add_argument("--backbone", default="resnet18")
    p.add_argument("--size", default="240x320", help="HEIGHTxWIDTH")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=40)
    args = p.parse_args()
    height, width = (int(side) for side in args.size.split("x"))
    names = TasksConfig().names
    with tempfile.TemporaryDirectory() as folder:
        multi, *single = exported(names, args.backbone, (height, width), Path(folder), args.threads)
        image = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
        steps = {"multi": lambda: multi.run(image), "single": lambda: [session.run(image) for session in single]}
        times = interleaved(steps, 10 if args.quick else args.rounds)
    print(f"{args.backbone} at {args.size}, onnxruntime with {args.threads} threads; {machine()}")
    for name, label in (("multi", "one file, three outputs"), ("single", "three files, one output each")):
        ms = 1000 * statistics.median(times[name])
        print(f"{label:<30}{ms:>8.1f} ms an image{1000 / ms:>8.1f} images a second")
    finish({"throughput_ratio": ratio(times["single"], times["multi"])})


if __name__ == "__main__":
    main()
