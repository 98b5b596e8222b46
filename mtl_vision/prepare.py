"""Make, convert and check data sets: python data/prepare.py {synthetic,convert,check} --help"""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path

from mtl_vision.check import command
from mtl_vision.datasets.convert import convert_folder, convert_mat, with_choices
from mtl_vision.datasets.description import FILE_NAME, DataError, Description
from mtl_vision.datasets.files import splits_there
from mtl_vision.datasets.layouts import formats
from mtl_vision.datasets.recognise import MAT, describe
from mtl_vision.synthetic.dataset import write_rooms

DESCRIPTION = f"{FILE_NAME} of a folder that has none beside its data, or a known form: {', '.join(formats())}"


def size(text: str) -> tuple[int, int]:
    """240x320 -> (240, 320)."""
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH, such as 240x320; found {text}") from None
    if min(height, width) < 16:
        raise argparse.ArgumentTypeError(f"expected at least 16x16; found {text}")
    return height, width


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0; found {text}")
    return int(text)


def synthetic(args: argparse.Namespace) -> int:
    """Procedural rooms with exact ground truth."""
    write_rooms(args.out, args.count, args.size, args.seed, args.workers)
    print(f"{args.count} rooms in {args.out}")
    return 0


def convert(args: argparse.Namespace) -> int:
    """Any known source to the canonical folder."""
    if not args.source.exists():
        raise DataError(f"{args.source}: no such file or folder; expected {MAT}, or a folder of samples")
    mat = args.source / MAT if (args.source / MAT).is_file() else args.source
    if mat.suffix == ".mat":
        if args.description is not None or args.on_error != "stop":
            raise DataError(f"--description and --on_error are for folders: leave them out for {mat}")
        count = convert_mat(mat, args.out, args.splits, args.classes or "nyu40", args.depth, args.normals, args.size)
    elif args.source.is_dir():
        if args.splits is not None:
            raise DataError(f"--splits is for {MAT}: leave it out, {args.source} tells its splits by itself")
        chosen = with_choices(describe(args.source, args.description), args.depth, args.normals)
        print(f"{args.source}: {chosen.source}; {', '.join(chosen.targets())}{_slow(chosen)}")
        if absent := [split for split in chosen.splits if split not in splits_there(args.source, chosen)]:
            print(f"not there: {', '.join(absent)}")
        count = convert_folder(args.source, args.out, chosen, args.classes, args.size, args.on_error == "skip")
    else:
        raise DataError(f"{args.source}: expected {MAT}, or a folder with a {FILE_NAME} or in one of the known forms")
    print(f"{count} samples in {args.out}; look at them with: python data/prepare.py check {args.out}")
    return 0


def _slow(description: Description) -> str:
    derived = description.normals is not None and description.normals.derive
    return " (normals derived from depth: 0.3 seconds of a core each at 480x640)" if derived else ""


def check(args: argparse.Namespace) -> int:
    """What is in a data set, and what looks wrong with it. Exit code 0 fine, 2 faults."""
    return command.check(args.folder, args.description, args.out, args.classes, args.most, args.fix)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="prepare.py", description="Make, convert and check data sets.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    p = commands.add_parser("synthetic", help="make procedural rooms with exact ground truth")
    p.add_argument("--out", type=Path, required=True, help="folder to make")
    p.add_argument("--count", type=int, default=1000, help="rooms; a tenth each for val and test (%(default)s)")
    p.add_argument("--size", type=size, default=(120, 160), help="HEIGHTxWIDTH (120x160)")
    p.add_argument("--seed", type=int, default=0, help="the same seed gives the same set (%(default)s)")
    p.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (%(default)s)")
    p.set_defaults(run=synthetic)

    p = commands.add_parser("convert", help="any known source -> the canonical folder, normals derived if absent")
    p.add_argument("source", type=Path, help=f"{MAT}, or a folder")
    p.add_argument("--out", type=Path, required=True, help="folder to make")
    p.add_argument("--classes", choices=("nyu13", "nyu40"), help="class set to store (.mat: nyu40; folder: its own)")
    p.add_argument("--size", type=size, help="HEIGHTxWIDTH to store at (as it is)")
    p.add_argument("--depth", choices=("filled", "raw"), default="filled", help="with its holes filled, or raw")
    p.add_argument("--normals", choices=("stored", "derived", "none"), help="(stored if there are, else derived)")
    p.add_argument("--on_error", choices=("stop", "skip"), default="stop", help="at a sample that can not be read")
    p.add_argument("--splits", type=Path, help="splits.mat (the published split is built in)")
    p.add_argument("--description", help=DESCRIPTION)
    p.set_defaults(run=convert)

    p = commands.add_parser("check", help="what is in a data set, and what looks wrong with it, with pictures")
    p.add_argument("folder", type=Path, help="the data set")
    p.add_argument("--description", help=DESCRIPTION)
    p.add_argument("--classes", choices=("nyu13", "nyu40"), help="class set to look at the labels in")
    p.add_argument("--most", type=positive, help="samples looked at in each split, spread over it (all)")
    p.add_argument("--fix", action="store_true", help="write the description that mends the faults, and check again")
    p.add_argument(
        "--out", type=Path, default=Path("out/check"), help="folder for check.png and check.json (%(default)s)"
    )
    p.set_defaults(run=check)
    return top


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 with a message where something is wrong, 2 when `check` finds faults, 130."""
    args = parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be no text
    try:
        return args.run(args)
    except (DataError, OSError) as error:
        print(f"prepare.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nprepare.py: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
