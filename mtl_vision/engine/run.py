"""A run from beginning to end: `runs/NAME/` with everything that it leaves."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from mtl_vision.balancers import Balancer
from mtl_vision.config import Config
from mtl_vision.datasets.description import FILE_NAME, DataError
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.engine import build, checkpoint, distributed
from mtl_vision.engine.device import pick_device, pick_precision
from mtl_vision.engine.evaluate import evaluate
from mtl_vision.engine.folder import CONFIG, METRICS, flat, new_folder, resumed_folder, write_json
from mtl_vision.engine.former import settle
from mtl_vision.engine.loop import Trainer, make_optimizer, make_schedule
from mtl_vision.engine.parse import parse, write_config
from mtl_vision.engine.plots import plot_panel, plot_weights
from mtl_vision.engine.report import brief, describe_protocol, introduction, table
from mtl_vision.engine.tracking import Tracker, read_history
from mtl_vision.loading.loader import Loader
from mtl_vision.models import Network
from mtl_vision.runtime.files import write_whole
from mtl_vision.tasks import Task


def main(arguments: list[str] | None = None) -> int:
    """train.py. Returns the exit code: 0 done, 1 with a message where something is wrong, 130 when interrupted."""
    try:
        run(parse(arguments))
    except torch.OutOfMemoryError as error:
        print(f"\ntrain.py: {error}\nlower data.batch_size, or raise train.accumulate", file=sys.stderr)
        return 1
    except (ValueError, DataError, FloatingPointError, OSError) as error:
        if os.environ.get("MTL_DEBUG"):
            raise
        # a loading process wraps its error in a traceback: what it says stands in the last line
        said = str(error).strip().splitlines()[-1] if "Original Traceback" in str(error) else str(error)
        print(f"\ntrain.py: {said.removeprefix(f'{DataError.__module__}.DataError: ')}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; go on with: python train.py --run.resume", file=sys.stderr)
        return 130
    finally:
        distributed.stop()
    return 0


def run(config: Config) -> Path:
    """Train, measure, write. Returns the run directory."""
    folder = None
    if config.run.resume:
        folder, config = resumed_folder(config)
    check_ranges(config)
    device = pick_device(config.run.device)
    distributed.start(device)
    root = build.data_root(config.data)
    if folder is None:
        folder, config = new_folder(config, root.name)
        config = replace(config, balancer=settle(config.balancer))
    torch.manual_seed(config.run.seed)
    train, test = build.open_data(config.data, root)
    tasks = build.make_tasks(config.tasks, train.classes)
    check_data(config, train)
    balancer, unused = build.make_balancer(config.balancer, tasks)
    begun = (folder / checkpoint.CHECKPOINT).exists()
    model = build.make_network(config, tasks, pretrained=not begun)  # before the data are packed: it may fail
    loaders = build.make_loaders(config, train, test, device)
    trainer = make_trainer(config, tasks, model, balancer, len(loaders[0]), device)
    epoch = resume(folder, trainer) if begun else 0
    if distributed.rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        write_config(config, folder / CONFIG)
        write_whole(folder / FILE_NAME, train.as_trained().to_yaml().encode())
        parameters = sum(p.numel() for p in trainer.model.parameters())
        print(introduction(config, parameters, device, train, test, folder, epoch))
        for key in unused:
            print(f"note       balancer.{key} is of no use to {config.balancer.name}")
    return train_and_measure(config, trainer, loaders, test, folder, epoch)


def train_and_measure(
    config: Config, trainer: Trainer, loaders: tuple[Loader, Loader], test: FolderDataset, folder: Path, done: int
) -> Path:
    """The epochs after the `done` ones, the evaluation, the run directory."""
    writes = distributed.rank() == 0
    tracker = Tracker(folder, config.run.tensorboard, trainer.steps) if writes else None
    epochs = config.train.epochs
    start = time.perf_counter()
    try:
        for epoch in range(done, epochs):
            trainer.epoch(loaders[0], epoch, epochs, tracker)
            distributed.average_buffers(trainer.model)
            if writes:
                save(folder, trainer, epoch + 1)
            every = config.train.eval_every
            if every and (epoch + 1) % every == 0 and epoch + 1 < epochs:
                metrics = evaluate(trainer.model, trainer.tasks, loaders[1], trainer.device)
                if tracker is not None:
                    tracker.step({"step": trainer.steps - 1, "metrics": metrics})
                    print(f"epoch {epoch + 1}: " + brief(metrics, trainer.tasks))
    finally:
        if tracker is not None:
            tracker.close()
    seconds = time.perf_counter() - start
    metrics = evaluate(trainer.model, trainer.tasks, loaders[1], trainer.device)
    if writes:
        finish(config, trainer, loaders[1], test, folder, metrics, seconds)
    distributed.barrier()
    return folder


def finish(
    config: Config,
    trainer: Trainer,
    loader: Loader,
    test: FolderDataset,
    folder: Path,
    metrics: dict[str, float],
    seconds: float,
) -> None:
    """Weights, metrics, pictures, the table and the next command."""
    checkpoint.save_weights(trainer.model, folder / checkpoint.WEIGHTS)
    protocol = describe_protocol(config, test)
    write_json(folder / METRICS, metrics | protocol)
    history = [record for record in read_history(folder) if "weight" in record]
    plot_weights(history, folder / "weights.png", f"{folder.name}: {config.balancer.name}")
    plot_panel(trainer.model, trainer.tasks, loader.spread(), trainer.device, folder / "panel.png")
    print(table(metrics, trainer.tasks, protocol))
    print(f"trained in {seconds / 60:.1f} min on {trainer.device}; everything is in {folder}/")
    print(f"\nnext: python -m export {folder}")


def make_trainer(
    config: Config, tasks: dict[str, Task], model: Network, balancer: Balancer, batches: int, device: torch.device
) -> Trainer:
    """Network, balancer, optimiser and schedule on the device. Raises ValueError for an unknown balancer.place."""
    place = config.balancer.place or "last_shared"
    model.shared_weight(place)  # before anything is written
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(model, config.train.lr, config.train.weight_decay, config.train.backbone_lr)
    steps = batches // config.train.accumulate * config.train.epochs
    return Trainer(
        model,
        tasks,
        balancer.to(device),
        optimizer,
        make_schedule(optimizer, steps, config.train.warmup),
        device,
        pick_precision(config.run.precision, device),
        config.train.clip,
        config.train.accumulate,
        place,
    )


def save(folder: Path, trainer: Trainer, epoch: int) -> None:
    """The checkpoint after `epoch` epochs."""
    checkpoint.save(
        folder / checkpoint.CHECKPOINT,
        model=trainer.model.state_dict(),
        balancer=trainer.balancer.state_dict(),
        optimizer=trainer.optimizer.state_dict(),
        schedule=trainer.schedule.state_dict(),
        steps=trainer.steps,
        epoch=epoch,
    )


def resume(folder: Path, trainer: Trainer) -> int:
    """Put the trainer where the run's checkpoint was; returns the epochs done."""
    parts = checkpoint.load(folder / checkpoint.CHECKPOINT)
    trainer.model.load_state_dict(parts["model"])
    trainer.balancer.load_state_dict(parts["balancer"])
    trainer.optimizer.load_state_dict(parts["optimizer"])
    trainer.schedule.load_state_dict(parts["schedule"])
    trainer.steps = parts["steps"]
    return parts["epoch"]


