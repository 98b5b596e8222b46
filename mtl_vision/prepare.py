"""mtl-data: make, convert and check data sets. The functions do the same from Python."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from mtl_vision.check.report import Report
from mtl_vision.check.run import check
from mtl_vision.datasets.convert import convert_folder, convert_mat, with_choices
from mtl_vision.datasets.description import FILE_NAME, DataError, Description
from mtl_vision.datasets.files import splits_there
from mtl_vision.datasets.layouts import layouts
from mtl_vision.datasets.recognise import MAT, recognise
from mtl_vision.datasets.unread import differences
from mtl_vision.runtime.images import quiet_decoders
from mtl_vision.runtime.kinds import Size
from mtl_vision.runtime.terminal import say
from mtl_vision.synthetic.dataset import write_rooms

PathLike = Path | str
CLASSES = ("nyu13", "nyu40")
DESCRIPTION = (
    f"a {FILE_NAME} elsewhere, or a known layout: {', '.join(layouts())} (default: {FILE_NAME} in the folder, or the "
    "layout that the folder has)"
)


def synthetic(out: PathLike, count: int = 1000, size: Size = (120, 160), seed: int = 0, workers: int = 0) -> None:
    """Make `count` rooms of `size` (H, W) with exact ground truth in `out`; the same seed gives the same set.

    A tenth each is for val and test. workers: processes; 0: one per core. Raises DataError where `out` is not empty.
    """
    write_rooms(Path(out), count, size, seed, workers or os.cpu_count() or 1)
    print(f"{count} rooms in {out}")


def convert(
    source: PathLike,
    out: PathLike,
    *,
    classes: Literal["nyu13", "nyu40"] | None = None,
    size: Size | None = None,
    depth: Literal["filled", "raw"] = "filled",
    normals: Literal["stored", "derived", "none"] | None = None,
    on_error: Literal["stop", "skip"] = "stop",
    splits: PathLike | None = None,
    description: PathLike | None = None,
) -> int:
    """Convert any known source to the canonical folder at `out`; returns the number of samples.

    The options are those of `mtl-data convert --help`; size: (H, W). Raises DataError where something does not fit.
    """
    source, out = Path(source), Path(out)
    mat = source / MAT if (source / MAT).is_file() else source
    if mat.suffix == ".mat" and mat.is_file():
        if description is not None or on_error != "stop":
            raise DataError(f"description and on_error are for folders: leave them out for {mat}")
        splits = None if splits is None else Path(splits)
        count = convert_mat(
            mat, out, splits=splits, classes=classes or "nyu40", depth=depth, normals=normals, size=size
        )
    elif source.is_dir():
        if splits is not None:
            raise DataError(f"splits is for {MAT}: leave it out, the splits of {source} are known")
        found = recognise(source, description)
        chosen = with_choices(found.description, depth, normals)
        print("\n".join([_planned(source, chosen), *differences(source, found)]))
        count = convert_folder(source, out, chosen, classes=classes, size=size, on_error=on_error)
    else:
        found = "a file" if source.exists() else "nothing there"
        raise DataError(f"{source}: expected {MAT}, or a folder in a known layout or with a {FILE_NAME}; found {found}")
    print(f"{count} samples in {out}; check them with: mtl-data check {out}")
    return count


def _planned(source: Path, description: Description) -> str:
    """What is going to be converted."""
    derived = description.normals is not None and description.normals.derive
    slow = " (normals derived from depth: 0.3 seconds of a core for each at 480x640)" if derived else ""
    absent = [split for split in description.splits if split not in splits_there(source, description)]
    missing = f"\nsplits that do not exist: {', '.join(absent)}" if absent else ""
    return f"{source}: {description.source}; {', '.join(description.targets())}{slow}{missing}"


def _size(text: str) -> Size:
    """240x320 -> (240, 320)."""
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH, such as 240x320; found {text}") from None
    if min(height, width) < 16:
        raise argparse.ArgumentTypeError(f"expected at least 16x16; found {text}")
    return height, width


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0; found {text}")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The command line. An option that is not given is not passed on: the functions have the defaults."""
    top = argparse.ArgumentParser(prog="mtl-data", description="Make, convert and check data sets.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Callable[..., object], text: str) -> Callable[..., object]:
        one = commands.add_parser(run.__name__, help=text, description=text, argument_default=argparse.SUPPRESS)
        one.set_defaults(run=run)
        return one.add_argument

    add = command(synthetic, "Make procedural rooms with exact ground truth.")
    add("--out", required=True, metavar="DIR", help="folder to make")
    add("--count", type=int, metavar="N", help="rooms, a tenth each for val and test (default: 1000)")
    add("--size", type=_size, metavar="HxW", help="height x width, pixels (default: 120x160)")
    add("--seed", type=int, metavar="N", help="0 or above; the same seed gives the same set (default: 0)")
    add("--workers", type=_positive, metavar="N", help="processes (default: one per core)")

    add = command(convert, "Convert any known source to the canonical folder.")
    add("source", metavar="SOURCE", help=f"{MAT}, or a folder")
    add("--out", required=True, metavar="DIR", help="folder to make")
    add("--classes", choices=CLASSES, help="class set to store (default: .mat file: nyu40, folder: its own)")
    add("--size", type=_size, metavar="HxW", help="height x width to store at, pixels (default: as in the source)")
    add("--depth", choices=("filled", "raw"), help="with holes filled, or as measured (default: filled)")
    add("--normals", choices=("stored", "derived", "none"), help="their source (default: stored, else derived)")
    add("--on_error", choices=("stop", "skip"), help="at a sample that cannot be read (default: stop)")
    add("--splits", metavar="FILE", help="splits.mat, for the .mat file (default: the published split)")
    add("--description", metavar="FILE", help=DESCRIPTION)

    add = command(check, "Find what is wrong with a data set. Exit code 2 if there are faults.")
    add("folder", metavar="DIR", help="the data set")
    add("--description", metavar="FILE", help=DESCRIPTION)
    add("--classes", choices=CLASSES, help="class set to show the labels in (default: as stored)")
    add("--most", type=_positive, metavar="N", help="samples to read of each split, spread over it (default: all)")
    add("--fix", action="store_true", help="write the description that fixes the faults, and check again")
    add("--out", metavar="DIR", help="folder for check.png and check.json (default: out/check)")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 with a message where something is wrong, 2 where `check` finds faults, 130."""
    arguments = vars(parser().parse_args(argv))
    try:
        with quiet_decoders():  # what is wrong with a file is said by us
            result = arguments.pop("run")(**arguments)
    except (DataError, OSError) as error:
        say(f"mtl-data: {error}")
        return 1
    except KeyboardInterrupt:
        print("\nmtl-data: interrupted", file=sys.stderr)
        return 130
    return 2 if isinstance(result, Report) and result.faults else 0


if __name__ == "__main__":
    sys.exit(main())
