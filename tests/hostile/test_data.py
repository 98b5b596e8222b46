"""Hostile data sets: names that lead out, pipes and devices, headers and texts that lie, targets that teach nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import scipy.io
import yaml
from data_testing import FULL, planes, write_folder

from mtl_vision.check.run import check
from mtl_vision.config import Config
from mtl_vision.datasets import DataError, arrays
from mtl_vision.datasets.arrays import MOST, read_rgb, read_values
from mtl_vision.datasets.description import Description, make_description, read_description
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.nyuv2_mat import NYUv2Mat
from mtl_vision.datasets.splits import open_data
from mtl_vision.datasets.targets import DepthFiles
from mtl_vision.datasets.text import MOST_YAML, load_yaml
from mtl_vision.datasets.write import FolderWriter, stem_of
from mtl_vision.engine.checks import check_data
from mtl_vision.engine.cli import main as train_main
from mtl_vision.engine.parse import resolve
from mtl_vision.loading.cache import PackedDataset
from mtl_vision.prepare import convert, main

SECONDS = 60  # that a case may take on a slow machine; each takes about one at most
HIDDEN = "/dev/zero"  # never ends


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """What waits for a pipe, or grows without end, fails."""

    def late(*_: object) -> None:
        raise AssertionError(f"not done after {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set that no test may change."""
    samples = planes(6)
    return write_folder(tmp_path_factory.mktemp("good") / "set", {"train": samples[:4], "test": samples[4:]})


@pytest.fixture
def root(good: Path, tmp_path: Path) -> Path:
    """A copy to break, in a folder of its own."""
    return Path(shutil.copytree(good, tmp_path / "in" / "set"))


