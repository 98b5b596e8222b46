"""Data sets: descriptions with wrong keys and values, damaged maps, folders with files that lack, lie or lead away."""

import io
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import h5py
import layouts as layout_writers
import numpy as np
import scipy.io
import yaml

from mtl_vision import prepare
from mtl_vision.datasets import DataError
from mtl_vision.datasets.arrays import SUFFIXES, read_rgb, read_values
from mtl_vision.datasets.description import FILE_NAME, read_description
from mtl_vision.datasets.files import splits_there
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.layouts import layouts
from mtl_vision.datasets.recognise import describe
from mtl_vision.runtime.kinds import KINDS
from mtl_vision.synthetic.dataset import write_rooms

from .damage import damaged, damaged_tree, extreme, hostile_name
from .outcome import door, outcome

# images, .npy, .mat, HDF5, lists, times, patterns and a table
LAID_OUT = ("nyu_mat", "mtan", "bts", "dump8", "tum", "tum_times", "scannet_labels", "densedepth", "hypersim")


@dataclass(frozen=True)
class Base:
    """Whole data sets, what their descriptions hold, and whole files of maps."""

    sets: list[Path]
    trees: list[Any]
    maps: list[bytes]


@dataclass(frozen=True)
class Case:
    """What is at `path`, and how it is to be read."""

    path: Path
    read: Callable[[Path, Path], None]


