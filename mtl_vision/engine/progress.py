"""An epoch's progress: a bar on a terminal; in a log a line now and then; and one line when the epoch is done."""

import math
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Self

from tqdm import tqdm

from mtl_vision.runtime.terminal import say

PAUSE = 60.0  # seconds between two lines within an epoch, where there is no terminal


class Progress:
    """Of one epoch of `total` steps. shown: whether this process tells it.

    A context, in which `step` takes each record. `done` prints the epoch's line, to stdout.
    """

    def __init__(self, epoch: int, epochs: int, total: int, shown: bool) -> None:
        self.name, self.left, self.total, self.shown = f"epoch {epoch + 1}/{epochs}", epochs - epoch - 1, total, shown
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self.bar = tqdm(total=total, desc=self.name, leave=False, disable=not (shown and terminal))
        self.logs = shown and not terminal
        self.started = self.last = time.monotonic()
        self.steps = 0
        self.losses: defaultdict[str, list[float]] = defaultdict(list)
        self.weights: Mapping[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def step(self, record: Mapping[str, Any]) -> None:
        """record: a step's, as the history has it."""
        if not self.shown:
            return
        self.steps += 1
        self.weights = record.get("weight", self.weights)
        for name, loss in record["loss"].items():
            if math.isfinite(loss):
                self.losses[name].append(loss)
        if self.logs and (now := time.monotonic()) - self.last >= PAUSE:
            self.last = now
            say(f"{self.name}: {self.steps}/{self.total} steps, {self.steps / (now - self.started):.1f} steps/s")
        self.bar.set_postfix_str(self._told(record["loss"]), refresh=False)  # the bar's own pace
        self.bar.update()

    def done(self) -> None:
        """Print the mean losses of the epoch, and the time that it took and that is left."""
        if not self.shown:
            return
        seconds = time.monotonic() - self.started
        means = {name: sum(values) / len(values) for name, values in self.losses.items()}
        left = f", {_time(self.left * seconds)} left" if self.left else ""
        print(f"{self.name}: loss {self._told(means)}  {_time(seconds)}{left}", flush=True)

    def _told(self, losses: Mapping[str, float]) -> str:
        return "  ".join(
            f"{name} {loss:.3f} (w {self.weights.get(name, math.nan):.2f})" for name, loss in losses.items()
        )


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
