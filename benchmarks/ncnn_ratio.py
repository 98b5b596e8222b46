"""ncnn against onnxruntime: how far the maps are apart, and times as long, of untrained networks of several backbones.

    python benchmarks/ncnn_ratio.py [--quick] [--backbone resnet18 ... --size 144x192 --threads 1]

Each head's last layer is scaled so that its values vary as those of a trained one do (standard deviation 1), since maps
that hardly vary show nothing. ncnn computes the core graph with float16 weights; the runtime normalises the image and
takes the largest logits, which counts for it. Batch 1; the files take turns, medians of the ratios round by round.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import finish, interleaved, machine, ratio
from benchmarks.random_export import random_run
from mtl_vision.engine.load import Trained
from mtl_vision.export.deployed import Core, Deployed
from mtl_vision.export.graph import make_manifest, trace, write
from mtl_vision.export.ncnn import to_ncnn
from mtl_vision.export.verify import Samples, smooth_noise
from mtl_vision.runtime.model import Model

BACKBONES = ("mobilenetv4_conv_small", "resnet18", "resnet10t", "convnext_atto")


def varying(run: Trained, images: torch.Tensor) -> Trained:
    """The run, its heads scaled."""
    with torch.no_grad():
        z = run.model.encode(images.permute(0, 3, 1, 2))
        for head in run.model.heads.values():
            last: Any = head.layers[-1]  # type: ignore
            last.weight.mul_(1 / head(z).std())
    return run


def main() -> None:
    """Print a line a backbone, and the JSON line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="one network, few rounds, for trying")
    p.add_argument("--backbone", nargs="+", default=BACKBONES)
    p.add_argument("--size", default="144x192", help="HEIGHTxWIDTH")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--rounds", type=int, default=40)
    args = p.parse_args()
    height, width = (int(side) for side in args.size.split("x"))
    images, figures = smooth_noise(5, (height, width)), dict[str, float]()
    print(f"batch 1, {args.size}, {args.threads} threads; {machine()}")
    for backbone in args.backbone[:1] if args.quick else args.backbone:
        run = varying(
            random_run(backbone, (height, width), ["depth", "normals", "segmentation"]), torch.from_numpy(images)
        )
        with tempfile.TemporaryDirectory() as name:
            file, core, manifest = Path(name) / "m.onnx", Path(name) / "m.core.onnx", make_manifest(run)
            write(trace(run, Deployed(run)), manifest, file)
            write(trace(run, Core(run)), replace(manifest, form="core"), core)
            converted, compared = to_ncnn(core, Samples(images, "noise"))
            models = {"onnxruntime": Model(file, args.threads), "ncnn": Model(converted, args.threads)}
            steps = {name: partial(model.run, images[:1]) for name, model in models.items()}
            times = interleaved(steps, 3 if args.quick else args.rounds)
        found = {"ncnn_ratio": ratio(times["ncnn"], times["onnxruntime"])}
        found |= {f"{name}_ms": 1000 * sorted(every)[len(every) // 2] for name, every in times.items()}
        for figure in compared.figures:
            found |= {f"{figure.output.name}.{key}": value for key, value in figure.values.items()}
        print(f"{backbone}: " + "  ".join(f"{key} {value:.3g}" for key, value in found.items()))
        figures |= {f"{key}.{backbone}": value for key, value in found.items()}
    finish(figures)


if __name__ == "__main__":
    main()
