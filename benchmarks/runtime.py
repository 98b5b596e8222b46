"""Speed and memory of the torch-free runtime: each stage apart, and the whole against its limit and a plain script.

    python benchmarks/runtime.py [--quick] [--model MODEL.onnx] [--images DIR] [--only stages pipeline ...]

Its network is mobilenetv4_conv_small of random weights at 240x320, exported as a trained one is; its images are made
here, JPEGs of 480x640. --model and --images take others.

pipeline_limit_ratio: images a second of the whole pipeline over its limit, which is cores / (CPU seconds an image of
reading, network and writing, each measured alone in one thread). It is the product of work_ratio, the CPU seconds of
the three alone over those that the pipeline takes, and busy_ratio, the share of the cores that it keeps busy: on a
machine that others use only the first is the program's own. naive_ratio: images a second over those of a script that
does one image after another (cv2.imread, resize, session.run, resize, cv2.imwrite of the same PNGs). multi_ratio: time
of three networks of one output each over that of the one with three. first_seconds: from the first import to the maps
of a first image, in a fresh process. memory_ratio: the highest memory of a process that predicts once over that of one
that reads the image with OpenCV and has onnxruntime run the file, once, and leaves the maps as they are.
memory_slope_mb: MB that a long run's memory grows by for 1,000 images, of the line through its second half (Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from benchmarks.common import finish, interleaved, ratio
from mtl_vision.runtime import pipeline
from mtl_vision.runtime.files import atomic_write
from mtl_vision.runtime.headers import check
from mtl_vision.runtime.images import decode_rgb, file_size, read_bytes, read_image
from mtl_vision.runtime.kinds import KINDS
from mtl_vision.runtime.model import Model
from mtl_vision.runtime.predictor import prepare
from mtl_vision.runtime.render import draw
from mtl_vision.runtime.steps import Job, Wanted, keep, read

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
FIRST = """
import sys, time
began = time.perf_counter()
from mtl_vision.runtime import Model
maps = Model(sys.argv[1]).predict(sys.argv[2])
print(time.perf_counter() - began)
"""
BARE = """
import sys
import cv2, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
_, height, width, _ = session.get_inputs()[0].shape
session.run(None, {"image": cv2.resize(cv2.imread(sys.argv[2]), (width, height))[None]})
"""
OURS = "import sys\nfrom mtl_vision.runtime import Model\nModel(sys.argv[1]).predict(sys.argv[2])\n"
# not ru_maxrss, which begins with the parent's
PEAK = "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"


def fresh(code: str, *arguments: str | Path) -> float:
    """The number that a fresh process prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def made(file: Path, *options: str) -> Path:
    """A network of random weights; in a process of its own, as torch is no part of what is measured."""
    subprocess.run([sys.executable, "-m", "benchmarks.random_export", str(file), *options], check=True)
    return file