def check_ranges(config: Config) -> None:
    """Numbers that would fail later, and less clearly."""
    least = {
        "data.batch_size": 1,
        "data.workers": 0,
        "data.synthetic_count": 10,
        "train.epochs": 1,
        "train.accumulate": 1,
        "train.lr": 0,
        "train.backbone_lr": 0,
        "train.clip": 0,
        "model.width": 16,
        "tasks.depth.max_depth": 0.1,
    }
    values = flat(config)
    for key, low in least.items():
        if values[key] < low:
            raise ValueError(f"{key} is {values[key]}: expected at least {low}")
    if min(config.data.size) < 32:
        raise ValueError(f"data.size is {list(config.data.size)}: expected at least 32 a side (height, width)")


def check_data(config: Config, train: FolderDataset) -> None:
    """Every task needs its ground truth in the data, and the input size the pictures' aspect ratio."""
    (H, W), (height, width) = config.data.size, train[0].size
    if abs(H * width / (W * height) - 1) > 0.02:
        raise ValueError(
            f"data.size {H}x{W} would stretch the pictures of {height}x{width}: give it their aspect ratio, such as "
            f"[{H}, {round(H * width / height)}]"
        )
    for name in config.tasks.names:
        if name not in train.target_names:
            raise ValueError(
                f"tasks.names has '{name}', {train.root} has {', '.join(train.target_names) or 'no targets'}: leave it "
                "out, or describe it in dataset.yaml (normals: {derive: true} takes them from depth)"
            )
