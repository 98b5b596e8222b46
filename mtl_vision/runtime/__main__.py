"""mtl-infer, infer.py and `python -m mtl_vision.runtime`.

It imports next to nothing, so that a signal is obeyed from the start, without a traceback of what was being imported.
"""

import os
import signal
import sys

from mtl_vision.importing import handle


def main() -> int:
    """Returns the exit code, as `cli.main` does; a signal that it does not handle itself ends the process at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        handle(number, lambda number, frame: os._exit(128 + number))
    from mtl_vision.runtime.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