def make_photos(folder: Path, count: int, size: tuple[int, int], seed: int = 0) -> list[Path]:
    """JPEGs with structure at all scales, as photographs have."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for i in range(count):
        layers = [rng.uniform(0, 255, (-(-size[0] // cell), -(-size[1] // cell), 3)) for cell in (3, 20, 120)]
        grown = [cv2.resize(layer.astype(np.float32), size[::-1]) for layer in layers]
        photo = (0.15 * grown[0] + 0.35 * grown[1] + 0.5 * grown[2]).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i:04}.jpg"), photo, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return sorted(folder.iterdir())


def steps(model: Model, photo: Path, out: Path) -> dict[str, float]:
    """Seconds of each step of one image."""
    manifest, seconds, last = model.manifest, dict[str, float](), [time.perf_counter()]

    def lap(name: str) -> None:
        now = time.perf_counter()
        seconds[name] = now - last[0]
        last[0] = time.perf_counter()

    data = read_bytes(photo, file_size(photo, 2**30))
    image = decode_rgb(data, check(data, 2**30), manifest.fill)
    lap("decode")
    one = prepare(image, manifest)
    lap("preprocess")
    maps = model.run_prepared([one])[0]
    lap("network")
    assert isinstance(maps, dict), maps
    large = {o.name: one.at_image_size(maps[o.name], KINDS[o.kind]) for o in manifest.outputs}
    lap("postprocess")
    for o in manifest.outputs:
        found = KINDS[o.kind].encode(large[o.name], o)
        lap(f"encode {o.name}")
        atomic_write(out / "file", found)
        lap(f"write {o.name}")
    cv2.imencode(".jpg", np.ascontiguousarray(draw(image, maps, manifest)[..., ::-1]))
    lap("overview")
    return seconds


def stages(file: Path, photos: list[Path], args: argparse.Namespace, work: Path) -> dict[str, float]:
    """Milliseconds of each step of an image, one thread: the middle, and what 95 of 100 stay below."""
    began = time.perf_counter()
    model = Model(file, threads=1)
    loaded = time.perf_counter() - began
    found = [steps(model, photos[turn % len(photos)], work) for turn in range(1 + args.rounds)]
    print(f"{'ms of a step':<22}{'p50':>8}{'p95':>8}{'first':>8}   (loading the model: {1000 * loaded:.0f} ms)")
    figures = {}
    for name in found[0]:
        p50, p95 = np.percentile([seconds[name] for seconds in found[1:]], (50, 95)) * 1000
        print(f"{name:<22}{p50:>8.2f}{p95:>8.2f}{1000 * found[0][name]:>8.2f}")
        figures[f"ms.{name.replace(' ', '_')}"] = p50
    return figures


def threads(file: Path, args: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of the network alone with 1 to n threads, in turns."""
    counts = sorted({1, *(2**i for i in range(CORES.bit_length())), CORES})
    counts = [count for count in counts if count <= CORES]
    models = {f"{count}": Model(file, threads=count) for count in counts}
    image = np.zeros((1, models["1"].manifest.height, models["1"].manifest.width, 3), np.uint8)
    times = interleaved({n: lambda model=model: model.run(image) for n, model in models.items()}, args.rounds)
    for count, seconds in times.items():
        print(f"network, {count} thread(s): {1000 * statistics.median(seconds):.2f} ms")
    return {f"thread_ratio.{count}": ratio(times["1"], seconds) for count, seconds in times.items() if count != "1"}


def one_at_a_time(session: onnxruntime.InferenceSession, photos: list[Path], out: Path) -> None:
    """What one would write by hand, without the runtime."""
    _, height, width, _ = session.get_inputs()[0].shape
    names = [output.name for output in session.get_outputs()]
    for photo in photos:
        image = cv2.imread(str(photo))
        assert image is not None, photo
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        found = session.run(None, {"image": cv2.cvtColor(small, cv2.COLOR_BGR2RGB)[None]})
        maps, size = dict(zip(names, map(np.asarray, found), strict=True)), image.shape[1::-1]
        for name, array in maps.items():
            if array.dtype == np.uint8:
                pixels = cv2.resize(array[0], size, interpolation=cv2.INTER_NEAREST)
            elif array.ndim == 4:
                vectors = cv2.resize(array[0], size)
                vectors /= np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
                pixels = cv2.cvtColor(((vectors + 1) * 127.5).astype(np.uint8), cv2.COLOR_RGB2BGR)
            else:
                pixels = (cv2.resize(array[0], size) * 1000).clip(0, 65535).astype(np.uint16)
            cv2.imwrite(str(out / f"{photo.stem}.{name}.png"), pixels)


def cpu_alone(model: Model, photos: list[Path], out: Path, save: list[str]) -> dict[str, float]:
    """CPU seconds an image of reading, network and writing, each alone in one thread."""
    jobs = [Job(photo, photo.stem) for photo in photos]
    wanted = Wanted(manifest=model.manifest, out=out, save=frozenset(save), max_pixels=2**30)
    used = {}
    start = time.process_time()
    for job in jobs:
        read(job, wanted)
    used["read"] = time.process_time() - start
    start = time.process_time()
    for job in jobs:
        assert job.prepared is not None
        job.maps = model.run_prepared([job.prepared])[0]  # type: ignore[assignment]
    used["network"] = time.process_time() - start
    start = time.process_time()
    for job in jobs:
        keep(job, wanted)
    used["write"] = time.process_time() - start
    return {name: seconds / len(photos) for name, seconds in used.items()}


