"""The run directory: named for a new run, found for one that is resumed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtl_vision.config import Config, flat
from mtl_vision.engine import distributed
from mtl_vision.engine.parse import read_config, resolve
from mtl_vision.runtime.files import atomic_write

CONFIG = "config.yaml"
METRICS = "metrics.json"
PLACES = ("root", "description", "cache", "workers")  # of data: a resumed run may find them elsewhere


def new_folder(config: Config, data_name: str) -> tuple[Path, Config]:
    """The directory that a new run will have, and the config with its name, by default after data and method."""
    base = Path(config.run.dir)
    name = config.run.name
    if name is None:
        what = config.balancer.name.lower() if len(config.tasks.names) > 1 else config.tasks.names[0].rpartition(".")[2]
        numbers = (f"{data_name}-{what}-{k}" for k in range(1, 10_000))
        name = next(n for n in numbers if not (base / n).exists())
    if distributed.rank() == 0 and (base / name / CONFIG).exists():
        raise ValueError(
            f"{base / name} holds a run already: choose another run.name, resume it with run.resume, or remove it"
        )
    name = distributed.same(name)  # the first process' choice
    return base / name, replace(config, run=replace(config.run, name=name))


def resumed_folder(config: Config) -> tuple[Path, Config]:
    """An interrupted run's folder and config. `config` may name the run, another device, and where the data are.

    Raises ValueError where it differs in anything else, and where there is no such run.
    """
    base = Path(config.run.dir)
    if config.run.name is None:
        runs = [p.parent for p in base.glob(f"*/{CONFIG}") if not (p.parent / METRICS).exists()]
        if not runs:
            raise ValueError(f"no interrupted run in {base}: give its run.name")
        folder = max(runs, key=lambda path: (path / CONFIG).stat().st_mtime)
    else:
        folder = base / config.run.name
    if not (folder / CONFIG).exists():
        found = sorted(path.name for path in base.glob("*")) or "nothing"
        raise ValueError(f"no run at {folder} to resume: found {found}")
    old = read_config(folder / CONFIG)
    defaults, begun = flat(resolve()), flat(old)
    given = {key: value for key, value in flat(config).items() if value != defaults.get(key)}
    moved = {name: given.pop(f"data.{name}") for name in PLACES if f"data.{name}" in given}
    device = given.pop("run.device", old.run.device)
    for key, value in given.items():
        if key not in ("run.name", "run.dir", "run.resume") and value != begun.get(key):
            raise ValueError(
                f"{folder} was begun with {key} = {begun.get(key)}, found {value} now: a resumed run keeps its config; "
                "leave the option out, or begin a new run"
            )
    run = replace(old.run, resume=True, dir=config.run.dir, name=folder.name, device=device)
    return folder, replace(old, run=run, data=replace(old.data, **moved))


def write_json(path: Path, data: dict[str, Any]) -> None:
    """JSON, complete or not at all."""
    atomic_write(path, json.dumps(data, indent=1).encode())
