"""mtl-train: train a multitask network."""

import os
import sys
import traceback

import torch

from mtl_vision.datasets import DataError
from mtl_vision.engine import distributed, ending
from mtl_vision.engine.parse import UsageError, parse
from mtl_vision.engine.run import Run
from mtl_vision.runtime.terminal import printable


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 with a message where something is wrong, 2 for a wrong command line, 130.

    One of several processes ends here where it fails; of their messages there is one.
    """
    run = None
    try:
        run = Run(parse(arguments))
        run.train()
    except (Exception, KeyboardInterrupt) as error:
        several = distributed.launched() > 1
        if isinstance(error, ImportError) and not several:
            raise  # what is missing is told by the command
        code, message = _ending(error, begun=run is not None)
        if message is None and not several:
            raise
        try:
            if not several or distributed.first_to_fail():
                print(message or traceback.format_exc(), file=sys.stderr)
        finally:
            if several:
                ending.leave(code)
        return code
    distributed.stop()
    return 0


def _ending(error: BaseException, begun: bool) -> tuple[int, str | None]:
    """The exit code, and what is said; None: the traceback."""
    if isinstance(error, UsageError):
        return 2, f"mtl-train: {error}\nFor all options: mtl-train --help"
    if isinstance(error, KeyboardInterrupt):
        return 130, "\ninterrupted" + ("; resume with: mtl-train --run.resume" if begun else " before the training")
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error):
        return 1, f"\nmtl-train: {str(error) or 'out of memory'}\nlower data.batch_size, or raise train.accumulate"
    if isinstance(error, (ValueError, DataError, FloatingPointError, OSError)) and not os.environ.get("MTL_DEBUG"):
        # a loading process wraps its error in a traceback, whose last line is the message; a DataError is one line
        text = str(error).rpartition(f"{DataError.__module__}.DataError: ")[2].removesuffix("\\n")
        text = text.strip().splitlines()[-1] if "Original Traceback" in text else text
        return 1, f"\nmtl-train: {printable(text)}"
    return 1, None


if __name__ == "__main__":
    sys.exit(main())
