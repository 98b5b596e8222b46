"""From the config to the parts of a run: data, tasks, network, balancer."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from mtl_vision.balancers import BALANCERS, Balancer
from mtl_vision.config import BalancerConfig, Config, DataConfig, TasksConfig
from mtl_vision.datasets import recognise
from mtl_vision.datasets.classes import ClassSet
from mtl_vision.datasets.description import Description
from mtl_vision.datasets.files import splits_there
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.holdout import held_out
from mtl_vision.datasets.readable import readable_part
from mtl_vision.engine import distributed
from mtl_vision.loading.augment import Augmentation
from mtl_vision.loading.cache import PackedDataset
from mtl_vision.loading.loader import Loader, Samples
from mtl_vision.models import Network
from mtl_vision.synthetic.dataset import write_rooms
from mtl_vision.tasks import TASKS, Task

SYNTHETIC = Path("data")
HOLDOUT = "holdout"  # the split's name
SHOWN = 5  # skipped samples that are named


def data_root(config: DataConfig, make: bool = True) -> Path:
    """The data set's folder; where none is given, that of the synthetic rooms, which `make` makes on first use."""
    if config.root is not None:
        return Path(config.root)
    if config.description is not None:
        raise ValueError(
            f"data.description is {config.description}, which tells of data at a place: give it by --data.root"
        )
    H, W = config.size
    root = SYNTHETIC / f"synthetic_{config.synthetic_count}_{H}x{W}"
    if make and distributed.rank() == 0 and not root.exists():
        write_rooms(root, config.synthetic_count, (H, W), workers=os.cpu_count() or 1)
    distributed.barrier()
    return root


def open_data(config: DataConfig, root: Path) -> tuple[FolderDataset, FolderDataset]:
    """What is trained on and what is measured: the split that the config names, else test, else val."""
    described = describe(config, root)
    train = FolderDataset(root, config.train_split, described, config.classes)
    measured = config.eval_split or next((s for s in ("test", "val") if s in splits_there(root, described)), None)
    if measured is None:
        raise ValueError(
            f"{root} has neither test nor val to measure: hold a part of the training split out (--data.holdout "
            f"{max(len(train) // 10, 1)} --data.eval_split holdout), or name a split by --data.eval_split"
        )
    whole = _readable(config, train)
    if measured in (HOLDOUT, config.train_split):
        return _part(config, whole, config.train_split), _part(config, whole, measured)
    test = _readable(config, FolderDataset(root, measured, described, config.classes))
    return _part(config, whole, config.train_split), test


def open_split(config: DataConfig, root: Path, split: str) -> FolderDataset:
    """One split as it lies on disk; of the training split, what is held out or the rest."""
    stored = config.train_split if split == HOLDOUT else split
    source = _readable(config, FolderDataset(root, stored, describe(config, root), config.classes))
    return _part(config, source, split) if stored == config.train_split else source


def _part(config: DataConfig, whole: FolderDataset, split: str) -> FolderDataset:
    """Of the whole training split, what is held out or the rest."""
    if split == HOLDOUT:
        return whole.only(held_out(whole.stems, config.holdout), HOLDOUT)
    if not config.holdout:
        return whole
    held = set(held_out(whole.stems, config.holdout))
    return whole.only([stem for stem in whole.stems if stem not in held], split)


def _readable(config: DataConfig, source: FolderDataset) -> FolderDataset:
    """The samples that can be read, where those that can not are to be skipped; they are counted and named."""
    if config.on_error not in ("stop", "skip"):
        raise ValueError(f"data.on_error is {config.on_error}: expected stop or skip")
    if config.on_error == "stop":
        return source
    part, faults = readable_part(source, os.cpu_count() or 1)
    if faults and distributed.rank() == 0:
        print(f"note       {len(faults)} of {len(source)} samples of '{source.split}' can not be read and are skipped:")
        print("\n".join(f"           {message}" for message in list(faults.values())[:SHOWN]))
        if len(faults) > SHOWN:
            print(f"           and {len(faults) - SHOWN} more: python data/prepare.py check {source.root} names all")
    return part


