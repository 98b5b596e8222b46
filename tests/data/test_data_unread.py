"""What lies in a folder and is not read is named, and what is described and does not lie there; nothing else is."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from breaking import describe as described_so
from data_testing import planes, write_folder
from layout_parts import write_npy, write_png
from layouts import LAYOUTS, lay_out, rooms

from mtl_vision import prepare
from mtl_vision.check.run import check
from mtl_vision.datasets.description import DepthFiles, Description
from mtl_vision.datasets.recognise import recognise
from mtl_vision.datasets.unread import differences, unread_maps

MAP = np.full((48, 64), 7)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A canonical folder of two splits."""
    return write_folder(tmp_path / "set", {"train": planes(3), "test": planes(2)})


def named(root: Path, name: str | None = None) -> list[str]:
    return differences(root, recognise(root, name))


def nicr(root: Path) -> Path:
    """ESANet's folder with the labels, normals and instances of nicr-scene-analysis-datasets."""
    lay_out("esanet", root, rooms())
    for split in ("train", "test"):
        for name in ("labels_13", "labels_894"):
            shutil.rmtree(root / split / name)
        (root / split / "labels_40").rename(root / split / "semantic_40")
        for name in ("normal", "instance"):
            shutil.copytree(root / split / "semantic_40", root / split / name)
    return root


# nothing


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "nyu_mat"])
def test_nothing_of_a_known_layout(layout: str, tmp_path: Path):
    lay_out(layout, tmp_path, rooms())
    said = ["there, but not read: instance"] if layout == "nicr" else []  # of 16 bits: no target of ours holds them
    assert named(tmp_path) == named(tmp_path, layout) == said


def test_nothing_of_the_canonical_folder_and_of_what_is_no_map(root: Path):
    for place, name in (("poses", "0000.txt"), ("intrinsic", "depth.txt"), (".hidden", "0000.png"), ("scene", "a.ply")):
        (root / place).mkdir()
        (root / place / name).write_bytes(b"1 0 0 0")
    write_npy(root / "train/pose/0000.npy", np.eye(4))
    write_npy(root / "train/camera/0000.npy", np.arange(9.0))
    (root / "train/empty").mkdir()
    assert named(root) == []


def test_a_choice_of_the_layout_is_no_news(tmp_path: Path):
    lay_out("vainf", tmp_path, rooms())
    text = 'layout: vainf\nsegmentation: {folder: "seg13/{split}", classes: nyu13}\n'
    (tmp_path / "dataset.yaml").write_text(text)
    assert named(tmp_path) == []


