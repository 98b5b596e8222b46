"""Images in, files out: read, run and write side by side, in order, with a bounded number under way."""

import errno
import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mtl_vision.runtime import points
from mtl_vision.runtime.budget import Budget
from mtl_vision.runtime.contract import Manifest
from mtl_vision.runtime.files import atomic_path, atomic_write
from mtl_vision.runtime.headers import MAX_PIXELS, Header, ImageError, NotAPhotoError, check
from mtl_vision.runtime.images import decode_rgb, file_size, read_bytes
from mtl_vision.runtime.kinds import KINDS, Limits, Output, resize_pixels
from mtl_vision.runtime.lens import Lens, View
from mtl_vision.runtime.predictor import Predictor, Prepared, batches, decode_for, prepare
from mtl_vision.runtime.render import draw, panel_size
from mtl_vision.runtime.results import OTHER_MODEL, RESULTS, Item, Results
from mtl_vision.runtime.terminal import progress, say
from mtl_vision.runtime.workers import ahead, stopping

OVERVIEW, POINTS = "overview", "points"
JPEG_QUALITY = 92
SMALL = 64  # files below this part of the budget are read side by side, and claimed with their image
NO_MORE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # no other image could be written either


@dataclass
class Job:
    """One image under way. A step that fails leaves its reason in `error`, and later steps skip the job."""

    path: Path
    name: str
    found: bool = False  # in a folder: what is no photo is skipped
    model: str | None = None
    width: int | None = None
    height: int | None = None
    seconds: float = 0.0
    files: list[str] = field(default_factory=list)
    error: str | None = None
    skipped: bool = False
    prepared: Prepared | None = None
    shown: np.ndarray | None = None  # the image, at its size in the overview
    colours: np.ndarray | None = None  # of the points
    view: View | None = None  # how the camera sees it, where that matters
    maps: dict[str, np.ndarray] = field(default_factory=dict)  # of the canvas's size

    def line(self) -> dict[str, Any]:
        """The job's line in the results."""
        status = "ok" if self.error is None else "skipped" if self.skipped else "failed"
        line = {"image": str(self.path), "status": status}
        same = {key: getattr(self, key) for key in ("name", "width", "height", "files", "error", "model")}
        return line | same | (self.view.line() if self.view else {}) | {"seconds": round(self.seconds, 4)}


@dataclass
class Summary:
    """How a run ended: images done, (path, reason) of those that failed, and seconds on the clock.

    skipped: images that are no photos. before: images that were done before, of a run that was resumed. stopped: why
    the rest could not be done, if so.
    """

    done: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    skipped: int = 0
    before: int = 0
    stopped: str | None = None


