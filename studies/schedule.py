"""Trainings one after another or side by side: what is finished stays, what was interrupted goes on."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl_vision.engine.checkpoint import CHECKPOINT
from mtl_vision.engine.folder import CONFIG, METRICS

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
POLL = 0.2  # seconds


@dataclass(frozen=True)
class Run:
    """One training. name: its folder. arguments: options of train.py. needs: runs that must be finished before it."""

    name: str
    arguments: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


def finished(folder: Path) -> bool:
    """A finished run has its metrics."""
    return (folder / METRICS).exists()


def run_all(
    runs: Sequence[Run], config: Path, out: Path, extra: Sequence[str] = (), jobs: int = 1, train: Path = TRAIN
) -> None:
    """Train every run that is not finished, `jobs` at a time, in OUT/NAME, with what each prints in OUT/NAME.log.

    extra: options of train.py for all runs; paths in them mean what they mean to train.py, from where one stands.
    Raises RuntimeError when a run failed, once those that were going have ended; ValueError for a need that no run
    meets.
    """
    config, out = config.resolve(), out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(run.name for run in runs))
    queue = {run.name: run for run in runs if not finished(out / run.name)}
    check_needs(queue, out)
    print(f"{len(names)} runs in {out}, {len(names) - len(queue)} of them finished; {jobs} at a time", flush=True)
    going: dict[str, subprocess.Popen[bytes]] = {}
    began: dict[str, float] = {}
    failed: list[str] = []
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no training is left behind
    try:
        while going or (queue and not failed):
            places = jobs if any((out / name / CONFIG).exists() for name in names) else 1  # one packs the data for all
            for run in [] if failed else ready(queue, going, out)[: max(places - len(going), 0)]:
                going[run.name] = start(command(run, config, out, extra, train), out / f"{run.name}.log", jobs)
                began[run.name] = time.monotonic()
            time.sleep(POLL)
            for name in [name for name, process in going.items() if process.poll() is not None]:
                good = going.pop(name).returncode == 0 and finished(out / name)
                failed += [] if good else [name]
                del queue[name]
                minutes = (time.monotonic() - began[name]) / 60
                said = f"{name} {'done in' if good else 'failed after'} {minutes:.1f} min"
                print(f"[{len(names) - len(queue)}/{len(names)}] {said}", flush=True)
    finally:
        stop(list(going.values()))
        signal.signal(signal.SIGTERM, before)
    if failed:
        raise RuntimeError("\n".join(told(name, out / f"{name}.log") for name in failed))


def check_needs(queue: Mapping[str, Run], out: Path) -> None:
    """Every need must be among the runs or finished. Raises ValueError."""
    for run in queue.values():
        for name in run.needs:
            if name not in queue and not finished(out / name):
                raise ValueError(f"{run.name} needs {name}: it is neither finished in {out} nor among the runs")


def ready(queue: Mapping[str, Run], going: Collection[str], out: Path) -> list[Run]:
    """The runs that could start now."""

    def is_done(name: str) -> bool:
        return name not in going and finished(out / name)  # its process may still be ending

    return [run for run in queue.values() if run.name not in going and all(map(is_done, run.needs))]


def command(run: Run, config: Path, out: Path, extra: Sequence[str], train: Path = TRAIN) -> list[str]:
    """How the run is begun, or gone on with where it has a checkpoint; what it left before its first is removed."""
    folder = out / run.name
    where = [f"--run.dir={out}", f"--run.name={run.name}"]
    if (folder / CHECKPOINT).exists():
        return [sys.executable, str(train), *where, "--run.resume=true"]
    if (folder / CONFIG).exists():
        shutil.rmtree(folder)
    options = [f"--config={config}", *extra, *run.arguments, *where, "--run.tensorboard=false"]
    return [sys.executable, str(train), *options]


def start(arguments: Sequence[str], log: Path, jobs: int) -> subprocess.Popen[bytes]:
    """The training as a process of its own, with its share of the cores unless OMP_NUM_THREADS says otherwise."""
    share = max(1, (os.cpu_count() or 1) // jobs)
    env = {"OMP_NUM_THREADS": str(share), "TQDM_MININTERVAL": "60", **os.environ}  # bars would fill the logs
    with log.open("ab") as file:
        return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=env)


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End them and wait until they have."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()


def told(name: str, log: Path, lines: int = 8) -> str:
    """What a failed run said last."""
    text = log.read_text(encoding="utf-8", errors="replace")
    last = [line for line in re.split(r"[\r\n]+", text) if line.strip()][-lines:]
    return "\n".join([f"{name} failed; the end of {log}:", *(f"    {line}" for line in last)])
