"""Run directories whose files are damaged, swapped, gone or lie: loaded, resumed, read by methods, gone on with."""

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import yaml

from mtl_vision import api
from mtl_vision.balancers.previous_runs import converged_norms, mean_weights, read_history
from mtl_vision.datasets import DataError
from mtl_vision.engine import build, cli
from mtl_vision.engine.parse import UsageError, resolve
from mtl_vision.engine.run import Run
from mtl_vision.engine.tracking import Tracker
from mtl_vision.report.page import write_report
from mtl_vision.runtime.contract import ModelError
from mtl_vision.synthetic.dataset import write_rooms

from .damage import damaged, damaged_tree
from .datasets import Evil
from .outcome import outcome

TINY = (
    "--data.size=[32,48]", "--data.batch_size=4", "--data.workers=0", "--data.cache=null", "--train.epochs=1",
    "--model.backbone=test_efficientnet", "--model.decoder.width=16", "--run.device=cpu", "--run.tensorboard=false",
)  # fmt: skip
SIZE = (20, 30)
ERRORS = (ValueError, UsageError, DataError, OSError)


@dataclass(frozen=True)
class Case:
    """A run directory, and how it is to be read; whole: nothing is wrong with it."""

    folder: Path
    read: Callable[[Path, bool], None]
    whole: bool


def make_base(folder: Path) -> Path:
    """A run of two steps."""
    torch.set_num_threads(1)
    build.write_rooms = _no_rooms  # what a config without data.root would make, for minutes
    write_rooms(folder / "rooms", 10, (32, 48), workers=1)
    with redirect_stdout(io.StringIO()):
        code = cli.main([*TINY, f"--data.root={folder / 'rooms'}", f"--run.dir={folder}", "--run.name=run"])
    assert code == 0
    for picture in (folder / "run").glob("*.png"):
        picture.unlink()
    return folder / "run"


def _no_rooms(*arguments: Any, **settings: Any) -> None:
    raise DataError("no rooms are made here")


def generate(random: Random, base: Path, folder: Path) -> Case:
    """A run with one or two of its files damaged; it lies in `out`, since a resumed run goes on there."""
    read, names = random.choice(
        (
            (read_the_history, ["history.jsonl"]),
            (go_on_recording, ["history.jsonl"]),
            (report, ["config.yaml", "history.jsonl", "evaluation.json", "evaluation.json", "metrics.json"]),
            (load, ["config.yaml", "dataset.yaml", "model.safetensors", "metrics.json"]),
            (resume, ["config.yaml", "checkpoint.pt", "checkpoint.pt"]),
        )
    )
    run = folder / "out" / "run"
    shutil.copytree(base, run)
    if read is resume:
        (run / "metrics.json").unlink()
    whole = random.random() < 0.05
    for _ in range(0 if whole else random.choice((1, 1, 2))):
        _break(random, run, random.choice(names), base)
    return Case(run.absolute(), read, whole)


def _break(random: Random, run: Path, name: str, base: Path) -> None:
    path, way = run / name, random.random()
    data = (base / name).read_bytes()
    if way < 0.5:
        data = TREES[path.suffix](random, data, str(run.absolute()))
    elif way < 0.8:
        data = damaged(random, data, [file.read_bytes() for file in sorted(base.iterdir())])
    elif way < 0.85:
        data = random.choice(sorted(base.iterdir())).read_bytes()
    elif way < 0.88:
        data = pickle.dumps(Evil())
    path.unlink(missing_ok=True) if not path.is_dir() else None
    if way < 0.9 and not path.is_dir():
        path.write_bytes(data)
    elif way > 0.96:
        path.symlink_to(random.choice((Path("nowhere"), run, Path("/dev/null"))))
    elif way > 0.93:
        path.mkdir(exist_ok=True)


def _yaml(random: Random, data: bytes, cwd: str) -> bytes:
    tree = damaged_tree(random, yaml.safe_load(data), cwd)
    try:
        return yaml.safe_dump(tree).encode()
    except (yaml.YAMLError, RecursionError):
        return repr(tree).encode(errors="replace")


def _json(random: Random, data: bytes, cwd: str) -> bytes:
    return json.dumps(damaged_tree(random, json.loads(data), cwd)).encode()