class Evil:
    """A pickle of it would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch escaped",)


def make_base(folder: Path) -> Base:
    """A small canonical set, and the same few samples in other layouts."""
    canonical = folder / "canonical"
    write_rooms(canonical, 10, (32, 48), workers=1)
    for path in [p for stem in sorted((canonical / "train" / "rgb").iterdir())[3:] for p in canonical.rglob(stem.name)]:
        path.unlink()
    samples = layout_writers.rooms(2, 1)
    for name in LAID_OUT:
        layout_writers.lay_out(name, folder / name, samples)
    trees = [yaml.safe_load((canonical / FILE_NAME).read_text())] * 4
    trees += [{**tree, "depth": {"invalid": [0, 65535, 65.535, -1]}} for tree in trees[:1]]
    trees += [{"layout": name, "source": "x", "depth": {"scale": 0.001}} for name in layouts()]
    trees += [dict(known.description) for known in layouts().values()]
    files = [p for p in sorted(folder.rglob("*")) if p.suffix in SUFFIXES and p.stat().st_size < 10**5]
    by_folder = {(path.parent, path.suffix): path for path in files}
    maps = [path.read_bytes() for path in by_folder.values()] + _arrays()
    return Base([canonical, canonical, *(folder / name for name in LAID_OUT)], trees, maps)


def _arrays() -> list[bytes]:
    """Files of .npy, .mat and HDF5 of many types and shapes; two are pickles that would run a command."""
    found, depth = [], np.linspace(0.5, 5, 32 * 48, dtype=np.float32).reshape(32, 48)
    for array in (
        depth,
        np.asfortranarray(depth),
        depth.astype(">f8"),
        depth.astype(np.float16),
        depth.astype(np.int64),
        depth > 1,
        depth + 1j,
        np.full((32, 48), np.nan, np.float32),
        np.zeros((0, 48)),
        np.float32(1),
        np.array([["a"]]),
        np.zeros((4, 4), [("a", "f4"), ("b", "i2")]),
        np.array([Evil()], object),
    ):
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=True)
        found.append(stream.getvalue())
        if array.dtype != object and array.dtype.kind != "V":
            stream = io.BytesIO()
            scipy.io.savemat(stream, {"depth": array, "other": array} if array is depth else {"depth": array})
            found.append(stream.getvalue())
    for options in ({}, {"compression": "gzip", "shuffle": True, "chunks": (8, 16)}, {"libver": "latest"}):
        stream = io.BytesIO()
        with h5py.File(stream, "w", libver=options.pop("libver", None)) as file:
            file.create_dataset("dataset", data=depth.astype(np.float16), **options)
        found.append(stream.getvalue())
    stream = io.BytesIO()
    np.savez(stream, a=depth, b=depth)
    return [*found, stream.getvalue(), pickle.dumps(Evil())]


def generate(random: Random, base: Base, folder: Path) -> Case:
    """Half descriptions, a quarter maps, a quarter folders; the last by each of the doors."""
    folder, way = folder / "in", random.random()
    folder.mkdir()
    if way < 0.45:
        path = folder / FILE_NAME
        path.write_bytes(_description(random, base, folder))
        return Case(path, read_one_description)
    if way < 0.75:
        path = folder / f"map{random.choice(SUFFIXES)}"
        data = random.choice(base.maps)
        path.write_bytes(_header(random, data) if random.random() < 0.2 else damaged(random, data, base.maps))
        return Case(path, read_map)
    shutil.rmtree(folder)
    shutil.copytree(random.choice(base.sets), folder)
    way = random.random()
    if way < 0.25:
        (folder / FILE_NAME).write_bytes(_description(random, base, folder))
    elif way < 0.5:
        _lead_away(random, folder)
    for _ in range(random.choice((0, 1, 1, 2, 5))):
        _break(random, folder, base)
    return Case(folder, random.choice((read_set, read_set, check_set, convert_set, convert_set, convert_set)))


def _description(random: Random, base: Base, folder: Path) -> bytes:
    tree = damaged_tree(random, random.choice(base.trees), str(folder.absolute()))
    try:
        data = yaml.safe_dump(tree, allow_unicode=True).encode(errors="surrogateescape")
    except (yaml.YAMLError, UnicodeEncodeError, RecursionError):
        data = repr(tree).encode(errors="replace")
    way = random.random()
    if way < 0.1:
        data = damaged(random, data, base.maps)
    elif way < 0.13:
        data = b"\n".join(_bomb(random))
    return data


def _lead_away(random: Random, folder: Path) -> None:
    """Names of splits, folders and samples that lead out of the output, where the files themselves can be read."""
    path = folder / FILE_NAME
    tree = yaml.safe_load(path.read_text()) if path.exists() else {"layout": folder.name}
    name = hostile_name(random, str(folder.absolute())).replace("{split}", "x")
    splits, way = tree.get("splits") or {"train": "train"}, random.randrange(5)
    if way < 3:
        tree["splits"] = {**splits, name: random.choice(list(splits.values()))}
    elif way == 3:
        tree["splits"] = {**splits, random.choice(list(splits)): name}
    else:
        tree["image"] = random.choice((name, f"../train/{tree.get('image', 'rgb')}"))
    path.write_text(yaml.safe_dump(tree), errors="surrogateescape")


def _bomb(random: Random) -> list[bytes]:
    """Aliases of aliases, or brackets in brackets."""
    if random.random() < 0.5:
        count = random.choice((100, 1000, 100_000))
        return [b"splits: " + b"[" * count + b"]" * count * random.randrange(2)]
    lines = [b"a0: &a0 {x: 1}"] + [b"a%d: &a%d {l: *a%d, r: *a%d}" % (i, i, i - 1, i - 1) for i in range(1, 40)]
    return [*lines, random.choice((b"splits: *a39", b"source: *a39", b"depth: *a39"))]


def _header(random: Random, data: bytes) -> bytes:
    """A .npy whose header says something else."""
    types = ("<f4", "|O", "<U9", "<f8", ">u2", "|V1000000000", "<M8", "x", "f4,f4")
    shapes = ("(32, 48)", "(1000000, 1000000)", "(-1, 5)", "(0,)", "(" * 300 + ")" * 300, "'x'", "(3" + ",1" * 40 + ")")
    text = f"{{'descr': '{random.choice(types)}', 'fortran_order': False, 'shape': {random.choice(shapes)}, }}\n"
    length = len(text).to_bytes(2, "little") if random.random() < 0.9 else extreme(random, 2)
    return b"\x93NUMPY\x01\x00" + length + text.encode() + data[-6144:]


def _break(random: Random, folder: Path, base: Base) -> None:
    """One file of a set is damaged, gone, another, elsewhere, no file at all; or there is one more."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if not files:
        return
    path, way = random.choice(files), random.randrange(9)
    name = hostile_name(random, str(folder.absolute())).replace("\0", "").replace("/", "")[:100] or "x"
    if way < 3:
        data = path.read_bytes()
        path.write_bytes(damaged(random, data if len(data) < 10**6 else data[: 10**6], base.maps))
    elif way == 3:
        path.unlink()
    elif way == 4:
        shutil.copyfile(random.choice(files), path.with_name(name + path.suffix))
    elif way == 5:
        path.write_bytes(random.choice(base.maps))
    elif way == 6:
        path.unlink()
        path.symlink_to(random.choice((folder, path, Path("/dev/null"), Path("nowhere"), random.choice(files))))
    elif way == 7:
        path.unlink()
        os.mkfifo(path) if random.random() < 0.5 else path.mkdir()
    elif lists := [file for file in files if file.suffix == ".txt"]:
        lines = random.choice(lists).read_text(errors="replace").splitlines()
        lines.insert(random.randrange(len(lines) + 1), hostile_name(random, str(folder.absolute())) * 2)
        random.choice(lists).write_text("\n".join(lines), errors="surrogateescape")


