"""Lays out samples on disk in each layout in which people have NYUv2, as the layouts' own tables say.

It knows nothing of the project's readers. The same samples go into every layout, so a reader must give them back
within EXPECT[layout]. `names` says which stem each sample has there.

Values go in by the table alone. Normals have their publisher's axes (AXES_OF in layout_parts.py), and one that is
invalid, (0, 0, 0), becomes grey.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from layout_parts import (
    FARTHEST,
    Splits,
    coloured,
    from_zero,
    ids13,
    ids40,
    ids894,
    in_axes,
    in_steps,
    instances,
    names,
    raw_depth,
    rooms,
    scene,
    write_jpeg,
    write_lines,
    write_mat,
    write_npy,
    write_png,
    write_webp,
)

from mtl_vision.datasets.sample import Sample

__all__ = ["EXPECT", "LAYOUTS", "Expect", "Splits", "ids13", "instances", "lay_out", "names", "raw_depth", "rooms"]

SLACK = 2e-6  # metres: what float32 rounds below 16 m, where the reader multiplies in it too

# What the quantisation alone does; the two of JPEG are measured (quality 98, 4:4:4) on rooms() at (48, 64).
PICTURE = 2.0  # mean of |difference| in 8-bit levels; 1.4 measured
JPEG_NORMALS = 5.0  # degrees; 4.0 measured at the worst pixel, 2.6 at the 99th percentile, medians 0.4 to 0.8
EIGHT_BITS = 0.4  # degrees: each component is off by 1/255 at most, the vector by sqrt(3)/255 = 0.0068 = 0.39 degrees


@dataclass(frozen=True)
class Expect:
    """What a perfect reader gives back.

    image: mean of |difference| in 8-bit levels. depth: greatest |difference| in metres, absolute; of the remainder
    by `wraps` where the layout has lost the rest. normals: greatest angle in degrees, once made unit again. A target
    is invalid at exactly the sample's pixels. classes: the finest set the labels are in. targets: what the files
    hold. splits: our name to theirs; empty where the layout has none, and samples lie train first, then test.
    """

    targets: tuple[str, ...]
    image: float = 0.0
    depth: float = 0.0
    normals: float = 0.0
    classes: str | None = None
    splits: dict[str, str] = field(default_factory=dict)
    wraps: float = math.inf


def half(step: float) -> float:
    """The most that rounding to the nearest step takes from a depth."""
    return step / 2 + SLACK


ALL, FLAT, DEPTH = ("depth", "normals", "segmentation"), ("depth", "segmentation"), ("depth",)
TRAIN_TEST, TRAIN_VAL = {"train": "train", "test": "test"}, {"train": "train", "test": "val"}
MILLIMETRES = half(0.001)

EXPECT = {
    "nyu_mat": Expect(FLAT, classes="nyu40", splits=TRAIN_TEST),
    "mtan": Expect(ALL, normals=1e-4, classes="nyu13", splits=TRAIN_VAL),  # f32: only making it unit again
    "astmt": Expect(ALL, image=PICTURE, normals=JPEG_NORMALS, classes="nyu40", splits=TRAIN_VAL),
    "nyud_mt": Expect(ALL, image=PICTURE, normals=1e-4, classes="nyu40", splits=TRAIN_VAL),
    "invpt": Expect(ALL, normals=EIGHT_BITS, classes="nyu40", splits=TRAIN_VAL),
    "vainf": Expect(ALL, depth=MILLIMETRES, normals=EIGHT_BITS, classes="nyu40", splits=TRAIN_TEST),
    "xapharius": Expect(
        ALL, depth=half(1e-4), normals=EIGHT_BITS, classes="nyu13", splits=TRAIN_TEST, wraps=65536 * 1e-4
    ),
    "esanet": Expect(FLAT, depth=MILLIMETRES, classes="nyu40", splits=TRAIN_TEST),
    "nicr": Expect(ALL, depth=MILLIMETRES, normals=2 * EIGHT_BITS, classes="nyu40", splits=TRAIN_TEST),
    "dformer": Expect(FLAT, image=PICTURE, depth=half(FARTHEST / 255), classes="nyu40", splits=TRAIN_TEST),
    "bts": Expect(DEPTH, image=PICTURE, depth=MILLIMETRES, splits=TRAIN_TEST),
    # with bits=16: half(FARTHEST / 65535)
    "dump8": Expect(FLAT, image=PICTURE, depth=half(FARTHEST / 255), classes="nyu40", splits=TRAIN_TEST),
    "images": Expect(FLAT, image=PICTURE, depth=MILLIMETRES, classes="nyu40", splits=TRAIN_TEST),
    "images8": Expect(FLAT, depth=half(FARTHEST / 255), classes="nyu40", splits=TRAIN_TEST),
    "tum": Expect(DEPTH, depth=half(1 / 5000)),
    "scannet": Expect(DEPTH, image=PICTURE, depth=MILLIMETRES),
}


class Frame(NamedTuple):
    """A sample in its place: our split, the layout's name of it, the position in the split, the file's stem."""

    split: str
    theirs: str
    index: int
    stem: str
    sample: Sample

    @property
    def image(self) -> np.ndarray:
        return self.sample.image

    @property
    def depth(self) -> np.ndarray:
        return self.sample.targets["depth"]

    @property
    def normals(self) -> np.ndarray:
        return self.sample.targets["normals"]


def frames(layout: str, splits: Splits) -> Iterator[Frame]:
    """Every sample of every split in its place."""
    stems, theirs = names(layout, splits), EXPECT[layout].splits
    for split, samples in splits.items():
        for i, sample in enumerate(samples):
            yield Frame(split, theirs.get(split, ""), i, stems[split][i], sample)


def lay_out(layout: str, root: Path, splits: Splits, **options: Any) -> None:
    """Write the samples under `root`; options are those of the layout's function."""
    root.mkdir(parents=True, exist_ok=True)
    LAYOUTS[layout](root, splits, **options)