def whole(file: Path, photos: list[Path], args: argparse.Namespace, work: Path) -> dict[str, float]:
    """The pipeline against its limit, and against the script, in turns."""
    model, alone, out = Model(file), Model(file, threads=1), work / "whole"
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    save = [output.name for output in model.manifest.outputs]
    items = [(photo, photo.stem) for photo in photos]
    out.mkdir()
    figures: dict[str, list[float]] = {}
    for turn in range(1 + args.turns):
        parts = cpu_alone(alone, photos, out, save)
        began, used = time.perf_counter(), time.process_time()
        summary = pipeline.run(model, items, out, save=save, batch=args.batch, quiet=True)  # type: ignore[arg-type]
        ours, used = time.perf_counter() - began, time.process_time() - used
        assert summary.done == len(photos), summary.failed
        began = time.perf_counter()
        one_at_a_time(session, photos, out)
        naive = time.perf_counter() - began
        if turn == 0:  # a warm-up
            continue
        limit = CORES / sum(parts.values())
        measured = {f"cpu_ms.{name}": 1000 * seconds for name, seconds in parts.items()}
        measured["pipeline_limit_ratio"] = len(photos) / ours / limit
        measured["work_ratio"] = sum(parts.values()) * len(photos) / used
        measured["busy_ratio"] = used / ours / CORES
        measured["naive_ratio"] = naive / ours
        measured["images_per_second"] = len(photos) / ours
        for name, value in measured.items():
            figures.setdefault(name, []).append(value)
    found = {name: statistics.median(values) for name, values in figures.items()}
    print(f"{len(photos)} images of {read_image(photos[0]).shape[:2]}, batch {args.batch}, {args.turns} turns:")
    for name, value in found.items():
        print(f"  {name:<24}{value:>9.3f}")
    return found


def several(file: Path, args: argparse.Namespace, work: Path) -> dict[str, float]:
    """One network with three outputs against three with one."""
    size = f"{args.size[0]}x{args.size[1]}"
    singles = [
        made(work / f"{name}.onnx", "--backbone", args.backbone, "--size", size, "--tasks", name)
        for name in ("depth", "normals", "segmentation")
    ]
    together, apart = Model(file, threads=1), [Model(single, threads=1) for single in singles]
    image = np.zeros((1, *args.size, 3), np.uint8)

    def three() -> None:
        for model in apart:
            model.run(image)

    times = interleaved({"one": lambda: together.run(image), "three": three}, args.rounds)
    found = ratio(times["three"], times["one"])
    print(f"three networks of one output take {found:.2f} x the time of one with three")
    return {"multi_ratio": found}


def first(file: Path, photos: list[Path], args: argparse.Namespace, work: Path) -> dict[str, float]:
    """A fresh process: seconds to its first maps, of the whole command for one image, and its memory."""
    root = Path(__file__).parents[1]
    command = [sys.executable, str(root / "infer.py"), str(file), str(photos[0]), "--out", str(work / "one"), "--quiet"]
    seconds, commands = [], []
    for _ in range(max(3, args.turns)):
        seconds.append(fresh(FIRST, file, photos[0]))
        began = time.perf_counter()
        subprocess.run(command, check=True)
        commands.append(time.perf_counter() - began)
    found = {"first_seconds": statistics.median(seconds), "command_seconds": statistics.median(commands)}
    if sys.platform == "linux":
        bare, ours = fresh(BARE + PEAK, file, photos[0]), fresh(OURS + PEAK, file, photos[0])
        print(f"highest memory: {ours / 1024:.0f} MB, of onnxruntime alone {bare / 1024:.0f} MB")
        found["memory_ratio"] = ours / bare
    print(f"first maps after {found['first_seconds']:.2f} s, infer.py on one image {found['command_seconds']:.2f} s")
    return found


