"""The page of an exported model in Chromium: its size, its time a photo beside onnxruntime's in Python, and how its
maps differ from Python's.

    python benchmarks/browser.py MODEL [--photos FOLDER] [--count 20] [--ort-web FOLDER] [--chromium PATH] [--quick]

Without a folder of photos, on rendered rooms. The network alone is timed, one thread on either side, in turns, a photo
at a time; WebAssembly, as a plain host without headers serves it. Needs playwright.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import cv2
import numpy as np

from benchmarks.common import finish, ratio
from mtl_vision.export.web.ort import ort_files
from mtl_vision.export.web.page import write_page
from mtl_vision.runtime.images import SUFFIXES, read_image
from mtl_vision.runtime.kinds import KINDS, Output
from mtl_vision.runtime.model import Model
from mtl_vision.runtime.predictor import prepare
from mtl_vision.synthetic import render_room

READY = "html[data-state=ready]"
MAP = """name => {
  const { values } = mtl.result.maps[name], bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder on a plain host."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def photos_of(folder: Path | None, count: int, work: Path) -> list[Path]:
    """Photos at equal distances in a folder, or rooms."""
    if folder is None:
        paths = [work / f"room{i}.png" for i in range(count)]
        for i, path in enumerate(paths):
            cv2.imwrite(str(path), cv2.cvtColor(render_room(1000 + i, (480, 640)).image, cv2.COLOR_RGB2BGR))
        return paths
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return [found[i] for i in np.unique(np.linspace(0, len(found) - 1, count).astype(int))]


def difference(output: Output, found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """How far two maps are apart: depth relatively, vectors in degrees, labels by their share."""
    if output.kind == "scalar_map":
        apart = np.abs(found - expected) / np.maximum(expected, 1e-6)
        return {"relative_max": float(apart.max()), "relative_mean": float(apart.mean())}
    figures = KINDS[output.kind].compare(found, expected)
    if output.kind == "unit_vector_map":
        return {"degrees_max": figures["max_degrees"], "degrees_mean": figures["mean_degrees"]}
    return figures


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", type=Path)
    p.add_argument("--photos", type=Path)
    p.add_argument("--count", type=int, default=20)
    p.add_argument("--ort-web", type=Path)
    p.add_argument("--chromium", default=shutil.which("chromium"))
    p.add_argument("--quick", action="store_true")
    args = p.parse_args()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sys.exit("playwright is not installed: pip install playwright")
    if not args.chromium:
        sys.exit("no chromium on the PATH: install it, or give --chromium PATH")
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        work = Path(name)
        ort = ort_files(args.ort_web)
        for form in ("folder", "single"):
            write_page(args.model, work / form, ort, single=form == "single")
            figures[f"bytes.{form}"] = sum(path.stat().st_size for path in (work / form).rglob("*") if path.is_file())
        (work / "photos").mkdir()
        photos = photos_of(args.photos, 3 if args.quick else args.count, work / "photos")
        browser = driver.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
        with served(work / "folder") as address:
            page = browser.new_page()
            begin = time.perf_counter()
            page.goto(f"{address}?backend=wasm")
            page.wait_for_selector(READY, timeout=120_000)
            figures["seconds.load"] = time.perf_counter() - begin

            def in_page(path: Path) -> float:
                page.evaluate("globalThis.before = mtl.result")
                page.set_input_files("#file", path)
                page.wait_for_function("() => mtl.result !== before")
                page.wait_for_selector(READY)
                return page.evaluate("mtl.result.ms") / 1000

            figures |= compare(Model(args.model, threads=1), photos, in_page, lambda name: page.evaluate(MAP, name))
        browser.close()
    for key, value in figures.items():
        print(f"{key:40} {value:.6g}")
    finish(figures)


def compare(
    model: Model, photos: list[Path], in_page: Callable[[Path], float], fetch: Callable[[str], str]
) -> dict[str, float]:
    """Times and differences, over photos: the largest of the largest, the mean of the means."""
    browser, python = [], []
    apart: dict[str, list[float]] = {}
    for path in photos:
        browser.append(in_page(path))
        canvas = prepare(read_image(path), model.manifest).canvas[None]
        begin = time.perf_counter()
        model.run(canvas)
        python.append(time.perf_counter() - begin)
        expected = model.predict(path)
        for output in model.manifest.outputs:
            kind, shape = KINDS[output.kind], expected[output.name].shape
            if max(shape[:2]) > 640:
                sys.exit(f"'{path}': expected a photo of at most 640 pixels, as the page shows maps at that size")
            found = np.frombuffer(base64.b64decode(fetch(output.name)), kind.dtype).reshape(shape)
            for key, value in difference(output, found, expected[output.name]).items():
                apart.setdefault(f"{output.name}.{key}", []).append(value)
    merged = {key: (max if "max" in key else statistics.mean)(values) for key, values in apart.items()}
    return {
        "photos": len(photos),
        "ms.browser": 1000 * statistics.median(browser),
        "ms.python": 1000 * statistics.median(python),
        "time_ratio": ratio(browser, python),
        **merged,
    }


if __name__ == "__main__":
    main()