def nyu_mat(root: Path, splits: Splits) -> None:
    """nyu_depth_v2_labeled.mat with the axes in reverse, and splits.mat with the frames' numbers from 1."""
    ordered = sorted(frames("nyu_mat", splits), key=lambda frame: frame.stem)
    arrays = {
        "images": [f.image.transpose(2, 1, 0) for f in ordered],
        "depths": [f.depth.T for f in ordered],
        "rawDepths": [raw_depth(f.sample).T for f in ordered],
        "labels": [ids894(f.sample).T.astype(np.uint16) for f in ordered],
        "instances": [instances(f.sample).T for f in ordered],
    }
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        for key, array in arrays.items():
            file[key] = np.stack(array)
        _write_strings(file, "scenes", [scene(f.split, f.index) for f in ordered])
    numbers = {of: np.array([[int(f.stem)] for f in ordered if f.split == of]) for of in ("train", "test")}
    write_mat(root / "splits.mat", trainNdxs=numbers["train"], testNdxs=numbers["test"])


def _write_strings(file: h5py.File, key: str, strings: list[str]) -> None:
    """A cell array of strings as MATLAB v7.3 stores it: references (1, N) to columns of character codes."""
    cells = file.create_dataset(key, (1, len(strings)), h5py.ref_dtype)
    cells.attrs["MATLAB_class"] = np.bytes_("cell")
    for i, string in enumerate(strings):
        codes = file.create_dataset(f"#refs#/{key}{i}", data=np.array([[ord(c)] for c in string], np.uint16))
        codes.attrs["MATLAB_class"] = np.bytes_("char")
        cells[0, i] = codes.ref


def mtan(root: Path, splits: Splits, dtype: Any = np.float32, label_dtype: Any = None) -> None:
    """MTAN, LibMTL, CAGrad, auto-lambda: {train,val}/{image,label,depth,normal}/N.npy; label_dtype is dtype if None."""
    for f in frames("mtan", splits):
        folder, file = root / f.theirs, f"{f.stem}.npy"
        write_npy(folder / "image" / file, (f.image / 255).astype(dtype))
        write_npy(folder / "label" / file, from_zero(ids13(f.sample), void=-1).astype(label_dtype or dtype))
        write_npy(folder / "depth" / file, f.depth[..., None].astype(dtype))
        write_npy(folder / "normal" / file, in_axes("eigen", f.normals).astype(dtype))


def _write_stems(layout: str, root: Path, splits: Splits) -> None:
    """gt_sets/{train,val}.txt."""
    for split, stems in names(layout, splits).items():
        write_lines(root / "gt_sets" / f"{EXPECT[layout].splits[split]}.txt", stems)


def astmt(root: Path, splits: Splits) -> None:
    """NYUD_MT of ASTMT: labels and depth in .mat, normals in JPEG."""
    _write_stems("astmt", root, splits)
    for f in frames("astmt", splits):
        write_jpeg(root / "images" / f"{f.stem}.jpg", f.image)
        write_mat(root / "segmentation" / f"{f.stem}.mat", segmentation=ids40(f.sample).astype(np.uint8))
        write_jpeg(root / "normals" / f"{f.stem}.jpg", coloured(in_axes("outward", f.normals)))
        write_mat(root / "depth" / f"{f.stem}.mat", depth=f.depth)


