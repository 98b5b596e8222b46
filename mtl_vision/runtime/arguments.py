"""The options of mtl-infer, and what its help says."""

import argparse
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from mtl_vision.runtime.contract import ModelError
from mtl_vision.runtime.demo import model_path
from mtl_vision.runtime.headers import MAX_PIXELS
from mtl_vision.runtime.inspect import page
from mtl_vision.runtime.model import BACKENDS, ONNXRUNTIME
from mtl_vision.runtime.providers import AUTO, ONLY_IF_ASKED, PROVIDERS
from mtl_vision.runtime.terminal import printable, say

NOT_STARTED = 1  # the exit code
ENGINES = ("local", "ray")
DEPTH_MAPS = "one channel of 16 bits or more, as depth maps have; name a file itself to run it"

DESCRIPTION = """\
Run an exported model over images, and write the results at each image's own size:
  NAME.<scalar map>.png       16-bit, thousandths of the unit (depth: millimetres), 0 = invalid
  NAME.<vector map>.png       8-bit RGB of (n + 1) / 2
  NAME.<label map>.png        palette PNG: pixel values are class ids
  NAME.<probability map>.png  8-bit grey, 255 = probability 1
  NAME.overview.jpg           all side by side, to look at
  NAME.points.ply             with `--save points`: a coloured point cloud, with normals where the model has them;
                              x right, y down, z forward, metres; a point for each pixel (of a large image for each
                              n-th of each n-th row, a million at most), none between the sides of a depth edge
  results.jsonl               one line per image: status, size, time, files, error, camera
Of a video, or of a camera until Ctrl-C:
  NAME.overview.mp4           the overviews as a video (or .avi), in which a colour means the same throughout
  NAME/000012.depth.png       with `--save depth`, and so on: the files of each frame
  results.jsonl               one line per frame: as of an image, with frame, time, and the maps in figures
In a folder, images of one channel with 16 bits or more are skipped: they are depth maps, not photos. Results of earlier
runs are left out. A file that is named itself is always taken."""

EPILOG = """\
exit code: 0 all done; 2 some failed (results.jsonl says which and why);
           1 nothing could start (bad model, no images, or none but depth maps, bad arguments, another process is
             writing to DIR);
           3 stopped early, as nothing more could be written (the disk is full);
           130 interrupted (Ctrl-C), 143 terminated: images under way are finished, a second signal ends it at once.
           What was finished is kept; after 3, 130 and 143 the same call with --resume does the rest."""


MODEL = "a model made by `mtl-export`; or .ort, .ncnn.param; or the word demo: a small network that comes with it"
PATHS = "images, folders with images in them, patterns in quotes ('photos/**/*.jpg'), @FILE for a list with a path in "
PATHS += "each line, or - for such a list from standard input; or videos, or camera:0"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(NOT_STARTED, printable(f"{self.prog}: {message}") + "\n")


