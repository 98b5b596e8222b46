"""Metrics of an exported file over samples, as a training's: over all valid pixels."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.splits import HOLDOUT
from mtl_vision.engine.build import data_root, open_split, target_names
from mtl_vision.engine.load import Trained
from mtl_vision.loading.loader import Loader
from mtl_vision.runtime.kinds import KINDS, Size
from mtl_vision.runtime.model import Model

BATCH = 8
HELD_OUT = 95  # training images to choose by, of a run that held none out


@dataclass(frozen=True)
class Batch:
    """Images (N, H, W, 3) uint8, and the targets by task."""

    images: np.ndarray
    targets: dict[str, Tensor]


def parts(run: Trained) -> tuple[FolderDataset, FolderDataset, FolderDataset]:
    """The data of a run: training images to calibrate on, others to choose by, and the split it was measured on.

    Of a run that held no images out, those to choose by were trained on, too. Raises DataError or OSError where the
    data are not here.
    """
    data = run.config.data
    root = data_root(data, make=False)
    count = data.holdout or min(HELD_OUT, len(open_split(run.config, root, data.train_split)) // 2)
    config = replace(run.config, data=replace(data, holdout=count))
    measured = run.metrics.get("protocol.split") or data.eval_split or "test"
    train, chosen = (open_split(config, root, split) for split in (data.train_split, HOLDOUT))
    return train, chosen, open_split(run.config, root, measured)


def batches(run: Trained, samples: FolderDataset, size: Size) -> Iterator[Batch]:
    """The samples at a size (H, W), in order."""
    for batch in Loader(samples, target_names(run.config.tasks), size, BATCH).epoch(0):
        found = {name: batch.targets[name] for name in run.tasks if name in batch.targets}
        yield Batch(batch.image.permute(0, 2, 3, 1).numpy(), found)


def metrics(run: Trained, path: Path, over: Iterable[Batch]) -> dict[str, float]:
    """A file's metrics, as flat keys."""
    model = Model(path)
    kinds = {output.name: KINDS[output.kind] for output in model.manifest.outputs}
    found = {name: task.metrics() for name, task in run.tasks.items()}
    for batch in over:
        maps = model.run(batch.images)
        for name, target in batch.targets.items():
            found[name].update(torch.from_numpy(kinds[name].to_tensor_layout(maps[name])), target)
    return {f"{name}.{short}": value for name, sums in found.items() for short, value in sums.compute().items()}