def described(root: Path, **keys: object) -> None:
    """Other values for some keys of the description."""
    path = root / "dataset.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | keys))


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What mtl-data says in one line, where it fails."""
    assert main([str(one) for one in arguments]) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("mtl-data: ") and len(said.splitlines()) == 1 and len(said) < 1500
    return said


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


# --- names that lead out -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../esc", "{}/absolute", "a/b", "..", ".", "", "a\\b", ".hidden"])
def test_convert_writes_no_split_outside_its_output(
    root: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
):
    name = name.format(tmp_path)
    described(root, splits={"train": "train", name: "test"})
    before = everything(tmp_path)
    assert "expected a plain name" in refused(capsys, "convert", root, "--out", tmp_path / "a" / "b" / "out")
    assert everything(tmp_path) == before


def test_splits_that_lie_elsewhere_are_read_as_before(root: Path, tmp_path: Path):
    (root / "test").rename(tmp_path / "elsewhere")
    described(root, splits={"train": "train", "test": "../../elsewhere"})
    out = tmp_path / "out"
    assert convert(root, out) == 6
    assert len(list((out / "test/rgb").iterdir())) == 2 and not (tmp_path / "elsewhere.png").exists()


@pytest.mark.parametrize(
    "description",
    [
        replace(FULL, splits={"train": "../../esc"}),
        replace(FULL, splits={"train": "/tmp/esc"}),
        replace(FULL, image="../../esc"),
        replace(FULL, depth=DepthFiles(folder="../../../esc")),
    ],
)
def test_every_path_that_is_written_lies_under_the_output(tmp_path: Path, description: Description):
    with (
        pytest.raises(DataError, match="expected a place in"),
        FolderWriter(tmp_path / "a" / "out", description) as writer,
    ):
        writer.write("train", planes(1)[0])
    assert everything(tmp_path) == {tmp_path / "a"}


@pytest.mark.parametrize("name", ["../../esc", "/tmp/esc", "a/b", "a\nb", "a\0b", "", ".hidden"])
def test_names_of_samples_lead_nowhere(tmp_path: Path, name: str):
    with (
        pytest.raises(DataError, match="the name of a sample is .*expected a plain name"),
        FolderWriter(tmp_path / "a" / "out", FULL) as writer,
    ):
        writer.write("train", replace(planes(1)[0], name=name))
    assert everything(tmp_path) == {tmp_path / "a"}


@pytest.mark.parametrize(
    "line", ["../../test/rgb/0004.png test/depth/0004.png", "{}/test/rgb/0004.png x", ".. ..", "rgb x"]
)
def test_lines_of_lists_lead_nowhere(root: Path, tmp_path: Path, line: str):
    (root / "list.txt").write_text(line.format(root) + "\n")
    described(root, lists={"train": "list.txt"}, columns=["image", "depth"], normals=None, segmentation=None)
    before = everything(root)
    try:
        convert(root, tmp_path / "out")
        written = [path for path in everything(tmp_path / "out") if path.is_file()]
        assert len(written) in (3, 4) and all(path.is_relative_to(tmp_path / "out") for path in written)
    except DataError:
        assert not (tmp_path / "out").exists()
    assert everything(root) == before and {path.name for path in tmp_path.iterdir()} <= {"in", "out"}


def test_a_scene_is_one_line(tmp_path: Path):
    with FolderWriter(tmp_path / "out", FULL, {"0000": "a\nb\u2028c", "0001": "hall"}) as writer:
        for sample in planes(2):
            writer.write("train", sample)
    assert FolderDataset(tmp_path / "out", "train").scenes == {"0000": "a b c", "0001": "hall"}


def test_the_packed_copy_of_a_split_of_any_name_lies_in_the_cache(root: Path, tmp_path: Path):
    source = FolderDataset(root, "train").only(["0000"], "../../esc/ape")
    packed = PackedDataset(source, tmp_path / "cache" / "here")
    assert packed.folder.parent == tmp_path / "cache" / "here" and packed.folder.is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {"in", "cache"}


def test_a_name_that_steers_the_terminal_is_shown_escaped(root: Path, capsys: pytest.CaptureFixture[str]):
    (root / "train/depth/0000.png").rename(root / "train/depth/\x1b[2J.png")
    (root / "train/rgb/0000.png").rename(root / "train/rgb/\x1b[2J.png")
    (root / "train/depth/\x1b[2J.png").write_bytes(b"nothing")
    assert main(["check", str(root), "--out", str(root / "out")]) == 2
    said = capsys.readouterr().out
    assert r"\x1b[2J.png" in said and "\x1b" not in said
    with pytest.raises(DataError, match="classes is .*expected nyu13"):
        load_description(root, 'segmentation: {classes: ["\\e[31mred"]}')


# --- names that no file can have -----------------------------------------------------------------------------------


def load_description(folder: Path, text: str | bytes) -> Description:
    path = folder / "dataset.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_description(path)


@pytest.mark.parametrize(
    "text",
    [
        'image: "r\\0gb"',
        'splits: {train: "a\\0b"}',
        'splits: {"a\\0b": train}',
        'lists: {train: "a\\0.txt"}',
        "image: \0",
    ],
)
def test_nul_in_a_description(tmp_path: Path, text: str):
    with pytest.raises(DataError, match=r"dataset\.yaml.*(expected|not valid YAML)"):
        load_description(tmp_path, text)


def test_nul_in_a_list(root: Path):
    (root / "list.txt").write_bytes(b"0000.png\n00\x0001.png\n")
    described(root, lists={"train": "list.txt"})
    with pytest.raises(DataError, match=r"list\.txt has the line '00.x0001\.png': expected a sample's name"):
        FolderDataset(root, "train")


@pytest.mark.parametrize("keys", [{"image": "x" * 300}, {"splits": {"train": "x" * 1900}}, {"scenes": "x" * 300}])
def test_names_that_are_too_long_to_be_read(root: Path, keys: dict[str, object], capsys: pytest.CaptureFixture[str]):
    described(root, **keys)
    refused(capsys, "check", root, "--out", root / "out")


@pytest.mark.parametrize("length", [243, 251])
def test_names_of_243_to_255_bytes_are_converted(root: Path, tmp_path: Path, length: int):
    for folder in ("rgb", "depth", "normals", "label"):
        (root / f"train/{folder}/0000.png").rename(root / f"train/{folder}/{'n' * length}.png")
    assert convert(root, tmp_path / "out") == 6
    assert (tmp_path / f"out/train/rgb/{'n' * length}.png").exists()


def test_names_that_are_too_long_to_be_written_are_shortened_with_a_hash(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = "scene" * 25
    for kind in ("rgb", "depth"):
        (root / f"train/{kind}/{folder}" / folder).mkdir(parents=True)
        for stem in ("0000", "0001"):
            (root / f"train/{kind}/{stem}.png").rename(root / f"train/{kind}/{folder}/{folder}/{stem}.png")
    lines = [f"rgb/{folder}/{folder}/{stem}.png depth/{folder}/{folder}/{stem}.png" for stem in ("0000", "0001")]
    (root / "list.txt").write_text("\n".join(lines))
    described(root, lists={"train": "list.txt"}, columns=["image", "depth"], normals=None, segmentation=None)
    assert convert(root, tmp_path / "out") == 2
    assert "2 names are too long for a file: shortened" in capsys.readouterr().out
    written = FolderDataset(tmp_path / "out", "train")
    assert len(set(written.stems)) == 2 and all(len(os.fsencode(stem)) == 251 for stem in written.stems)
    assert set(written.scenes) == set(written.stems), "a scene goes by the name that was written"
    assert stem_of("é" * 200) == stem_of("é" * 200) != stem_of("é" * 201)


# --- what is no file ------------------------------------------------------------------------------------------------


def as_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def as_device(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(HIDDEN)


def as_socket(path: Path) -> None:
    path.unlink(missing_ok=True)
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's address is short
    try:
        with closing(socket.socket(socket.AF_UNIX)) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def as_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def as_loop(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)


NO_FILES = [as_pipe, as_device, as_socket, as_folder, as_loop]
Make = Callable[[Path], None]


@pytest.mark.parametrize("make", NO_FILES)
@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.mat", "a.tif", "a.hdf5"])
def test_images_and_maps_are_regular_files(tmp_path: Path, make: Make, name: str):
    make(tmp_path / name)
    for read in (read_values, read_rgb):
        with pytest.raises(DataError, match=r"a\.\w+: .*; replace it, or remove its sample"):
            read(tmp_path / name)


@pytest.mark.parametrize("make", [as_pipe, as_device])
@pytest.mark.parametrize("folder", ["rgb", "depth", "normals", "label"])
def test_check_convert_and_training_name_a_pipe_among_the_data(
    root: Path, tmp_path: Path, make: Make, folder: str, capsys: pytest.CaptureFixture[str]
):
    make(root / "train" / folder / "0001.png")
    name = f"{folder}/0001.png"
    assert main(["check", str(root), "--out", str(tmp_path / "check")]) == 2
    assert name in capsys.readouterr().out
    assert name in refused(capsys, "convert", root, "--out", tmp_path / "out")
    assert convert(root, tmp_path / "out", on_error="skip") == 5
    train, _ = open_data(root, on_error="skip")
    assert list(train.faults) == ["0001"] and name in train.faults["0001"]


def test_a_loading_process_names_a_pipe_in_one_line(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for stem in ("0001", "0002", "0003"):  # the first is read before
        as_pipe(root / f"train/normals/{stem}.png")
    small = ["--data.size=[48,64]", "--data.cache=null", "--data.workers=1", "--data.batch_size=2"]
    network = ["--model.decoder.width=16", "--model.pretrained=false", "--run.device=cpu", "--tasks.names=[depth]"]
    monkeypatch.chdir(tmp_path)
    assert train_main([f"--data.root={root}", *small, *network, "--train.epochs=1"]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"mtl-train: {root}/train/normals/000") and said.endswith("remove its sample")


@pytest.mark.parametrize("make", NO_FILES[:-1])
@pytest.mark.parametrize("name", ["dataset.yaml", "list.txt", "scenes.txt"])
def test_texts_are_regular_files(root: Path, tmp_path: Path, make: Make, name: str, capsys: pytest.CaptureFixture[str]):
    described(root, lists={"train": "list.txt", "test": "list.txt"}, scenes="scenes.txt")
    for text in ("list.txt", "scenes.txt"):
        (root / text).write_text("0000\n")
    make(root / name)
    assert "expected a file, found a" in refused(capsys, "convert", root, "--out", tmp_path / "out")
    assert name in refused(capsys, "check", root, "--out", tmp_path / "out")
    with pytest.raises(DataError, match=name):
        FolderDataset(root, "train")


@pytest.mark.parametrize("make", NO_FILES)
def test_the_published_files_are_regular_files(tmp_path: Path, make: Make, capsys: pytest.CaptureFixture[str]):
    make(tmp_path / "a.mat")
    refused(capsys, "convert", tmp_path / "a.mat", "--out", tmp_path / "out")
    with pytest.raises(DataError, match=r"a\.mat"):
        NYUv2Mat(tmp_path / "a.mat")
    with pytest.raises(DataError, match=r"a\.mat: expected the official splits\.mat"):
        NYUv2Mat(small_mat(tmp_path / "b.mat"), tmp_path / "a.mat")


def test_a_file_that_becomes_a_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.png").touch()
    before = (tmp_path / "a.png").stat()
    as_pipe(tmp_path / "a.png")
    monkeypatch.setattr(Path, "stat", lambda self, **_: before)
    with pytest.raises(DataError, match=r"a\.png: .*expected a file, found a device or a pipe"):
        read_values(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "size"), [("a.npy", MOST), ("a.mat", MOST), ("a.h5", MOST), ("a.png", MOST), ("dataset.yaml", MOST_YAML)]
)
def test_files_have_a_size_limit(tmp_path: Path, name: str, size: int):
    with (tmp_path / name).open("wb") as file:
        file.truncate(size + 1)
    with pytest.raises(DataError, match=rf"too large: expected at most {size:,} bytes, found {size + 1:,}"):
        read_description(tmp_path / name) if name == "dataset.yaml" else read_values(tmp_path / name)


def test_a_loop_of_links_among_the_folders(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shutil.rmtree(root / "train/depth")
    (root / "train/depth").symlink_to("../train/depth")
    (root / "again").symlink_to(".")
    assert "no depth for split 'train'" in refused(capsys, "convert", root, "--out", tmp_path / "out")
    described(root, lists={"train": "*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*.txt"})
    assert "expected the * in its last part" in refused(capsys, "check", root, "--out", tmp_path / "out")


def test_what_is_found_in_a_full_folder_is_told_short(tmp_path: Path):
    (tmp_path / "train/rgb").mkdir(parents=True)
    (tmp_path / "dataset.yaml").write_text("depth: {}")
    for number in range(300):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(DataError, match="and 282 more") as raised:
        FolderDataset(tmp_path, "train")
    assert len(str(raised.value)) < 1000


# --- headers that lie -----------------------------------------------------------------------------------------------


def npy(header: str, version: bytes = b"\1\0", values: int = 4000) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version[0] == 1 else 4, "little") + text + bytes(values)


def of_shape(shape: str, kind: str = "'<f4'") -> str:
    return f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}"


NPY = {
    "a million squared": npy(of_shape("(1000000, 1000000)")),
    "40 GB": npy(of_shape("(100000, 100000)")),
    "one row too many": npy(of_shape("(101, 10)")),
    "negative": npy(of_shape("(-1, 10)")),
    "nested": npy("(" * 900),
    "nested deeper": npy("(" * 60000),
    "unary": npy("-" * 60000),
    "sum": npy("+".join("1" * 20000)),
    "unclosed": npy("{'descr': '<f4', (((("),
    "long": npy("1" * 3_000_000, b"\2\0"),
    "another version": npy(of_shape("(10, 10)"), b"\x09\0"),
    "objects": npy(of_shape("(10, 10)", "'|O'")),
    "a record": npy(of_shape("(10, 10)", "[('a', '<f4')]")),
    "huge texts": npy(of_shape("(10, 10)", "'<U1000000000'")),
    "no header": b"\x93NUMPY\1\0",
    "nothing": b"",
}


@pytest.mark.parametrize("name", NPY)
def test_arrays_that_are_not_what_their_header_says(root: Path, name: str):
    for folder in ("depth", "rgb"):
        (root / f"train/{folder}/0001.png").unlink()
        (root / f"train/{folder}/0001.npy").write_bytes(NPY[name])
    with pytest.raises(DataError, match=r"depth/0001\.npy: "):
        read_values(root / "train/depth/0001.npy")
    with pytest.raises(DataError, match=r"rgb/0001\.npy: "):
        read_rgb(root / "train/rgb/0001.npy")
    train, _ = open_data(root, on_error="skip")
    assert train.stems == ["0000", "0002", "0003"] and list(train.faults) == ["0001"]
    report = check(root, out=root / "out")
    assert any("depth/0001.npy" in fault.text for fault in report.faults)
    assert any("rgb/0001.npy" in fault.text for fault in report.faults)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<u2", "|u1", "<i8"])
def test_arrays_are_read_as_numpy_wrote_them(tmp_path: Path, order: str, dtype: str):
    array = np.asarray(np.arange(60).reshape(3, 4, 5), dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    read = read_values(tmp_path / "a.npy")
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype and read.flags.writeable


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def mat(shape: tuple[int, ...], values: bytes, mat_class: int = 6, compress: bool = True) -> bytes:
    """A .mat file (version 5) of one variable `a`; classes: 1 cell, 2 struct, 4 text, 6 double."""
    parts = [element(6, struct.pack("<II", mat_class, 0)), element(5, struct.pack(f"<{len(shape)}i", *shape))]
    body = element(14, b"".join([*parts, element(1, b"a"), values]))
    body = struct.pack("<II", 15, len(packed := zlib.compress(body))) + packed if compress else body
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + body


MAT = {
    "a million squared": mat((10**6, 10**6), element(9, bytes(64))),
    "not compressed": mat((10**6, 10**6), element(9, bytes(64)), compress=False),
    "more than there is": mat((40, 50), element(9, bytes(64))),
    "2 GB of values": mat((40, 50), struct.pack("<II", 9, 2**31) + bytes(64)),
    "a bomb": mat((2**19, 8), element(9, bytes(2**25))),
    "cut short": mat((40, 50), element(9, bytes(16000)))[:-30],
    "text": mat((1, 8), element(4, bytes(16)), 4),
    "nested cells": mat((1, 1), b"", 1),
    "a header only": mat((1, 1), b"")[:128],
    "7.3": b"MATLAB 7.3 MAT-file",
    "rubbish": bytes(range(256)) * 10,
}


def test_the_matlab_files_made_here_are_read(tmp_path: Path):
    values = np.arange(2000.0).reshape(50, 40)
    (tmp_path / "a.mat").write_bytes(mat((40, 50), element(9, values.tobytes())))
    np.testing.assert_array_equal(read_values(tmp_path / "a.mat"), values.T)
    for compress in (True, False):
        scipy.io.savemat(tmp_path / "b.mat", {"a": values, "b": values + 1}, do_compression=compress)
        np.testing.assert_array_equal(read_values(tmp_path / "b.mat", "b"), values + 1)


@pytest.mark.parametrize("name", MAT)
def test_matlab_files_that_are_not_what_they_say(root: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(arrays, "MOST", 2**24)  # as 256 MiB, sooner
    (root / "train/depth/0001.png").unlink()
    (root / "train/depth/0001.mat").write_bytes(MAT[name])
    before = time.perf_counter()
    with pytest.raises(DataError, match=r"depth/0001\.mat: "):
        read_values(root / "train/depth/0001.mat")
    assert time.perf_counter() - before < SECONDS / 4
    assert list(open_data(root, on_error="skip")[0].faults) == ["0001"]


def test_a_variable_that_is_there_twice_is_the_one_that_was_checked(tmp_path: Path):
    twice = mat((1, 8), element(4, bytes(16)), 4) + mat((2, 2), element(9, bytes(32)))[128:]
    (tmp_path / "a.mat").write_bytes(twice)
    with pytest.raises(DataError, match="expected numbers as the variable 'a', found char"):
        read_values(tmp_path / "a.mat")


def test_a_map_that_is_a_small_png_of_a_huge_size(tmp_path: Path):
    data = bytearray(cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes())
    data[16:24] = struct.pack(">II", 40000, 40000)
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    for kind in (0, 3):  # gray, and a palette, which another decoder reads
        data[25] = kind
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
        (tmp_path / "a.png").write_bytes(data)
        for read in (read_values, read_rgb):
            with pytest.raises(DataError, match=r"a\.png: (too large|the file is damaged)"):
                read(tmp_path / "a.png")


def test_too_little_memory_is_an_error_of_the_file(root: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(arrays, "decode", full)
    monkeypatch.setattr(arrays, "read_image", full)
    for read, name in ((read_values, "depth"), (read_rgb, "rgb")):
        with pytest.raises(DataError, match=rf"{name}/0001\.png: not a readable image \(MemoryError"):
            read(root / f"train/{name}/0001.png")


def small_mat(path: Path, **change: object) -> Path:
    """A file like the published one, with three frames."""
    values: dict[str, object] = {
        "images": np.zeros((3, 3, 16, 12), np.uint8),
        "depths": np.ones((3, 16, 12), np.float32),
        "labels": np.ones((3, 16, 12), np.uint16),
    }
    with h5py.File(path, "w") as file:
        for name, value in (values | change).items():
            file[name] = value
    return path


def splits_mat(path: Path) -> Path:
    scipy.io.savemat(path, {"testNdxs": np.array([[1]])})
    return path


HDF: dict[str, dict[str, object]] = {
    "a link to another file": {"images": h5py.ExternalLink("/dev/zero", "images")},
    "a link within": {"images": h5py.SoftLink("/labels")},
    "texts for maps": {"labels": np.full((3, 16, 12), b"a")},
    "no scenes": {"scenes": np.zeros((1, 3), np.uint8)},
    "no images": {"images": np.zeros((3, 3, 0, 0), np.uint8)},
}


@pytest.mark.parametrize("name", HDF)
def test_the_published_file_with_other_things_in_it(tmp_path: Path, name: str):
    with pytest.raises(DataError, match=r"a\.mat: expected "):
        NYUv2Mat(small_mat(tmp_path / "a.mat", **HDF[name]), splits_mat(tmp_path / "splits.mat"))


def test_the_published_file_of_huge_images(tmp_path: Path):
    path = small_mat(tmp_path / "a.mat")
    with h5py.File(path, "a") as file:
        for name, dtype in (("images", "u1"), ("depths", "f4"), ("labels", "u2")):
            shape = (3, 3, 10**6, 10**6) if name == "images" else (3, 10**6, 10**6)
            del file[name]
            file.create_dataset(name, shape, dtype, chunks=(1,) * len(shape))  # nothing is stored
    with pytest.raises(DataError, match=r"a\.mat: expected at most .* pixels, found images"):
        NYUv2Mat(path, splits_mat(tmp_path / "splits.mat"))


# --- texts that grow ------------------------------------------------------------------------------------------------

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
YAMLS = {
    "a bomb of aliases": BOMB,
    "an alias of itself": "depth: &a {folder: *a}",
    "deep": "depth: " + "[" * 20_000,
    "deep blocks": "- " * 50_000,
    "deep mappings": "".join(" " * i + "a:\n" for i in range(300)),
    "a long number": "numbered: " + "9" * 100_000,
    "a long hexadecimal number": "depth: {scale: 0x" + "F" * 1900 + "}",
    "no date": "source: 2001-13-45",
    "a wrong tag": "depth: !!bool perhaps",
    "another wrong tag": "depth: !!int ''",
    "no timestamp": "source: !!timestamp soon",
    "an object": "depth: !!python/object/apply:os.system [ls]",
    "a list as a key": "? [a]\n: 1",
    "many keys": "{" + ", ".join(f"k{i}: {i}" for i in range(5_000)) + "}",
    "many values": "[" + "1, " * 20_000 + "]",
    "a value for a mapping": "depth: [" + "1, " * 20_000 + "]",
    "many splits": "splits: {" + ", ".join(f"s{i}: [{i}]" for i in range(5_000)) + "}",
    "bytes": bytes(range(256)),
    "UTF-16": "image: rgb".encode("utf-16"),
    "a lone surrogate": 'image: "\\ud800"',
    "a long word for a layout": f"layout: {'x' * 1999}",
    "too large": "#" * (MOST_YAML + 1),
}


@pytest.mark.parametrize("name", YAMLS)
def test_descriptions_that_grow_or_nest(tmp_path: Path, name: str):
    before = time.perf_counter()
    with pytest.raises(DataError, match=r"dataset\.yaml") as raised:
        load_description(tmp_path, YAMLS[name])
    assert time.perf_counter() - before < SECONDS / 4
    assert len(str(raised.value)) < 800 + len(str(tmp_path)) and "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["a bomb of aliases", "deep", "no date", "many values"])
def test_recipes_that_grow_or_nest(tmp_path: Path, name: str):
    (tmp_path / "recipe.yaml").write_bytes(str(YAMLS[name]).encode())
    with pytest.raises(ValueError, match=r"recipe\.yaml"):
        resolve(tmp_path / "recipe.yaml")


def test_yaml_of_every_kind_that_people_write_is_read():
    text = "a: 1\nb: [x, 1.5, null, true]\nc: {d: |\n  two\n  lines\n}\ne: 'x: y'\n# done\n"
    assert load_yaml(text.replace("{d: |\n  two\n  lines\n}", "\n  d: |\n    two\n    lines")) == {
        "a": 1,
        "b": ["x", 1.5, None, True],
        "c": {"d": "two\nlines\n"},
        "e": "x: y",
    }


@pytest.mark.parametrize("line", ["x" * 3000, "\0", "/ " * 2000])
def test_lines_of_lists_that_are_no_names(root: Path, line: str):
    (root / "list.txt").write_text(f"0000\n{line}\n")
    described(root, lists={"train": "list.txt"})
    with pytest.raises(DataError, match=r"list\.txt has the line") as raised:
        FolderDataset(root, "train")
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("stem", ["1²3", "²", "١٢", "a²"])
def test_digits_that_are_no_number(root: Path, stem: str):
    for folder in ("rgb", "depth", "normals", "label"):
        shutil.copy(root / f"train/{folder}/0000.png", root / f"train/{folder}/{stem}.png")
    assert stem in FolderDataset(root, "train").stems
    described(root, numbered=1)
    with pytest.raises(DataError, match="expected NYUv2's official numbers"):
        FolderDataset(root, "train")


# --- values that are no depth, and targets that teach nothing -------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{scale: -0.001}", "scale is -0.001: expected 1e-06 to 1000"),
        ("{scale: 0}", "scale is 0: expected 1e-06 to 1000"),
        ("{scale: 1e30}", r"scale is 1e\+30: expected 1e-06 to 1000"),
        ("{scale: .nan}", "scale is nan: expected a number"),
        ("{scale: .inf}", "scale is inf: expected a number"),
        ("{full_scale: -10}", "full_scale is -10: expected"),
        ("{full_scale: 1e30}", r"full_scale is 1e\+30: expected"),
        ("{offset: 1e30}", r"offset is 1e\+30: expected metres, -1000 to 1000"),
        (f"{{invalid: {'9' * 500}}}", r"invalid is 9{160}\.\.\.: expected"),
    ],
)
def test_scales_of_depth_have_a_range(tmp_path: Path, section: str, message: str):
    with pytest.raises(DataError, match=rf"depth[.:] ?{message}"):
        load_description(tmp_path, f"depth: {section}")


def put_depth(root: Path, stem: str, depth: np.ndarray) -> None:
    (root / f"train/depth/{stem}.png").unlink()
    np.save(root / f"train/depth/{stem}.npy", depth)


SIGNALLING = np.array([0x7FF0000000000001], np.uint64).view(np.float64)[0]  # a NaN of which numpy warns


@pytest.mark.parametrize("value", [1e30, 1e300, np.inf, -np.inf, np.nan, SIGNALLING, -1.0, 1000.001 * 1000])
def test_depth_that_no_camera_measures_is_none(root: Path, value: float):
    depth = np.full((48, 64), 2000.0)
    depth[:10] = value
    put_depth(root, "0001", depth)
    (root / "train/normals/0001.png").unlink()
    np.save(root / "train/normals/0001.npy", np.full((48, 64, 3), value))
    read = FolderDataset(root, "train")[1].targets["depth"]
    assert (read[:10] == 0).all() and np.allclose(read[10:], 2)


def test_check_names_a_map_of_huge_depth(root: Path):
    assert not [fault for fault in check(root, out=root / "out").faults if fault.test == "depth_reach"]
    put_depth(root, "0001", np.full((48, 64), 1e33))
    (fault,) = [fault for fault in check(root, out=root / "out").faults if fault.test == "depth_reach"]
    assert fault.split == "train" and "depth beyond 1000 m in 1 of 4 samples (0001; up to 1e+30 m)" in fault.text


def test_depth_in_another_unit_is_said_to_be_that_however_far_it_is(root: Path):
    described(root, depth={"scale": 1})
    found = {fault.test: fault for fault in check(root, out=root / "out").faults}
    assert "depth_reach" not in found and "depth.scale 0.001 makes it" in found["depth_unit"].text
    check(root, out=root / "out", fix=True)
    description = read_description(root / "dataset.yaml").depth
    assert description is not None and description.scale == 0.001


def blacken(root: Path, folder: str) -> None:
    for path in root.glob(f"*/{folder}/*.png"):
        cv2.imwrite(str(path), np.zeros_like(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))


def test_check_names_normals_that_are_all_black(root: Path):
    blacken(root, "normals")
    (fault,) = [fault for fault in check(root, out=root / "out").faults if fault.test == "normals_length"]
    assert "no pixel of 4 maps of normals has one" in fault.text or "no pixel of 6 maps" in fault.text
    written = json.loads((root / "out/check.json").read_text())
    assert not written["fine"]


def config_of(*names: str) -> Config:
    return resolve(None, {"data.size": [48, 64], "data.batch_size": 2, "tasks.names": list(names)})


def spoil(root: Path, task: str) -> None:
    """No pixel of any map of a task's is valid."""
    if task == "segmentation":
        for path in root.glob("*/label/*.png"):
            cv2.imwrite(str(path), np.full((48, 64), 255, np.uint8))
    else:
        blacken(root, task)


