"""mtl-export: write a trained run as one ONNX file that describes itself."""

import argparse
import sys
from pathlib import Path

from mtl_vision.importing import stopping_at_once


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0 exported and verified, 1 with a message otherwise."""
    p = argparse.ArgumentParser(
        prog="mtl-export", description="Export a trained run as one ONNX file that describes itself, and verify it."
    )
    p.add_argument("run", type=Path, help="run directory, such as runs/NAME")
    p.add_argument("--out", type=Path, help="file to write (RUN_DIR/model.onnx)")
    p.add_argument("--dynamic-size", action="store_true", help="take any size that is a multiple of the stride")
    p.add_argument("--logits", action="store_true", help="give label maps as logits (N, C, H, W), not ids")
    p.add_argument("--int8", action="store_true", help="write an 8-bit copy beside it, calibrated on the training data")
    args = p.parse_args(argv)
    out = args.out or args.run / "model.onnx"
    with stopping_at_once(p.prog):  # here, so that --help is quick
        from mtl_vision.datasets import DataError
        from mtl_vision.engine.load import load_run
        from mtl_vision.export.exporter import export_run
        from mtl_vision.export.verify import VerifyError
        from mtl_vision.runtime.contract import ModelError
        from mtl_vision.runtime.terminal import say
    try:
        run = load_run(args.run)
        export_run(run, out, dynamic_size=args.dynamic_size, logits=args.logits, int8=args.int8, report=print)
    except (ValueError, OSError, DataError, ModelError, VerifyError) as error:
        say(f"mtl-export: {error}")
        return 1
    print(f"\nnext: mtl-infer {out} IMAGES... --out out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
