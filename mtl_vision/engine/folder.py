"""The run directory: made for a new run, found for one that goes on."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from mtl_vision.config import Config
from mtl_vision.engine import distributed
from mtl_vision.engine.parse import read_config
from mtl_vision.runtime.files import write_whole

CONFIG = "config.yaml"
METRICS = "metrics.json"
PLACES = ("root", "description", "cache", "workers")  # of data: a resumed run may find them elsewhere


def new_folder(config: Config, data_name: str) -> tuple[Path, Config]:
    """The directory that a new run will have, and the config with its name, by default after data and method."""
    base = Path(config.run.dir)
    name = config.run.name
    if name is None:
        what = config.balancer.name if len(config.tasks.names) > 1 else config.tasks.names[0]
        numbers = (f"{data_name}-{what}-{k}" for k in range(1, 10_000))
        name = next(n for n in numbers if not (base / n).exists())
    if distributed.rank() == 0 and (base / name / CONFIG).exists():
        raise ValueError(
            f"{base / name} holds a run already: choose another --run.name, go on with --run.resume, or remove it"
        )
    name = distributed.same(name)  # the first process' choice
    return base / name, replace(config, run=replace(config.run, name=name))


def resumed_folder(config: Config) -> tuple[Path, Config]:
    """An interrupted run's folder, and its config, which stands: a command line that asks for another is an error.

    Only where the run is (dir, name) and the device may be new.
    """
    base = Path(config.run.dir)
    if config.run.name is None:
        runs = [p.parent for p in base.glob(f"*/{CONFIG}") if not (p.parent / METRICS).exists()]
        if not runs:
            raise ValueError(f"no interrupted run in {base}: name the run with --run.name")
        folder = max(runs, key=lambda path: (path / CONFIG).stat().st_mtime)
    else:
        folder = base / config.run.name
    if not (folder / CONFIG).exists():
        found = sorted(path.name for path in base.glob("*")) or "nothing"
        raise ValueError(f"no run at {folder} to go on with: found {found}")
    old = read_config(folder / CONFIG)
    defaults, asked = flat(Config()), flat(config)
    free = ("run.name", "run.dir", "run.resume", "run.device", *(f"data.{name}" for name in PLACES))
    for key, value in flat(old).items():
        if key not in free and asked[key] not in (value, defaults[key]):
            raise ValueError(
                f"{folder} was begun with {key} = {value}, now {asked[key]} is asked for: a resumed run keeps its "
                "configuration; leave the option out, or begin a new run"
            )
    device = old.run.device if config.run.device == "auto" else config.run.device
    run = replace(old.run, resume=True, dir=config.run.dir, name=folder.name, device=device)
    moved = {name: asked[f"data.{name}"] for name in PLACES if asked[f"data.{name}"] != defaults[f"data.{name}"]}
    return folder, replace(old, run=run, data=replace(old.data, **moved))


def flat(config: Config) -> dict[str, Any]:
    """Dotted keys and values."""

    def walk(prefix: str, value: Any) -> dict[str, Any]:
        if not is_dataclass(value):
            return {prefix: value}
        return {
            k: v
            for field in fields(value)
            for k, v in walk(f"{prefix}.{field.name}" if prefix else field.name, getattr(value, field.name)).items()
        }

    return walk("", config)


def write_json(path: Path, data: dict[str, Any]) -> None:
    """JSON, whole or not at all."""
    write_whole(path, json.dumps(data, indent=1).encode())
