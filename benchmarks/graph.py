"""What each step of tuning the exported graph for CPUs gives, alone and together: ratios of CPU time, one thread.

    python benchmarks/graph.py [--quick]

Whole networks, untrained (speed does not depend on the weights), batch 1: as torch exports them ("plain"), with resizes
by constant scales, with labels by `largest`, with both, which is what the export writes. Then ways from logits at
stride 4 to labels, by themselves, with the share of labels that agree with the plain way's, on smooth random logits;
and the three heads' 3x3 convolutions joined into one.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnx.utils
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.common import finish, machine, ratio
from mtl_vision.config import Config, DataConfig, ModelConfig, TasksConfig
from mtl_vision.datasets.classes import class_set
from mtl_vision.datasets.description import Description
from mtl_vision.engine.build import make_network, make_tasks
from mtl_vision.engine.load import Trained
from mtl_vision.export import graph
from mtl_vision.export.deployed import Deployed, Tensors, largest

NETWORKS = ("mobilenetv4_conv_small", "resnet18")
SIZE, CLASSES = (240, 320), {13: "nyu13", 40: "nyu40"}
Session = onnxruntime.InferenceSession


class Plain(Deployed):
    """As the tasks decode the network's maps."""

    def forward(self, image: Tensor) -> Tensors:
        return self.maps(image)


class Heads(nn.Module):
    """The 3x3 convolutions of three heads on a map of 64 channels: apart, or joined and split again."""

    def __init__(self, joined: bool) -> None:
        super().__init__()
        self.shared = nn.Conv2d(64, 64, 1)
        self.first = nn.ModuleList(nn.Conv2d(64, 96 if joined else 32, 3, padding=1) for _ in range(1 if joined else 3))
        self.last = nn.ModuleList(nn.Conv2d(32, channels, 1) for channels in (1, 3, 13))

    def forward(self, x: Tensor) -> Tensors:
        x = self.shared(x)
        parts = [part for conv in self.first for part in torch.relu(conv(x)).split(32, 1)]
        return tuple(last(part) for last, part in zip(self.last, parts, strict=True))


def enlarged(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def repeated(ids: Tensor, factor: int) -> Tensor:
    return ids.to(torch.uint8).repeat_interleave(factor, 1).repeat_interleave(factor, 2)


WAYS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda x: enlarged(x, 4).argmax(1).to(torch.uint8),
    "largest": largest,
    "stride_2": lambda x: repeated(enlarged(x, 2).argmax(1), 2),
    "stride_4": lambda x: repeated(x.argmax(1), 4),
}


class Ways(nn.Module):
    """Several functions of one tensor, an output each: exported at once, in a fraction of the time."""

    def forward(self, x: Tensor) -> Tensors:
        return tuple(way(x) for way in WAYS.values())


def apart(model: onnx.ModelProto) -> dict[str, onnx.ModelProto]:
    """The graph of each output by itself, by the ways' names."""
    outputs = [output.name for output in model.graph.output]
    extractor = onnx.utils.Extractor(model)
    return {name: extractor.extract_model(["x"], [output]) for name, output in zip(WAYS, outputs, strict=True)}


def exported(module: nn.Module, example: Tensor) -> onnx.ModelProto:
    """A module's graph."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(module.eval(), (example,), dynamo=True, input_names=["x"], verbose=False)
    assert program is not None
    return program.model_proto


def networks(backbone: str, classes: str) -> dict[str, onnx.ModelProto]:
    """A network's graph, by what of the tuning it has."""
    torch.manual_seed(0)
    config = Config(data=DataConfig(size=SIZE), model=ModelConfig(backbone=backbone))
    tasks = make_tasks(TasksConfig(), class_set(classes))
    run = Trained(Path(), config, Description(), tasks, make_network(config, tasks).eval(), {})
    kept = graph._scale
    try:
        graph._scale = lambda model: None
        found = {"plain": graph.trace(run, Plain(run)), "labels": graph.trace(run, Deployed(run))}
    finally:
        graph._scale = kept
    for name, model in (("scales", "plain"), ("both", "labels")):
        found[name] = onnx.ModelProto.FromString(found[model].SerializeToString())
        kept(found[name])
        graph.prune(found[name].graph)
    return {name: found[name] for name in ("plain", "scales", "labels", "both")}