def feed(case: Case, folder: Path) -> None:
    """Samples that are what they must be, or errors that name what is wrong."""
    (folder / "out").mkdir()
    case.read(case.path, folder / "out")


def read_one_description(path: Path, out: Path) -> None:
    """What is read can be written, and read again."""
    description = outcome(lambda: read_description(path), DataError)
    if description is not None:
        again = out / FILE_NAME
        again.write_text(description.to_yaml(), encoding="utf-8")
        assert read_description(again) == description, f"written as {again.read_text(encoding='utf-8')!r}"


def read_map(path: Path, out: Path) -> None:
    """Numbers of two or three dimensions."""
    array = outcome(lambda: read_values(path), DataError)
    assert array is None or (array.dtype.kind in "uif" and array.ndim in (2, 3) and array.size)
    image = outcome(lambda: read_rgb(path), DataError)
    assert image is None or (image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3)


def read_set(root: Path, out: Path) -> None:
    """Every sample of every split."""
    description = outcome(lambda: describe(root), DataError)
    for split in outcome(lambda: splits_there(root, description), DataError) or () if description else ():
        data = outcome(lambda split=split: FolderDataset(root, split, description), DataError)
        for index in range(len(data) if data else 0):
            sample = outcome(lambda data=data, index=index: data[index], DataError)
            if sample is None:
                continue
            assert sample.image.dtype == np.uint8 and sample.image.shape == (*sample.size, 3)
            for name, array in sample.targets.items():
                kind = KINDS[{"depth": "scalar_map", "normals": "unit_vector_map"}.get(name, "label_map")]
                assert array.shape == sample.size + kind.tail and array.dtype == kind.dtype, f"{name} {array.shape}"
                assert np.isfinite(array).all(), f"{name} has values that are no numbers"


def check_set(root: Path, out: Path) -> None:
    """`mtl-data check`: 0 no faults, 1 it cannot be checked, 2 faults."""
    if door(prepare.main, ["check", str(root), "--out", str(out / "check")], 0, 1, 2) != 1:
        assert {path.name for path in (out / "check").iterdir()} == {"check.png", "check.json"}


def convert_set(root: Path, out: Path) -> None:
    """`mtl-data convert`: all of it, or nothing."""
    code = door(prepare.main, ["convert", str(root), "--out", str(out / "new"), "--on_error", "skip"], 0, 1)
    made = [path.name for path in out.iterdir()]
    assert made == ([] if code else ["new"]), f"exit code {code} and {made}"
    if code == 0:
        read_set(out / "new", out)
