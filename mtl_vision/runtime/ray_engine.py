"""The pipeline on many machines: workers on Ray take parts of the list, and do them as one machine does.

The machines share a disk with the model, the images and the results, under the same paths.
"""

import json
import logging
import os
import platform
import signal
import warnings
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import onnxruntime

from mtl_vision.runtime.budget import Budget, default_budget
from mtl_vision.runtime.contract import ModelError, one_line
from mtl_vision.runtime.model import ONNXRUNTIME
from mtl_vision.runtime.pipeline import Stopped, locally
from mtl_vision.runtime.predictor import Predictor
from mtl_vision.runtime.providers import PROVIDERS, choose, open_model
from mtl_vision.runtime.results import Line
from mtl_vision.runtime.steps import NO_MORE, Job, Wanted

CHUNK = 64  # images that a worker takes at a time: seconds of work, beside which handing them over costs nothing
EACH = 4  # chunks for each worker at least, so that all end at about the same time
ON_GPU = (PROVIDERS["cuda"], PROVIDERS["tensorrt"])
RETRIES = 3  # of a chunk whose worker was killed
KILLED = f"its worker was killed {1 + RETRIES} times when it had this image alone: it may take too much memory"
Rows = dict[str, Any]  # columns of a batch


class Worker:
    """A process with the model. A call takes a row with a chunk's jobs and gives one with their lines, as JSON.

    Strings go through Arrow as UTF-8, which the name of a file need not be: JSON escapes it.
    """

    def __init__(self, opened: Callable[[], Predictor], wanted: Wanted, batch: int, threads: int) -> None:
        cv2.setNumThreads(threads)  # else each worker has as many as there are cores
        self.batch, self.threads = batch, threads
        self.wanted = replace(wanted, budget=Budget(default_budget() * threads // max(threads, os.cpu_count() or 1)))
        self.model, self.failure = None, ""
        try:
            self.model = opened()
        except Exception as error:  # raised here, it would come back in pages
            self.failure = f"the worker on {platform.node()} cannot open the model: {one_line(error)}"

    def __call__(self, rows: Rows) -> Rows:
        return {"done": [json.dumps(self.do(json.loads(text))) for text in rows["jobs"]]}

    def do(self, jobs: list[Any]) -> Rows:
        """The lines of the jobs; with the reason, where no more can be done."""
        if self.model is None:
            return {"lines": [], "failure": self.failure}
        done: Rows = {"lines": []}
        todo = [Job(Path(path), *rest) for path, *rest in jobs]
        try:
            done["lines"].extend(locally(self.model, todo, self.wanted, self.batch, workers=self.threads + 1))
        except OSError as error:
            if error.errno not in NO_MORE:
                raise
            done["full"] = error.errno, error.strerror, error.filename
        return done


@dataclass(frozen=True)
class RayEngine:
    """An engine of `pipeline.run`: the workers of a Ray cluster, that of RAY_ADDRESS or `ray start`, else of one here.

    opened: opens the model, on each worker. workers: how many (as many as the cluster has room for). threads: cores of
    each, which its network has too. gpu: each has a GPU of its own.

    Lines come as chunks are done, in any order, one for each image. A chunk whose worker is killed is done again, up to
    RETRIES times, then each of its images by itself, and one whose worker is killed even so has failed. Raises
    ModelError where ray is not installed or a worker cannot open the model, ValueError where the cluster has no room
    for one, OSError where a worker can write no more.
    """

    opened: Callable[[], Predictor]
    workers: int | None = None
    threads: int = 1
    gpu: bool = False

    def __call__(
        self, model: Predictor, jobs: Iterable[Job], wanted: Wanted, batch: int, stopped: Stopped
    ) -> Generator[Line, None, None]:
        waiting = {job.name: job for job in jobs}
        if not waiting:
            return
        ray = connected()
        workers = self.workers or self.room(ray.cluster_resources())
        told = self.opened, replace(wanted, out=_absolute(wanted.out)), batch, self.threads
        for chunks in (in_chunks([*waiting.values()], workers, batch), None):
            chunks = chunks or [[job] for job in waiting.values()]
            for line in self.lines(ray, chunks, told, min(workers, len(chunks))):
                if job := waiting.pop(line["name"], None):
                    yield line | {"image": str(job.path)}  # as it was given
                if stopped():
                    return
            if not waiting:
                return
        for job in waiting.values():
            job.error = KILLED
            yield job.line()

    def room(self, resources: dict[str, float]) -> int:
        """How many workers a cluster of such resources has room for."""
        cores, gpus = resources.get("CPU", 0), resources.get("GPU", 0)
        if count := int(min(cores // self.threads, gpus) if self.gpu else cores // self.threads):
            return count
        wanted = f"{self.threads} cores" + " and a GPU" * self.gpu
        raise ValueError(f"expected a Ray cluster with {wanted} for a worker, found {cores:g} cores and {gpus:g} GPUs")

    def lines(
        self, ray: ModuleType, chunks: Sequence[Sequence[Job]], told: tuple[Any, ...], workers: int
    ) -> Iterator[Line]:
        """The lines of the chunks, as they are done; none of a chunk whose worker was killed too often."""
        rows = [{"jobs": json.dumps([_told(job) for job in chunk])} for chunk in chunks]
        alone = len(chunks[0]) == 1  # a killed worker takes the chunks with it that wait for it
        pool = ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1 if alone else 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray 2.64 drops the one way to bound the retries
            data = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                Worker, batch_size=1, compute=pool, fn_constructor_args=told, num_cpus=self.threads,
                num_gpus=int(self.gpu), ray_remote_args_fn=lambda: {"max_task_retries": RETRIES},
            )  # fmt: skip
        data.context.max_errored_blocks = -1  # those whose workers were killed
        data.context.enable_progress_bars = data.context.print_on_execution_start = False
        try:
            for row in data.iter_rows():
                done = json.loads(row["done"])
                yield from done["lines"]
                if "full" in done:
                    raise OSError(*done["full"])
                if "failure" in done:
                    raise ModelError(done["failure"])
        except ray.exceptions.RayError as error:
            raise ModelError(f"the workers on Ray failed: {one_line(error)}") from error


def ray_engine(
    model: Path, workers: int | None, threads: int | None, provider: str, tasks: Collection[str] | None, backend: str
) -> RayEngine:
    """The engine whose workers open a model with these options of `open_model`, on GPUs where they use them.

    threads: 1 by default. Raises ModelError where ray is not installed.
    """
    ray, threads = connected(), threads or 1
    chosen = choose(provider, onnxruntime.get_available_providers()) if backend == ONNXRUNTIME else ""
    gpu = chosen in ON_GPU and "GPU" in ray.cluster_resources()
    return RayEngine(partial(open_model, _absolute(model), threads, provider, tasks, backend), workers, threads, gpu)


def in_chunks(jobs: list[Job], workers: int, batch: int) -> list[list[Job]]:
    """The jobs in order, so many at a time that each worker gets some, in whole batches.

    Raises ValueError when `batch` is below 1.
    """
    if batch < 1:
        raise ValueError(f"batch is {batch}: expected 1 or more")
    size = max(1, min(CHUNK, -(-len(jobs) // (EACH * workers))))
    size = -(-size // batch) * batch
    return [jobs[i : i + size] for i in range(0, len(jobs), size)]


def connected() -> ModuleType:
    """The package ray, connected to a cluster. Raises ModelError where it is not installed."""
    try:
        ray = import_module("ray")
        import_module("ray.data")
    except ImportError as error:
        raise ModelError(
            "engine is ray: expected the package ray with Ray Data, found none; python -m pip install 'mtl_vision[ray]'"
        ) from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # the lines say what matters
    if not ray.is_initialized():
        with _handlers_kept():
            ray.init(logging_level=logging.ERROR, log_to_driver=False)
    return ray


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Signals are handled after the block as before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _told(job: Job) -> tuple[str, str, bool, str | None]:
    return str(_absolute(job.path)), job.name, job.found, job.model


def _absolute(path: Path) -> Path:
    """The path from the root, as workers have other folders to work in."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve would follow links
