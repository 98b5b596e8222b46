"""The run directory: named and made for a new run, found for one that is resumed."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from mtl_vision.config import Config, flat
from mtl_vision.engine import distributed
from mtl_vision.engine.parse import over, read_config
from mtl_vision.engine.tracking import BUSY, EVENTS, is_being_trained
from mtl_vision.history import HISTORY
from mtl_vision.report.reading import CONFIG, METRICS
from mtl_vision.runtime.files import FULL, atomic_write
from mtl_vision.runtime.near import did_you_mean

# settings that may be others when a run resumes
MOVED = (
    *("run.device", "run.compile", "train.on_nonfinite"),
    *(f"data.{name}" for name in ("root", "description", "cache", "workers")),
)
LONGEST = 250  # bytes of a run's name: 255 are the most on a disk, with an ending
SHOWN = 5  # runs that an error names
NAME = 40  # letters of a data set's name that a run's name has


def new_folder(config: Config, data_name: str) -> Path:
    """The directory that a new run will have, by default after data and method. Raises ValueError for no good name."""
    base, name = _base(config), config.run.name
    if name is None:
        what = config.balancer.name.lower() if len(config.tasks.names) > 1 else config.tasks.names[0].rpartition(".")[2]
        names = (f"{data_name[:NAME]}-{what}-{k}" for k in count(1))
        name = next(n for n in names if not (base / n).exists())
    if distributed.rank() == 0:
        _expect_unused(base / name)
    return base / distributed.same(name)  # the first process' choice


def make_folder(folder: Path, numbered: bool) -> Path:
    """Make the directory of a new run; a numbered one gets the next number where another process was faster."""
    if not numbered:
        folder.mkdir(parents=True, exist_ok=True)
        _expect_unused(folder)
        return folder
    while True:
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            stem, _, number = folder.name.rpartition("-")
            folder = folder.with_name(f"{stem}-{int(number) + 1}")


def remove_unbegun(folder: Path) -> None:
    """Remove the directory of a run that failed before it had its config, unless another process has taken it."""
    if not (folder / CONFIG).exists() and not is_being_trained(folder):
        (folder / HISTORY).unlink(missing_ok=True)
        shutil.rmtree(folder / EVENTS, ignore_errors=True)
        with suppress(OSError):  # something else is in it
            folder.rmdir()


@contextmanager
def full_disk_is_told(folder: Path) -> Iterator[None]:
    """An error of a full disk says how the run goes on."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        where = "" if folder.parent == Path("runs") else f" --run.dir={folder.parent}"
        again = f"mtl-train --run.resume{where} --run.name={folder.name}"
        raise OSError(
            f"no space is left for {error.filename or folder} ({error.strerror}): free some, then "
            + (again if (folder / CONFIG).exists() else "begin again")
        ) from error


def _base(config: Config) -> Path:
    """The folder of the run directories. Raises ValueError for what is none, and for a name that is no plain one."""
    base, name = Path(config.run.dir), config.run.name
    if "\0" in config.run.dir or (base.exists() and not base.is_dir()):
        raise ValueError(f"run.dir is {config.run.dir!r}: expected a folder")
    if name is not None:
        plain = name.isprintable() and not set(name) & set("/\\") and name not in ("", ".", "..")
        if not plain or len(os.fsencode(name)) > LONGEST:
            raise ValueError(
                f"run.name is {name[:LONGEST]!r}: expected a name without slashes, of at most {LONGEST} bytes; a place "
                "is given by run.dir"
            )
    return base


def _expect_unused(folder: Path) -> None:
    """A new run's directory is absent or empty, but for what a start that was killed left."""
    if (folder / CONFIG).exists():
        raise ValueError(
            f"{folder} holds a run already: choose another run.name, resume it with run.resume, or remove it"
        )
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: choose another run.name")
    there = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.exists() else []
    if any(path.name != HISTORY or path.stat().st_size for path in there):
        raise ValueError(f"{folder} holds other files: choose another run.name, or remove them")


def is_resumed(config: Config) -> bool:
    """Whether the run resumes: if it is said, or if torchrun has restarted its processes and they had begun it.

    Raises ValueError for a restarted run without a name: it could not be told from others.
    """
    if config.run.resume or not distributed.restarted():
        return config.run.resume
    if config.run.name is None:
        raise ValueError("torchrun has restarted its processes, and the run has no run.name to resume it by: give one")
    folder = _base(config) / config.run.name
    return (folder / CONFIG).exists() and not (folder / METRICS).exists()


def resumed_folder(config: Config) -> tuple[Path, Config]:
    """An interrupted run's folder and config. `config` may name the run, another device, and where the data are.

    Raises ValueError where it differs in anything else, and where there is no such run.
    """
    base = _base(config)
    if config.run.name is None:
        runs = [path.parent for path in base.glob(f"*/{CONFIG}") if not (path.parent / METRICS).exists()]
        runs = [folder for folder in runs if not is_being_trained(folder)]
        if not runs:
            raise ValueError(f"no interrupted run in {base}: give its run.name")
        folder = max(runs, key=lambda path: (path / CONFIG).stat().st_mtime)
    else:
        folder = base / config.run.name
    if not (folder / CONFIG).exists():
        found = sorted(path.parent.name for path in base.glob(f"*/{CONFIG}"))
        some = ", ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
        near = did_you_mean(config.run.name, found)
        raise ValueError(f"no run at {folder} to resume{near}: found {some or 'none'}; without run.resume it begins")
    if is_being_trained(folder):
        raise ValueError(BUSY.format(folder))
    old = read_config(folder / CONFIG)
    given, begun = over(old, config), flat(old)
    if old.data.fresh and given.data.root is not None:
        raise ValueError(
            f"{folder} was begun with new rooms every epoch, found data.root = {given.data.root} now: leave it out, or "
            "begin a new run"
        )
    if given.run.processes is None:
        given = replace(given, run=replace(given.run, processes=old.run.processes))
    for key, value in flat(given).items():
        if key not in ("run.name", "run.dir", "run.resume", *MOVED) and value != begun.get(key):
            raise ValueError(
                f"{folder} was begun with {key} = {begun.get(key)}, found {value} now: a resumed run keeps its config; "
                "leave the option out, or begin a new run"
            )
    return folder, replace(given, run=replace(given.run, resume=True, dir=config.run.dir, name=folder.name))


def write_json(path: Path, data: dict[str, Any]) -> None:
    """JSON, complete or not at all."""
    atomic_write(path, json.dumps(data, indent=1).encode())
