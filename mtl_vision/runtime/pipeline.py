"""Images in, files out: read, run and write side by side, in order, with a bounded number under way."""

import os
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from mtl_vision.runtime import points, steps
from mtl_vision.runtime.budget import Budget
from mtl_vision.runtime.contract import Manifest
from mtl_vision.runtime.headers import MAX_PIXELS
from mtl_vision.runtime.kinds import Limits
from mtl_vision.runtime.lens import Lens
from mtl_vision.runtime.predictor import Predictor, batches
from mtl_vision.runtime.results import OTHER_IMAGE, OTHER_MODEL, RESULTS, Item, Line, Results, expect_free
from mtl_vision.runtime.steps import OVERVIEW, POINTS, Job, Wanted, attempt, endings, run_network
from mtl_vision.runtime.terminal import progress, say
from mtl_vision.runtime.workers import ahead, stopping

Stopped = Callable[[], bool]


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

    def add(self, line: Line) -> None:
        """Count an image by its line in the results."""
        if line["status"] == "ok":
            self.done += 1
        elif line["status"] == "skipped":
            self.skipped += 1
        else:
            self.failed.append((line["image"], line["error"]))


def locally(
    model: Predictor,
    jobs: Iterable[Job],
    wanted: Wanted,
    batch: int = 1,
    stopped: Stopped = lambda: False,
    workers: int | None = None,
) -> Generator[Line, None, None]:
    """Do the jobs in this process. Gives their lines in order, each as soon as its files are written.

    workers: threads that read and write (one more than there are cores, at most 8).
    """
    workers = workers or min(8, (os.cpu_count() or 1) + 1)
    with stopping(ThreadPoolExecutor(workers)) as pool:
        read = ahead(lambda job: pool.submit(attempt, job, steps.read, wanted), jobs, workers + batch)
        groups = batches(read, batch, lambda job: job.prepared and job.prepared.canvas.shape)
        seen = run_network(model, _until(stopped, groups))
        for job in ahead(lambda job: pool.submit(attempt, job, steps.keep, wanted), seen, workers):
            yield job.line()


Engine = Callable[[Predictor, Iterable[Job], Wanted, int, Stopped], Generator[Line, None, None]]


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
    stopped: Stopped = lambda: False,
    engine: Engine = locally,
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
    once. stopped: called between batches; once true, what is under way is finished and the rest left. engine: what does
    the work: `locally`, or `RayEngine`.

    `results.jsonl` gets a line for each image, in order (of Ray, as they come), as soon as its files are written:
    image, status (ok, failed or skipped), name, width, height, files, error (why, unless it is ok), model (the
    beginning of its checksum), seconds (of work on it, and of waiting for memory), and, with points or a lens, camera
    (fx, fy, cx, cy in pixels of the image, and what they are from) and depth_scale. An image that fails, in any step,
    does not stop the others; a full disk, or a `results.jsonl` that cannot be written on, ends the run,
    and the summary says so. Images share a `Budget` of memory: large ones wait for each other, one too large for it
    fails. Raises LockedError when another process writes to `out`, OSError when `out` or `results.jsonl` cannot be
    made, ValueError for an unknown name in `save`, a `batch` below 1, and where no depth or camera is known for points
    or a lens; and where results would replace files of the user's own beside the images (`expect_free`).
    """
    manifest, out = model.manifest, Path(out)
    kept = known_names(manifest, save) or {*(output.name for output in manifest.outputs), OVERVIEW}
    lens = points.check_lens(manifest, Lens(fov, focal), POINTS in kept)
    if lens and manifest.intrinsics is None and not quiet:
        say(f"depth is not scaled to {lens}: the model does not say at which focal length it was trained")
    summary, started = Summary(), time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    wanted = Wanted(
        manifest=manifest, out=out, save=frozenset(kept), raw=raw, limits=limits, lens=lens, max_pixels=max_pixels,
        budget=Budget(),
    )  # fmt: skip
    identity = model.checksum[:12] or None
    items, ends = [Item(*item) for item in items], endings(manifest, kept, raw)
    expect_free(out, items, ends)
    with Results(out, results) as lines:
        left, before = lines.start(items, ends if resume else None, str(lens or Lens()), identity)
        if before[OTHER_MODEL] and not quiet:
            say(f"{before[OTHER_MODEL]} images were done with another model: they are done again with this one")
        if before[OTHER_IMAGE] and not quiet:
            say(
                f"{before[OTHER_IMAGE]} results of other images have the same names and are replaced: to keep both, "
                "give all images in one call, or choose another output folder"
            )
        summary.before, summary.skipped = before["ok"], before["skipped"]
        jobs = (Job(*item, model=identity) for item in left)
        try:
            with closing(engine(model, jobs, wanted, batch, stopped)) as done:
                for line in progress(done, len(left), quiet):
                    lines.add(line)
                    summary.add(line)
                    if line["status"] == "failed":
                        say(f"failed: {line['image']}: {line['error']}")
        except OSError as error:
            summary.stopped = f"{error.strerror or error}: '{error.filename or out}'"
    summary.seconds = time.perf_counter() - started
    return summary


def known_names(manifest: Manifest, save: Collection[str] | None) -> set[str]:
    """The names of what is kept. Raises ValueError for one that the model does not have."""
    known = [*(output.name for output in manifest.outputs), OVERVIEW, POINTS]
    if unknown := sorted(set(save or ()) - set(known)):
        raise ValueError(f"the model has no output {', '.join(unknown)}; it has {', '.join(known)}")
    return set(save or ())


def _until(stopped: Stopped, groups: Iterable[list[Job]]) -> Iterator[list[Job]]:
    for group in groups:
        if stopped():
            return
        yield group
