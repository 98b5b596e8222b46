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
    write_hdf5,
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
    hold. splits: our name to theirs; empty where the layout has none, and samples lie train first, then test. turns:
    normals are turned to face the layout's own camera, which is not the rooms': they may be the other way round.
    """

    targets: tuple[str, ...]
    image: float = 0.0
    depth: float = 0.0
    normals: float = 0.0
    classes: str | None = None
    splits: dict[str, str] = field(default_factory=dict)
    wraps: float = math.inf
    turns: bool = False


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
    "tum_times": Expect(DEPTH, depth=half(1 / 5000)),
    "scannet": Expect(DEPTH, image=PICTURE, depth=MILLIMETRES),
    **dict.fromkeys(
        ("scannet_frames", "scannet_frames_scene", "scannet_labels", "scannet_labels_scene"),
        Expect(FLAT, image=PICTURE, depth=MILLIMETRES, classes="nyu40"),
    ),
    # the training depth has 8 bits, the test depth millimetres
    "densedepth": Expect(DEPTH, image=PICTURE, depth=half(10 / 255), splits=TRAIN_TEST),
    "densedepth_data": Expect(DEPTH, image=PICTURE, depth=half(10 / 255), splits=TRAIN_TEST),
    # half precision: 2**-11 of at most 16 m
    "hypersim": Expect(ALL, image=PICTURE, depth=half(2**-7), normals=EIGHT_BITS, classes="nyu40", turns=True),
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


def tum_times(root: Path, splits: Splits) -> None:
    """TUM as downloaded: its lists name what the folders have; one image has no depth, one depth map no image."""
    tum(root, splits)
    (root / "associations.txt").unlink()
    late = f"{float(names('tum_times', splits)['test'][-1]) + 0.5:.6f}"
    write_png(root / "rgb" / f"{late}.png", splits["train"][0].image)
    write_png(root / "depth" / f"{float(late) + 0.021:.6f}.png", np.ones(splits["train"][0].size), np.uint16)
    for folder in ("rgb", "depth"):
        times = sorted(path.stem for path in (root / folder).iterdir())
        write_lines(root / f"{folder}.txt", ["# timestamp filename", *(f"{t} {folder}/{t}.png" for t in times)])


def scannet_frames(root: Path, splits: Splits) -> None:
    """scannet_frames_25k: scene*_*/{color,depth,label}/%06d; label holds NYU40 ids, 0 = none."""
    for f in frames("scannet_frames", splits):
        _scannet_frame(root, "/".join(f.stem.rsplit("_", 1)), f, "label", ids40(f.sample))


def scannet_frames_scene(root: Path, splits: Splits) -> None:
    """One scene of it."""
    for f in frames("scannet_frames_scene", splits):
        _scannet_frame(root, f.stem, f, "label", ids40(f.sample))
    write_lines(root / "intrinsics_depth.txt", ["577.87 0 319.5 0", "0 577.87 239.5 0", "0 0 1 0", "0 0 0 1"])


def scannet_labels(root: Path, splits: Splits) -> None:
    """Scenes as SensReader exports them, with label-filt in ScanNet's ids, and the table from these to NYU40."""
    for f in frames("scannet_labels", splits):
        _scannet_frame(root, "/".join(f.stem.rsplit("_", 1)), f, "label-filt", _scannet_ids(f.sample))
    _write_scannet_table(root)


def scannet_labels_scene(root: Path, splits: Splits) -> None:
    """One scene of it."""
    for f in frames("scannet_labels_scene", splits):
        _scannet_frame(root, f.stem, f, "label-filt", _scannet_ids(f.sample))
    _write_scannet_table(root)


def _scannet_frame(root: Path, name: str, frame: Frame, folder: str, ids: np.ndarray) -> None:
    place, _, stem = name.rpartition("/")
    write_jpeg(root / place / "color" / f"{stem}.jpg", frame.image)
    write_png(root / place / "depth" / f"{stem}.png", in_steps(frame.depth, 0.001), np.uint16)
    write_png(root / place / folder / f"{stem}.png", ids, np.uint16)


def _scannet_ids(sample: Sample) -> np.ndarray:
    """Made up, as the table has them: 30 * id + 100 for the 40 ids."""
    ids = ids40(sample)
    return np.where(ids == 0, 0, 30 * ids + 100)


def _write_scannet_table(root: Path) -> None:
    rows = [f"{30 * n + 100}\tthing {n}\t\t{n}\tother" for n in range(1, 41)]
    write_lines(root / "scannetv2-labels.combined.tsv", ["id\traw_category\tcount\tnyu40id\tnyuClass", *rows])


def densedepth(root: Path, splits: Splits, folder: str = "data") -> None:
    """data/nyu2_train/<scene>_out/N.{jpg,png}, data/nyu2_test/%05d_{colors,depth}.png, lists with commas between."""
    lines: dict[str, list[str]] = {split: [] for split in splits}
    for f in frames("densedepth", splits):
        if f.split == "train":
            stem = "/".join(f.stem.rsplit("_", 1))
            image, depth = f"nyu2_train/{stem}.jpg", f"nyu2_train/{stem}.png"
            write_jpeg(root / folder / image, f.image)
            write_png(root / folder / depth, in_steps(f.depth, 10 / 255))
        else:
            image, depth = f"nyu2_test/{f.stem}.png", f"nyu2_test/{f.stem.replace('colors', 'depth')}.png"
            write_png(root / folder / image, f.image)
            write_png(root / folder / depth, in_steps(f.depth, 0.001), np.uint16)
        lines[f.split].append(f"data/{image},data/{depth}")
    for split in splits:
        write_lines(root / folder / f"nyu2_{split}.csv", lines[split])


def densedepth_data(root: Path, splits: Splits) -> None:
    """The folder `data` itself."""
    densedepth(root, splits, folder=".")


def hypersim(root: Path, splits: Splits) -> None:
    """ai_VVV_NNN/images/scene_cam_XX_*: HDF5 of half precision; depth along the ray, y up and z backwards, NYU40 ids.

    Every third normal faces away, and NaN is no depth. The rays are of a focal length of 886.81 at 1024x768.
    """
    for f in frames("hypersim", splits):
        scene_, camera, stem = f.stem.rsplit("_cam_")[0], "cam_00", f.stem.rsplit("_", 1)[1]
        place = root / scene_ / "images"
        height, width = f.sample.size
        rows, columns = np.mgrid[:height, :width] + 0.5
        scale = 886.81 * np.array([height / 768, width / 1024])
        x, y = (columns - width / 2) / scale[1], (rows - height / 2) / scale[0]
        distance = np.where(f.depth > 0, f.depth * np.sqrt(x**2 + y**2 + 1), np.nan)
        normals = f.normals * [1, -1, -1]
        normals[::3] *= -1
        ids = from_zero(ids40(f.sample), void=-2) + 1
        write_jpeg(place / f"scene_{camera}_final_preview" / f"frame.{stem}.tonemap.jpg", f.image)
        maps = {"depth_meters": distance.astype("f2"), "normal_cam": normals.astype("f2"), "semantic": ids.astype("i2")}
        for name, array in maps.items():
            write_hdf5(place / f"scene_{camera}_geometry_hdf5" / f"frame.{stem}.{name}.hdf5", array)


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
    tum_times,
    scannet,
    scannet_frames,
    scannet_frames_scene,
    scannet_labels,
    scannet_labels_scene,
    densedepth,
    densedepth_data,
    hypersim,
)
LAYOUTS: dict[str, Callable[..., None]] = {writer.__name__: writer for writer in WRITERS}
