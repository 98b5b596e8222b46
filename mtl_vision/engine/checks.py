"""What has to fit before a training: batches and processes, targets, sizes, and depths with their range."""

from copy import deepcopy

import numpy as np
import torch

from mtl_vision.config import Config, TasksConfig
from mtl_vision.datasets.files import spread
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.targets import kind_of
from mtl_vision.engine import distributed
from mtl_vision.engine.components import class_of
from mtl_vision.models import Network
from mtl_vision.tasks import Depth, Task

MAPS = 32  # of depth that are looked at
SHARE = 0.01  # of their valid pixels beyond the range, from which on it is said


def target_names(config: TasksConfig) -> list[str]:
    """The targets that the tasks are trained on."""
    return [class_of(name, Task).name for name in config.names]


def share_of_batch(config: Config) -> int:
    """A process' samples of a micro-batch. Raises ValueError where those of all cannot be shared equally."""
    batch, begun, now = config.data.batch_size, config.run.processes or distributed.world(), distributed.world()
    micro = batch // config.train.accumulate * begun
    if micro % now:
        fitting = ", ".join(str(n) for n in range(1, micro + 1) if micro % n == 0)
        raise ValueError(
            f"{now} processes cannot share micro-batches of {micro} samples (data.batch_size {batch}, run.processes "
            f"{begun}, train.accumulate {config.train.accumulate}): expected {fitting} processes"
        )
    return micro // now


def check_data(config: Config, train: FolderDataset) -> None:
    """The training needs a batch, every task its target, and the input size the images' aspect ratio."""
    batch, world = share_of_batch(config) * config.train.accumulate, distributed.world()
    if len(train) < batch * world:
        raise ValueError(
            f"{len(train)} training samples do not fill one batch of {batch} in {world} process(es): lower "
            "data.batch_size"
        )
    (H, W), (height, width) = config.data.size, train[0].size
    if abs(H * width / (W * height) - 1) > 0.02:
        raise ValueError(
            f"data.size {H}x{W} would stretch the images of {height}x{width}: give it their aspect ratio, such as "
            f"[{H}, {round(H * width / height)}]"
        )
    for name in target_names(config.tasks):
        if name not in train.target_names:
            raise ValueError(
                f"tasks.names has '{name}', {train.root} has {', '.join(train.target_names) or 'no targets'}: leave it "
                "out, or describe it in dataset.yaml (normals: {derive: true} takes them from depth)"
            )
        _expect_valid_pixels(train, name)


def _expect_valid_pixels(train: FolderDataset, name: str) -> None:
    """Somewhere in the split the target needs one: of most data, the first map that is read has them."""
    files, kind, there = train.files.get(name), kind_of(name), having(train, name)
    for index in np.random.default_rng(0).permutation(there).tolist():
        array = train[index].targets.get(name) if files is None else train.read(name, index)
        if array is not None and kind.valid(array).any():
            return
    place = "derived from others" if files is None else str(next(iter(files.values())).parent)
    raise ValueError(
        f"tasks.names has '{name}', but none of its {len(there)} maps for training ({place}) has a valid pixel: "
        f"correct '{name}' in dataset.yaml (mtl-data check {train.root} shows what is wrong), or leave it out"
    )


def having(train: FolderDataset, name: str) -> list[int]:
    """The samples that have a file of this target; all where it is derived from others."""
    files = train.files.get(name)
    return [index for index, stem in enumerate(train.stems) if files is None or stem in files]


def incomplete(train: FolderDataset, names: list[str]) -> list[str]:
    """A sentence for each target that not all samples have a file of."""
    counts = {name: len(having(train, name)) for name in names if name in train.files}
    return [
        f"{name} for {count} of {len(train)} training samples" for name, count in counts.items() if count < len(train)
    ]


def check_norm(model: Network, config: Config) -> None:
    """Batch norm needs two values: a single sample whose deepest features are one pixel has but one."""
    alone = distributed.world() == 1 or not config.train.sync_norm
    if share_of_batch(config) > 1 or not alone:
        return
    try:
        with torch.no_grad():
            deepcopy(model).train()(torch.zeros(1, 3, *config.data.size))
    except ValueError as error:
        (H, W), batch = config.data.size, config.data.batch_size
        raise ValueError(
            f"a micro-batch has one sample (data.batch_size {batch}, train.accumulate {config.train.accumulate}), "
            f"whose deepest features at data.size {H}x{W} are too small for batch norm: give it two samples, or a "
            "larger size"
        ) from error


def beyond(train: FolderDataset, depth: Depth) -> str:
    """What is beyond, and what to do; empty where nothing is, but for a few pixels."""
    there = having(train, depth.name) if depth.name in train.files else []
    maps = (train.read(depth.name, there[i]) for i in spread(len(there), MAPS))
    metres = np.concatenate([np.zeros(0), *(one[one > 0] for one in maps if one is not None)])
    share = float((metres > depth.max_depth).mean()) if metres.size else 0.0
    if share < SHARE:
        return ""
    return (
        f"{100 * share:.0f} % of the depths for training are beyond tasks.depth.max_depth, {depth.max_depth:g} m, "
        f"which is all that the network can say (the largest is {metres.max():.3g} m): raise it, or correct depth's "
        "scale in dataset.yaml"
    )
