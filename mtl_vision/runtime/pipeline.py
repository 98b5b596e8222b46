"""Pictures in, files out: read, run and write side by side, in order, with a bounded number under way."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from mtl_vision.runtime.encode import ENCODERS
from mtl_vision.runtime.files import whole, write_whole
from mtl_vision.runtime.images import read_image
from mtl_vision.runtime.inputs import Item, collect
from mtl_vision.runtime.kinds import KINDS, Size
from mtl_vision.runtime.preprocess import Box, input_size, letterbox, to_image
from mtl_vision.runtime.render import overview
from mtl_vision.runtime.session import Session

__all__ = ["OVERVIEW", "RESULTS", "Summary", "collect", "run"]

OVERVIEW, RESULTS = "overview", "results.jsonl"
JPEG_QUALITY = 92

A = TypeVar("A")
B = TypeVar("B")


@dataclass
class Picture:
    """One picture on its way. A step that fails leaves its reason in `error`, and later steps pass it by."""

    path: Path
    name: str
    image: np.ndarray | None = None  # (H, W, 3) uint8 RGB
    size: Size | None = None
    canvas: np.ndarray | None = None  # the network's input
    box: Box = (0, 0, 0, 0)
    maps: dict[str, np.ndarray] = field(default_factory=dict)  # of the canvas's size
    files: list[str] = field(default_factory=list)
    seconds: float = 0.0
    error: str | None = None


@dataclass
class Summary:
    """How a run ended: pictures done, (path, reason) of those that failed, and seconds on the clock."""

    done: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0


def run(
    session: Session,
    items: Collection[Item],
    out: str | Path,
    save: Collection[str] | None = None,
    raw: bool = False,
    batch: int = 1,
    quiet: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> Summary:
    """Run a model over pictures and keep what it sees, at each picture's own size, in the folder `out`.

    save: names of outputs, and "overview" (default: all). raw: keep float arrays too, as NAME.npz. batch: pictures
    a run of the network; they are batched in order, as long as their canvases have one size. quiet: no progress bar.
    stopped: asked between batches; once true, what is under way is finished and the rest left. Ends early, too, and
    says so in the summary, when `results.jsonl` cannot be written on.

    `results.jsonl` gets a line for each picture, in order, as soon as its files are written: image, name, status (ok
    or failed), width, height, seconds (of work on it), files, error. A picture that fails, in whatever step, stops no
    other. Raises OSError when `out` or `results.jsonl` cannot be written, ValueError for an unknown name in `save`.
    """
    outputs = session.manifest.outputs
    known = [*(output.name for output in outputs), OVERVIEW]
    if unknown := set(save or ()) - set(known):
        raise ValueError(f"the model has no output {', '.join(sorted(unknown))}; it has {', '.join(known)}")
    out, save = Path(out), set(save or known)

    def read(item: Item) -> Picture:
        return _attempt(Picture(*item), lambda picture: _read(picture, session))

    def write(picture: Picture) -> Picture:
        picture = _attempt(picture, lambda picture: _write(picture, session, out, save, raw))
        picture.image, picture.canvas, picture.maps = None, None, {}  # it may wait for others before it
        return picture

    summary, started = Summary(), time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    workers = min(8, (os.cpu_count() or 1) + 1)
    pool = ThreadPoolExecutor(workers)
    try:
        with (out / RESULTS).open("wb", buffering=0) as results:  # each line is on disk before the next picture
            read_ahead = _ahead(pool, read, items, workers + batch)
            seen = _predict(session, _batches(read_ahead, batch), stopped)
            written = _ahead(pool, write, seen, workers)
            for picture in tqdm(written, total=len(items), unit="image", disable=quiet, smoothing=0.1):
                try:
                    results.write(json.dumps(_record(picture)).encode() + b"\n")
                except OSError as error:
                    summary.failed.append((str(out / RESULTS), f"{error}; stopped here"))
                    break
                if picture.error is None:
                    summary.done += 1
                else:
                    summary.failed.append((str(picture.path), picture.error))
                    tqdm.write(f"failed: {picture.path}: {picture.error}", file=sys.stderr)
    finally:
        pool.shutdown(cancel_futures=True)
    summary.seconds = time.perf_counter() - started
    return summary


def _ahead(pool: ThreadPoolExecutor, step: Callable[[A], B], items: Iterable[A], most: int) -> Iterator[B]:
    """`map(step, items)` with at most `most` items under way in the pool before the one waited for."""
    under_way: deque[Future[B]] = deque()
    for item in items:
        under_way.append(pool.submit(step, item))
        del item  # only the pool holds it now
        if len(under_way) > most:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


def _batches(pictures: Iterable[Picture], most: int) -> Iterator[list[Picture]]:
    """Neighbours whose canvases have one size; those that failed go along and do not count."""
    batch: list[Picture] = []
    shapes: list[tuple[int, ...]] = []
    for picture in pictures:
        shape = None if picture.canvas is None else picture.canvas.shape
        if shape and shapes and shape != shapes[0]:
            yield batch
            batch, shapes = [], []
        batch.append(picture)
        shapes += [shape] if shape else []
        if len(shapes) == most or len(batch) >= 2 * most:  # those that failed must not wait for long
            yield batch
            batch, shapes = [], []
    if batch:
        yield batch


def _predict(session: Session, batches: Iterable[list[Picture]], stopped: Callable[[], bool]) -> Iterator[Picture]:
    for batch in batches:
        if stopped():
            return
        ready = [picture for picture in batch if picture.canvas is not None]
        started, error = time.perf_counter(), None
        try:
            maps = session.run(np.stack([p.canvas for p in ready])) if ready else {}  # type: ignore[misc]
        except Exception as failure:
            maps, error = {}, f"the network failed: {failure}"
        for i, picture in enumerate(ready):
            picture.maps = {name: array[i] for name, array in maps.items()}
            picture.error = error
            picture.seconds += (time.perf_counter() - started) / len(ready)
        yield from batch


def _attempt(picture: Picture, step: Callable[[Picture], None]) -> Picture:
    """Take a step unless an earlier one failed. Whatever goes wrong concerns this picture alone."""
    started = time.perf_counter()
    try:
        if picture.error is None:
            step(picture)
    except Exception as error:
        picture.error = str(error) or repr(error)
    picture.seconds += time.perf_counter() - started
    return picture


def _read(picture: Picture, session: Session) -> None:
    manifest = session.manifest
    image = read_image(picture.path, manifest.fill)
    picture.image, picture.size = image, (image.shape[0], image.shape[1])
    picture.canvas, picture.box = letterbox(image, input_size(manifest, picture.size), manifest.fill)


def _write(picture: Picture, session: Session, out: Path, save: Collection[str], raw: bool) -> None:
    assert picture.image is not None and picture.size is not None
    outputs = session.manifest.outputs
    (out / picture.name).parent.mkdir(parents=True, exist_ok=True)

    def keep(ending: str, data: bytes) -> None:
        name = f"{picture.name}.{ending}"
        write_whole(out / name, data)
        picture.files.append(name)

    arrays = {}
    for output in outputs:
        if output.name in save or raw:
            array = to_image(picture.maps[output.name], KINDS[output.kind], picture.box, picture.size)
            if output.name in save:
                keep(f"{output.name}.png", ENCODERS[output.kind](array, output))
            if raw:
                arrays[output.name] = array
    if OVERVIEW in save:
        top, left, height, width = picture.box
        view = {name: a[top : top + height, left : left + width] for name, a in picture.maps.items()}
        drawn = np.ascontiguousarray(overview(picture.image, view, outputs)[..., ::-1])
        keep(f"{OVERVIEW}.jpg", cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())
    if raw:
        name = f"{picture.name}.npz"
        with whole(out / name) as temporary:
            np.savez(temporary, **arrays)
        picture.files.append(name)


def _record(picture: Picture) -> dict[str, Any]:
    """The picture's line in the results."""
    height, width = picture.size or (None, None)
    return {
        "image": str(picture.path),
        "name": picture.name,
        "status": "ok" if picture.error is None else "failed",
        "width": width,
        "height": height,
        "seconds": round(picture.seconds, 4),
        "files": picture.files,
        "error": picture.error,
    }
