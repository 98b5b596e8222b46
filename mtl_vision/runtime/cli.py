"""The command line: run an exported model over files and folders of images."""

import argparse
import math
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from mtl_vision.importing import handle
from mtl_vision.runtime.contract import ModelError
from mtl_vision.runtime.headers import MAX_PIXELS
from mtl_vision.runtime.images import quiet_decoders
from mtl_vision.runtime.inputs import collect
from mtl_vision.runtime.inspect import page
from mtl_vision.runtime.model import Model
from mtl_vision.runtime.pipeline import OVERVIEW, Summary, endings, run
from mtl_vision.runtime.render import common_limits
from mtl_vision.runtime.results import RESULTS
from mtl_vision.runtime.terminal import printable, say

DONE, NOT_STARTED, SOME_FAILED, STOPPED, SIGNALLED = 0, 1, 2, 3, 128  # + the signal's number
SHOWN = 5  # failures named at the end
DEPTH_MAPS = "one channel of 16 bits or more, as depth maps have; name a file itself to run it"

DESCRIPTION = """\
Run an exported model over images, and write the results at each image's own size:
  NAME.<scalar map>.png       16-bit, thousandths of the unit (depth: millimetres), 0 = invalid
  NAME.<vector map>.png       8-bit RGB of (n + 1) / 2
  NAME.<label map>.png        palette PNG: pixel values are class ids
  NAME.<probability map>.png  8-bit grey, 255 = probability 1
  NAME.overview.jpg           all side by side, to look at
  NAME.points.ply             with `--save points`: a coloured point cloud, with normals where the model has them;
                              x right, y down, z forward, metres; a point for each pixel (of a large image for each
                              n-th of each n-th row, a million at most), none between the sides of a depth edge
  results.jsonl               one line per image: status, size, time, files, error, camera
In a folder, images of one channel with 16 bits or more are skipped: they are depth maps, not photos. Results of earlier
runs are left out. A file that is named itself is always taken."""

EPILOG = """\
exit code: 0 all done; 2 some failed (results.jsonl says which and why);
           1 nothing could start (bad model, no images, or none but depth maps, bad arguments, another process is
             writing to DIR);
           3 stopped early, as nothing more could be written (the disk is full);
           130 interrupted (Ctrl-C), 143 terminated: images under way are finished, a second signal ends it at once.
           What was finished is kept; after 3, 130 and 143 the same call with --resume does the rest."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(NOT_STARTED, printable(f"{self.prog}: {message}") + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, report. Returns the exit code; wrong arguments exit with code 1."""
    parser = _arguments()
    args = parser.parse_args(argv)
    if min(args.batch, args.max_pixels, 1 if args.threads is None else args.threads) < 1:
        parser.error("--batch, --max-pixels and --threads take whole numbers of 1 or more")
    if args.range and not 0 <= args.range[0] < args.range[1] < math.inf:
        found = " ".join(f"{value:g}" for value in args.range)
        parser.error(f"--range takes two numbers of 0 or more, the nearer one first; found {found}")
    try:
        model = Model(args.model, args.threads)
        limits = common_limits(model.manifest, args.range) if args.range or args.full_range else None
        every = endings(model.manifest, [o.name for o in model.manifest.outputs] + [OVERVIEW], raw=True)
        written = [f".{ending}" for ending in every]
        report = (lambda text: None) if args.quiet else say
        items = collect(args.paths, args.out, max(len(os.fsencode(ending)) for ending in written), report, written)
        if not any(os.path.exists(item.path) for item in items):  # noqa: PTH110 - Path.exists raises for long names
            raise FileNotFoundError(f"no images in {', '.join(map(str, args.paths))}")
        names = ("save", "raw", "resume", "batch", "max_pixels", "fov", "focal", "quiet")
        options = {name: getattr(args, name) for name in names}
        with _finishing() as signals, quiet_decoders():  # their words would tear the progress bar; errors say it
            summary = run(model, items, args.out, **options, limits=limits, stopped=lambda: bool(signals))
    except KeyboardInterrupt:
        return SIGNALLED + signal.SIGINT
    except (ModelError, OSError, ValueError) as error:
        say(f"{parser.prog}: {error}")
        return NOT_STARTED
    done = summary.before + summary.done + len(summary.failed)
    if done == 0 and summary.skipped == len(items):
        where, many = ", ".join(map(str, args.paths)), f"all {len(items)} images have" if len(items) > 1 else "one has"
        say(f"{parser.prog}: no photos in {where}: {many} {DEPTH_MAPS}")
        return NOT_STARTED
    if not args.quiet:
        _report(summary, args.out)
    done += summary.skipped
    if summary.stopped:
        after = f"stopped after {done} of {len(items)} images"
        say(f"{parser.prog}: {after}: {summary.stopped}; when that is put right, --resume does the rest")
        return STOPPED
    if signals and done < len(items):
        return SIGNALLED + signals[0]
    return SOME_FAILED if summary.failed else DONE


