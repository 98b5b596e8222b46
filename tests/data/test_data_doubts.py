"""What is most likely misread is said before anything is converted, packed or trained on: and only that."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from breaking import change, described_axes, negate_x, rescale_depth
from breaking import describe as redescribe
from data_testing import SIZE, cut_short, plane_sample, unit, with_camera, write_folder
from layouts import LAYOUTS, lay_out
from layouts import rooms as samples

from mtl_vision import prepare
from mtl_vision.datasets.axes import ORDERS, compare
from mtl_vision.datasets.camera import Intrinsics
from mtl_vision.datasets.description import NormalsFiles
from mtl_vision.datasets.doubts import doubts
from mtl_vision.datasets.folder import FolderDataset, open_splits
from mtl_vision.datasets.normals import normals_from_depth
from mtl_vision.datasets.recognise import describe, recognise
from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.unread import differences
from mtl_vision.loading.cache import PackedDataset
from mtl_vision.synthetic import render_room

XYZ = ("x", "y", "z")
SET_XYZ = "set `normals.axes: [x, y, z]`"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rooms that no test may change."""
    ones = [render_room(seed, (60, 80)) for seed in range(600, 608)]
    splits = {"train": ones[:6], "test": ones[6:]}
    return write_folder(tmp_path_factory.mktemp("good") / "set", splits, with_camera(ones[0]))


@pytest.fixture
def root(good: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(good, tmp_path / "set"))


def said(root: Path) -> list[str]:
    return [sentence for source in open_splits(root, describe(root)) for sentence in doubts(source)]


# which axes fit


@cache
def room_maps(count: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    """Exact normals of rooms, and those of their depth."""
    ones = [render_room(seed, (48, 64)) for seed in range(700, 700 + count)]
    assert all(one.intrinsics is not None for one in ones)
    return [(one.targets["normals"], normals_from_depth(one.targets["depth"], one.intrinsics)) for one in ones]  # type: ignore[arg-type]


SIGNED = [
    tuple(sign + axis for sign, axis in zip(signs, order, strict=True))
    for order in itertools.permutations(XYZ)
    for signs in itertools.product(("", "-"), repeat=3)
]


def stored_so(normals: np.ndarray, described: Sequence[str]) -> np.ndarray:
    """Normals in the frame in which `described` would be right."""
    stored = np.zeros_like(normals)
    for ours, axis in enumerate(described):
        stored[..., "xyz".index(axis[-1])] = normals[..., ours] * (-1 if axis[0] == "-" else 1)
    return stored


def read_so(stored: np.ndarray, described: Sequence[str]) -> np.ndarray:
    """As they are read: ours in terms of the stored."""
    return np.stack([stored[..., "xyz".index(a[-1])] * (-1 if a[0] == "-" else 1) for a in described], axis=-1)


@pytest.mark.parametrize("described", [XYZ, ("-z", "x", "y"), ("x", "-z", "-y")])
@pytest.mark.parametrize("true", SIGNED, ids="".join)
def test_the_true_axes_are_found_whatever_is_described(true: tuple[str, ...], described: tuple[str, ...]):
    maps = [(read_so(stored_so(normals, true), described), derived) for normals, derived in room_maps()]
    found = compare(maps, described)
    assert found is not None and found.axes == true and found.best < 5
    assert found.state == ("fit" if true == described else "turned")


def test_the_orders_are_the_48_and_the_first_changes_nothing():
    assert len(set(ORDERS)) == 48 and ORDERS[0] == ((0, 1, 2), (1, 1, 1))


def test_a_single_wall_tells_no_more_than_it_shows():
    """A wall straight ahead: all orders with -z for z fit alike, and the one that changes nothing else is named."""
    wall = np.broadcast_to(np.float32([0, 0, -1]), (*SIZE, 3))
    found = compare([(-wall, wall)], XYZ)
    assert found is not None and found.state == "turned" and found.axes == ("x", "y", "-z")
    exchanged = compare([(wall, wall)], ("-y", "x", "z"))
    assert exchanged is not None and exchanged.state == "fit", "x and y cannot be told"


def test_normals_of_nothing_and_of_other_images():
    assert compare([], XYZ) is None
    assert compare([(np.zeros((8, 8, 3), np.float32), room_maps()[0][1][:8, :8])], XYZ) is None
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(room_maps()[0][0].shape).astype(np.float32)
    found = compare([(noise / np.linalg.norm(noise, axis=-1, keepdims=True), room_maps()[0][1])], XYZ)
    assert found is not None and found.state == "apart" and found.best > 45


# axes that no publisher states


@pytest.mark.parametrize("true", SIGNED[::5], ids="".join)
def test_a_copy_shows_the_axes_that_nobody_states(true: tuple[str, ...], tmp_path: Path):
    """MTAN's form does not know them: they are measured, said, and no fault; a description that gives them is taken."""
    lay_out("mtan", tmp_path, samples())
    for path in tmp_path.glob("*/normal/*.npy"):
        published = np.load(path)  # right, forward, up
        np.save(path, stored_so(read_so(published, ("x", "-z", "y")), true).astype(np.float32))
    found = recognise(tmp_path)
    assert found.description.normals is not None and found.description.normals.axes == true
    told = [line for line in differences(tmp_path, found) if line.startswith("axes of the normals, by the depth")]
    assert told == [] if true == ("x", "-z", "y") else told[0].endswith(f"[{', '.join(true)}]")
    assert said(tmp_path) == []
    (tmp_path / "mine.yaml").write_text("layout: mtan\nnormals: {axes: [x, y, z]}\n")
    given = recognise(tmp_path, tmp_path / "mine.yaml").description.normals
    assert given is not None and given.axes == XYZ


def test_axes_that_depth_does_not_show_are_the_forms(tmp_path: Path):
    lay_out("mtan", tmp_path, samples())
    for path in tmp_path.glob("*/depth/*.npy"):
        np.save(path, np.zeros_like(np.load(path)))
    normals = describe(tmp_path).normals
    assert normals is not None and normals.axes == ("x", "-z", "y")


# what is said of a set


def test_holes_that_are_stored_as_the_largest_value(root: Path):
    """One file is enough, of those that are looked at."""
    path = min((root / "train/depth").iterdir())
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    stored[5:8, 5:9] = 65535
    cv2.imwrite(str(path), stored)
    (told,) = said(root)
    assert told.startswith("train: in a few frames the stored value 65535 stands for no depth, and is read as 65.5")
    assert told.endswith("set `depth.invalid: [0, 65535]`")
    redescribe(root, lambda d: replace(d, depth=replace(d.depth, invalid=(0, 65535))))
    assert said(root) == []


def test_nothing_of_a_good_set(root: Path):
    assert said(root) == []


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "nyu_mat"])
def test_nothing_of_a_known_layout(layout: str, tmp_path: Path):
    lay_out(layout, tmp_path, samples())
    assert said(tmp_path) == []


