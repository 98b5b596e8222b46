"""Processes of their own: seconds to the first maps, and memory, of one image and over a long run."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

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


def fresh(code: str, *arguments: str | Path | int) -> float:
    """The number that a fresh process prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


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
