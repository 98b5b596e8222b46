"""mtl-export: write a trained run as one ONNX file that describes itself, and as a page for the browser."""

import argparse
import re
import sys
from pathlib import Path

from mtl_vision.importing import stopping_at_once
from mtl_vision.runtime.demo import model_path

OPTIONS = ("size", "dynamic_size", "logits", "fp16", "int8", "core", "opset")  # of `export_run`
CONVERSIONS = ("ort", "ncnn")  # of `export_run`, and of a file that was exported before


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0 exported and verified, 1 with a message otherwise."""
    p = _parser()
    args = p.parse_args(argv)
    if args.web is None and (args.single_file or args.ort_web):
        p.error("--single-file and --ort-web belong to a page: give --web DIR as well")
    given = args.run
    if args.web and not (args.ort or args.ncnn):  # these would be written beside the package's own file
        args.run = model_path(args.run)
    made = args.run if (args.web or args.ort or args.ncnn) and args.run.is_file() else None  # exported before
    if made and (wrong := [name for name in ("out", "tasks", *OPTIONS) if getattr(args, name) != p.get_default(name)]):
        p.error(f"--{wrong[0].replace('_', '-')} is of an export: give the run's directory in place of '{made}'")
    with stopping_at_once(p.prog):  # here, so that --help is quick
        from mtl_vision.datasets import DataError
        from mtl_vision.export.web.ort import ort_files
        from mtl_vision.export.web.page import check_folder, write_page
        from mtl_vision.runtime.contract import ModelError
        from mtl_vision.runtime.terminal import say
    try:
        if args.web:  # before the export, which takes longer
            check_folder(args.web)
            ort = ort_files(args.ort_web)
        out = result = made or _export(args)
        if made and (args.ort or args.ncnn):
            from mtl_vision.export.exporter import convert_file

            result = convert_file(made, args.ort, args.ncnn, report=print)
        if args.web:
            print(write_page(out.with_suffix(".fp16.onnx") if args.fp16 else out, args.web, ort, args.single_file))
    except (ValueError, OSError, DataError, ModelError) as error:
        say(f"mtl-export: {error}")
        return 1
    print(f"\nnext: mtl-infer {given if result == args.run else result} IMAGES... --out out")
    return 0


def _export(args: argparse.Namespace) -> Path:
    """Export the run. Returns the file."""
    from mtl_vision.engine.load import load_run
    from mtl_vision.export.exporter import export_run

    if (file := model_path(args.run)).is_file():
        only = "--web DIR" if file != args.run else "--web DIR, --ort and --ncnn"
        raise ValueError(
            f"{args.run} is an exported model, which takes {only} alone; the rest needs the run's directory"
        )
    out = args.out or args.run / "model.onnx"
    tasks = None if args.tasks is None else [name.strip() for name in args.tasks.split(",")]
    options = {name: getattr(args, name) for name in (*OPTIONS, *CONVERSIONS)}
    export_run(load_run(args.run), out, tasks=tasks, **options, report=print)
    return out


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="mtl-export", description="Export a trained run as one ONNX file that describes itself, and verify it."
    )
    p.add_argument(
        "run", type=Path, help="run directory, such as runs/NAME; with --web, --ort, --ncnn an exported file will do"
    )
    p.add_argument("--out", type=Path, help="file to write (RUN_DIR/model.onnx)")
    p.add_argument("--tasks", metavar="A,B", help="keep only these tasks' heads (all)")
    size = p.add_mutually_exclusive_group()
    size.add_argument("--size", type=_size, metavar="HxW", help="take images of this size (the one it was trained at)")
    size.add_argument("--dynamic-size", action="store_true", help="take any size that is a multiple of the stride")
    p.add_argument("--logits", action="store_true", help="give label maps as logits (N, C, H, W), not ids")
    p.add_argument("--fp16", action="store_true", help="also write OUT.fp16.onnx, for GPUs and browsers")
    p.add_argument("--int8", action="store_true", help="also write OUT.int8.onnx, calibrated on the training data")
    p.add_argument("--core", action="store_true", help="also write OUT.core.onnx, for the compilers of NPUs")
    p.add_argument("--ort", action="store_true", help="also write OUT.ort, for minimal builds of onnxruntime")
    p.add_argument("--ncnn", action="store_true", help="also write OUT.core.onnx and, for ncnn, OUT.ncnn.param")
    p.add_argument("--opset", type=int, default=18, help="version of the ONNX operators, 17 to 20 (18)")
    web = p.add_argument_group("the network in the browser (with --fp16 that file, half as large)")
    web.add_argument("--web", type=Path, metavar="DIR", help="also write a static page, into a new folder")
    web.add_argument("--single-file", action="store_true", help="as one file, DIR/index.html, for a double click")
    web.add_argument("--ort-web", type=Path, metavar="FOLDER", help="where onnxruntime-web lies (npm fetches it)")
    return p


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 240x320, found '{text}'")
    return int(found[1]), int(found[2])


if __name__ == "__main__":
    sys.exit(main())
