"""What a small device needs for the runtime: disk, memory, seconds to the first map, ms an image.

    python benchmarks/device.py [--quick] [--memory 512] [--backbone mobilenetv4_conv_small --size 144x192 240x320]

Each file is run by fresh processes on one core of this machine, in a cgroup of --memory MB (version 1 or 2, which takes
root; elsewhere only the core is limited, and a line says so). The environment is a new one with `pip install .[ncnn]`
and nothing else; --python takes another environment's interpreter, --quick this one's. Networks are untrained, 8 bits
as benchmarks/int8.py makes them: neither speed nor memory depends on the weights. The photo is a JPEG of 480x640.

disk: MB of the environment's packages. first: seconds from the start of the process to the maps of a first photo; cold:
the same when nothing of the environment is in the page cache (this machine's disk; read: the MB that it reads). network
and photo: ms of the network alone, and from the JPEG to maps of the photo's size, medians of 20. peak: the most memory
of the process (VmHWM); least: the smallest cgroup, of LEAST, in which the first map takes less than twice as long.
Files take turns; medians of --rounds processes.
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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2

from benchmarks.common import finish, machine
from benchmarks.int8 import files
from benchmarks.random_export import random_run
from mtl_vision.export.deployed import Core
from mtl_vision.export.graph import make_manifest, trace, write
from mtl_vision.export.ncnn import to_ncnn
from mtl_vision.export.ort import to_ort
from mtl_vision.export.verify import Samples, smooth_noise

REPO = Path(__file__).parents[1]
BARE = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
SECONDS = 60  # that one process may take
LEAST = (48, 56, 64, 80, 96, 112, 128, 160, 192, 256, 384)  # MB
CHILD = """
import json, statistics, sys, time
from mtl_vision.runtime import Model
model = Model(sys.argv[1], threads=1)
model.predict(sys.argv[2])
first = time.monotonic() - float(sys.argv[3])
import numpy as np
m, found = model.manifest, {"first": first}
batch = np.zeros((1, m.height, m.width, 3), np.uint8)
for name, step in (("network", lambda: model.run(batch)), ("photo", lambda: model.predict(sys.argv[2]))):
    times = []
    for _ in range(int(sys.argv[4])):
        start = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - start))
    found[name] = statistics.median(times)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
found["peak"] = int(status["VmHWM"].split()[0]) / 1024
io = dict(line.split(":", 1) for line in open("/proc/self/io"))
print(json.dumps(found | {"read": int(io["read_bytes"]) / 1e6}))
"""


def make_files(backbone: str, size: tuple[int, int], folder: Path) -> dict[str, Path]:
    """A network in every form that the runtime takes, by name."""
    paths, samples = files(backbone, size, folder), Samples(smooth_noise(2, size), "noise")
    for name in ("float32", "int8"):
        paths[f"{name} .ort"], _ = to_ort(paths[name], samples)
    if find_spec("pnnx") and find_spec("ncnn"):
        run, core = random_run(backbone, size, ["depth", "normals", "segmentation"]), folder / f"{backbone}.core.onnx"
        write(trace(run, Core(run)), replace(make_manifest(run), form="core"), core)
        paths["ncnn"], _ = to_ncnn(core, samples)
    return paths


def make_environment(folder: Path) -> Path:
    """A fresh environment with the runtime alone. Returns its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", f"{REPO}[ncnn]"], check=True, env=BARE)
    return python


def site_packages(python: Path) -> Path:
    """Where an interpreter's environment has its packages."""
    code = "import sysconfig; print(sysconfig.get_path('platlib'))"
    return Path(subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip())


def packages(place: Path) -> dict[str, float]:
    """MB of each package in a folder of packages, the largest first; pip and the like are left out."""
    sizes: dict[str, float] = {}
    for path in place.iterdir():
        name = path.name.split("-")[0].split(".")[0].lower()
        if path.name.startswith(("pip", "setuptools", "_distutils", "pkg_resources", "__pycache__", "distutils")):
            continue
        every = path.rglob("*") if path.is_dir() else [path]
        sizes[name] = sizes.get(name, 0) + sum(one.stat().st_size for one in every if one.is_file()) / 1e6
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


