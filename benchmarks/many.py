"""What docs/many-machines.md reckons with: the size of results, the seconds and memory of a list, and what Ray adds.

    python benchmarks/many.py [--quick] --model MODEL.onnx --images DIR [--only sizes lists ray]

kb.*: kilobytes of an image's file of each kind, a mean over the images (and of its line in results.jsonl and, with
pyarrow, its row in results.parquet). Sizes are those of a trained network's maps: random weights make noise, which is
several times as large. list_seconds and list_mb: for a million paths of a list, found and named, in a fresh process,
that are not on the disk. resume_seconds: for a million images, until a rerun knows that all are done, whose files are
there. driver_seconds: for the lines of a million images, of the process that writes results.jsonl. ray_ratio: images a
second of `--engine ray` on this machine's cores over those of the pipeline here, both after their start;
ray_start_seconds: of a cluster on this machine and its workers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Generator
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from benchmarks.common import finish
from benchmarks.fresh import fresh
from benchmarks.stages import CORES
from mtl_vision.runtime.inputs import collect
from mtl_vision.runtime.model import Model
from mtl_vision.runtime.pipeline import Engine, locally, run
from mtl_vision.runtime.results import RESULTS, Item, Line, Results
from mtl_vision.runtime.steps import Job

CHUNK = 64  # as Ray's workers take them
LIST = """
import sys, time
from pathlib import Path
from mtl_vision.runtime.inputs import collect
def memory():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
paths = [Path(sys.argv[1]) / f"{i // 1000:05}" / f"photo-{i:09}.jpg" for i in range(int(sys.argv[2]))]
before, began = memory(), time.perf_counter()
items = collect([], sys.argv[1], listed=[paths])
print(time.perf_counter() - began if sys.argv[3] == "seconds" else memory() - before + 0.4e-3 * len(paths))
"""  # 0.4 kB is a path of the list itself, which was made before


def sizes(model: Model, items: list[Item], out: Path) -> dict[str, float]:
    """Kilobytes of each kind of file, an image."""
    assert run(model, items, out, raw=True, quiet=True).done == len(items)
    found = {}
    for item in items:
        for file in out.glob(f"{item.name}.*"):
            kind = file.name.removeprefix(f"{item.name}.")
            found[kind] = found.get(kind, 0) + file.stat().st_size
    found["line"] = (out / RESULTS).stat().st_size
    if find_spec("pyarrow"):
        from mtl_vision.runtime.table import write_table

        found["row"] = write_table(out / RESULTS).stat().st_size
    for kind, size in found.items():
        print(f"{kind:<20}{size / len(items) / 1000:>9.2f} kB an image")
    return {f"kb.{kind}": size / len(items) / 1000 for kind, size in found.items()}


def lists(model: Model, count: int, work: Path) -> dict[str, float]:
    """A list of so many paths, for a million of them."""
    found = {f"list_{what}": 1e6 / count * fresh(LIST, work, count, what) for what in ("seconds", "mb")}
    out = work / "resumed"
    out.mkdir()
    items = [Item(Path(f"{i}.jpg"), f"{i}") for i in range(count // 10)]
    with Results(out) as results:
        for item in items:
            (out / f"{item.name}.depth.png").write_bytes(b"x")
            results.add({"image": str(item.path), "status": "ok", "name": item.name, "model": "m"})
    began = time.perf_counter()
    with Results(out) as results:
        left, _ = results.start(items, ["depth.png"], model="m")
    found["resume_seconds"] = 1e6 / len(items) * (time.perf_counter() - began)
    assert not left
    line = Job(Path("x" * 60), "x" * 40, width=640, height=480, files=["x" * 50] * 3, model="m" * 12).line()

    def engine(*told: object) -> Generator[Line, None, None]:
        """What a driver has of its workers: chunks of lines, as JSON."""
        for chunk in (json.dumps([line] * CHUNK) for _ in range(count // CHUNK)):
            yield from json.loads(chunk)

    summary = run(model, items, work / "lines", quiet=True, engine=engine)
    found["driver_seconds"] = 1e6 * summary.seconds / summary.done
    for name, value in found.items():
        print(f"{name} of a million: {value:.1f}")
    return found


def on_ray(model: Model, items: list[Item], turns: int, out: Path) -> dict[str, float]:
    """Images a second on Ray over those without it; time from the first image's line on, as starts are apart."""
    from mtl_vision.runtime.ray_engine import RayEngine

    engines: dict[str, Engine] = {"here": locally, "ray": RayEngine(partial(Model, model.path, threads=1), CORES)}
    rates: dict[str, list[float]] = {name: [] for name in engines}
    starts = []
    for turn in range(1 + turns):
        for name, engine in engines.items():
            times, began = list[float](), time.perf_counter()

            def timed(*told: object, engine: Engine = engine, times: list[float] = times):
                for line in engine(*told):  # type: ignore[arg-type]
                    times.append(time.perf_counter())
                    yield line

            assert run(model, items, out / name, quiet=True, engine=timed).done == len(items)
            same = sum(at == times[0] or at - times[0] < 1e-3 for at in times)  # the first chunk comes at once
            rates[name].append((len(items) - same) / (times[-1] - times[0]))
            if name == "ray" and turn == 0:
                starts.append(times[0] - began)
    ratios = [a / b for a, b in zip(rates["ray"][1:], rates["here"][1:], strict=True)]
    found = {"ray_ratio": statistics.median(ratios), "ray_start_seconds": starts[0]}
    print(f"on Ray {found['ray_ratio']:.2f} x the images a second; its first chunk after {starts[0]:.1f} s")
    return found


PARTS = ("sizes", "lists", "ray")


def main() -> None:
    """Print the tables and the JSON line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="few images, for trying")
    p.add_argument("--model", type=Path, required=True, help="of a trained network")
    p.add_argument("--images", type=Path, required=True)
    p.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    p.add_argument("--photos", type=int, default=600)
    p.add_argument("--count", type=int, default=200_000, help="paths of the list")
    p.add_argument("--turns", type=int, default=3)
    args = p.parse_args()
    if args.quick:
        args.photos, args.count, args.turns = 20, 2000, 1
    with tempfile.TemporaryDirectory() as name:
        work, model, figures = Path(name).resolve(), Model(args.model, threads=1), dict[str, float]()
        items = list(islice(collect([args.images], work), args.photos))
        print(f"{len(items)} images; {CORES} cores, load average {os.getloadavg()[0]:.1f} of others and ours")
        if "sizes" in args.only:
            figures |= sizes(model, items[:100], work / "sizes")
        if "lists" in args.only:
            figures |= lists(model, args.count, work)
        if "ray" in args.only and find_spec("ray"):
            figures |= on_ray(Model(args.model), items, args.turns, work)
        finish(figures)


if __name__ == "__main__":
    main()
