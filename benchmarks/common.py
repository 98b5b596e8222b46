"""What the benchmarks share: interleaved timing, peak memory, and the closing JSON line."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler would report on a GPU that is not there

import torch
from torch.profiler import ProfilerActivity, profile

Step = Callable[[], object]


def interleaved(steps: Mapping[str, Step], rounds: int, warmup: int = 2, device: str = "cpu") -> dict[str, list[float]]:
    """Seconds of each step in each round; the steps take turns, so that a drift of the machine meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(warmup + rounds):
        for name, step in steps.items():
            synchronise(device)
            start = time.perf_counter()
            step()
            synchronise(device)
            if turn >= warmup:
                times[name].append(time.perf_counter() - start)
    return times


def ratio(times: list[float], base: list[float]) -> float:
    """Median of the ratios, round by round."""
    return statistics.median(a / b for a, b in zip(times, base, strict=True))


def peak_memory(step: Step, device: str = "cpu") -> int:
    """Bytes of tensors at the highest point of a step, above what stood before it."""
    if device.startswith("cuda"):
        synchronise(device)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        synchronise(device)
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        step()
    level = peak = 0
    assert prof.profiler is not None and prof.profiler.kineto_results is not None
    events: list[Any] = [event for event in prof.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        level += event.nbytes()
        peak = max(peak, level)
    return peak


def synchronise(device: str) -> None:
    """Wait for a GPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def machine(device: str = "cpu") -> str:
    """What it ran on."""
    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{_processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if cpuinfo.exists()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()


def finish(figures: Mapping[str, float]) -> None:
    """The last line: one JSON object with flat keys."""
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))
