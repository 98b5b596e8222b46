"""The console commands: what they are before their modules are imported, and how they end when they are stopped."""

import ctypes
import io
import os
import platform
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType

from mtl_vision.importing import INTERRUPTED, handle, needs, stopping_at_once, without_collector

HELP = Path(__file__).parent / "engine" / "help.txt"  # the parser's own takes seconds; a test holds the two equal
TERMINATED = 143

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
UNMAPPED = 2**30  # bytes from which on a tensor's memory is mapped, and given back when it is freed


def train(arguments: Sequence[str] | None = None) -> int:
    """mtl-train."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words in (["--help"], ["-h"]):
        print(HELP.read_text(encoding="utf-8"), end="")
        return 0
    return _run("mtl-train", "mtl_vision.engine.cli", "train", words)


def export(arguments: Sequence[str] | None = None) -> int:
    """mtl-export."""
    return _run("mtl-export", "mtl_vision.export.cli", "export", arguments)


def data(arguments: Sequence[str] | None = None) -> int:
    """mtl-data."""
    return _run("mtl-data", "mtl_vision.prepare", "train", arguments)


def report(arguments: Sequence[str] | None = None) -> int:
    """mtl-report."""
    return _run("mtl-report", "mtl_vision.report.cli", "train", arguments)


def keep_freed_memory() -> None:
    """Keep the memory of freed tensors for the next ones, where glibc allocates it; the user's settings stay.

    glibc gives the memory of large tensors back as they are freed, and every training step asks for it anew, page by
    page: a tenth of a ResNet-18 step's processor time. It is kept here, which takes no more at the highest point.
    """
    own = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")) for name in os.environ)
    if not own and platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        # older ones refuse more than 32 MiB; the second setting without the first would make it worse
        if mallopt(M_MMAP_THRESHOLD, UNMAPPED) or mallopt(M_MMAP_THRESHOLD, 2**25):
            mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _run(program: str, module: str, extra: str, arguments: Sequence[str] | None) -> int:
    """Import a command and run it. Returns its exit code; SIGTERM is taken as Ctrl-C, with a code of its own."""
    process, stopped = os.getpid(), False

    def terminate(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if os.getpid() != process:  # a worker that was forked
            os._exit(TERMINATED)
        stopped = True
        raise KeyboardInterrupt

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may not be valid text
    before = None
    keep_freed_memory()
    try:
        with stopping_at_once(program), without_collector():
            main = import_module(module).main
        if os.environ.get("WORLD_SIZE", "1") == "1":  # one of several may wait for the others, where no handler is run
            before = handle(signal.SIGTERM, terminate)
        code = main(arguments)
    except ImportError as error:
        print(needs(program, error, extra), file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted", file=sys.stderr)
        code = INTERRUPTED
    finally:
        handle(signal.SIGTERM, before)
    return TERMINATED if stopped else code