def describe(config: DataConfig, root: Path) -> Description:
    """The description that the config names, the one beside the data, or that of the form that the folder has."""
    return recognise.describe(root, config.description)


def packed(config: DataConfig, source: FolderDataset) -> Samples:
    """The split through the packed cache, where there is one."""
    if config.cache is None:
        return source
    if distributed.rank() == 0:
        PackedDataset(source, Path(config.cache), os.cpu_count() or 1)
    distributed.barrier()
    return PackedDataset(source, Path(config.cache))


def make_loaders(
    config: Config, train: FolderDataset, test: FolderDataset, device: torch.device
) -> tuple[Loader, Loader]:
    """The training and the evaluation loader."""
    data = config.data
    if data.batch_size % config.train.accumulate:
        raise ValueError(
            f"data.batch_size {data.batch_size} is no multiple of train.accumulate {config.train.accumulate}"
        )
    micro = data.batch_size // config.train.accumulate
    place = (distributed.rank(), distributed.world())
    if len(train) < data.batch_size * place[1]:
        raise ValueError(
            f"{len(train)} training samples do not fill one batch of {data.batch_size} in {place[1]} process(es): "
            "lower data.batch_size"
        )

    def loader(source: FolderDataset, training: bool) -> Loader:
        return Loader(
            packed(data, source),
            config.tasks.names,
            data.size,
            micro,
            augment=Augmentation(data.augment, data.size) if training else None,
            train=training,
            workers=data.workers,
            seed=config.run.seed,
            rank=place[0],
            world=place[1],
            pin=device.type == "cuda",
            held=config.train.accumulate,
        )

    return loader(train, True), loader(test, False)


def make_tasks(config: TasksConfig, classes: ClassSet | None) -> dict[str, Task]:
    """The tasks that the config names, in its order. Raises ValueError for one that the data can not train."""
    tasks: dict[str, Task] = {}
    for name in config.names:
        if name not in TASKS:
            raise ValueError(f"unknown task '{name}' in tasks.names: expected {', '.join(TASKS)}")
        arguments = dict(vars(getattr(config, name)))
        if name == "segmentation":
            if classes is None:
                raise ValueError("tasks.names has segmentation, the data has no labels: leave it out")
            arguments |= {"classes": classes.names, "palette": classes.palette}
        tasks[name] = TASKS[name](**arguments)
    return tasks


def make_balancer(config: BalancerConfig, tasks: Mapping[str, Task]) -> tuple[Balancer, list[str]]:
    """The balancer, and the given settings that it has no use for."""
    if config.name not in BALANCERS:
        near = "".join(f" ({name}?)" for name in difflib.get_close_matches(config.name, BALANCERS, 1))
        raise ValueError(f"unknown balancer '{config.name}'{near}: expected {', '.join(BALANCERS)}")
    make = BALANCERS[config.name]
    accepted = inspect.signature(make).parameters
    given = {
        key: value for key, value in vars(config).items() if key not in ("name", "runs", "place") and value is not None
    }
    unused = [key for key in given if key not in accepted]
    if config.place is not None and config.name not in ("gradnorm", "db_mtl"):
        unused.append("place")
    arguments = {key: value for key, value in given.items() if key in accepted}
    if "theoretical" in accepted:
        values = {name: task.initial_loss() for name, task in tasks.items()}
        arguments["theoretical"] = {name: value for name, value in values.items() if value is not None}
    if "classification" in accepted:
        arguments["classification"] = [name for name, task in tasks.items() if task.classification]
    return make(list(tasks), **arguments), unused


def make_network(config: Config, tasks: Mapping[str, Task], pretrained: bool = True) -> Network:
    """The network; pretrained=False leaves the weights random whatever the config says (they are loaded after)."""
    model = config.model
    return Network(tasks, model.backbone, model.pretrained if pretrained else False, config.data.size, model.width)