@pytest.mark.parametrize("task", ["depth", "normals", "segmentation"])
def test_a_task_without_a_valid_pixel_is_an_error_before_training(root: Path, task: str):
    config = config_of("depth", "normals", "segmentation")
    check_data(config, FolderDataset(root, "train"))
    spoil(root, task)
    with pytest.raises(
        ValueError, match=rf"'{task}', but none of its 4 maps for training \({root}.* has a valid pixel"
    ):
        check_data(config, FolderDataset(root, "train"))
    check_data(config_of(*({"depth", "normals", "segmentation"} - {task})), FolderDataset(root, "train"))


def test_a_derived_task_without_a_valid_pixel_is_an_error_too(root: Path):
    described(root, normals={"derive": True})
    blacken(root, "depth")
    with pytest.raises(ValueError, match=r"'normals', but none of its 4 maps for training \(derived from others\)"):
        check_data(config_of("normals"), FolderDataset(root, "train"))


@pytest.mark.parametrize("kept", ["0000", "0003"])
def test_one_valid_pixel_in_one_sample_is_enough(root: Path, kept: str):
    for path in root.glob("train/normals/*.png"):
        stored = np.array(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        stored[np.arange(48)[:, None] + np.arange(64) > 0] = 0
        cv2.imwrite(str(path), stored if path.stem == kept else stored * 0)
    check_data(config_of("normals"), FolderDataset(root, "train"))
    for path in root.glob("train/depth/*.png"):
        if path.stem != kept:
            path.unlink()  # a sample may lack a target
    check_data(config_of("depth", "normals"), FolderDataset(root, "train"))


def test_vectors_and_labels_of_any_size_raise_no_other_error(root: Path):
    for stem, value in (("0000", 1e30), ("0001", 1e300), ("0002", np.nan), ("0003", np.inf)):
        (root / f"train/normals/{stem}.png").unlink()
        np.save(root / f"train/normals/{stem}.npy", np.full((48, 64, 3), value))
    assert all((sample.targets["normals"] == 0).all() for sample in FolderDataset(root, "train"))  # type: ignore[attr-defined]
    for stem, value in (("0000", 1e30), ("0001", -1e300), ("0002", np.inf), ("0003", 3e9)):
        (root / f"train/label/{stem}.png").unlink()
        np.save(root / f"train/label/{stem}.npy", np.full((48, 64), value))
    train, _ = open_data(root)
    for index in range(4):
        with pytest.raises(DataError, match=r"label/000\d\.npy: "):
            train[index]


def test_a_mat_without_the_mark_of_its_byte_order(tmp_path: Path):
    """scipy took any mark, and inflated without an end."""
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"a": np.zeros((64, 64))}, do_compression=True)
    data = bytearray(path.read_bytes())
    data[126:128] = b"XX"
    path.write_bytes(data)
    with pytest.raises(DataError, match="not a readable .mat file .*lacks the mark of its byte order"):
        read_values(path)


@pytest.mark.parametrize("name", ["x" * 300, "dataset.yaml", "scenes.txt"])
def test_a_split_that_no_folder_can_be_called(name: str):
    with pytest.raises(DataError, match="the name of a split is .*: no folder can be called so"):
        make_description({"splits": {name: "train"}}, "dataset.yaml")