def test_nothing_of_the_walls_and_planes_of_one_sample(tmp_path: Path):
    frontal = plane_sample(unit(0, 0, -1))
    assert said(write_folder(tmp_path / "wall", {"train": [frontal]})) == []
    assert said(write_folder(tmp_path / "floor", {"train": [plane_sample(unit(0, -1, -0.2))]})) == []


def test_nothing_where_there_is_no_camera_no_depth_or_nothing_stored(root: Path):
    described = describe(root)
    wrong = NormalsFiles(axes=("z", "y", "x"))
    for one in (
        replace(described, normals=wrong, intrinsics=None),
        replace(described, normals=wrong, depth=None),
        replace(described, normals=NormalsFiles(derive=True)),
    ):
        assert [doubts(source) for source in open_splits(root, one)] == [[], []]


@pytest.mark.parametrize("factor", [1, 0.1, 10])
def test_other_axes_in_any_unit_of_depth(root: Path, factor: float):
    described_axes(root, "z", "y", "x")
    rescale_depth(root, factor)
    train, test = said(root)
    for sentence, split in ((train, "train"), (test, "test")):
        assert sentence.startswith(f"{split}: in a few frames the stored normals are ") and SET_XYZ in sentence
        assert "now [z, y, x]" in sentence and f"`mtl-data check {root} --fix`" in sentence


def test_millimetres_read_as_metres(root: Path):
    """2500 m is farther than what counts as depth at all; which way it slopes is the same."""
    described_axes(root, "x", "-y", "-z")
    path = root / "dataset.yaml"
    path.write_text(path.read_text().replace("scale: 0.001", "scale: 1"))
    assert len(said(root)) == 2 and all(SET_XYZ in sentence for sentence in said(root))


def test_files_in_another_frame(root: Path):
    change(root, "normals", negate_x)
    assert all("set `normals.axes: [-x, y, z]`, now [x, y, z]" in sentence for sentence in said(root)) and said(root)


def test_only_the_split_that_is_wrong(root: Path):
    change(root, "normals", negate_x, ["test"])
    (sentence,) = said(root)
    assert sentence.startswith("test: ")


def test_normals_that_are_noise(root: Path):
    rng = np.random.default_rng(0)
    change(root, "normals", lambda stored: rng.integers(0, 65536, stored.shape).astype(np.uint16))
    sentences = said(root)
    assert len(sentences) == 2 and all("where about 4 are expected" in one for one in sentences)


def test_mirrored_against_the_depth(root: Path):
    change(root, "depth", lambda stored: stored[:, ::-1])
    assert said(root) and all("nearer mirrored left to right" in sentence for sentence in said(root))


def test_a_broken_file_and_a_missing_one_are_passed_over(root: Path):
    described_axes(root, "z", "y", "x")
    for path in sorted((root / "train/normals").iterdir())[:2]:
        path.unlink()
    cut_short(sorted((root / "train/depth").iterdir())[3])
    assert SET_XYZ in said(root)[0]


