"""Several processes in a test: a hang fails it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mtl_vision.engine import distributed

SECONDS = 60  # that a process waits for another


def in_processes(
    function: Callable[..., Any], world: int, folder: Path, *args: object, one_machine: bool = True
) -> list[Any]:
    """What `function(*args)` returns in each of `world` processes; joined by gloo alone unless on `one_machine`."""
    for path in (folder / "meet", *folder.glob("result.*.pt")):
        path.unlink(missing_ok=True)
    context: Any = mp.spawn(_process, (world, str(folder), function, args, one_machine), nprocs=world, join=False)  # type: ignore[attr-defined]
    end = time.monotonic() + 5 * SECONDS
    try:
        while not context.join(timeout=1):
            assert time.monotonic() < end, "the processes wait for each other"
    finally:
        for process in context.processes:
            process.kill()
    return [torch.load(folder / f"result.{rank}.pt", weights_only=False) for rank in range(world)]


def _process(
    rank: int, world: int, folder: str, function: Callable[..., Any], args: tuple[object, ...], one_machine: bool
) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/meet", world)
    distributed.join("gloo", store, rank, world, timedelta(seconds=SECONDS), one_machine)
    torch.save(function(*args), f"{folder}/result.{rank}.pt")
    dist.barrier()  # gloo may abort a process that leaves while the other one still talks to it
    distributed.stop()
