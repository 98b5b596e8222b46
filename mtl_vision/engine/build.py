"""From the config to the parts of a run: data, tasks, network, balancer."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mtl_vision.balancers import Balancer, TaskLoss
from mtl_vision.config import Component, Config, DataConfig, TasksConfig, plain
from mtl_vision.datasets import splits
from mtl_vision.datasets.classes import ClassSet, class_set
from mtl_vision.datasets.description import DataError
from mtl_vision.datasets.doubts import doubts, warn
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.recognise import recognise
from mtl_vision.datasets.targets import TARGETS
from mtl_vision.datasets.unread import differences
from mtl_vision.engine import checks, distributed
from mtl_vision.engine.checks import having, share_of_batch, target_names
from mtl_vision.engine.components import class_of, made, make
from mtl_vision.loading.augment import Augmentation
from mtl_vision.loading.cache import PackedDataset
from mtl_vision.loading.loader import Loader, Samples
from mtl_vision.models import Network
from mtl_vision.runtime.files import remove_abandoned
from mtl_vision.runtime.kinds import Size
from mtl_vision.runtime.terminal import printable
from mtl_vision.synthetic import fresh
from mtl_vision.synthetic.dataset import write_measured_rooms, write_rooms
from mtl_vision.tasks import Task

SYNTHETIC = Path("data")
SHOWN = 5  # skipped samples that are named
KNOWN = 32  # samples that the tasks' uninformed losses are found on


@contextmanager
def _key(name: str) -> Iterator[None]:
    """Errors of a component begin with its key in the recipe."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def data_root(config: DataConfig, make: bool = True) -> Path:
    """The data set's folder; by default that of the synthetic rooms, which `make` makes on first use."""
    if config.root is not None:
        return Path(config.root)
    if config.description is not None:
        raise ValueError(f"data.description is {config.description}: it describes data at data.root; give that, too")
    H, W = config.size
    root = SYNTHETIC / f"synthetic_{'fresh' if config.fresh else config.synthetic_count}_{H}x{W}"
    if make and distributed.rank() == 0:
        _make_rooms(config, root)
    distributed.barrier()
    return root


def _make_rooms(config: DataConfig, root: Path) -> None:
    """Make the set where it is not there, and remove what starts that were killed left of one."""
    remove_abandoned(root.parent)
    if root.exists():
        return
    workers = os.cpu_count() or 1
    try:
        if config.fresh:
            write_measured_rooms(root, config.size, workers)
        else:
            write_rooms(root, config.synthetic_count, config.size, workers=workers)
    except DataError:
        if not root.exists():  # else another process has made it meanwhile
            raise


def open_data(config: Config, root: Path) -> tuple[FolderDataset, FolderDataset]:
    """What is trained on, and what is measured; skipped samples are named, and what lies there and is not read."""
    with _key("data"):
        found = recognise(root, config.data.description)
        policy: dict[str, Any] = {**_policy(config), "description": found.description}
        opened = partial(fresh.open_data, **_rendering(config)) if config.data.fresh else splits.open_data
        parts = opened(root, eval_split=config.data.eval_split, **policy)
    for line in differences(root, found) if distributed.rank() == 0 else ():
        print(f"note       {printable(line)}")
    for line in checks.incomplete(parts[0], target_names(config.tasks)) if distributed.rank() == 0 else ():
        print(f"note       {line}")
    for part in dict.fromkeys(parts):
        if part.faults and distributed.rank() == 0:
            messages = list(part.faults.values())
            count = f"{len(messages)} of {len(part) + len(messages)}"
            lines = [f"note       {count} samples of '{part.split}' cannot be read and are skipped:", *messages[:SHOWN]]
            if len(messages) > SHOWN:
                lines.append(f"and {len(messages) - SHOWN} more: mtl-data check {part.root} names all")
            print("\n           ".join(lines))
    return parts


def open_split(config: Config, root: Path, split: str) -> FolderDataset:
    """One split of the run's data; of the training split, what is held out or the rest."""
    if config.data.fresh:
        return fresh.open_split(root, split, **_rendering(config), **_policy(config))
    return splits.open_split(root, split, **_policy(config))


def _rendering(config: Config) -> dict[str, Any]:
    """What new rooms depend on, beside their number."""
    return {"size": config.data.size, "seed": config.run.seed}


def _policy(config: Config) -> dict[str, Any]:
    names = ("description", "classes", "train_split", "holdout", "on_error")
    derived = [name for name in target_names(config.tasks) if name in TARGETS and TARGETS[name].read is None]
    return {name: getattr(config.data, name) for name in names} | {"derived": derived}


