"""The steps of an image from its file to its results: read, run, keep. Folders and videos take them in turn."""

import errno
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

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
from mtl_vision.runtime.predictor import Predictor, Prepared, decode_for, prepare
from mtl_vision.runtime.render import draw, panel_size

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
    shown: np.ndarray | None = None  # the image, at its size in the overview, where that is wanted
    colours: np.ndarray | None = None  # of the points
    view: View | None = None  # how the camera sees it, where that matters
    maps: dict[str, np.ndarray] = field(default_factory=dict)  # of the canvas's size

    def line(self) -> dict[str, Any]:
        """The job's line in the results."""
        status = "ok" if self.error is None else "skipped" if self.skipped else "failed"
        line = {"image": str(self.path), "status": status}
        same = {key: getattr(self, key) for key in ("name", "width", "height", "files", "error", "model")}
        return line | same | (self.view.line() if self.view else {}) | {"seconds": round(self.seconds, 4)}


AnyJob = TypeVar("AnyJob", bound=Job)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is kept of each image, where, and within which bounds.

    save: names of outputs, "overview" and "points". raw: also the arrays. limits: by output name, what the overviews'
    colours span (each image's own). lens: of the images, where it matters. max_pixels: the most that an image may have.
    """

    manifest: Manifest
    out: Path
    save: frozenset[str]
    raw: bool = False
    limits: Mapping[str, Limits] | None = None
    lens: Lens | None = None
    max_pixels: int = MAX_PIXELS
    budget: Budget = field(default_factory=Budget)

    @property
    def resized(self) -> list[Output]:
        """The outputs that are brought to the image's size."""
        names = self.save | ({output.name for output in points.used(self.manifest)} if POINTS in self.save else set())
        return [output for output in self.manifest.outputs if self.raw or output.name in names]

    def writing(self, pixels: int) -> int:
        """Bytes of memory that writing the results of an image takes at most."""
        kinds = [KINDS[output.kind] for output in self.resized]
        kept = sum(np.dtype(kind.dtype).itemsize * math.prod(kind.tail) for kind in kinds) if self.raw else 0
        cloud = min(pixels, points.MAX_POINTS) * points.PEAK if POINTS in self.save else 0
        return pixels * (kept + max((kind.peak for kind in kinds), default=0)) + cloud

    def check(self, header: Header, before: int = 0) -> None:
        """Raise ImageError where writing an image's results, beside `before` bytes, takes more than all memory."""
        written = self.writing(header.pixels) + before
        if written > self.budget.total:
            raise ImageError(
                f"too large: writing the results of its {header.width} x {header.height} pixels takes "
                f"{written / 1e9:.3g} GB of memory, {self.budget.total / 1e9:.3g} GB may be used; make it smaller, "
                "keep fewer outputs, or run where there is more memory"
            )


def endings(manifest: Manifest, save: Collection[str], raw: bool) -> list[str]:
    """Of the files that are kept of an image: each is called NAME.ending."""
    pngs = [f"{output.name}.png" for output in manifest.outputs if output.name in save]
    return pngs + [f"{POINTS}.ply"] * (POINTS in save) + [f"{OVERVIEW}.jpg"] * (OVERVIEW in save) + ["npz"] * raw


def attempt(job: Job, step: Callable[..., None], *args: Any) -> Job:
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


def read(job: Job, wanted: Wanted) -> None:
    """Read and prepare the image, unless writing its results will take too much memory."""
    manifest, budget = wanted.manifest, wanted.budget
    size = file_size(job.path, budget.total)
    large = size > budget.total // SMALL
    with ExitStack() as claims:
        with budget.reading if large else nullcontext():
            if large:
                claims.enter_context(budget.claim(size))
            data = read_bytes(job.path, size)
            header = check(data, budget.total - size, wanted.max_pixels, only_photos=job.found)
            wanted.check(header)
            claims.enter_context(budget.claim(header.reading if large else header.reading + size))
        image, size = decode_for(data, header, manifest)
        job.height, job.width = size
        job.prepared = prepare(image, manifest, wanted.lens, size)
        job.shown = resize_pixels(image, panel_size(size)) if OVERVIEW in wanted.save else None
        job.view = job.prepared.view
        if POINTS in wanted.save:
            whole = image if image.shape[:2] == size else decode_rgb(data, header, manifest.fill)
            job.colours = points.sampled(whole, size)


def run_network(model: Predictor, groups: Iterable[list[AnyJob]]) -> Iterator[AnyJob]:
    """The jobs of each group in order, those that are prepared with their maps: one run of the network a group."""
    for group in groups:
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


def keep(job: Job, wanted: Wanted) -> None:
    """Write the files of an image, each whole or not at all."""
    prepared, maps, shown, colours = job.prepared, job.maps, job.shown, job.colours
    job.prepared, job.maps, job.shown, job.colours = None, {}, None, None  # the job may wait for others before it
    assert prepared is not None
    manifest = wanted.manifest
    (wanted.out / job.name).parent.mkdir(parents=True, exist_ok=True)

    def write(ending: str, data: bytes) -> None:
        name = f"{job.name}.{ending}"
        atomic_write(wanted.out / name, data)
        job.files.append(name)

    with wanted.budget.claim(wanted.writing(math.prod(prepared.size))):
        arrays, samples = {}, {}
        for output in wanted.resized:
            array = prepared.at_image_size(maps[output.name], KINDS[output.kind])
            if output.name in wanted.save:
                write(f"{output.name}.png", KINDS[output.kind].encode(array, output))
            if colours is not None and output in points.used(manifest):
                samples[output.name] = points.sampled(array, prepared.size)
            if wanted.raw:
                arrays[output.name] = array
            del array  # before the next is made
        if colours is not None and job.view is not None:
            depth, *normals = (samples[output.name] for output in points.used(manifest))
            depth = points.unblended(depth, prepared.crop(maps[points.DEPTH]), prepared.size, job.view.camera)
            write(f"{POINTS}.ply", points.ply(points.cloud(depth, colours, job.view.camera, prepared.size, *normals)))
        if OVERVIEW in wanted.save:
            assert shown is not None
            cropped = {name: prepared.crop(array) for name, array in maps.items()}
            drawn = cv2.cvtColor(draw(shown, cropped, manifest, prepared.size, wanted.limits), cv2.COLOR_RGB2BGR)
            quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
            write(f"{OVERVIEW}.jpg", cv2.imencode(".jpg", drawn, quality)[1].tobytes())
        if wanted.raw:
            name = f"{job.name}.npz"
            with atomic_path(wanted.out / name) as temporary:
                np.savez(temporary, **arrays)
            job.files.append(name)
