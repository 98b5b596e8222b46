"""The command line: run an exported model over files and folders of pictures."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import cv2

from mtl_vision.runtime.contract import ModelError
from mtl_vision.runtime.pipeline import RESULTS, Summary, collect, run
from mtl_vision.runtime.session import Session

DONE, NOT_STARTED, SOME_FAILED, INTERRUPTED = 0, 1, 2, 130
SHOWN = 5  # failures named at the end

DESCRIPTION = """\
Run an exported model over pictures, and keep what it sees at each picture's own size:
  NAME.<scalar map>.png   16-bit, thousandths of the unit (depth: millimetres), 0 = invalid
  NAME.<vector map>.png   8-bit RGB of (n + 1) / 2
  NAME.<label map>.png    palette PNG: pixel values are class ids
  NAME.overview.jpg       all side by side, for people
  results.jsonl           a line a picture: status, size, time, files, error"""

EPILOG = """\
exit code: 0 all done; 2 some failed (results.jsonl says which and why);
           1 nothing could start (bad model, no pictures, bad arguments); 130 interrupted, what was finished is kept"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(NOT_STARTED, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, say how it went. Returns the exit code; wrong arguments exit with code 1."""
    parser = _arguments()
    args = parser.parse_args(argv)
    # OpenCV's own complaints about bad files would tear the progress bar; errors say what is wrong
    (getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel)(0)
    try:
        session = Session(args.model, args.threads)
        items = collect(args.paths, args.out)
        if not any(path.exists() for path, _ in items):
            raise FileNotFoundError(f"no pictures in {', '.join(map(str, args.paths))}")
        with _interruptible() as interrupted:
            summary = run(
                session, items, args.out, args.save, args.raw, args.batch, args.quiet, lambda: bool(interrupted)
            )
            stopped = bool(interrupted)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ModelError, OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return NOT_STARTED
    if not args.quiet:
        _report(summary, args.out)
    if stopped and summary.done + len(summary.failed) < len(items):
        return INTERRUPTED
    return SOME_FAILED if summary.failed else DONE


def _arguments() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mtl-infer",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL.onnx", help="a model made by `python -m export`")
    parser.add_argument(
        "paths", metavar="PATH", nargs="+", type=Path, help="pictures, or folders searched to their depths"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for the results")
    parser.add_argument("--save", metavar="NAME", nargs="+", help="keep these alone: names of outputs, overview")
    parser.add_argument("--raw", action="store_true", help="keep the arrays too, as NAME.npz (float32; labels uint8)")
    parser.add_argument("--batch", metavar="N", type=_positive, default=1, help="pictures a run of the network (1)")
    parser.add_argument("--threads", metavar="N", type=_positive, help="threads of the network (one a core)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no summary, failures alone")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_positive.__name__ = "positive whole number"  # argparse names the type in its error


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Let the first Ctrl-C be noted in the list, so that work under way is finished; a second one stops at once."""
    noted: list[int] = []

    def note(number: int, frame: object) -> None:
        noted.append(number)
        signal.signal(signal.SIGINT, before)
        print("\nfinishing what is under way (Ctrl-C again stops at once)", file=sys.stderr)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def _report(summary: Summary, out: Path) -> None:
    count = summary.done + len(summary.failed)
    speed = f"{count / summary.seconds:.1f} images/s" if count else "stopped before the first"
    print(f"{summary.done} done, {len(summary.failed)} failed, {speed}; results in {out} ({RESULTS} lists them)")
    for path, reason in summary.failed[:SHOWN]:
        print(f"  failed: {path}: {reason}".encode(errors="backslashreplace").decode())
    if len(summary.failed) > SHOWN:
        print(f"  ... and {len(summary.failed) - SHOWN} more")


if __name__ == "__main__":
    sys.exit(main())