def packed(config: DataConfig, source: FolderDataset) -> Samples:
    """The split through the packed cache, where there is one; what is most likely misread is said every time."""
    if isinstance(source, fresh.RenderedRooms):  # neither read nor kept
        return source
    first = distributed.rank() == 0
    if config.cache is None:
        warn(doubts(source) if first else [])
        return source
    if first and not PackedDataset(source, Path(config.cache), os.cpu_count() or 1).new:  # packing says it itself
        warn(doubts(source))
    distributed.barrier()
    return PackedDataset(source, Path(config.cache))


def make_loader(config: Config, source: FolderDataset, device: torch.device, train: bool) -> Loader:
    """The loader of a training or of an evaluation."""
    data, samples = config.data, packed(config.data, source)
    return Loader(
        samples,
        target_names(config.tasks),
        data.size,
        share_of_batch(config),
        augment=Augmentation(data.augment, data.size) if train else None,
        train=train,
        workers=loading_processes(samples, device) if data.workers is None else data.workers,
        seed=config.run.seed,
        rank=distributed.rank(),
        world=distributed.world(),
        pin=device.type == "cuda",
        fresh=train and data.fresh,
    )


def loading_processes(samples: Samples, device: torch.device) -> int:
    """As many as suit this machine: up to 8 beside a GPU, one where the CPU computes. On two cores or fewer packed
    samples take none: what a process of its own costs is more than they do.
    """
    cores = max((os.cpu_count() or 1) // distributed.world(), 1)
    if device.type != "cpu":
        return min(cores, 8)
    return 0 if cores <= 2 and isinstance(samples, PackedDataset) else 1


def make_tasks(config: TasksConfig, classes: ClassSet | None) -> dict[str, Task]:
    """The tasks by their names, in the config's order. Raises ValueError for one that the data cannot train."""
    tasks: dict[str, Task] = {}
    for cls in (class_of(name, Task) for name in config.names):
        with _key(f"tasks.{cls.name}"):
            settings = made(config.settings.get(cls.name, {}), cls)
            if cls.of_classes:
                if classes is None:
                    raise ValueError("the data have no labels: leave it out of tasks.names")
                settings |= {"classes": classes.names, "palette": classes.palette}
            tasks[cls.name] = cls(**settings)
    return tasks


def resolve_balancer(config: Component) -> Component:
    """The balancer with what it takes from previous runs filled in: the run's config then needs them no more."""
    with _key("balancer"):
        return Component(config.class_path, class_of(config.class_path, Balancer).resolve(config.init_args))


def make_balancer(
    config: Component, tasks: Mapping[str, Task], train: FolderDataset | None = None, size: Size = (120, 160)
) -> Balancer:
    """The balancer of the tasks.

    train: samples that the tasks' uninformed losses are found on, at `size`, if the method asks; without any they are
    taken for 1, which is enough to see whether the settings are right.
    """

    def uninformed(task: Task) -> float | None:
        if train is None:
            return 1.0
        loader = Loader(train, [task.name], size, 1)
        targets = loader.spread(KNOWN, having(train, task.name)).targets[task.name]
        return task.uninformed_loss(targets[..., ::2, ::2])

    losses = {name: TaskLoss(partial(uninformed, task), task.classification) for name, task in tasks.items()}
    with _key("balancer"):
        return make(config, Balancer, losses)


def check_settings(config: Config) -> None:
    """Make what needs no data, for rooms: a wrong setting is told before they are made, which takes minutes."""
    make_balancer(config.balancer, make_tasks(config.tasks, class_set("nyu13")))
    with _key("model"):
        made(plain(config.model), Network)


def freeze(model: Network, config: Config) -> None:
    """Freeze what the config says of the network's backbone. Raises ValueError where that has fewer parts."""
    if config.train.freeze:
        with _key("train"):
            model.freeze(config.train.freeze, config.data.size)


def make_network(config: Config, tasks: Mapping[str, Task], pretrained: bool = True) -> Network:
    """The network; pretrained=False reads no weights whatever the config says (they are loaded after)."""
    with _key("model"):
        settings = plain(config.model)
        if not pretrained:
            settings["pretrained"] = False
            if isinstance(backbone := settings["backbone"], dict) and "pretrained" in backbone["init_args"]:
                backbone["init_args"]["pretrained"] = False
        return Network(tasks, **made(settings, Network), size=config.data.size)