@contextmanager
def cgroup(megabytes: int) -> Iterator[Path | None]:
    """A control group of so much memory and no swap; None where this process may not make one."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    groups = {controllers: path for _, controllers, path in lines}
    v1 = Path("/sys/fs/cgroup/memory" + groups.get("memory", "/"))
    v2 = Path("/sys/fs/cgroup" + groups.get("", "/"))
    base, limits = (
        (v1, {"memory.limit_in_bytes": megabytes << 20, "memory.memsw.limit_in_bytes": megabytes << 20})
        if v1.is_dir()
        else (v2, {"memory.max": megabytes << 20, "memory.swap.max": 0})
    )
    group = base / f"mtl_device_{os.getpid()}_{megabytes}"
    try:
        group.mkdir()
        for name, value in limits.items():
            if (group / name).exists():
                (group / name).write_text(str(value))
        made = (group / next(iter(limits))).exists()  # of version 2 the parent may not hand memory down
    except OSError:
        made = False
    try:
        yield group if made else None
    finally:
        with suppress(OSError):
            group.rmdir()


def measured(python: Path, group: Path | None, file: Path, photo: Path, repeat: int) -> dict[str, float] | None:
    """What a fresh process on one core, in the group, says of itself; None where it is killed or takes too long."""
    core = str(min(os.sched_getaffinity(0)))
    enter = f"echo $$ > {group}/cgroup.procs; " if group else ""
    shell = ["sh", "-c", f'{enter}exec taskset -c {core} "$@"', "sh", str(python), "-c", CHILD, str(file), str(photo)]
    own = {"PYTHONPATH": os.environ.get("PYTHONPATH", str(REPO))} if python == Path(sys.executable) else {}
    call, env = [*shell, str(time.monotonic()), str(repeat)], BARE | own
    try:
        done = subprocess.run(call, capture_output=True, text=True, env=env, timeout=SECONDS)
    except subprocess.TimeoutExpired:  # in too small a group it reads its libraries again and again
        return None
    if done.returncode in (-9, 137):
        return None
    if done.returncode:
        raise RuntimeError(f"{file.name}: {done.stderr[-1000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def forget(*places: Path) -> None:
    """Drop the files in these folders from the page cache."""
    for place in places:
        for path in place.rglob("*"):
            with suppress(OSError):
                if path.is_file():
                    descriptor = os.open(path, os.O_RDONLY)
                    os.fsync(descriptor)
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                    os.close(descriptor)


def figures_of(
    python: Path, paths: dict[str, Path], photo: Path, args: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """By form: medians over the rounds, and what is measured once."""
    rounds, repeat = (1, 3) if args.quick else (args.rounds, 20)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in paths}
    with cgroup(args.memory) as group:
        if group is None:
            print("no control group with memory can be made here (it takes root): only the core is limited")
        for turn in range(rounds + 1):  # the first fills the page cache, and compiles Python's files
            for name, path in paths.items():
                one = measured(python, group, path, photo, repeat)
                if one is None:
                    raise RuntimeError(f"{name} is killed in {args.memory} MB: give more by --memory")
                found[name] += [one] * (turn > 0)
        result = {
            name: {key: statistics.median(one[key] for one in every) for key in every[0]}
            for name, every in found.items()
        }
        if args.quick:
            return result
        for name, path in paths.items():
            cold = []
            for _ in range(rounds):
                forget(python.parents[1], path.parent)
                cold.append(measured(python, group, path, photo, 1))
            result[name]["cold"] = statistics.median(one["first"] for one in cold)
            result[name]["read"] = statistics.median(one["read"] for one in cold)
    for name, path in paths.items():
        for least in LEAST:
            with cgroup(least) as group:
                one = measured(python, group, path, photo, 1) if group else None
                if one and one["first"] < 2 * result[name]["first"]:
                    result[name]["least"] = least
                    break
    return result


def main() -> None:
    """Print the tables and the JSON line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="this environment, the first size, one round, for trying")
    p.add_argument("--memory", type=int, default=512, help="MB of the control group")
    p.add_argument("--backbone", default="mobilenetv4_conv_small")
    p.add_argument("--size", nargs="+", default=["144x192", "240x320"], help="HEIGHTxWIDTH")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--python", type=Path, help="interpreter of an environment that has the runtime")
    args = p.parse_args()
    figures: dict[str, float] = {}
    print(f"{args.backbone}, one core, {args.memory} MB; {machine()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = args.python or (Path(sys.executable) if args.quick else make_environment(folder / "environment"))
        if not args.quick:
            sizes = packages(site_packages(python))
            total = sum(sizes.values())
            print(f"disk: {total:.0f} MB: " + ", ".join(f"{n} {mb:.1f}" for n, mb in sizes.items() if mb > 0.5))
            figures |= {"disk_mb": total, "disk_mb.onnxruntime": sizes.get("onnxruntime", 0)}
        photo = folder / "photo.jpg"
        cv2.imwrite(str(photo), smooth_noise(1, (480, 640))[0])
        for size in args.size[:1] if args.quick else args.size:
            height, width = (int(side) for side in size.split("x"))
            (folder / size).mkdir()
            paths = make_files(args.backbone, (height, width), folder / size)
            for form, values in figures_of(python, paths, photo, args).items():
                print(f"{size} {form:<13}" + "  ".join(f"{key} {value:.3g}" for key, value in values.items()))
                figures |= {f"{key}.{form.replace(' ', '')}.{size}": value for key, value in values.items()}
    finish(figures)


if __name__ == "__main__":
    main()
