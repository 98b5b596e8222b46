"""Imports of heavy and optional packages: a missing one, and Ctrl-C meanwhile, are told in a line."""

import gc
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

MODULES = {"cv2": "opencv-python-headless", "PIL": "pillow", "yaml": "pyyaml"}  # named unlike their packages
INTERRUPTED = 130


def needs(program: str, error: ImportError, extra: str) -> str:
    """What to install where a package is missing or broken: `extra`, or the smallest one that has the package."""
    module = (error.name or str(error)).partition(".")[0]
    if module == "mtl_vision":  # it is whole, the error is ours
        raise error
    package = MODULES.get(module, module.replace("_", "-"))
    if (found := _extras(package)) and extra not in found:
        extra = found[0]
    broken = "" if isinstance(error, ModuleNotFoundError) else f" ({error})"
    return f"{program} needs {package}{broken}: python -m pip install 'mtl-vision[{extra}]'"


def _extras(package: str) -> list[str]:
    """The extras of this package that another one is in, the smallest first; none where this one is not installed."""
    from importlib.metadata import PackageNotFoundError, requires

    members: dict[str, list[str]] = {}
    try:
        for line in requires("mtl-vision") or ():
            if found := re.fullmatch(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", line):
                members.setdefault(found[2], []).append(re.sub("[._-]+", "-", found[1]).lower())
    except PackageNotFoundError:
        pass
    return sorted((extra for extra, names in members.items() if package in names), key=lambda e: len(members[e]))


@contextmanager
def stopping_at_once(program: str) -> Iterator[None]:
    """Ctrl-C ends the process with a line. For imports: nothing is written yet, and as an exception it might come out
    of the middle of a package as another one.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        os.write(2, f"\n{program}: interrupted\n".encode())
        os._exit(INTERRUPTED)

    before = handle(signal.SIGINT, stop)
    try:
        yield
    finally:
        handle(signal.SIGINT, before)


@contextmanager
def without_collector() -> Iterator[None]:
    """No garbage is looked for. For imports: a quarter of torch's time went into looking through all that they make."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def handle(number: int, handler: Callable[[int, FrameType | None], Any] | int | None) -> Any:
    """Set a signal's handler. Returns the one before; None, with nothing set, where the signal is ignored."""
    if handler is None or threading.current_thread() is not threading.main_thread():
        return None
    return None if signal.getsignal(number) is signal.SIG_IGN else signal.signal(number, handler)