def nyud_mt(root: Path, splits: Splits) -> None:
    """NYUD_MT of Vandenhende, MTI-Net, ATRC: labels in PNG, depth and normals in .npy."""
    _write_stems("nyud_mt", root, splits)
    for f in frames("nyud_mt", splits):
        write_jpeg(root / "images" / f"{f.stem}.jpg", f.image)
        write_png(root / "segmentation" / f"{f.stem}.png", ids40(f.sample))
        write_npy(root / "normals" / f"{f.stem}.npy", in_axes("outward", f.normals))
        write_npy(root / "depth" / f"{f.stem}.npy", f.depth)


def invpt(root: Path, splits: Splits) -> None:
    """NYUD_MT of InvPT and TaskPrompter: images, labels and normals in PNG, depth in .npy."""
    _write_stems("invpt", root, splits)
    for f in frames("invpt", splits):
        write_png(root / "images" / f"{f.stem}.png", f.image)
        write_png(root / "segmentation" / f"{f.stem}.png", ids40(f.sample))
        write_png(root / "normals" / f"{f.stem}.png", coloured(in_axes("outward", f.normals)))
        write_npy(root / "depth" / f"{f.stem}.npy", f.depth)


def vainf(root: Path, splits: Splits, black: bool = False) -> None:
    """{image,seg40,seg13,depth,normal}/{train,test}/%05d.png. black: invalid normals are stored as 0."""
    for f in frames("vainf", splits):
        place = Path(f.theirs, f"{f.stem}.png")
        write_png(root / "image" / place, f.image)
        write_png(root / "seg40" / place, from_zero(ids40(f.sample)))
        write_png(root / "seg13" / place, from_zero(ids13(f.sample)))
        write_png(root / "depth" / place, in_steps(f.depth, 0.001), np.uint16)
        write_png(root / "normal" / place, coloured(in_axes("ladicky", f.normals), black))


def xapharius(root: Path, splits: Splits, black: bool = False) -> None:
    """{train,test}_{rgb,seg13,sn,depth}/%04d.png; the depth wraps. black: invalid normals are stored as 0."""
    for f in frames("xapharius", splits):
        file = f"{f.stem}.png"
        write_png(root / f"{f.theirs}_rgb" / file, f.image)
        write_png(root / f"{f.theirs}_seg13" / file, ids13(f.sample))
        write_png(root / f"{f.theirs}_sn" / file, coloured(in_axes("ladicky", f.normals), black))
        write_png(root / f"{f.theirs}_depth" / file, in_steps(f.depth, 1e-4, top=10**9) % 65536, np.uint16)


def esanet(root: Path, splits: Splits) -> None:
    """ESANet: {train,test}/{rgb,depth,depth_raw,labels_13,labels_40,labels_894}/%04d.png."""
    for f in frames("esanet", splits):
        folder, file = root / f.theirs, f"{f.stem}.png"
        write_png(folder / "rgb" / file, f.image)
        write_png(folder / "depth" / file, in_steps(f.depth, 0.001), np.uint16)
        write_png(folder / "depth_raw" / file, in_steps(raw_depth(f.sample), 0.001), np.uint16)
        write_png(folder / "labels_13" / file, ids13(f.sample))
        write_png(folder / "labels_40" / file, ids40(f.sample))
        write_png(folder / "labels_894" / file, ids894(f.sample), np.uint16)


def nicr(root: Path, splits: Splits) -> None:
    """nicr-scene-analysis-datasets: semantic_N, and normals of 8 bits in steps of 1 / 127, where 127 is zero."""
    for f in frames("nicr", splits):
        folder, file = root / f.theirs, f"{f.stem}.png"
        write_png(folder / "rgb" / file, f.image)
        write_png(folder / "depth" / file, in_steps(f.depth, 0.001), np.uint16)
        write_png(folder / "depth_raw" / file, in_steps(raw_depth(f.sample), 0.001), np.uint16)
        write_png(folder / "semantic_13" / file, ids13(f.sample))
        write_png(folder / "semantic_40" / file, ids40(f.sample))
        write_png(folder / "semantic_894" / file, ids894(f.sample), np.uint16)
        write_png(folder / "instance" / file, instances(f.sample), np.uint16)
        write_png(folder / "normal" / file, np.round((in_axes("eigen", f.normals) + 1) * 127))


