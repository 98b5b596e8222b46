"""How fast an exported model runs here."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np

from mtl_vision.runtime.session import Session


def milliseconds(path: Path, runs: int = 20, threads: int | None = None) -> float:
    """Median time of one picture through the session, after a warm-up."""
    session = Session(path, threads)
    image = np.zeros((1, session.manifest.height, session.manifest.width, 3), np.uint8)
    session.run(image)
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        session.run(image)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)