@contextmanager
def _finishing() -> Iterator[list[int]]:
    """The signals that came in this block, so that what is under way can be finished; a second one does as before."""
    signals: list[int] = []
    before: dict[int, Any] = {}

    def finish(number: int, frame: object) -> None:
        signals.append(number)
        restore()
        with suppress(OSError, AttributeError):  # not with print, which may be at work; stderr may be closed
            os.write(sys.stderr.fileno(), b"\nfinishing what is under way (Ctrl-C again stops at once)\n")

    def restore() -> None:
        for number, handler in before.items():
            handle(number, handler)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = handle(number, finish)
        yield signals
    finally:
        restore()


class _Inspect(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: object, values: Any, option: object = None) -> None:
        try:
            for line in page(values).splitlines():
                say(line, sys.stdout)
        except ModelError as error:
            say(f"{parser.prog}: {error}")
            parser.exit(NOT_STARTED)
        parser.exit()


def _arguments() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="mtl-infer", description=DESCRIPTION, epilog=EPILOG, formatter_class=layout)
    parser.add_argument("model", metavar="MODEL.onnx", help="a model made by `mtl-export`")
    parser.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="images, or folders with images in them")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--save", metavar="NAME", nargs="+", action="extend", help="keep only these: names of outputs, overview, points"
    )
    span = parser.add_mutually_exclusive_group()
    same = "depth in metres that the colours of all overviews span, so that they can be compared, and make a film that "
    same += (
        "does not flicker; depth maps stay as they are; what --resume leaves out keeps its own (each image's own range)"
    )
    span.add_argument("--range", metavar=("NEAR", "FAR"), nargs=2, type=float, help=same)
    full = "the same, with all that the model can give, such as 0 to 10 m"
    span.add_argument("--full-range", action="store_true", help=full)
    parser.add_argument("--raw", action="store_true", help="also keep the arrays, as NAME.npz (float32; labels uint8)")
    parser.add_argument("--resume", action="store_true", help="leave out what an earlier such call has done")
    parser.add_argument("--batch", metavar="N", type=int, default=1, help="images per run of the network (1)")
    largest = f"most pixels of an image ({MAX_PIXELS:.1e}); one whose reading or results do not fit in memory fails too"
    parser.add_argument("--max-pixels", metavar="N", type=_count, default=MAX_PIXELS, help=largest)
    parser.add_argument("--threads", metavar="N", type=int, help="threads of the network (one per core)")
    lens = parser.add_mutually_exclusive_group()
    fov = (
        "the images' horizontal field of view, as they are shown; where their lens is not the training camera's, depth "
        "is scaled by the ratio of focal lengths"
    )
    lens.add_argument("--fov", metavar="DEGREES", type=float, help=fov)
    focal = "the same, as the focal length in pixels of the images at their own size"
    lens.add_argument("--focal", metavar="PIXELS", type=float, help=focal)
    parser.add_argument(
        "--inspect", metavar="MODEL.onnx", action=_Inspect, help="print what the model says about itself, and end"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no summary, only failures")
    return parser


def _count(text: str) -> int:
    """A whole number, which may be written as 2e8."""
    with suppress(ValueError):
        if float(text).is_integer():  # infinity is not
            return int(float(text))
    raise argparse.ArgumentTypeError(f"expected a whole number, found {text}")


def _report(summary: Summary, out: Path) -> None:
    count = summary.done + len(summary.failed)
    speed = f"{count / summary.seconds:.1f} images/s" if count else "none in this call"
    before = f" and {summary.before} before" if summary.before else ""
    totals = f"{summary.done} done{before}, {len(summary.failed)} failed, {speed}"
    say(f"{totals}; results in {out} ({RESULTS} lists them)", sys.stdout)
    if summary.skipped:
        say(f"  skipped: {summary.skipped} image{'s' * (summary.skipped > 1)} of {DEPTH_MAPS}", sys.stdout)
    for path, reason in summary.failed[:SHOWN]:
        say(f"  failed: {path}: {reason}", sys.stdout)
    if len(summary.failed) > SHOWN:
        say(f"  ... and {len(summary.failed) - SHOWN} more", sys.stdout)