def slope(file: Path, photos: list[Path], args: argparse.Namespace, work: Path) -> dict[str, float]:
    """Memory over a long run: the line through its second half."""
    if not Path("/proc/self/statm").exists():
        print("memory left out: it is read from Linux's /proc")
        return {}
    code = f"""
import json, sys
from pathlib import Path
from mtl_vision.runtime import Model
from mtl_vision.runtime.pipeline import run
photos, rss = {[str(photo) for photo in photos]!r}, []
def memory():
    rss.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6)
    return False
items = [(Path(photos[i % len(photos)]), f"{{i % len(photos)}}") for i in range({args.count})]
summary = run(Model(sys.argv[1]), items, sys.argv[2], quiet=True, stopped=memory)
assert summary.done == len(items), summary
print(json.dumps(rss))
"""
    command = [sys.executable, "-c", code, str(file), str(work / "long")]
    rss = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    half = rss[len(rss) // 2 :]
    per_image = np.polyfit(np.linspace(0, args.count / 2, len(half)), half, 1)[0]
    at = [f"{rss[int(share * (len(rss) - 1))]:.0f}" for share in (0.1, 0.25, 0.5, 0.75, 1)]
    print(f"memory after 10, 25, 50, 75 and 100 % of {args.count} images: {', '.join(at)} MB")
    return {"memory_slope_mb": 1000 * float(per_image)}


PARTS = ("stages", "threads", "whole", "several", "first", "slope")


def arguments() -> argparse.Namespace:
    """The options."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="few images and rounds, for trying")
    p.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    p.add_argument("--model", type=Path, help="another file; its own size is taken")
    p.add_argument("--backbone", default="mobilenetv4_conv_small", help="of the network that is made")
    p.add_argument("--size", default="240x320", help="its HEIGHTxWIDTH")
    p.add_argument("--images", type=Path, help="a folder of images; by default they are made")
    p.add_argument("--photo", default="480x640", help="HEIGHTxWIDTH of those made")
    p.add_argument("--photos", type=int, default=100, help="how many of them, or of the folder's")
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--rounds", type=int, default=60, help="of stages and networks")
    p.add_argument("--turns", type=int, default=5, help="of the whole pipeline, and fresh processes")
    p.add_argument("--count", type=int, default=5000, help="images of the long run")
    args = p.parse_args()
    if args.quick:
        args.photos, args.rounds, args.turns, args.count = 8, 5, 1, 40
    args.size, args.photo = (tuple(int(side) for side in text.split("x")) for text in (args.size, args.photo))
    return args


def main() -> None:
    """Print the tables and the JSON line."""
    args = arguments()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name).resolve()
        if args.images:
            photos = sorted(path for path in args.images.iterdir() if path.is_file())[: args.photos]
        else:
            photos = make_photos(work / "photos", args.photos, args.photo)
        size = f"{args.size[0]}x{args.size[1]}"
        file = args.model or made(work / "model.onnx", "--backbone", args.backbone, "--size", size)
        load = f", load average {os.getloadavg()[0]:.1f} of others and ours" if hasattr(os, "getloadavg") else ""
        print(f"{args.model or args.backbone} at {size}; {CORES} cores, onnxruntime {onnxruntime.__version__}{load}")
        figures: dict[str, float] = {}
        if "stages" in args.only:
            figures |= stages(file, photos, args, work)
        if "threads" in args.only:
            figures |= threads(file, args)
        if "whole" in args.only:
            figures |= whole(file, photos, args, work)
        if "several" in args.only and not args.model:
            figures |= several(file, args, work)
        if "first" in args.only:
            figures |= first(file, photos, args, work)
        if "slope" in args.only:
            figures |= slope(file, photos, args, work)
        finish(figures)


if __name__ == "__main__":
    main()
