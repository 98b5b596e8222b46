"""Score what infer.py wrote against a data set's ground truth, with the metrics of training.

    python infer.py MODEL.onnx ROOT/test/rgb --out OUT --raw
    python studies/score.py OUT --root ROOT [--description FILE.yaml] [--classes nyu13] [--split test]

Maps are compared at the ground truth's own size; `--raw` predictions (float) are taken where there are some, else the
images. At the network's own size the figures equal those of the training's evaluation.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from mtl_vision.datasets.description import DataError
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.recognise import describe
from mtl_vision.datasets.targets import kind_of
from mtl_vision.runtime.kinds import Kind, normalise
from mtl_vision.tasks import Depth, Normals, Segmentation, Task


def score(out: Path, dataset: FolderDataset, most: int | None = None) -> dict[str, float]:
    """Metrics as flat keys over every sample whose image was inferred. Raises DataError when there is none."""
    names = inferred(out)
    tasks: dict[str, Task] = {"depth": Depth(), "normals": Normals()}
    if dataset.classes is not None:
        tasks["segmentation"] = Segmentation(dataset.classes.names)
    metrics = {name: task.metrics() for name, task in tasks.items() if name in dataset.target_names}
    picks = [i for i, stem in enumerate(dataset.stems) if stem in names][:most]
    if not picks:
        raise DataError(
            f"none of the {len(dataset)} samples of split '{dataset.split}' in {dataset.root} is among the results in "
            f"{out}"
        )
    for index in tqdm(picks, desc="scoring", leave=False):
        sample = dataset[index]
        maps = read_maps(out / names[sample.name])
        check_classes(out / f"{names[sample.name]}.segmentation.png", dataset)
        for name, target in sample.targets.items():
            if name in maps and name in metrics:
                prediction = kind_of(name).resize(maps[name], sample.size)
                metrics[name].update(*(as_batch(array, kind_of(name)) for array in (prediction, target)))
    return {f"{name}.{short}": value for name, metric in metrics.items() for short, value in metric.compute().items()}


def inferred(out: Path) -> dict[str, str]:
    """Stem of the image -> NAME of its results, for those that are done."""
    path = out / "results.jsonl"
    if not path.exists():
        raise DataError(f"{out} has no results.jsonl: expected a folder that infer.py wrote")
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {Path(r["image"]).stem: r["name"] for r in records if r["status"] == "ok"}


def read_maps(stem: Path) -> dict[str, np.ndarray]:
    """Output -> map: from NAME.npz, or from the PNGs in their encodings."""
    raw = stem.with_name(f"{stem.name}.npz")
    if raw.exists():
        with np.load(raw) as arrays:
            return dict(arrays)
    maps: dict[str, np.ndarray] = {}
    for name, decode in DECODERS.items():
        path = stem.with_name(f"{stem.name}.{name}.png")
        if path.exists():
            maps[name] = decode(path)
    return maps


def check_classes(path: Path, dataset: FolderDataset) -> None:
    """The PNG's palette must be that of the ground truth's classes."""
    if dataset.classes is not None and path.exists():
        truth = np.array(dataset.classes.palette)
        found = read_palette(path)[: len(truth)]
        if found.shape != truth.shape or (found != truth).any():
            raise DataError(f"{path} has other classes than {dataset.root}: give the model's class set by --classes")


def read_palette(path: Path) -> np.ndarray:
    """Colours (256 or fewer, 3) of a palette PNG."""
    data = path.read_bytes()
    at = data.index(b"PLTE")
    return np.frombuffer(data[at + 4 : at + 4 + int.from_bytes(data[at - 4 : at], "big")], np.uint8).reshape(-1, 3)


def read_ids(path: Path) -> np.ndarray:
    """Class ids of a palette PNG: OpenCV gives its colours alone, so the palette is turned round."""
    palette = read_palette(path)
    colours = np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR))[..., ::-1]
    weights = np.array([65536, 256, 1])
    ids = np.zeros(2**24, np.uint8)
    for i in reversed(range(len(palette))):  # the first of two equal colours stays
        ids[palette[i] @ weights] = i
    return ids[colours @ weights]


def read_depth(path: Path) -> np.ndarray:
    """Metres."""
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), np.float32) / np.float32(1000)


def read_normals(path: Path) -> np.ndarray:
    """Unit vectors."""
    return normalise(np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR), np.float32)[..., ::-1] / np.float32(127.5) - 1)


DECODERS = {"depth": read_depth, "normals": read_normals, "segmentation": read_ids}


def as_batch(array: np.ndarray, kind: Kind) -> torch.Tensor:
    """A map as a batch of one in the metrics' layout."""
    return torch.from_numpy(kind.to_tensor_layout(array[None]))


def main(argv: list[str] | None = None) -> int:
    """Print the metrics; the last line is JSON."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=Path, help="folder that infer.py wrote")
    p.add_argument("--root", type=Path, required=True, help="data set")
    p.add_argument("--description", help="dataset.yaml of a data set that has none beside it, or a known layout")
    p.add_argument("--classes", help="class set of the model: nyu13 or nyu40")
    p.add_argument("--split", default="test")
    p.add_argument("--quick", action="store_true", help="the first 50 samples alone")
    args = p.parse_args(argv)
    try:
        description = describe(args.root, args.description)
        dataset = FolderDataset(args.root, args.split, description, args.classes)
        metrics = score(args.out, dataset, 50 if args.quick else None)
    except (DataError, ValueError, OSError) as error:
        print(f"score.py: {error}", file=sys.stderr)
        return 1
    for name, value in metrics.items():
        print(f"{name:<32}{value:>10.4f}")
    print(json.dumps(metrics))
    return 0


if __name__ == "__main__":
    sys.exit(main())