def run(
    model: Predictor,
    items: Collection[Item],
    out: str | Path,
    *,
    save: Collection[str] | None = None,
    raw: bool = False,
    resume: bool = False,
    batch: int = 1,
    max_pixels: int = MAX_PIXELS,
    fov: float | None = None,
    focal: float | None = None,
    limits: Mapping[str, Limits] | None = None,
    quiet: bool = False,
    results: str = RESULTS,
    stopped: Callable[[], bool] = lambda: False,
) -> Summary:
    """Run a model over image files and keep the results, at each image's own size, in the folder `out`.

    items: images and their names (pairs will do). One that was `found` in a folder is skipped when it is no photo: of
    one channel with 16 bits or more, as depth maps are. save: names of outputs, "overview" and "points", that are kept
    (all but the points). raw: also keep the arrays, as NAME.npz. resume: leave out the images that `results.jsonl`
    lists as done, with this model and lens, and whose files are there; its lines stay, but for those of the images that
    are done now. batch: images per run of the network: neighbours that it takes at one size. max_pixels: the most that
    an image may have. fov or focal: of images of another lens than the training camera's, as `predict` has them.
    limits: by output name, what the overviews' colours span, as `draw` takes it (each image's own). quiet: no progress
    bar. results: the name of `results.jsonl`; a shard has its own (`shard_file`), so that several may write to `out` at
    once. stopped: called between batches; once true, what is under way is finished and the rest left.

    `results.jsonl` gets a line for each image, in order, as soon as its files are written: image, status (ok, failed or
    skipped), name, width, height, files, error (why, unless it is ok), model (the beginning of its checksum), seconds
    (of work on it, and of waiting for memory), and, with points or a lens, camera (fx, fy, cx, cy in pixels of the
    image, and what they are from) and depth_scale. An image that fails,
    in any step, does not stop the others; a full disk, or a `results.jsonl` that cannot be written on, ends the run,
    and the summary says so. Images share a `Budget` of memory: large ones wait for each other, one too large for it
    fails. Raises LockedError when another process writes to `out`, OSError when `out` or `results.jsonl` cannot be
    made, ValueError for an unknown name in `save`, a `batch` below 1, and where no depth or camera is known for points
    or a lens.
    """
    manifest, out = model.manifest, Path(out)
    default = [*(output.name for output in manifest.outputs), OVERVIEW]
    if unknown := sorted(set(save or ()) - {*default, POINTS}):
        raise ValueError(f"the model has no output {', '.join(unknown)}; it has {', '.join([*default, POINTS])}")
    save = set(save or default)
    lens = points.check_lens(manifest, Lens(fov, focal), POINTS in save)
    if lens and manifest.intrinsics is None and not quiet:
        say(f"depth is not scaled to {lens}: the model does not say at which focal length it was trained")
    summary, started = Summary(), time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    workers = min(8, (os.cpu_count() or 1) + 1)
    budget = Budget()
    identity = model.checksum[:12] or None
    with Results(out, results) as lines, stopping(ThreadPoolExecutor(workers)) as pool:
        names = endings(manifest, save, raw) if resume else None
        left, before = lines.start([Item(*item) for item in items], names, str(lens or Lens()), identity)
        if before[OTHER_MODEL] and not quiet:
            say(f"{before[OTHER_MODEL]} images were done with another model: they are done again with this one")
        summary.before, summary.skipped = before["ok"], before["skipped"]
        read = ahead(
            pool,
            lambda item: _attempt(Job(*item, model=identity), _read, manifest, budget, max_pixels, save, raw, lens),
            left,
            workers + batch,
        )
        groups = batches(read, batch, lambda job: job.prepared and job.prepared.canvas.shape)
        seen = _run_network(model, groups, stopped)
        kept = manifest, budget, out, save, raw, limits
        written = ahead(pool, lambda job: _attempt(job, _write, *kept), seen, workers)
        try:
            for job in progress(written, len(left), quiet):
                lines.add(job.line())
                if job.error is None:
                    summary.done += 1
                elif job.skipped:
                    summary.skipped += 1
                else:
                    summary.failed.append((str(job.path), job.error))
                    say(f"failed: {job.path}: {job.error}")
        except OSError as error:
            summary.stopped = f"{error.strerror or error}: '{error.filename or out}'"
    summary.seconds = time.perf_counter() - started
    return summary


def endings(manifest: Manifest, save: Collection[str], raw: bool) -> list[str]:
    """Of the files that are kept of an image: each is called NAME.ending."""
    pngs = [f"{output.name}.png" for output in manifest.outputs if output.name in save]
    return pngs + [f"{POINTS}.ply"] * (POINTS in save) + [f"{OVERVIEW}.jpg"] * (OVERVIEW in save) + ["npz"] * raw


def _run_network(model: Predictor, groups: Iterable[list[Job]], stopped: Callable[[], bool]) -> Iterator[Job]:
    for group in groups:
        if stopped():
            return
        ready = [(job, job.prepared) for job in group if job.prepared is not None]
        started = time.perf_counter()
        found = model.run_prepared([prepared for _, prepared in ready]) if ready else []
        for (job, _), maps in zip(ready, found, strict=True):
            if isinstance(maps, Exception):
                job.error = str(maps)
            else:
                job.maps = maps
            job.seconds += (time.perf_counter() - started) / len(ready)
        yield from group


def _attempt(job: Job, step: Callable[..., None], *args: Any) -> Job:
    """Take a step unless an earlier one failed. What goes wrong concerns this image only, but for a full disk."""
    started = time.perf_counter()
    try:
        if job.error is None:
            step(job, *args)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_MORE:
            raise
        job.error, job.skipped = str(error) or repr(error), isinstance(error, NotAPhotoError)
    job.seconds += time.perf_counter() - started
    return job