def test_a_few_frames_only_are_read(good: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[int] = []
    values = FolderDataset.values

    def counted(self: FolderDataset, name: str, index: int) -> np.ndarray | None:
        read.append(index)
        return values(self, name, index)

    monkeypatch.setattr(FolderDataset, "values", counted)
    source = FolderDataset(good, "train")
    assert doubts(source) == [] and len(source) == 6
    assert len(set(read)) == 5 and min(read) == 0 and max(read) == len(source) - 1


def real_like(seed: int, bits: int, window: int, size: tuple[int, int] = (144, 192)) -> Sample:
    """A room as NYUv2 has it: depth with noise in steps of 39 mm, normals from it with another window, 8 bits."""
    room = render_room(seed, size)
    assert room.intrinsics is not None
    rng = np.random.default_rng(seed)
    depth = room.targets["depth"] * (1 + 0.005 * rng.standard_normal(size).astype(np.float32))
    depth = (np.rint(cv2.GaussianBlur(depth, (0, 0), 2) / 0.039) * 0.039).astype(np.float32)
    normals = normals_from_depth(depth, room.intrinsics, window)
    top = 2**bits - 1
    normals = (np.rint((normals + 1) / 2 * top) / top * 2 - 1).astype(np.float32)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    return replace(room, targets={**room.targets, "depth": depth, "normals": normals})


@pytest.mark.parametrize("window", [3, 11])
def test_noise_and_other_windows_are_no_other_frame(tmp_path: Path, window: int):
    ones = [real_like(seed, 8, window) for seed in range(2)]
    root = write_folder(tmp_path / "set", {"train": ones}, with_camera(ones[0]))
    assert said(root) == []
    described_axes(root, "z", "y", "x")
    assert len(said(root)) == 1 and "[x, y, z]" in said(root)[0]


def test_a_narrow_and_a_tiny_map(tmp_path: Path):
    for size in ((40, 3), (16, 16)):
        sample = plane_sample(unit(0.3, -0.3, -1), camera=Intrinsics(20, 20, size[1] / 2, size[0] / 2), size=size)
        root = write_folder(tmp_path / f"{size[1]}", {"train": [sample]}, with_camera(sample))
        assert said(root) == []


# where it is said


def test_convert_says_it_before_and_after(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    described_axes(root, "z", "y", "x")
    assert prepare.main(["convert", str(root), "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().err.splitlines()
    warnings = [line for line in lines if line.startswith("WARNING")]
    assert len(warnings) == 4 and warnings[:2] == warnings[2:] and all(SET_XYZ in line for line in warnings)


@pytest.mark.parametrize("choice", ["derived", "none"])
def test_convert_says_nothing_of_normals_that_it_does_not_take(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], choice: str
):
    described_axes(root, "z", "y", "x")
    assert prepare.main(["convert", str(root), "--out", str(tmp_path / "out"), "--normals", choice]) == 0
    assert "WARNING" not in capsys.readouterr().err


def test_converting_again_after_check_fixed_it(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    described_axes(root, "z", "y", "x")
    assert prepare.main(["check", str(root), "--fix", "--out", str(tmp_path / "check")]) == 0
    assert prepare.convert(root, tmp_path / "out") == 8
    assert "WARNING" not in capsys.readouterr().err


def test_packing_says_it_once(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert PackedDataset(FolderDataset(root, "train"), tmp_path / "cache").new
    assert capsys.readouterr().err == ""
    described_axes(root, "z", "y", "x")
    assert PackedDataset(FolderDataset(root, "train"), tmp_path / "cache").new
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("WARNING")]
    assert SET_XYZ in line
    assert not PackedDataset(FolderDataset(root, "train"), tmp_path / "cache").new
    assert capsys.readouterr().err == ""


def test_measuring_passes_over_what_cannot_be_read(tmp_path: Path):
    """One broken file hides no other, and numbers that are none raise no warning."""
    lay_out("mtan", tmp_path, samples())
    first, second, *_ = sorted((tmp_path / "train/depth").iterdir())
    first.write_bytes(b"no array")
    np.save(second, np.full_like(np.load(second), 1e300, np.float64))
    for path in tmp_path.glob("*/normal/*.npy"):
        np.save(path, read_so(np.load(path), ("x", "-z", "y")).astype(np.float32))
    normals = describe(tmp_path).normals
    assert normals is not None and normals.axes == XYZ


def test_several_marks_are_named_at_once(root: Path):
    for path in sorted((root / "train/depth").iterdir()):
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        stored[:3, :9], stored[3:6, :9] = 65535, 32767
        cv2.imwrite(str(path), stored)
    (told,) = said(root)
    assert told.startswith("train: in a few frames the stored value 65535") and "the stored value 32767" in told
    assert told.endswith("set `depth.invalid: [0, 65535, 32767]`")