def _lines(random: Random, data: bytes, cwd: str) -> bytes:
    """One line is another, or is not one."""
    lines = data.splitlines()
    i = random.randrange(len(lines))
    lines[i] = random.choice((_json(random, lines[i], cwd), damaged(random, lines[i], lines)))
    lines += random.choice(([], [], lines, lines[-1:] * 20))
    return b"\n".join(lines) + random.choice((b"\n", b"\n", b"", b"{"))


def _tensors(random: Random, data: bytes, cwd: str) -> bytes:
    """Another header of a safetensors file: names, types, shapes and offsets."""
    length = int.from_bytes(data[:8], "little")
    header = _json(random, data[8 : 8 + length], cwd)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _checkpoint(random: Random, data: bytes, cwd: str) -> bytes:
    """Another state: parts of it are gone, are of another type, or are tensors of another shape."""
    state = torch.load(io.BytesIO(data), weights_only=True)
    tree = damaged_tree(random, dict(state), cwd)
    if random.random() < 0.1 and isinstance(tree, dict):
        tree["steps"] = Evil()
    elif random.random() < 0.2 and isinstance(tree, dict):
        tree["rng"] = random.choice((torch.zeros(3), torch.zeros(5056, dtype=torch.uint8), torch.zeros(0)))
    stream = io.BytesIO()
    torch.save(tree, stream)
    return stream.getvalue()


TREES = {".yaml": _yaml, ".json": _json, ".jsonl": _lines, ".safetensors": _tensors, ".pt": _checkpoint}


def feed(case: Case, folder: Path) -> None:
    """What the file that is damaged does not concern, or an error that says what is wrong."""
    with chdir(folder / "out"):  # where defaults lie
        case.read(case.folder, case.whole)


def read_the_history(folder: Path, whole: bool) -> None:
    """For the methods that take means over it."""
    records = outcome(lambda: read_history(folder), ValueError, OSError)
    assert records is None or all(isinstance(record, dict) for record in records), f"{records!r:.300}"
    weights = outcome(lambda: mean_weights(folder), ValueError, OSError)
    assert weights is None or all(np.isfinite(value) for value in weights.values()), f"{weights}"
    norms = outcome(lambda: converged_norms([folder]), ValueError, OSError)
    assert norms is None or all(np.isfinite(value) for value in norms.values()), f"{norms}"
    assert not whole or (len(records or ()) == 2 and weights), "a whole history was not read"


def go_on_recording(folder: Path, whole: bool) -> None:
    """From the second step on: the first one's record stays."""

    def go_on() -> bool:
        tracker = Tracker(folder, False, from_step=1)
        tracker.step({"step": 1, "loss": {"depth": 0.5}})
        tracker.file.close()
        return True

    if outcome(go_on, ValueError, OSError):
        last = (folder / "history.jsonl").read_bytes().splitlines()[-1]
        assert json.loads(last) == {"step": 1, "loss": {"depth": 0.5}}, f"{last!r:.300}"


def report(folder: Path, whole: bool) -> None:
    """Its page is made, or a line says what is damaged."""

    def make() -> bool:
        write_report([folder], folder / "report.html")
        return True

    made = outcome(make, ValueError, OSError)
    assert made or not whole, "a whole run was not reported"
    assert not made or (folder / "report.html").stat().st_size < 5_000_000


def load(folder: Path, whole: bool) -> None:
    """A network that gives maps of the right shapes."""
    run = outcome(lambda: api.load(folder, device="cpu"), *ERRORS)
    assert run or not whole, "a whole run was not loaded"
    if run is not None:
        maps = outcome(lambda: run.predict(np.zeros((*SIZE, 3), np.uint8)), ModelError, *ERRORS)
        assert maps is None or all(array.shape[:2] == SIZE for array in maps.values())


def resume(folder: Path, whole: bool) -> None:
    """All that is done before the first step."""
    options: dict[str, Any] = {"run.dir": str(folder.parent), "run.name": folder.name, "run.resume": True}
    run = outcome(lambda: Run(resolve(None, options)), *ERRORS)
    assert run or not whole, "a whole run was not resumed"
    assert run is None or os.path.realpath(run.folder) == os.path.realpath(folder)