def _read(
    job: Job,
    manifest: Manifest,
    budget: Budget,
    max_pixels: int,
    save: Collection[str],
    raw: bool,
    lens: Lens | None,
) -> None:
    """Read and prepare the image, unless writing its results will take too much memory."""
    size = file_size(job.path, budget.total)
    large = size > budget.total // SMALL
    with ExitStack() as claims:
        with budget.reading if large else nullcontext():
            if large:
                claims.enter_context(budget.claim(size))
            data = read_bytes(job.path, size)
            header = check(data, budget.total - size, max_pixels, only_photos=job.found)
            _check_results(header, budget.total, _writing(manifest, save, raw, header.pixels))
            claims.enter_context(budget.claim(header.reading if large else header.reading + size))
        image, size = decode_for(data, header, manifest)
        job.height, job.width = size
        job.prepared, job.shown = prepare(image, manifest, lens, size), resize_pixels(image, panel_size(size))
        job.view = job.prepared.view
        if POINTS in save:
            whole = image if image.shape[:2] == size else decode_rgb(data, header, manifest.fill)
            job.colours = points.sampled(whole, size)


def _resized(manifest: Manifest, save: Collection[str], raw: bool) -> list[Output]:
    """The outputs that are brought to the image's size."""
    for_points = [output.name for output in points.used(manifest)] if POINTS in save else []
    return [output for output in manifest.outputs if raw or output.name in save or output.name in for_points]


def _writing(manifest: Manifest, save: Collection[str], raw: bool, pixels: int) -> int:
    """Bytes of memory that writing the results of an image takes at most."""
    kinds = [KINDS[output.kind] for output in _resized(manifest, save, raw)]
    kept = sum(np.dtype(kind.dtype).itemsize * math.prod(kind.tail) for kind in kinds) if raw else 0
    cloud = min(pixels, points.MAX_POINTS) * points.PEAK if POINTS in save else 0
    return pixels * (kept + max((kind.peak for kind in kinds), default=0)) + cloud


def _check_results(header: Header, most: int, written: int) -> None:
    if written > most:
        raise ImageError(
            f"too large: writing the results of its {header.width} x {header.height} pixels takes "
            f"{written / 1e9:.3g} GB of memory, {most / 1e9:.3g} GB may be used; make it smaller, keep "
            "fewer outputs, or run where there is more memory"
        )


def _write(
    job: Job,
    manifest: Manifest,
    budget: Budget,
    out: Path,
    save: Collection[str],
    raw: bool,
    limits: Mapping[str, Limits] | None,
) -> None:
    prepared, maps, shown, colours = job.prepared, job.maps, job.shown, job.colours
    job.prepared, job.maps, job.shown, job.colours = None, {}, None, None  # the job may wait for others before it
    assert prepared is not None and shown is not None
    (out / job.name).parent.mkdir(parents=True, exist_ok=True)

    def keep(ending: str, data: bytes) -> None:
        name = f"{job.name}.{ending}"
        atomic_write(out / name, data)
        job.files.append(name)

    with budget.claim(_writing(manifest, save, raw, math.prod(prepared.size))):
        arrays, samples = {}, {}
        for output in _resized(manifest, save, raw):
            array = prepared.at_image_size(maps[output.name], KINDS[output.kind])
            if output.name in save:
                keep(f"{output.name}.png", KINDS[output.kind].encode(array, output))
            if colours is not None and output in points.used(manifest):
                samples[output.name] = points.sampled(array, prepared.size)
            if raw:
                arrays[output.name] = array
            del array  # before the next is made
        if colours is not None and job.view is not None:
            depth, *normals = (samples[output.name] for output in points.used(manifest))
            depth = points.unblended(depth, prepared.crop(maps[points.DEPTH]), prepared.size, job.view.camera)
            keep(f"{POINTS}.ply", points.ply(points.cloud(depth, colours, job.view.camera, prepared.size, *normals)))
        if OVERVIEW in save:
            cropped = {name: prepared.crop(array) for name, array in maps.items()}
            drawn = cv2.cvtColor(draw(shown, cropped, manifest, prepared.size, limits), cv2.COLOR_RGB2BGR)
            keep(f"{OVERVIEW}.jpg", cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())
        if raw:
            name = f"{job.name}.npz"
            with atomic_path(out / name) as temporary:
                np.savez(temporary, **arrays)
            job.files.append(name)
