"""Several processes in a test: a hang fails it.

python tests/engine/processes.py FOLDER RANK WORLD ONE_MACHINE  # what `in_processes` starts
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from mtl_vision.engine import distributed

SECONDS = 60  # that a process waits for another
InProcesses = Callable[..., list[Any]]


def in_processes(
    python: str, function: Callable[..., Any], world: int, folder: Path, *args: object, one_machine: bool = True
) -> list[Any]:
    """What `function(*args)` returns in each of `world` processes; joined by gloo alone unless on `one_machine`.

    Raises RuntimeError with the exit code and the words of the first that fails; the others are ended.
    """
    for path in (folder / "meet", *folder.glob("result.*.pt")):
        path.unlink(missing_ok=True)
    (folder / "work").write_bytes(pickle.dumps((function, args)))
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [[python, __file__, str(folder), str(rank), str(world), str(int(one_machine))] for rank in range(world)]
    logs = [folder / f"log.{rank}" for rank in range(world)]
    going: dict[int, subprocess.Popen[bytes]] = {}
    end = time.monotonic() + 5 * SECONDS
    try:
        for rank, log in enumerate(logs):
            with log.open("wb") as file:
                going[rank] = subprocess.Popen(words[rank], env=env, stdout=file, stderr=subprocess.STDOUT)
        while going:
            time.sleep(0.01)
            assert time.monotonic() < end, "the processes wait for each other"
            for rank in [rank for rank, process in going.items() if process.poll() is not None]:
                if code := going.pop(rank).returncode:
                    raise RuntimeError(f"process {rank} ended with exit code {code}: {logs[rank].read_text()}")
    finally:
        for process in going.values():
            process.kill()
            process.wait()
    return [torch.load(folder / f"result.{rank}.pt", weights_only=False) for rank in range(world)]


def main(folder: str, rank: int, world: int, one_machine: int) -> None:
    torch.set_num_threads(1)
    function, args = pickle.loads((Path(folder) / "work").read_bytes())
    store = dist.FileStore(f"{folder}/meet", world)
    distributed.join("gloo", store, rank, world, timedelta(seconds=SECONDS), bool(one_machine))
    torch.save(function(*args), f"{folder}/result.{rank}.pt")
    dist.barrier()  # gloo may abort a process that leaves while the other one still talks to it
    distributed.stop()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
