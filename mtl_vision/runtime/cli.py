"""The command line: run an exported model over images."""

import argparse
import math
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from mtl_vision.importing import handle
from mtl_vision.runtime.arguments import DEPTH_MAPS, ENGINES, NOT_STARTED, make_parser
from mtl_vision.runtime.contract import ModelError
from mtl_vision.runtime.files import read_regular
from mtl_vision.runtime.images import quiet_decoders
from mtl_vision.runtime.inputs import collect, matching, read_list, share
from mtl_vision.runtime.model import Model
from mtl_vision.runtime.pipeline import Summary, run
from mtl_vision.runtime.providers import open_model, short
from mtl_vision.runtime.render import common_limits
from mtl_vision.runtime.results import RESULTS, Item, shard_file
from mtl_vision.runtime.steps import OVERVIEW, endings
from mtl_vision.runtime.terminal import say
from mtl_vision.runtime.video import is_camera, is_video

DONE, SOME_FAILED, STOPPED, SIGNALLED = 0, 2, 3, 128  # + the signal's number
SHOWN = 5  # failures named at the end
MAX_LIST = 2**30  # bytes of a list of paths


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, report. Returns the exit code; wrong arguments exit with code 1."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if min(args.batch, args.max_pixels, 1 if args.threads is None else args.threads) < 1:
        parser.error("--batch, --max-pixels and --threads take whole numbers of 1 or more")
    if args.range and not 0 <= args.range[0] < args.range[1] < math.inf:
        found = " ".join(f"{value:g}" for value in args.range)
        parser.error(f"--range takes two numbers of 0 or more, the nearer one first; found {found}")
    try:
        model = open_model(args.model, args.threads, args.provider, args.tasks, args.backend, say)
        args.paths = [one for path in args.paths for one in ((is_video(path) and matching(path)) or [path])]
        videos = [path for path in args.paths if is_video(path)]
        return _run_videos(args, model, parser.prog) if videos else _run_images(args, model, parser.prog)
    except KeyboardInterrupt:
        return SIGNALLED + signal.SIGINT
    except (ModelError, OSError, ValueError) as error:
        say(f"{parser.prog}: {error}")
        return NOT_STARTED


def _run_images(args: argparse.Namespace, model: Model, program: str) -> int:
    """Returns the exit code. Raises what says that nothing could start."""
    if args.every or args.preview is not None:
        raise ValueError("--every and --preview are for videos and cameras: leave them out")
    limits = common_limits(model.manifest, args.range) if args.range or args.full_range else None
    items, options = _items(args, model), dict[str, Any]()
    for name in ("save", "raw", "resume", "batch", "max_pixels", "fov", "focal", "quiet"):
        options[name] = getattr(args, name)
    if args.shard:
        items, options["results"] = share(items, *args.shard), shard_file(*args.shard)
    on_ray = args.engine != ENGINES[0]
    if on_ray:
        from mtl_vision.runtime.ray_engine import ray_engine  # an extra

        options["engine"] = ray_engine(args.model, args.workers, args.threads, args.provider, args.tasks, args.backend)
        options["resume"] = True
    elif args.workers:
        raise ValueError("--workers is for --engine ray: leave it out, or give that")
    with _finishing() as signals, quiet_decoders():  # their words would tear the progress bar; errors say it
        summary = run(model, items, args.out, **options, limits=limits, stopped=lambda: bool(signals))
        if on_ray:
            _write_table(args.out / options.get("results", RESULTS), summary)
    done = summary.before + summary.done + len(summary.failed)
    if items and done == 0 and summary.skipped == len(items):
        where, many = ", ".join(map(str, args.paths)), f"all {len(items)} images have" if len(items) > 1 else "one has"
        say(f"{program}: no photos in {where}: {many} {DEPTH_MAPS}")
        return NOT_STARTED
    if not args.quiet:
        _report(summary, args.out, model, options.get("results", RESULTS))
    done += summary.skipped
    if summary.stopped:
        after = f"stopped after {done} of {len(items)} images"
        say(f"{program}: {after}: {summary.stopped}; when that is put right, --resume does the rest")
        return STOPPED
    if signals and done < len(items):
        return SIGNALLED + signals[0]
    return SOME_FAILED if summary.failed else DONE


