"""Not hostile input but hostile code: each of its ways to fail must be found by its number."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import cv2
import numpy as np

from .outcome import outcome


def limit(number: int) -> float:
    """Seconds an input: what hangs is to be found soon, what takes memory may take long on a busy machine."""
    return 2 if list(WAYS)[number] == "Timeout" else 60


def _raise(error: Exception) -> None:
    raise error


def _caught() -> None:
    with suppress(OSError):
        os.system("true")


WAYS: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "Segmentation fault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "Timeout": lambda: time.sleep(100),
    "TypeError: x": lambda: _raise(TypeError("x")),
    "with {'\\n'}": lambda: _raise(ValueError("x\ny")),
    "open ['../escaped']": lambda: Path("../escaped").write_text("x"),
    "removed: ['../escaped.png']": lambda: cv2.imwrite("../escaped.png", np.zeros((9, 9), np.uint8)),
    "MiB of memory": lambda: np.ones(1100 << 20, np.uint8),
    "os.system": _caught,
    "nothing again": lambda: outcome(lambda: _raise(ValueError("one line")), ValueError),
}


def make_base(folder: Path) -> None:
    """Nothing."""


def generate(random: Random, base: None, folder: Path) -> Callable[[], object]:
    """The way of that number."""
    return list(WAYS.values())[int(folder.name)]


def feed(case: Callable[[], object], folder: Path) -> None:
    """Fail."""
    outcome(case, ValueError)