class _Inspect(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: object, values: Any, option: object = None) -> None:
        try:
            for line in page(values).splitlines():
                say(line, sys.stdout)
        except ModelError as error:
            say(f"{parser.prog}: {error}")
            parser.exit(NOT_STARTED)
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    """What mtl-infer takes."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="mtl-infer", description=DESCRIPTION, epilog=EPILOG, formatter_class=layout)
    parser.add_argument("model", metavar="MODEL.onnx", type=model_path, help=MODEL)
    parser.add_argument("paths", metavar="PATH", nargs="+", type=Path, help=PATHS)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--save", metavar="NAME", nargs="+", action="extend", help="keep only these: names of outputs, overview, points"
    )
    span = parser.add_mutually_exclusive_group()
    same = "depth in metres that the colours of all overviews span, so that they can be compared, and make a film that "
    same += (
        "does not flicker; depth maps stay as they are; what --resume leaves out keeps its own (each image's own range)"
    )
    span.add_argument("--range", metavar=("NEAR", "FAR"), nargs=2, type=float, help=same)
    full = "the same, with all that the model can give, such as 0 to 10 m"
    span.add_argument("--full-range", action="store_true", help=full)
    names = "compute these outputs alone, such as depth,normals: the others' part of the network is left out"
    parser.add_argument("--tasks", metavar="NAMES", type=_names, help=names)
    video = parser.add_argument_group("videos and cameras")
    video.add_argument("--every", metavar="N", type=_positive, help="take each N-th frame (1)")
    seen = "show the frames as they are made at http://localhost:PORT, to a browser on this machine"
    video.add_argument("--preview", metavar="PORT", type=_port, help=seen)
    parser.add_argument("--raw", action="store_true", help="also keep the arrays, as NAME.npz (float32; labels uint8)")
    parser.add_argument(
        "--resume", action="store_true", help="leave out what an earlier such call has done with this model"
    )
    part = "do the I-th of N equal parts, 1 to N, of all images sorted by path, for job arrays; the parts may share "
    part += "DIR at once: each has its own results.I-of-N.jsonl"
    parser.add_argument("--shard", metavar="I/N", type=_shard, help=part)
    machines = parser.add_argument_group("many machines")
    engine = "what does the work: this machine, or the workers of a Ray cluster (an extra): that of RAY_ADDRESS, else "
    engine += "one of this machine's cores. All machines share the disks. What exists is left out, as with --resume, "
    engine += "and results.parquet is written beside results.jsonl, whose lines are in the order in which they come"
    machines.add_argument("--engine", choices=ENGINES, default=ENGINES[0], help=engine)
    many = "processes on Ray (as many as it has room for, each of --threads cores, 1 by default)"
    machines.add_argument("--workers", metavar="N", type=_positive, help=many)
    parser.add_argument("--batch", metavar="N", type=int, default=1, help="images per run of the network (1)")
    largest = f"most pixels of an image ({MAX_PIXELS:.1e}); one whose reading or results do not fit in memory fails too"
    parser.add_argument("--max-pixels", metavar="N", type=_count, default=MAX_PIXELS, help=largest)
    parser.add_argument("--threads", metavar="N", type=int, help="threads of the network (one per core)")
    where = (
        f"where the network runs: {', '.join(PROVIDERS)}; the CPU where that cannot be (the first that is here, but "
    )
    where += f"{ONLY_IF_ASKED} only if asked for)"
    parser.add_argument("--provider", metavar="NAME", choices=[AUTO, *PROVIDERS], default=AUTO, help=where)
    other = "what computes the network: onnxruntime; openvino (an extra) in float32 or bfloat16 on the CPU; ncnn (an "
    other += "extra), which a MODEL.ncnn.param has by itself, with its sums in float32, or in float16 where that can be"
    parser.add_argument("--backend", choices=BACKENDS, default=ONNXRUNTIME, help=other)
    lens = parser.add_mutually_exclusive_group()
    fov = (
        "the images' horizontal field of view, as they are shown; where their lens is not the training camera's, depth "
        "is scaled by the ratio of focal lengths"
    )
    lens.add_argument("--fov", metavar="DEGREES", type=float, help=fov)
    focal = "the same, as the focal length in pixels of the images at their own size"
    lens.add_argument("--focal", metavar="PIXELS", type=float, help=focal)
    parser.add_argument(
        "--inspect", metavar="MODEL.onnx", action=_Inspect, help="print what the model says about itself, and end"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no summary, only failures")
    return parser


def _positive(text: str) -> int:
    """A whole number of 1 or more."""
    if re.fullmatch(r"\d{1,9}", text) and int(text):
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, found {text}")


def _port(text: str) -> int:
    """A port of TCP."""
    if re.fullmatch(r"\d{1,5}", text) and int(text) < 2**16:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a port, such as 8000, found {text}")


def _names(text: str) -> list[str]:
    """Names between commas."""
    if names := [name.strip() for name in text.split(",") if name.strip()]:
        return names
    raise argparse.ArgumentTypeError("expected names of outputs, such as depth,normals; found none")


def _shard(text: str) -> tuple[int, int]:
    """I/N: one of N shards, counted from 1."""
    if (found := re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)) and 1 <= int(found[1]) <= int(found[2]):
        return int(found[1]), int(found[2])
    raise argparse.ArgumentTypeError(f"expected I/N, such as 3/8, with I from 1 to N; found {text}")


def _count(text: str) -> int:
    """A whole number, which may be written as 2e8."""
    with suppress(ValueError):
        if float(text).is_integer():  # infinity is not
            return int(float(text))
    raise argparse.ArgumentTypeError(f"expected a whole number, found {text}")
