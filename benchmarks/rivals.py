"""How many times as long three separate networks take as one of ours with three outputs, at the same input size.

    python benchmarks/rivals.py [--quick] [--backbone mobilenetv4_conv_small --size 240x320 --threads 1]

What people would otherwise deploy together, with random weights, as time does not depend on them, all in onnxruntime on
the CPU, batch 1, in turns; medians of the ratios round by round:

- depth: Depth-Anything-V2-Small (24.8 M parameters as published), built by transformers: DINOv2's ViT-S/14 and a DPT
  head of 48, 96, 192, 384 channels, fused at 64. It takes sides of multiples of 14: the nearest.
- normals: a network of the size of DSINE, of 72.6 M parameters (benchmarks/normals_network.py says what it has of it).
- segmentation: SegFormer-B0 (3.8 M parameters as published, with 150 classes; here 13), built by transformers. Its
  logits stay at stride 4.

Ours makes maps of the input's size, and labels. transformers is in the extra `peers`. rivals_ratio: time of the three
together over that of one of ours; rivals_ratio.NAME: of each alone.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from benchmarks.common import finish, interleaved, machine, ratio
from benchmarks.normals_network import NormalsNetwork
from benchmarks.random_export import made
from mtl_vision.runtime.model import Model

Size = tuple[int, int]
PATCH = 14  # pixels of a side


class Output(nn.Module):
    """One of the outputs of a network of transformers, as a tensor."""

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.network, self.name = network, name

    def forward(self, image: Tensor) -> Tensor:
        return getattr(self.network(image), self.name)


def depth_anything() -> nn.Module:
    """Depth-Anything-V2-Small: (B, 3, H, W) -> (B, H, W)."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config  # type: ignore[import-not-found]

    backbone = Dinov2Config(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, patch_size=PATCH, image_size=518,
        out_indices=[3, 6, 9, 12], reshape_hidden_states=False,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=384, neck_hidden_sizes=[48, 96, 192, 384],
        fusion_hidden_size=64, head_hidden_size=32,
    )  # fmt: skip
    return Output(DepthAnythingForDepthEstimation(config), "predicted_depth")


def segformer() -> nn.Module:
    """SegFormer-B0: (B, 3, H, W) -> logits (B, 13, H / 4, W / 4)."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation  # type: ignore[import-not-found]

    return Output(SegformerForSemanticSegmentation(SegformerConfig(num_labels=13)), "logits")


RIVALS: dict[str, Callable[[], nn.Module]] = {
    "depth_anything_v2_small": depth_anything,
    "dsine_size": NormalsNetwork,
    "segformer_b0": segformer,
}


def taken(name: str, size: Size) -> Size:
    """The size that a network takes that is nearest to `size`."""
    if name == "depth_anything_v2_small":
        return round(size[0] / PATCH) * PATCH, round(size[1] / PATCH) * PATCH
    return size


def written(name: str, size: Size, folder: Path) -> tuple[Path, int]:
    """The ONNX file of a rival, and how many parameters it has."""
    torch.manual_seed(0)
    network, file = RIVALS[name]().eval(), folder / f"{name}.onnx"
    example = torch.zeros(1, 3, *taken(name, size))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(network, (example,), dynamo=True, opset_version=18, verbose=False)
    assert program is not None
    program.save(file)
    return file, sum(parameter.numel() for parameter in network.parameters())


def session(file: Path, threads: int) -> Callable[[], object]:
    """A run of a file, over noise."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    runs = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (given,) = runs.get_inputs()
    image = np.random.default_rng(0).normal(size=given.shape).astype(np.float32)
    return partial(runs.run, None, {given.name: image})


def rivals(ours: Path, size: Size, threads: int, rounds: int, work: Path) -> dict[str, float]:
    """The ratios, and a line for each network. size: of our input, (H, W)."""
    model = Model(ours, threads=threads)
    image = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    steps: dict[str, Callable[[], object]] = {"ours": partial(model.run, image)}
    counts = {}
    for name in RIVALS:
        file, counts[name] = written(name, size, work)
        steps[name] = session(file, threads)
    times = interleaved(steps, rounds)
    for name, count in counts.items():
        found = f"{1000 * np.median(times[name]):.0f} ms, {ratio(times[name], times['ours']):.1f} x ours"
        print(f"{name}: {count / 1e6:.2f} M parameters, at {taken(name, size)}: {found}")
    together = [float(sum(parts)) for parts in zip(*(times[name] for name in RIVALS), strict=True)]
    found = ratio(together, times["ours"])
    print(f"together {found:.1f} x one of ours ({1000 * np.median(times['ours']):.1f} ms), {threads} thread(s)")
    each = {f"rivals_ratio.{name}": ratio(times[name], times["ours"]) for name in RIVALS}
    return {"rivals_ratio": found, **each}


def main() -> None:
    """Print the table and the JSON line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="few rounds, for trying")
    p.add_argument("--backbone", default="mobilenetv4_conv_small", help="of ours")
    p.add_argument("--size", default="240x320", help="HEIGHTxWIDTH")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--rounds", type=int, default=20)
    args = p.parse_args()
    height, width = (int(side) for side in args.size.split("x"))
    print(f"{args.backbone} at {args.size}, onnxruntime {onnxruntime.__version__}; {machine()}")
    with tempfile.TemporaryDirectory() as name:
        ours = made(Path(name) / "ours.onnx", "--backbone", args.backbone, "--size", args.size)
        finish(rivals(ours, (height, width), args.threads, 2 if args.quick else args.rounds, Path(name)))


if __name__ == "__main__":
    main()
