"""mtl-train: train a multitask network."""

import os
import sys

import torch

from mtl_vision.datasets import DataError
from mtl_vision.engine import distributed
from mtl_vision.engine.parse import UsageError, parse
from mtl_vision.engine.run import Run
from mtl_vision.runtime.terminal import printable


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 with a message where something is wrong, 2 for a wrong command line, 130."""
    run = None
    try:
        run = Run(parse(arguments))
        run.train()
    except UsageError as error:
        print(f"mtl-train: {error}\nFor all options: mtl-train --help", file=sys.stderr)
        return 2
    except torch.OutOfMemoryError as error:
        print(f"\nmtl-train: {error}\nlower data.batch_size, or raise train.accumulate", file=sys.stderr)
        return 1
    except (ValueError, DataError, FloatingPointError, OSError) as error:
        if os.environ.get("MTL_DEBUG"):
            raise
        # a loading process wraps its error in a traceback, whose last line is the message; a DataError is one line
        text = str(error).rpartition(f"{DataError.__module__}.DataError: ")[2].removesuffix("\\n")
        text = text.strip().splitlines()[-1] if "Original Traceback" in text else text
        print(f"\nmtl-train: {printable(text)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        how = " before the training" if run is None else "; resume with: mtl-train --run.resume"
        print(f"\ninterrupted{how}", file=sys.stderr)
        return 130
    finally:
        distributed.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
