"""Videos in, annotated videos and a line a frame out: `pipeline.run` for frames that come one after another."""

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from mtl_vision.runtime import points, steps
from mtl_vision.runtime.contract import one_line
from mtl_vision.runtime.headers import Header, ImageError
from mtl_vision.runtime.kinds import KINDS, Limits, resize_pixels
from mtl_vision.runtime.lens import Lens
from mtl_vision.runtime.pipeline import Summary, known_names
from mtl_vision.runtime.predictor import Predictor, prepare
from mtl_vision.runtime.render import draw, panel_size
from mtl_vision.runtime.results import Item, Results, expect_free
from mtl_vision.runtime.steps import OVERVIEW, POINTS, Job, Wanted, attempt, run_network
from mtl_vision.runtime.terminal import progress, say
from mtl_vision.runtime.video import CODECS, Reader, VideoError, is_camera, writing
from mtl_vision.runtime.workers import ahead, stopping

if TYPE_CHECKING:
    from mtl_vision.runtime.preview import Preview

FIRST = 8  # frames whose depth says what the colours span
FPS = 25.0  # of a video that does not say it


@dataclass
class Frame(Job):
    """One frame under way. name: that of its files, NAME/000012. drawn: its picture in the annotated video."""

    number: int = 0
    at: float = 0.0  # seconds
    outputs: dict[str, Any] = field(default_factory=dict)
    drawn: np.ndarray | None = None

    def line(self) -> dict[str, Any]:
        """The frame's line in the results: as an image's, with its place, and its maps in figures."""
        return super().line() | {"frame": self.number, "time": round(self.at, 4), "outputs": self.outputs}


@dataclass(frozen=True, kw_only=True)
class Plan(Wanted):
    """What is done with each frame."""

    model: Predictor
    every: int = 1
    quiet: bool = False
    preview: "Preview | None" = None
    stopped: Callable[[], bool] = lambda: False

    @cached_property
    def each(self) -> Wanted:
        """What is kept of each frame by itself."""
        return replace(self, save=self.save - {OVERVIEW}, limits=None)

    @property
    def draws(self) -> bool:
        """Whether there is an annotated video."""
        return OVERVIEW in self.save


def run_videos(
    model: Predictor,
    items: Collection[Item],
    out: str | Path,
    *,
    save: Collection[str] | None = None,
    fov: float | None = None,
    focal: float | None = None,
    **options: Any,
) -> Summary:
    """Run a model over the frames of video files, or of a camera (`camera:0`), one video after another.

    items: videos and their names. save: "overview", the annotated video NAME.overview.mp4 (or .avi, as this OpenCV
    can), and names of outputs and "points", which are kept of each frame as NAME/000012.depth.png (the overview alone).
    options: those of `Plan`; every: take each n-th frame. limits: what the colours span; else the values of each
    video's first FIRST frames, from then on held. preview: gets the frames as they are made. stopped: once true, the
    video is completed with the frames under way.

    `results.jsonl` gets a line for each frame, as `pipeline.run` writes one for an image, with frame (its number from
    0), time (seconds from the video's start) and outputs (by name: valid, the share of pixels with a value; of a scalar
    map min, median and max; of a label map the shares of its classes). A video that cannot be read, or no further, has
    a line with its error, and what was done of it stays. Memory does not grow with its length.
    Raises what `pipeline.run` does.
    """
    kept = frozenset(known_names(model.manifest, save) or [OVERVIEW])
    lens = points.check_lens(model.manifest, Lens(fov, focal), POINTS in kept)
    plan = Plan(model=model, manifest=model.manifest, out=Path(out), save=kept, lens=lens, **options)
    summary, began = Summary(), time.perf_counter()
    plan.out.mkdir(parents=True, exist_ok=True)
    expect_free(plan.out, items, [f"{OVERVIEW}{suffix}" for _, suffix in CODECS] if plan.draws else ())
    with Results(plan.out) as results:
        results.start([*items, *(Item(item.path, f"{item.name}/0") for item in items)], None)
        try:
            for item in items:
                if not plan.stopped():
                    _run_video(plan, item, results, summary)
        except OSError as error:
            summary.stopped = f"{error.strerror or error}: '{error.filename or out}'"
    summary.seconds = time.perf_counter() - began
    return summary