def _run_videos(args: argparse.Namespace, model: Model, program: str) -> int:
    """As `_run_images`, for videos and cameras."""
    from mtl_vision.runtime.frames import run_videos
    from mtl_vision.runtime.preview import Preview  # here: a server takes time to import

    if others := [str(path) for path in args.paths if not is_video(path)]:
        found = ", ".join(others)
        raise ValueError(f"expected videos alone, found {found}; give images in a call of their own")
    for name in ("resume", "shard", "workers"):
        if getattr(args, name):
            raise ValueError(f"a video is done as a whole: leave out --{name}")
    if args.batch != 1:
        raise ValueError("a video is done frame by frame: leave out --batch")
    if args.engine != ENGINES[0]:
        raise ValueError(f"a video is done as a whole, by one machine: leave out --engine {args.engine}")
    limits = common_limits(model.manifest, args.range) if args.range or args.full_range else None
    items = [Item(path, str(path).replace(":", "")) for path in args.paths if is_camera(path)]
    items += collect([path for path in args.paths if not is_camera(path)], args.out)
    options = {name: getattr(args, name) for name in ("save", "raw", "max_pixels", "fov", "focal", "quiet")}
    with ExitStack() as stack:
        preview = None if args.preview is None else stack.enter_context(Preview(args.preview))
        if preview is not None:
            say(f"preview at http://localhost:{preview.port}")
        signals = stack.enter_context(_finishing())
        stack.enter_context(quiet_decoders())
        options |= {"every": args.every or 1, "limits": limits, "preview": preview}
        summary = run_videos(model, items, args.out, **options, stopped=lambda: bool(signals))
    if not args.quiet:
        _report(summary, args.out, model, RESULTS, "frame")
    if summary.stopped:
        say(f"{program}: stopped after {summary.done} frames: {summary.stopped}")
        return STOPPED
    if signals and not all(is_camera(path) for path in args.paths):  # nothing else ends a camera
        return SIGNALLED + signals[0]
    return SOME_FAILED if summary.failed else DONE


def _write_table(lines: Path, summary: Summary) -> None:
    """Write the lines' parquet file, unless the disk is full."""
    from mtl_vision.runtime.table import write_table

    try:
        if summary.stopped is None:
            write_table(lines)
    except OSError as error:
        summary.stopped = f"{error.strerror or error}: '{error.filename or lines}'"


def _items(args: argparse.Namespace, model: Model) -> list[Item]:
    """The images that are meant. Raises FileNotFoundError where there are none."""
    every = endings(model.manifest, [o.name for o in model.manifest.outputs] + [OVERVIEW], raw=True)
    written = [f".{ending}" for ending in every]
    paths, listed = list[Path](), list[list[Path]]()
    for path in args.paths:
        if str(path) == "-":
            listed.append(read_list(sys.stdin.buffer.read(MAX_LIST)))
        elif str(path).startswith("@") and not os.path.lexists(path):
            listed.append(read_list(read_regular(str(path)[1:], MAX_LIST)))
        else:
            paths.append(path)
    report = (lambda text: None) if args.quiet else say
    longest = max(len(os.fsencode(ending)) for ending in written)
    items = collect(paths, args.out, longest, report, written, listed)
    if not any(os.path.exists(item.path) for item in items):  # noqa: PTH110 - Path.exists raises for long names
        raise FileNotFoundError(f"no images in {', '.join(map(str, args.paths))}")
    return items


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


def _report(summary: Summary, out: Path, model: Model, results: str, unit: str = "image") -> None:
    count = summary.done + len(summary.failed)
    speed = f"{count / summary.seconds:.1f} {unit}s/s" if count else "none in this call"
    before = f" and {summary.before} before" if summary.before else ""
    totals = f"{summary.done} done{before}, {len(summary.failed)} failed, {speed} on {short(model.provider)}"
    say(f"{totals}; results in {out} ({results} lists them)", sys.stdout)
    if summary.skipped:
        say(f"  skipped: {summary.skipped} image{'s' * (summary.skipped > 1)} of {DEPTH_MAPS}", sys.stdout)
    for path, reason in summary.failed[:SHOWN]:
        say(f"  failed: {path}: {reason}", sys.stdout)
    if len(summary.failed) > SHOWN:
        say(f"  ... and {len(summary.failed) - SHOWN} more", sys.stdout)
