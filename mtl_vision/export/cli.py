"""mtl-export: write a trained run as one ONNX file that describes itself."""

import argparse
import re
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
    p.add_argument("--tasks", metavar="A,B", help="keep only these tasks' heads (all)")
    size = p.add_mutually_exclusive_group()
    size.add_argument("--size", type=_size, metavar="HxW", help="take images of this size (the one it was trained at)")
    size.add_argument("--dynamic-size", action="store_true", help="take any size that is a multiple of the stride")
    p.add_argument("--logits", action="store_true", help="give label maps as logits (N, C, H, W), not ids")
    p.add_argument("--fp16", action="store_true", help="also write OUT.fp16.onnx, for GPUs and browsers")
    p.add_argument("--int8", action="store_true", help="also write OUT.int8.onnx, calibrated on the training data")
    p.add_argument("--core", action="store_true", help="also write OUT.core.onnx, for the compilers of NPUs")
    p.add_argument("--opset", type=int, default=18, help="version of the ONNX operators, 17 to 20 (18)")
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
        tasks = None if args.tasks is None else [name.strip() for name in args.tasks.split(",")]
        options = {
            name: getattr(args, name) for name in ("size", "dynamic_size", "logits", "fp16", "int8", "core", "opset")
        }
        export_run(run, out, tasks=tasks, **options, report=print)
    except (ValueError, OSError, DataError, ModelError, VerifyError) as error:
        say(f"mtl-export: {error}")
        return 1
    print(f"\nnext: mtl-infer {out} IMAGES... --out out")
    return 0


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 240x320, found '{text}'")
    return int(found[1]), int(found[2])


if __name__ == "__main__":
    sys.exit(main())
