"""Speed and memory of the torch-free runtime: each stage apart, and the whole against its limit and a plain script.

    python benchmarks/runtime.py [--quick] [--model MODEL.onnx] [--images DIR] [--only stages pipeline ...]

Its network is mobilenetv4_conv_small of random weights at 240x320, exported as a trained one is; its images are made
here, JPEGs of 480x640. --model and --images take others.

pipeline_limit_ratio: images a second of the whole pipeline over its limit, which is cores / (CPU seconds an image of
reading, network and writing, each measured alone in one thread). It is the product of work_ratio, the CPU seconds of
the three alone over those that the pipeline takes, and busy_ratio, the share of the cores that it keeps busy: on a
machine that others use only the first is the program's own. naive_ratio: images a second over those of a script that
does one image after another (cv2.imread, resize, session.run, resize, cv2.imwrite of the same PNGs). multi_ratio: time
of three networks of one output each over that of the one with three. rivals_ratio: time of three separate networks that
people would otherwise deploy together, for depth, normals and segmentation, over that of one of ours
(benchmarks/rivals.py says which; left out where the extra `peers` is not installed). first_seconds: from the first
import to the maps of a first image, in a fresh process. memory_ratio: the highest memory of a process that predicts
once over that of one that reads the image with OpenCV and has onnxruntime run the file, once, and leaves the maps as
they are. memory_slope_mb: MB that a long run's memory grows by for 1,000 images, of the line through its second half,
over 5,000 images (Linux).
What 8 bits and OpenVINO give is measured by benchmarks/int8.py (int8_ratio.resnet18, int8_ratio.mobilenetv4).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

import onnxruntime

from benchmarks.common import finish
from benchmarks.fresh import first, slope
from benchmarks.photos import make_photos
from benchmarks.pipeline import whole
from benchmarks.random_export import made
from benchmarks.rivals import rivals
from benchmarks.stages import CORES, several, stages, threads

PARTS = ("stages", "threads", "whole", "several", "rivals", "first", "slope")


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
        what = args.model or f"{args.backbone} at {size}"
        print(f"{what}; {CORES} cores, onnxruntime {onnxruntime.__version__}{load}")
        figures: dict[str, float] = {}
        if "stages" in args.only:
            figures |= stages(file, photos, args, work)
        if "threads" in args.only:
            figures |= threads(file, args)
        if "whole" in args.only:
            figures |= whole(file, photos, args, work)
        if "several" in args.only and not args.model:
            figures |= several(file, args, work)
        if "rivals" in args.only and not args.model:
            if find_spec("transformers"):
                figures |= rivals(file, args.size, 1, max(2, args.rounds // 4), work)
            else:
                print("rivals left out: transformers is not installed (the extra `peers` has it)")
        if "first" in args.only:
            figures |= first(file, photos, args, work)
        if "slope" in args.only:
            figures |= slope(file, photos, args, work)
        finish(figures)


if __name__ == "__main__":
    main()
