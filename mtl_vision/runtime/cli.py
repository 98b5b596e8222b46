"""The command line: run an exported model over files and folders of images."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import NoReturn

from mtl_vision.runtime.contract import ModelError
from mtl_vision.runtime.headers import MAX_PIXELS
from mtl_vision.runtime.images import quiet_decoders
from mtl_vision.runtime.inputs import collect
from mtl_vision.runtime.model import Model
from mtl_vision.runtime.pipeline import RESULTS, Summary, run

DONE, NOT_STARTED, SOME_FAILED, INTERRUPTED = 0, 1, 2, 130
SHOWN = 5  # failures named at the end

DESCRIPTION = """\
Run an exported model over images, and write the results at each image's own size:
  NAME.<scalar map>.png       16-bit, thousandths of the unit (depth: millimetres), 0 = invalid
  NAME.<vector map>.png       8-bit RGB of (n + 1) / 2
  NAME.<label map>.png        palette PNG: pixel values are class ids
  NAME.<probability map>.png  8-bit grey, 255 = probability 1
  NAME.overview.jpg           all side by side, to look at
  results.jsonl               one line per image: status, size, time, files, error"""

EPILOG = """\
exit code: 0 all done; 2 some failed (results.jsonl says which and why);
           1 nothing could start (bad model, no images, bad arguments); 130 interrupted, what was finished is kept"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(NOT_STARTED, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, report. Returns the exit code; wrong arguments exit with code 1."""
    parser = _arguments()
    args = parser.parse_args(argv)
    if min(args.batch, args.max_pixels, 1 if args.threads is None else args.threads) < 1:
        parser.error("--batch, --max-pixels and --threads take whole numbers of 1 or more")
    interrupted, before = Event(), signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: object) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, before)
        print("\nfinishing what is under way (Ctrl-C again stops at once)", file=sys.stderr)

    try:
        model = Model(args.model, args.threads)
        items = collect(args.paths, args.out)
        if not any(path.exists() for path, _ in items):
            raise FileNotFoundError(f"no images in {', '.join(map(str, args.paths))}")
        signal.signal(signal.SIGINT, interrupt)
        options = {name: getattr(args, name) for name in ("save", "raw", "batch", "max_pixels", "quiet")}
        with quiet_decoders():  # their words would tear the progress bar; errors say what is wrong
            summary = run(model, items, args.out, **options, stopped=interrupted.is_set)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ModelError, OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return NOT_STARTED
    finally:
        signal.signal(signal.SIGINT, before)
    if not args.quiet:
        _report(summary, args.out)
    if interrupted.is_set() and summary.done + len(summary.failed) < len(items):
        return INTERRUPTED
    return SOME_FAILED if summary.failed else DONE


def _arguments() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="mtl-infer", description=DESCRIPTION, epilog=EPILOG, formatter_class=layout)
    parser.add_argument("model", metavar="MODEL.onnx", help="a model made by `mtl-export`")
    parser.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="images, or folders with images in them")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for the results")
    parser.add_argument("--save", metavar="NAME", nargs="+", help="keep only these: names of outputs, overview")
    parser.add_argument("--raw", action="store_true", help="also keep the arrays, as NAME.npz (float32; labels uint8)")
    parser.add_argument("--batch", metavar="N", type=int, default=1, help="images per run of the network (1)")
    largest = f"most pixels of an image ({MAX_PIXELS:.1e}); one whose reading or results do not fit in memory fails too"
    parser.add_argument("--max-pixels", metavar="N", type=_count, default=MAX_PIXELS, help=largest)
    parser.add_argument("--threads", metavar="N", type=int, help="threads of the network (one per core)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no summary, only failures")
    return parser


def _count(text: str) -> int:
    """A whole number, which may be written as 2e8."""
    number = float(text)
    if not number.is_integer():  # infinity is not either
        raise ValueError
    return int(number)


def _report(summary: Summary, out: Path) -> None:
    count = summary.done + len(summary.failed)
    speed = f"{count / summary.seconds:.1f} images/s" if count else "stopped before the first"
    print(f"{summary.done} done, {len(summary.failed)} failed, {speed}; results in {out} ({RESULTS} lists them)")
    for path, reason in summary.failed[:SHOWN]:
        print(f"  failed: {path}: {reason}".encode(errors="backslashreplace").decode())
    if len(summary.failed) > SHOWN:
        print(f"  ... and {len(summary.failed) - SHOWN} more")
