"""mtl-data: make, convert and check, as a user types them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_testing import FULL, cut_short, degrees, planes, write_folder
from test_data_nyuv2_mat import write_mat, write_splits

from mtl_vision import prepare
from mtl_vision.datasets.description import (
    DataError,
    DepthFiles,
    Description,
    LabelFiles,
    NormalsFiles,
    read_description,
)
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.write import FolderWriter
from mtl_vision.synthetic import render_room

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line, its paths relative to an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: prepare.main([str(argument) for argument in arguments])


def rooms(root: Path, count: int = 4, size=(60, 80)) -> Path:
    """Rooms in the splits train and test."""
    samples = [render_room(seed, size) for seed in range(count)]
    camera = samples[0].intrinsics
    assert camera is not None
    intrinsics = {
        "fx": camera.fx,
        "fy": camera.fy,
        "cx": camera.cx,
        "cy": camera.cy,
        "height": size[0],
        "width": size[1],
    }
    return write_folder(root, {"train": samples[1:], "test": samples[:1]}, replace(FULL, intrinsics=intrinsics))


def describe(root: Path, **change: object) -> None:
    """Another description for what lies in a folder."""
    path = root / "dataset.yaml"
    path.write_text(replace(read_description(path), **change).to_yaml(), encoding="utf-8")


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# synthetic


def test_synthetic_rooms_are_a_whole_set(run: Run, tmp_path: Path):
    assert run("synthetic", "--out", "rooms", "--count", 6, "--size", "24x32", "--workers", 2, "--seed", 1) == 0
    assert left(tmp_path) == ["rooms"]
    splits = {split: FolderDataset(tmp_path / "rooms", split) for split in ("train", "val", "test")}
    assert {split: len(ones) for split, ones in splits.items()} == {"train": 4, "val": 1, "test": 1}
    names = [name for ones in splits.values() for name in ones.stems]
    assert sorted(names) == [f"{1_000_000 + i:07d}" for i in range(6)]
    room, stored = render_room(1_000_000, (24, 32)), splits["train"][0]
    np.testing.assert_array_equal(stored.image, room.image)
    np.testing.assert_allclose(stored.targets["depth"], room.targets["depth"], atol=0.00051)
    assert stored.intrinsics == room.intrinsics


@pytest.mark.parametrize("count", [0, 2])
def test_fewer_rooms_than_splits(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int):
    assert run("synthetic", "--out", "rooms", "--count", count) == 1
    assert f"{count} rooms from seed 0: expected at least 3" in capsys.readouterr().err
    assert left(tmp_path) == []


@pytest.mark.parametrize("command", ["synthetic", "convert"])
def test_nothing_is_overwritten(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str):
    root = rooms(tmp_path / "set", 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    arguments = [root] if command == "convert" else ["--count", 3, "--size", "16x16"]
    assert run(command, *arguments, "--out", "out") == 1
    assert "out exists and is not empty: choose another folder" in capsys.readouterr().err
    assert left(tmp_path / "out") == ["mine.txt"] and left(tmp_path) == ["out", "set"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["make"], "invalid choice: 'make'"),
        (["synthetic"], "the following arguments are required: --out"),
        (["synthetic", "--out", "a", "--size", "240"], "expected HEIGHTxWIDTH, such as 240x320; found 240"),
        (["synthetic", "--out", "a", "--size", "8x320"], "expected at least 16x16; found 8x320"),
        (["synthetic", "--out", "a", "--count", "many"], "invalid int value: 'many'"),
        (["convert", "a", "--out", "b", "--classes", "nyu14"], "invalid choice: 'nyu14'"),
        (["check"], "the following arguments are required: DIR"),
    ],
)
def test_bad_arguments_are_said(run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2 and message in capsys.readouterr().err


# convert


def test_a_canonical_folder_converts_to_itself(run: Run, tmp_path: Path):
    root = rooms(tmp_path / "set")
    assert run("convert", root, "--out", "out") == 0
    for split in ("train", "test"):
        before, after = FolderDataset(root, split), FolderDataset(tmp_path / "out", split)
        assert before.stems == after.stems
        for i in range(len(before)):
            one, other = before[i], after[i]
            assert one.intrinsics == other.intrinsics
            np.testing.assert_array_equal(one.image, other.image)
            np.testing.assert_array_equal(one.targets["depth"], other.targets["depth"])
            np.testing.assert_array_equal(one.targets["segmentation"], other.targets["segmentation"])
            assert degrees(one.targets["normals"], other.targets["normals"]).max() < 0.005
    assert run("check", "out") == 0


def test_derived_normals_are_stored_and_said_to_be_derived(run: Run, tmp_path: Path):
    root = rooms(tmp_path / "set")
    describe(root, normals=NormalsFiles(derive=True))
    assert run("convert", root, "--out", "out") == 0
    written = read_description(tmp_path / "out/dataset.yaml")
    assert written.source == "made by hand; normals derived from depth"
    assert written.normals == NormalsFiles()
    one, other = FolderDataset(root, "train")[0], FolderDataset(tmp_path / "out", "train")[0]
    assert degrees(one.targets["normals"], other.targets["normals"]).max() < 0.005


def test_other_conventions_become_the_canonical_ones(run: Run, tmp_path: Path):
    description = Description(
        splits={"learn": "a", "exam": "b"},
        image="colour",
        depth=DepthFiles("z", 0.002, 0.5, 65535),
        segmentation=LabelFiles("ids", 0, 255, ["cat", "dog"] * 6 + ["cow"]),
    )
    other, sample = planes(2)
    for one in (other, sample):
        del one.targets["normals"]
        one.targets["depth"][:5] = 0
    root = write_folder(tmp_path / "set", {"learn": [other], "exam": [sample]}, description)
    assert left(root) == ["a", "b", "dataset.yaml"]
    assert run("convert", root, "--out", "out", "--size", "24x32") == 0
    written = read_description(tmp_path / "out/dataset.yaml")
    assert (
        written.splits == {"learn": "learn", "exam": "exam"}
        and written.image == "rgb"
        and written.depth == DepthFiles()
    )
    assert written.targets() == ("depth", "segmentation")
    assert written.segmentation is not None and written.segmentation.classes == ["cat", "dog"] * 6 + ["cow"]
    after = FolderDataset(tmp_path / "out", "exam")[0]
    assert after.size == (24, 32) and (after.targets["depth"][:2] == 0).all()
    assert np.median(after.targets["depth"]) == pytest.approx(np.median(sample.targets["depth"]), rel=0.02)
    assert run("check", "out") == 0


def test_a_folder_without_a_description_takes_one_from_elsewhere(run: Run, tmp_path: Path):
    root = rooms(tmp_path / "set", 2)
    (root / "dataset.yaml").rename(tmp_path / "mine.yaml")
    assert run("convert", root, "--out", "out") == 1
    assert run("convert", root, "--out", "out", "--description", "mine.yaml") == 0
    assert run("check", root, "--description", "mine.yaml") == 0


def test_the_mat_file_in_the_official_split(run: Run, tmp_path: Path):
    write_mat(tmp_path / "nyu.mat")
    write_splits(tmp_path / "splits.mat", [2], [1, 3])
    assert run("convert", "nyu.mat", "--out", "out", "--splits", "splits.mat") == 0
    train, test = FolderDataset(tmp_path / "out", "train"), FolderDataset(tmp_path / "out", "test")
    assert train.stems == ["0001", "0003"] and test.stems == ["0002"]
    sample = test[0]
    assert sample.image[5, 9].tolist() == [5, 9, 1]
    assert sample.targets["depth"][10, 3] == pytest.approx(1.1, abs=0.0006)
    assert sample.targets["segmentation"][0, 0] == 255 and sample.targets["segmentation"][0, 31] == 0
    assert sample.intrinsics is not None and sample.intrinsics.fx == pytest.approx(518.857901 / 20)
    assert test.classes is not None and test.classes.name == "nyu40"
    source = test.description.source
    assert "nyu_depth_v2_labeled.mat" in source and "normals derived from depth" in source


def test_the_mat_file_in_thirteen_classes_and_small(run: Run, tmp_path: Path):
    write_mat(tmp_path / "nyu.mat")
    write_splits(tmp_path / "splits.mat", [2], [1, 3])
    assert (
        run("convert", "nyu.mat", "--out", "out", "--splits", "splits.mat", "--classes", "nyu13", "--size", "18x24")
        == 0
    )
    dataset = FolderDataset(tmp_path / "out", "train")
    assert dataset.classes is not None and dataset.classes.name == "nyu13" and dataset[0].size == (18, 24)


@pytest.mark.parametrize("source", ["nowhere", "nowhere.mat", "empty", "text.txt"])
def test_a_source_that_is_none(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    assert run("convert", source, "--out", "out") == 1
    error = capsys.readouterr().err
    assert error.startswith("mtl-data: ") and source in error and "expected" in error
    assert not (tmp_path / "out").exists()


def test_a_failure_midway_leaves_nothing(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = rooms(tmp_path / "set")
    cut_short(root / "test/depth/000000.png")
    assert run("convert", root, "--out", "out") == 1
    assert "depth/000000.png" in capsys.readouterr().err
    assert left(tmp_path) == ["set"]


def test_no_split_is_there(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = rooms(tmp_path / "set", 2)
    describe(root, splits={"train": "training"})
    assert run("check", root) == 1
    assert "has none of the splits training: name them in 'splits'" in capsys.readouterr().err


def test_writing_what_is_not_described_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match="normals of sample 0000 are not in the description"):
        write_folder(tmp_path / "set", {"train": planes(1)}, Description(depth=DepthFiles()))


def test_an_interrupted_conversion_leaves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    root = rooms(tmp_path / "set")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FolderWriter, "write", interrupt)
    assert run("convert", root, "--out", "out") == 130
    assert "interrupted" in capsys.readouterr().err and left(tmp_path) == ["set"]


def test_a_size_of_another_aspect(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = rooms(tmp_path / "set")
    assert run("convert", root, "--out", "out", "--size", "64x48") == 1
    assert "mtl-data: size 64x48 (height x width) would stretch" in capsys.readouterr().err
    assert left(tmp_path) == ["set"]


def test_samples_that_can_not_be_read_may_be_left_out(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = rooms(tmp_path / "set")
    cut_short(root / "train/depth/000001.png")
    assert run("convert", root, "--out", "out", "--on_error", "skip") == 0
    assert "left out of train: " in capsys.readouterr().out
    assert len(FolderDataset(tmp_path / "out", "train")) == 2


def test_depth_that_16_bits_do_not_hold_is_stored_as_none(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = rooms(tmp_path / "set")
    stored = np.full((60, 80), 2.0, np.float32)
    stored[:5], stored[5:9] = 72.9, 65.535
    path = root / "train/depth/000001.png"
    path.unlink()
    np.save(path.with_suffix(".npy"), stored * 1000)
    assert run("convert", root, "--out", "out") == 0
    error = capsys.readouterr().err
    assert "1 of 4 samples have depth beyond 65.535 m (up to 72.9 m)" in error and "stored as none" in error
    depth = FolderDataset(tmp_path / "out", "train")[0].targets["depth"]
    assert (depth[:5] == 0).all() and np.allclose(depth[5:9], 65.535) and np.allclose(depth[9:], 2)
    assert run("convert", tmp_path / "out", "--out", "again") == 0
    assert "beyond 65.535" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["set", "--splits", "splits.mat"], "splits is for nyu_depth_v2_labeled.mat"),
        (["nyu.mat", "--description", "mtan"], "description and on_error are for folders"),
        (["set", "--out", "nyu.mat"], "nyu.mat is a file: choose a folder"),
        (["set", "--description", "mtam"], "did you mean 'mtan'?"),
        (["set/dataset.yaml"], "expected nyu_depth_v2_labeled.mat, or a folder"),
    ],
)
def test_what_does_not_go_together(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
):
    rooms(tmp_path / "set")
    write_mat(tmp_path / "nyu.mat")
    out = [] if "--out" in arguments else ["--out", "out"]
    assert run("convert", *arguments, *out) == 1
    assert message in capsys.readouterr().err


# from Python


def test_the_functions_take_plain_arguments(tmp_path: Path):
    prepare.synthetic(tmp_path / "rooms", count=3, size=(48, 64), workers=1)
    assert prepare.convert(str(tmp_path / "rooms"), tmp_path / "small", size=(24, 32)) == 3
    report = prepare.check(tmp_path / "small", most=1, out=tmp_path / "out")
    assert report.faults == [] and list(report.summaries) == ["train", "val", "test"]
    assert report.summaries["test"].sizes == {"24x32": 1} and (tmp_path / "out/check.png").is_file()


@pytest.mark.parametrize("arguments", [["--help"], ["check", "set", "--out", "out"]])
def test_torch_is_not_needed(tmp_path: Path, arguments: list[str]):
    rooms(tmp_path / "set", 2)
    code = (
        "import sys\n"
        "from mtl_vision.prepare import main\n"
        "try:\n"
        "    code = main(sys.argv[1:])\n"
        "except SystemExit as stop:\n"
        "    code = stop.code\n"
        "loaded = sorted({'torch', 'timm', 'matplotlib'} & set(sys.modules))\n"
        "sys.exit(code or ', '.join(loaded) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_names_the_command_and_the_defaults(run: Run, capsys: pytest.CaptureFixture[str]):
    for command, words in (
        ("synthetic", ["mtl-data synthetic", "default: 1000", "default: 120x160", "pixels", "default: 0"]),
        ("convert", ["mtl-data convert", "default: filled", "default: stop"]),
        ("check", ["mtl-data check", "default: all", "default: out/check"]),
    ):
        with pytest.raises(SystemExit):
            run(command, "--help")
        text = " ".join(capsys.readouterr().out.split())
        assert all(word in text for word in words), text