def dformer(root: Path, splits: Splits) -> None:
    """{RGB,Depth,Label}/N and {train,test}.txt of lines like RGB/12.jpg."""
    for f in frames("dformer", splits):
        write_jpeg(root / "RGB" / f"{f.stem}.jpg", f.image)
        write_png(root / "Depth" / f"{f.stem}.png", in_steps(f.depth, FARTHEST / 255, top=255))
        write_png(root / "Label" / f"{f.stem}.png", ids40(f.sample))
    for split, stems in names("dformer", splits).items():
        write_lines(root / f"{split}.txt", [f"RGB/{stem}.jpg" for stem in stems])


def bts(root: Path, splits: Splits) -> None:
    """sync/<scene>/{rgb_,sync_depth_}%05d and the two lists of pictures, depths and focal lengths."""
    lines: dict[str, list[str]] = {split: [] for split in splits}
    for f in frames("bts", splits):
        folder = scene(f.split, f.index)
        rgb = f"{folder}/{f.stem.removeprefix(folder + '_')}.jpg"
        depth = rgb.replace("/rgb_", "/sync_depth_").replace(".jpg", ".png")
        write_jpeg(root / "sync" / rgb, f.image)
        write_png(root / "sync" / depth, in_steps(f.depth, 0.001), np.uint16)
        slash = "/" if f.split == "train" else ""
        lines[f.split].append(f"{slash}{rgb} {slash}{depth} 518.8579")
    for split in splits:
        write_lines(root / f"nyudepthv2_{split}_files_with_gt.txt", lines[split])


def dump8(root: Path, splits: Splits, bits: int = 8) -> None:
    """nyu_{images,depths,labels40}/N, mirrored left to right; the published numbers decide the split."""
    top, kind = (255, np.uint8) if bits == 8 else (65535, np.uint16)
    for f in frames("dump8", splits):
        write_jpeg(root / "nyu_images" / f"{f.stem}.jpg", f.image[:, ::-1])
        write_png(root / "nyu_depths" / f"{f.stem}.png", in_steps(f.depth, FARTHEST / top, top)[:, ::-1], kind)
        write_png(root / "nyu_labels40" / f"{f.stem}.png", from_zero(ids40(f.sample))[:, ::-1])


def images(root: Path, splits: Splits) -> None:
    """{train,test}/{rgb,depth,label40}/%04d: JPEG, millimetres, class+1."""
    for f in frames("images", splits):
        write_jpeg(root / f.theirs / "rgb" / f"{f.stem}.jpg", f.image)
        write_png(root / f.theirs / "depth" / f"{f.stem}.png", in_steps(f.depth, 0.001), np.uint16)
        write_png(root / f.theirs / "label40" / f"{f.stem}.png", ids40(f.sample))


def images8(root: Path, splits: Splits) -> None:
    """The same with WebP, and depth v of 8 bits: metres = (v + 0.5) * 9.9955 / 255, 0 = none."""
    for f in frames("images8", splits):
        write_webp(root / f.theirs / "rgb" / f"{f.stem}.webp", f.image)
        depth = np.where(f.depth > 0, np.rint(f.depth * 255 / FARTHEST - 0.5), 0)
        write_png(root / f.theirs / "depth" / f"{f.stem}.png", depth)
        write_png(root / f.theirs / "label40" / f"{f.stem}.png", ids40(f.sample))


def tum(root: Path, splits: Splits) -> None:
    """{rgb,depth}/TIMESTAMP.png and associations.txt; a depth is taken 3 ms before to 9 ms after its image."""
    lines = []
    for n, f in enumerate(frames("tum", splits)):
        late = f"{float(f.stem) + (0.006, -0.003, 0.009)[n % 3]:.6f}"
        write_png(root / "rgb" / f"{f.stem}.png", f.image)
        write_png(root / "depth" / f"{late}.png", in_steps(f.depth, 1 / 5000), np.uint16)
        lines.append(f"{f.stem} rgb/{f.stem}.png {late} depth/{late}.png")
    write_lines(root / "associations.txt", lines)


def scannet(root: Path, splits: Splits) -> None:
    """color/N.jpg and depth/N.png."""
    for f in frames("scannet", splits):
        write_jpeg(root / "color" / f"{f.stem}.jpg", f.image)
        write_png(root / "depth" / f"{f.stem}.png", in_steps(f.depth, 0.001), np.uint16)


WRITERS = (
    nyu_mat,
    mtan,
    astmt,
    nyud_mt,
    invpt,
    vainf,
    xapharius,
    esanet,
    nicr,
    dformer,
    bts,
    dump8,
    images,
    images8,
    tum,
    scannet,
)
LAYOUTS: dict[str, Callable[..., None]] = {writer.__name__: writer for writer in WRITERS}