def session(model: onnx.ModelProto) -> Session:
    """Of one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return Session(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def cpu_seconds(sessions: Mapping[str, Session], x: np.ndarray, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of a run in each round; the sessions take turns."""
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for turn in range(rounds + 2):
        for name, one in sessions.items():
            feed = {one.get_inputs()[0].name: x}
            one.run(None, feed)  # its own caches
            started = time.process_time()
            one.run(None, feed)
            if turn >= 2:
                times[name].append(time.process_time() - started)
    return times


def table(title: str, sessions: Mapping[str, Session], x: np.ndarray, rounds: int) -> dict[str, float]:
    """Print the times, and return their ratios to the first session's."""
    times = cpu_seconds(sessions, x, rounds)
    first = next(iter(times.values()))
    ratios = {name: ratio(found, first) for name, found in times.items()}
    print(title)
    for name, found in times.items():
        print(f"  {name:<16}{1000 * statistics.median(found):>8.2f} ms{ratios[name]:>8.3f}")
    return ratios


def main() -> None:
    """Print the tables and the JSON line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="one network, one set of classes, few rounds, for trying")
    p.add_argument("--backbone", nargs="+", default=NETWORKS)
    p.add_argument("--rounds", type=int, default=30)
    args = p.parse_args()
    rounds = 3 if args.quick else args.rounds
    rng, figures = np.random.default_rng(0), {}
    class_sets = dict(list(CLASSES.items())[: 1 if args.quick else None])
    print(f"onnxruntime {onnxruntime.__version__}, one thread, batch 1, {SIZE[0]}x{SIZE[1]}; {machine()}\n")
    image = rng.integers(0, 256, (1, *SIZE, 3), dtype=np.uint8)
    for backbone in args.backbone[:1] if args.quick else args.backbone:
        for count, classes in class_sets.items():
            models = networks(backbone, classes)
            norms = sum(node.op_type == "BatchNormalization" for node in models["plain"].graph.node)
            sessions = {name: session(model) for name, model in models.items()}
            name = f"{backbone}_{count}"
            ratios = table(f"{backbone}, {count} classes ({norms} batch norms left)", sessions, image, rounds)
            figures |= {f"{name}.{step}": value for step, value in ratios.items() if step != "plain"}
    h, w = SIZE[0] // 4, SIZE[1] // 4
    for count in class_sets:
        coarse = rng.normal(size=(count, 6, 8)).astype(np.float32)
        logits = np.stack([cv2.resize(plane, (w, h), interpolation=cv2.INTER_CUBIC) for plane in coarse])[None]
        graphs = apart(exported(Ways(), torch.zeros(1, count, h, w)))
        sessions = {name: session(model) for name, model in graphs.items()}
        ratios = table(f"labels from {count} logits at stride 4", sessions, logits, rounds)
        maps = {name: np.asarray(one.run(None, {"x": logits})[0]) for name, one in sessions.items()}
        agree = {name: float((ids == maps["plain"]).mean()) for name, ids in maps.items()}
        print("  agreement: " + ", ".join(f"{name} {share:.4f}" for name, share in agree.items()))
        figures |= {f"labels_{count}.{name}": value for name, value in ratios.items() if name != "plain"}
        figures |= {f"labels_{count}.{name}_agree": value for name, value in agree.items() if name != "plain"}
    features = rng.normal(size=(1, 64, h, w)).astype(np.float32)
    pair = {name: session(exported(Heads(name == "joined"), torch.zeros(1, 64, h, w))) for name in ("apart", "joined")}
    figures["heads.joined"] = table("three heads' convolutions", pair, features, rounds)["joined"]
    finish(figures)


if __name__ == "__main__":
    main()