def _run_video(plan: Plan, item: Item, results: Results, summary: Summary) -> None:
    """Frames that fail, and a video that does, are counted; what concerns all that is written is raised."""
    errors: list[str] = []
    workers = 1 if is_camera(item.path) else min(8, (os.cpu_count() or 1) + 1)
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(closing(Reader(item.path)))
            _check_size(reader, plan)
        except (VideoError, ImageError) as error:
            errors.append(str(error))
        else:
            pool = stack.enter_context(stopping(ThreadPoolExecutor(workers)))
            found = run_network(plan.model, ([frame] for frame in _frames(plan, item, reader, errors)))
            limits: dict[str, Limits] = dict(plan.limits or {})
            held = found if plan.limits is not None else _held(found, plan, limits)
            (plan.out / item.name).parent.mkdir(parents=True, exist_ok=True)
            fps = (reader.fps or FPS) / plan.every
            film = stack.enter_context(writing(plan.out / f"{item.name}.{OVERVIEW}", fps)) if plan.draws else None
            done = ahead(lambda frame: pool.submit(attempt, frame, _finish, plan, limits), held, workers)
            for frame in progress(done, -(-reader.count // plan.every), plan.quiet, "frame"):
                assert isinstance(frame, Frame)
                if frame.drawn is not None and film is not None:
                    film.write(frame.drawn)
                if frame.drawn is not None and plan.preview is not None:
                    plan.preview.show(frame.drawn)
                _count(frame, results, summary)
    if errors:
        _count(Job(item.path, item.name, model=_identity(plan), error=errors[0]), results, summary)


def _identity(plan: Plan) -> str | None:
    return plan.model.checksum[:12] or None


def _count(job: Job, results: Results, summary: Summary) -> None:
    results.add(job.line())
    if job.error is None:
        summary.done += 1
    else:
        summary.failed.append((job.name if isinstance(job, Frame) else str(job.path), job.error))
        say(f"failed: {summary.failed[-1][0]}: {job.error}")


def _check_size(reader: Reader, plan: Plan) -> None:
    """Raise ImageError where a frame, or what is kept of it, takes too much memory."""
    if 0 in reader.size:
        return  # it is not known
    header = Header("video", reader.size[1], reader.size[0], 3, 8)
    if header.pixels > plan.max_pixels:
        raise ImageError(
            f"too large: expected frames of at most {plan.max_pixels / 1e6:.3g} megapixels, found {header.width} x "
            f"{header.height}"
        )
    plan.each.check(header, header.reading)


def _frames(plan: Plan, item: Item, reader: Reader, errors: list[str]) -> Iterator[Frame]:
    """The frames, prepared. What ends them before their time goes to `errors`: those before it are to be finished."""
    try:
        for number, at, image in reader.frames(plan.every):
            if plan.stopped():
                return
            began = time.perf_counter()
            size = image.shape[0], image.shape[1]
            frame = Frame(item.path, f"{item.name}/{number:06}", model=_identity(plan), number=number, at=at)
            frame.height, frame.width = size
            frame.prepared = prepare(image, plan.model.manifest, plan.lens)
            frame.view, frame.shown = frame.prepared.view, resize_pixels(image, panel_size(size))
            frame.colours = points.sampled(image, size) if POINTS in plan.save else None
            frame.seconds = time.perf_counter() - began
            yield frame
    except (VideoError, cv2.error) as error:
        errors.append(one_line(error))


def _held(frames: Iterator[Frame], plan: Plan, limits: dict[str, Limits]) -> Iterator[Frame]:
    """The frames; `limits` gets what the scalar maps of the first ones span, before any of them comes."""
    first: list[Frame] = []
    for frame in frames:
        first.append(frame)
        if len(first) == FIRST:
            break
    for output in plan.model.manifest.outputs:
        maps = [frame.maps[output.name] for frame in first if output.name in frame.maps]
        span = KINDS[output.kind].limits(np.concatenate(maps)) if len({m.shape for m in maps}) == 1 else None
        if output.kind in ("scalar_map", "probability_map"):
            limits[output.name] = span or output.range or (0.0, 1.0)
    yield from first
    yield from frames


def _finish(job: Job, plan: Plan, limits: Mapping[str, Limits]) -> None:
    """Figures, picture and files of a frame."""
    assert isinstance(job, Frame) and job.prepared is not None and job.shown is not None
    manifest, prepared = plan.model.manifest, job.prepared
    cropped = {name: prepared.crop(array) for name, array in job.maps.items()}
    for output in manifest.outputs:
        job.outputs[output.name] = KINDS[output.kind].summary(cropped[output.name], output)
    if plan.draws or plan.preview is not None:
        job.drawn = draw(job.shown, cropped, manifest, prepared.size, limits)
    if plan.each.save or plan.raw:
        steps.keep(job, plan.each)
    job.prepared, job.maps, job.shown, job.colours = None, {}, None, None