def test_nor_is_raw_depth(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    lay_out("esanet", tmp_path / "set", rooms())
    for depth in ("raw", "filled"):
        prepare.convert(tmp_path / "set", tmp_path / depth, depth=depth)  # type: ignore[arg-type]
    assert "not read" not in capsys.readouterr().out


# folders


def test_folders_of_maps_beside_those_that_are_read(root: Path):
    write_png(root / "train/albedo/0000.png", MAP)
    write_png(root / "test/albedo/0000.png", MAP)
    write_npy(root / "test/flow/0000.npy", np.zeros((48, 64, 2)))
    write_png(root / "masks/0000.png", MAP)
    assert named(root) == ["there, but not read: albedo, flow, masks"]


def test_a_target_that_the_description_leaves_out(root: Path):
    described_so(root, lambda one: replace(one, normals=None))
    assert named(root) == ["there, but not read: normals"]


@pytest.mark.parametrize(
    ("layout", "place", "name"),
    [
        ("vainf", "albedo/{}", "albedo/{split}"),
        ("xapharius", "{}_albedo", "{split}_albedo"),
        ("mtan", "{}/albedo", "albedo"),
        ("nyud_mt", "albedo", "albedo"),
        ("tum", "albedo", "albedo"),
        ("dump8", "nyu_albedo", "nyu_albedo"),
        ("bts", "albedo", "albedo"),
    ],
)
def test_as_a_description_would_name_them(layout: str, place: str, name: str, tmp_path: Path):
    lay_out(layout, tmp_path, rooms())
    for split in ("train", "val" if layout == "mtan" else "test"):
        write_png(tmp_path / place.format(split) / "1.png", MAP)
    assert named(tmp_path) == [f"there, but not read: {name}"]


def test_in_the_folder_itself(root: Path, monkeypatch: pytest.MonkeyPatch):
    write_png(root / "train/albedo/0000.png", MAP)
    monkeypatch.chdir(root)
    assert named(Path()) == ["there, but not read: albedo"]


def test_many_are_cut_short_and_shown_printable(root: Path):
    for k in range(11):
        write_png(root / f"train/more{k:02d}/0.png", MAP)
    (line,) = named(root)
    assert line.endswith("more07, and 3 more")
    write_png(root / "train/a\x1b[31m/0.png", MAP)
    assert "\x1b" not in named(root)[0]


# patterns


@pytest.mark.parametrize("stem", ["frame-{:06d}", "{}", "kitchen.{:02d}"])
def test_other_files_of_the_same_names(tmp_path: Path, stem: str):
    for k in range(3):
        for kind in ("color", "depth", "mask", "label40"):
            write_png(tmp_path / f"{stem.format(k)}.{kind}.png", MAP)
        (tmp_path / f"{stem.format(k)}.pose.txt").write_text("1")
    write_png(tmp_path / "preview.png", MAP)
    one = Description(splits={"train": "."}, image="*.color.png", depth=DepthFiles("*.depth.png"))
    assert unread_maps(tmp_path, one) == ["*.label40.png", "*.mask.png"]


def test_names_before_the_star(tmp_path: Path):
    for k in range(3):
        for kind in ("rgb", "z", "mask"):
            write_png(tmp_path / f"train/all/{kind}_room{k}.png", MAP)
    one = Description(splits={"train": "train"}, image="all/rgb_*.png", depth=DepthFiles("all/z_*.png"))
    assert unread_maps(tmp_path, one) == ["all/mask_*.png"]


def test_a_folder_that_has_a_star_in_its_own_name(tmp_path: Path):
    root = write_folder(tmp_path / "a*b", {"train": planes(1)})
    write_png(root / "train/albedo/0000.png", MAP)
    assert named(root) == ["there, but not read: albedo"]


# what is missing


def test_a_layout_that_is_named_and_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    root = nicr(tmp_path / "set")
    lines = ["described, but not there: segmentation (labels_40)", "there, but not read: instance, normal, semantic_40"]
    assert named(root, "esanet") == lines
    prepare.convert(root, tmp_path / "out", description="esanet")
    said = capsys.readouterr().out
    assert all(f"\n{line}\n" in said for line in lines)
    report = check(root, "esanet", out=tmp_path / "check")
    assert report.notes == lines == json.loads((tmp_path / "check/check.json").read_text())["notes"]
    assert [(fault.test, fault.split) for fault in report.faults] == [("files", None)]
    assert "no file of segmentation: expected it in labels_40, as 'esanet' has it" in report.faults[0].text
    said = capsys.readouterr().out
    assert all(f"  note      {line}\n" in said for line in lines)


def test_a_layout_that_is_recognised_may_lack_a_target(tmp_path: Path):
    """No fault: nobody has said that it should be there. Normals are derived then."""
    lay_out("mtan", tmp_path / "set", rooms())
    for split in ("train", "val"):
        shutil.rmtree(tmp_path / "set" / split / "normal")
    report = check(tmp_path / "set", out=tmp_path / "check")
    assert report.notes == ["described, but not there: normals (normal)"] and report.faults == []


def test_check_of_a_good_set_has_no_notes(root: Path, tmp_path: Path):
    assert check(root, out=tmp_path / "check").notes == []
    assert json.loads((tmp_path / "check/check.json").read_text())["notes"] == []


def test_a_folder_that_may_not_be_listed(root: Path):
    (root / "train/gone").symlink_to(root / "nowhere")
    (root / "train/round").symlink_to(root)
    assert named(root) == []


def test_what_lies_inside_the_folders_that_are_read(root: Path):
    """Files of formats that are not read, and images a folder deeper."""
    (root / "train/depth/0001.exr").write_bytes(b"no image of ours")
    (root / "train/rgb/notes.txt").write_text("mine")
    write_png(root / "train/rgb/more/0007.png", MAP)
    (root / "train/rgb/empty").mkdir()
    assert named(root) == ["there, but not read: depth/*.exr, rgb/more"]
