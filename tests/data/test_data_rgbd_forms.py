"""Forms of RGB-D data beyond NYUv2: HDF5, times, patterns, lists of commas, bits that are rotated, label tables.

Where a form has a published reader, a few lines of our own do what that reader is documented to do, on the same files.
"""

from __future__ import annotations

import csv
import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import yaml
from data_testing import planes, write_folder
from hypothesis import given
from hypothesis import strategies as st
from layout_parts import write_hdf5, write_lines, write_png
from layouts import lay_out, names
from test_data_layouts import ROOMS, opened

from mtl_vision.check.run import check
from mtl_vision.datasets import DataError, arrays
from mtl_vision.datasets.arrays import read_rgb, read_values
from mtl_vision.datasets.description import Description, known_description, make_description, read_description
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.layouts import fitting, layouts
from mtl_vision.datasets.match import by_time
from mtl_vision.datasets.recognise import describe
from mtl_vision.datasets.targets import DepthFiles, NormalsFiles
from mtl_vision.loading.cache import PackedDataset
from mtl_vision.prepare import convert

NEW = [
    *("tum_times", "densedepth", "densedepth_data", "hypersim"),
    *("scannet_frames", "scannet_frames_scene", "scannet_labels", "scannet_labels_scene"),
]


@pytest.mark.parametrize("name", NEW)
def test_what_a_form_says_can_be_written_and_says_where_it_was_taken_from(name: str):
    described, known = known_description(name), layouts()[name]
    assert make_description(yaml.safe_load(described.to_yaml()), name) == described
    assert set(known.taken_from) >= {*described.targets(), "camera"} - {"normals" if described.normals else ""}


@pytest.mark.parametrize("name", NEW)
def test_check_finds_no_fault_in_a_form(name: str, tmp_path: Path):
    lay_out(name, tmp_path / "set", ROOMS)
    faults = [fault.text for fault in check(tmp_path / "set", out=tmp_path / "out").faults]
    assert not faults


# times, as in TUM's associate.py


def associated(first: list[str], second: list[str], most: float) -> dict[str, str]:
    """What associate.py is documented to do: all pairs nearer than `most`, closest first, each time once."""
    pairs = [(abs(float(a) - float(b)), float(a), float(b), a, b) for a in first for b in second]
    found: dict[str, str] = {}
    for _, _, _, a, b in sorted(pair for pair in pairs if pair[0] < most):
        if a not in found and b not in found.values():
            found[a] = b
    return found


MICROSECONDS = st.lists(st.integers(0, 200_000), min_size=0, max_size=8, unique=True)


@given(MICROSECONDS, MICROSECONDS)
def test_times_are_paired_as_tum_pairs_them(first: list[int], second: list[int]):
    images, maps = ([f"{1305031102 + n / 1e6:.6f}" for n in sorted(times)] for times in (first, second))
    assert by_time(images, maps, 0.02) == associated(images, maps, 0.02)


def test_the_closest_pair_comes_first_and_each_is_used_once():
    assert by_time(["1.000", "1.015"], ["1.012"], 0.02) == {"1.015": "1.012"}
    assert by_time(["1.000", "1.020"], ["1.010", "1.011"], 0.02) == {"1.000": "1.010", "1.020": "1.011"}
    assert by_time(["0", "1"], ["0.5", "1.5"], 0.5) == {}, "nearer than that, not as near as that"
    assert by_time([], ["1"], 1) == by_time(["1"], [], 1) == {}


def test_tum_as_downloaded_has_the_pairs_of_its_tool(tmp_path: Path):
    lay_out("tum_times", tmp_path, ROOMS)
    times = {f: sorted(path.stem for path in (tmp_path / f).iterdir()) for f in ("rgb", "depth")}
    pairs = associated(times["rgb"], times["depth"], 0.02)
    data = opened(tmp_path)["train"]
    assert {stem: path.stem for stem, path in data.files["depth"].items()} == pairs
    assert data.stems == sorted(pairs) and len(pairs) == 7 < len(times["rgb"])
    value = cv2.imread(str(data.files["depth"][data.stems[0]]), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(data[0].targets["depth"], value / 5000, atol=1e-6)


def test_tum_with_its_list_is_read_by_the_list(tmp_path: Path):
    lay_out("tum_times", tmp_path, ROOMS)
    lay_out("tum", tmp_path, ROOMS)
    assert fitting(tmp_path) == ["tum"]
    assert len(opened(tmp_path, "tum_times")["train"]) == len(opened(tmp_path)["train"]) == 7


def test_names_that_are_no_times(tmp_path: Path):
    lay_out("tum_times", tmp_path, ROOMS)
    write_png(tmp_path / "rgb" / "first.png", ROOMS["train"][0].image)
    with pytest.raises(DataError, match="'match' is for names that are times in seconds, found 'first'"):
        opened(tmp_path)


def test_names_that_are_all_near_in_time():
    near = [f"{n / 1000:.3f}" for n in range(60)]
    with pytest.raises(DataError, match="20 maps or more are as near"):
        by_time(near, near, 0.06)
    many = [str(n) for n in range(20_000)]
    assert by_time(many, many, 0.5) == dict(zip(many, many, strict=True))


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("match: 0", "match is 0: expected seconds above 0"),
        ("match: -1", "match is -1: expected seconds above 0"),
        ("match: 1e9", "match is 1e.09: expected seconds above 0"),
        ("match: near", "match is 'near': expected a number of seconds"),
        ("{match: 1, columns: [image], lists: {train: a.txt}}", "match is 1 beside columns"),
        ("image: a*b*c", r"a\*b\*c has two \* in one name"),
        ("image: '/*/*/*/*/*.png'", "has too many .: expected 4 at most"),
        ("{image: '*/*.jpg', depth: {folder: '*.png'}}", "have different numbers of"),
        ("{image: rgb, depth: {folder: '*/*.png'}}", None),
        ("depth: {rotated: 16}", "depth.rotated is 16: expected 0 to 15 bits"),
        ("depth: {along: up}", "depth.along is 'up': expected axis or ray"),
        ("depth: {along: 3}", "along is 3: expected axis or ray"),
        ("depth: {scale8: 0}", "depth.scale8 is 0: expected"),
        ("depth: {scale8: 0.1, full_scale: 10}", "depth.scale8 is 0.1: expected"),
        (
            "segmentation: {table: {file: a, from: b}}",
            r"segmentation.table has \['file', 'from'\]: expected file, from",
        ),
        ("segmentation: {table: a.tsv}", "table is 'a.tsv': expected a mapping of file, from and to"),
        ("normals: {turn: 1}", "turn is 1: expected true or false"),
    ],
)
def test_new_keys_that_say_nothing_sensible(said: str, problem: str | None):
    if problem is None:
        make_description(yaml.safe_load(said), "a.yaml")
        return
    with pytest.raises(DataError, match=problem):
        make_description(yaml.safe_load(said), "a.yaml")


# BTS


def test_bts_without_its_lists_says_where_they_are(tmp_path: Path):
    lay_out("bts", tmp_path, ROOMS)
    for path in tmp_path.glob("*.txt"):
        path.unlink()
    with pytest.raises(DataError, match=r"none of the lists .*: put train_test_inputs/nyudepthv2_train_files_with_gt"):
        opened(tmp_path)
    with pytest.raises(DataError, match=r"cleinc/bts .*there, or name others in 'lists'"):
        convert(tmp_path, tmp_path / "out")


# DenseDepth


@pytest.mark.parametrize("name", ["densedepth", "densedepth_data"])
def test_densedepth_as_its_own_loader_reads_it(tmp_path: Path, name: str):
    lay_out(name, tmp_path, ROOMS)
    data, above = opened(tmp_path), tmp_path if name == "densedepth" else tmp_path / "above"
    if name == "densedepth_data":
        shutil.copytree(tmp_path, above / "data")
    for split, of_one in (("train", 10 / 255), ("test", 1 / 1000)):
        with (above / "data" / f"nyu2_{split}.csv").open() as file:
            rows = list(csv.reader(file))
        assert len(rows) == len(data[split])
        for (image, depth), sample in zip(rows, map(data[split].__getitem__, range(len(rows))), strict=True):
            value = cv2.imread(str(above / depth), cv2.IMREAD_UNCHANGED)
            assert value.dtype == (np.uint8 if split == "train" else np.uint16)
            np.testing.assert_allclose(sample.targets["depth"], value * of_one, atol=2e-6)
            np.testing.assert_array_equal(sample.image, cv2.imread(str(above / image))[..., ::-1])
    assert set(data["train"].scenes.values()) == {"kitchen_0028a_out", "bedroom_0002_out"} and not data["test"].scenes


def test_commas_and_spaces_in_a_list_of_commas(tmp_path: Path):
    for scene in ("a room", "b"):
        write_png(tmp_path / scene / "1.png", ROOMS["train"][0].image)
        write_png(tmp_path / scene / "d 1.png", np.full((48, 64), 1000), np.uint16)
    write_lines(tmp_path / "list.csv", ["a room/1.png, a room/d 1.png", "b/1.png,b/d 1.png,518.9"])
    described = Description(
        splits={"train": "."}, lists={"train": "list.csv"}, columns=["image", "depth"], image=".", depth=DepthFiles()
    )
    data = FolderDataset(tmp_path, "train", described)
    assert data.stems == ["a room_1", "b_1"] and all((data[i].targets["depth"] == 1).all() for i in range(2))
    write_lines(tmp_path / "list.csv", [",a room/d 1.png"])
    with pytest.raises(DataError, match="has the line ' a room/d 1.png': expected image depth"):
        FolderDataset(tmp_path, "train", described)


# Hypersim


def planar(distance: np.ndarray) -> np.ndarray:
    """Depth along z as ml-hypersim's issue 9 has it: distance / length of (x, y, focal length) * focal length."""
    y, x = np.mgrid[:768, :1024]
    return distance / np.sqrt((x - 511.5) ** 2 + (y - 383.5) ** 2 + 886.81**2) * 886.81


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One frame at full size: a wall at 3 m of distance everywhere, but for some special pixels."""
    images = tmp_path_factory.mktemp("hypersim") / "ai_001_001" / "images"
    distance = np.full((768, 1024), 3, np.float16)
    distance[5, 5], distance[6, 6] = np.nan, np.inf
    normals = np.tile(np.array([0, 0, 1], np.float16), (768, 1024, 1))
    normals[10:20] = (0, 0, -1)  # away from the viewer
    normals[30, 30], normals[31, 31], normals[32, 32], normals[33, 33] = 0, (0, 2, 0), (0.6, 0.8, 0), np.nan
    ids = np.full((768, 1024), 40, np.int16)
    ids[0], ids[1] = -1, 1
    write_png(images / "scene_cam_01_final_preview" / "frame.0012.tonemap.jpg", np.zeros((768, 1024, 3)))
    for name, array in {"depth_meters": distance, "normal_cam": normals, "semantic": ids}.items():
        write_hdf5(images / "scene_cam_01_geometry_hdf5" / f"frame.0012.{name}.hdf5", array)
    return images.parents[1]


def test_hypersim_by_hand(rendered: Path):
    data = opened(rendered)["train"]
    assert data.stems == ["ai_001_001_cam_01_0012"] and data.scenes == {"ai_001_001_cam_01_0012": "ai_001_001/cam_01"}
    sample = data[0]
    depth, normals, labels = (sample.targets[name] for name in ("depth", "normals", "segmentation"))
    expected = planar(np.full((768, 1024), 3.0))
    expected[5, 5] = expected[6, 6] = 0
    np.testing.assert_allclose(depth, expected, atol=1e-6)
    # the first pixel: 3 / sqrt((511.5 / 886.81)^2 + (383.5 / 886.81)^2 + 1) = 3 / sqrt(0.332682 + 0.187012 + 1)
    assert depth[0, 0] == pytest.approx(3 / 1.519694**0.5, abs=2e-6) == pytest.approx(2.433566, abs=2e-6)
    assert (normals[0] == (0, 0, -1)).all() and (normals[10:20] == (0, 0, -1)).all()
    assert not normals[30, 30].any() and not normals[31, 31].any() and not normals[33, 33].any()
    np.testing.assert_allclose(normals[32, 32], (0.6, -0.8, 0), atol=1e-3)
    assert (labels[0] == 255).all() and (labels[1] == 0).all() and (labels[2:] == 39).all()
    assert sample.intrinsics is not None and (sample.intrinsics.rays((768, 1024)) * normals).sum(axis=-1).max() <= 0


def test_what_faces_away_turns_only_if_it_is_said(rendered: Path):
    described = known_description("hypersim")
    kept = FolderDataset(rendered, "train", replace(described, normals=replace(described.normals, turn=False)))
    assert (kept[0].targets["normals"][10:20] == (0, 0, 1)).all()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"depth": DepthFiles(along="ray")}, r"depth\.along is ray, and no camera is known: give 'intrinsics'"),
        ({"normals": NormalsFiles(turn=True)}, r"normals\.turn is true, and no camera is known: give 'intrinsics'"),
    ],
)
def test_what_needs_a_camera(tmp_path: Path, section: dict[str, object], said: str):
    for folder, array in (("rgb", ROOMS["train"][0].image), ("depth", np.ones((48, 64))), ("normals", None)):
        write_png(tmp_path / folder / "1.png", ROOMS["train"][0].image if array is None else array)
    described = Description(splits={"train": "."}, **section)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=rf"1\.png: {said}"):
        FolderDataset(tmp_path, "train", described)[0]


def test_a_scene_with_some_maps_only(rendered: Path, tmp_path: Path):
    shutil.copytree(rendered, tmp_path / "set")
    for path in (tmp_path / "set").rglob("*.semantic.hdf5"):
        path.unlink()
    assert describe(tmp_path / "set").targets() == ("depth", "normals")


# patterns


def test_names_and_scenes_of_patterns(tmp_path: Path):
    for place in (
        "b/color/10.png",
        "b/color/9.png",
        "a/color/1.png",
        ".c/color/1.png",
        "a/color/._2.png",
        "d/other/1.png",
    ):
        write_png(tmp_path / place, ROOMS["train"][0].image)
    (tmp_path / "e" / "color" / "1.txt").parent.mkdir(parents=True)
    (tmp_path / "e" / "color" / "1.txt").touch()
    (tmp_path / "f").touch()
    data = FolderDataset(tmp_path, "train", Description(splits={"train": "."}, image="*/color/*.png"))
    assert data.stems == ["a_1", "b_9", "b_10"] and data.scenes == {"a_1": "a", "b_9": "b", "b_10": "b"}
    one = FolderDataset(tmp_path, "train", Description(splits={"train": "."}, image="*/color/1.png"))
    assert one.stems == ["a"] and not one.scenes
    write_png(tmp_path / "b_9" / "color" / "x.png", ROOMS["train"][0].image)
    write_png(tmp_path / "b" / "color" / "9_x.png", ROOMS["train"][0].image)
    with pytest.raises(DataError, match=r"has both b/color/9_x\.png and b_9/color/x\.png: keep one file a sample"):
        FolderDataset(tmp_path, "train", Description(splits={"train": "."}, image="*/color/*.png"))


def test_a_pattern_without_any_file_is_named(tmp_path: Path):
    write_png(tmp_path / "a" / "color" / "1.png", ROOMS["train"][0].image)
    described = Description(splits={"train": "."}, image="*/color/*.png", depth=DepthFiles(folder="*/depth/*.png"))
    with pytest.raises(DataError, match=r"no depth for split 'train': expected .*/\*/depth/\*\.png and so on"):
        FolderDataset(tmp_path, "train", described)
    with pytest.raises(DataError, match=r"no images for split 'train': expected .*/\*/rgb/\*\.png; in"):
        FolderDataset(tmp_path, "train", replace(described, image="*/rgb/*.png"))


# ScanNet


def test_scannet_ids_as_its_script_maps_them(tmp_path: Path):
    lay_out("scannet_labels", tmp_path, ROOMS)
    with (tmp_path / "scannetv2-labels.combined.tsv").open() as file:
        table = {int(row["id"]): int(row["nyu40id"]) for row in csv.DictReader(file, delimiter="\t")}
    data = opened(tmp_path)["train"]
    for index, stem in enumerate(data.stems):
        raw = cv2.imread(str(data.files["segmentation"][stem]), cv2.IMREAD_UNCHANGED)
        mapped = raw.copy()
        for id_, nyu40 in table.items():
            mapped[raw == id_] = nyu40
        np.testing.assert_array_equal(data[index].targets["segmentation"], mapped.astype(np.uint8) - 1)
    assert data.scenes[data.stems[0]] == "scene0000_01" and len(set(data.scenes.values())) == 2


def test_the_colour_and_the_labels_of_another_size_are_resized_to_the_depth(tmp_path: Path):
    """Colour and labels of 96x128 beside depth of 48x64, which ScanNet's 968x1296 and 480x640 are nearly."""
    lay_out("scannet_frames_scene", tmp_path, ROOMS)
    before = opened(tmp_path)["train"][0]
    for path in [*(tmp_path / "color").iterdir(), *(tmp_path / "label").iterdir()]:
        array = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path.with_suffix(".png")), array.repeat(2, 0).repeat(2, 1))
    for path in (tmp_path / "color").glob("*.jpg"):
        path.unlink()
    after = opened(tmp_path)["train"][0]
    assert after.size == (48, 64)
    for name in ("depth", "segmentation"):
        np.testing.assert_array_equal(after.targets[name], before.targets[name])
    np.testing.assert_array_equal(after.image, before.image)


def test_forms_of_scannet_are_told_apart(tmp_path: Path):
    for name in NEW:
        if name.startswith("scannet"):
            lay_out(name, tmp_path / name, ROOMS)
            assert fitting(tmp_path / name) == [name]
    (tmp_path / "scannet_labels_scene" / "scannetv2-labels.combined.tsv").unlink()
    assert fitting(tmp_path / "scannet_labels_scene") == ["scannet"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id\tnyu40id\n130\t1\n", r"label \d+ is not in column 'id' of scannetv2-labels\.combined\.tsv"),
        ("id nyu40id\n130 1\n", r"expected columns 'id' and 'nyu40id' between tabs, found id nyu40id"),
        ("id\tnyu40id\n130\n", r"line 2 has \['130', ''\]: expected two ids"),
        ("id\tnyu40id\n130\t-1\n", r"line 2 has .*: expected two ids"),
        ("id\tnyu40id\n" + "9" * 5000 + "\t1\n", r"line 2 has .*: expected two ids"),
        ("", r"expected columns 'id' and 'nyu40id' between tabs"),
        (b"\xff\xfe", r"expected a table with the columns 'id' and 'nyu40id'"),
        (None, r"expected a table with the columns 'id' and 'nyu40id'"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: str | bytes | None, said: str):
    lay_out("scannet_labels_scene", tmp_path, ROOMS)
    path = tmp_path / "scannetv2-labels.combined.tsv"
    path.unlink()
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=said) as raised:
        opened(tmp_path, "scannet_labels_scene")["train"][0]
    assert str(raised.value).startswith(str(tmp_path / "label-filt")) and len(str(raised.value)) < 1000


def test_another_table_is_another_packed_copy(tmp_path: Path):
    root = tmp_path / "set"
    lay_out("scannet_labels_scene", root, ROOMS)
    before = PackedDataset(opened(root)["train"], tmp_path / "cache").folder
    table = root / "scannetv2-labels.combined.tsv"
    table.write_text(table.read_text() + "5000\tx\t\t1\ty\n")
    assert PackedDataset(opened(root)["train"], tmp_path / "cache").folder != before


def test_a_converted_set_needs_no_table(tmp_path: Path):
    lay_out("scannet_labels", tmp_path / "set", ROOMS)
    convert(tmp_path / "set", tmp_path / "out")
    labels = describe(tmp_path / "out").segmentation
    assert labels is not None and labels.table is None
    ours, theirs = opened(tmp_path / "set")["train"], opened(tmp_path / "out")["train"]
    np.testing.assert_array_equal(ours[0].targets["segmentation"], theirs[0].targets["segmentation"])
    assert theirs.stems == names("scannet_labels", ROOMS)["train"] + names("scannet_labels", ROOMS)["test"]


def test_void_may_be_an_id_that_the_table_lacks(tmp_path: Path):
    write_lines(tmp_path / "ids.tsv", ["id\tclass", "130\t1", "160\t2"])
    write_png(tmp_path / "rgb" / "1.png", np.zeros((2, 2, 3)))
    write_png(tmp_path / "label" / "1.png", np.array([[130, 160], [999, 130]]), np.uint16)
    labels = {"folder": "label", "first": 1, "classes": ["wall", "floor"]}
    table = {"file": "ids.tsv", "from": "id", "to": "class"}

    def read_with(void: int) -> list[list[int]]:
        described = make_description(
            {"splits": {"train": "."}, "segmentation": labels | {"table": table, "void": void}}, "a"
        )
        return FolderDataset(tmp_path, "train", described)[0].targets["segmentation"].tolist()

    assert read_with(999) == [[0, 1], [255, 0]]
    with pytest.raises(DataError, match="label 999 is not in column 'id' of ids.tsv"):
        read_with(0)


# SUN RGB-D


def test_bits_that_are_rotated_come_back_exactly(tmp_path: Path):
    """SUN RGB-D's toolbox: value >> 3 | value << 13 are millimetres; it then cuts them at 8 m, which we do not."""
    millimetres = np.arange(65536, dtype=np.uint32).reshape(256, 256)
    stored_ = (millimetres << 3 & 0xFFFF | millimetres >> 13).astype(np.uint16)
    for folder, array in (("rgb", np.zeros((256, 256, 3))), ("depth", stored_)):
        write_png(tmp_path / folder / "1.png", array, np.uint16 if folder == "depth" else np.uint8)
    described = make_description({"splits": {"train": "."}, "depth": {"rotated": 3}}, "sun")
    depth = FolderDataset(tmp_path, "train", described)[0].targets["depth"]
    toolbox = (stored_ >> 3 | stored_ << 13).astype(np.float32) / 1000
    np.testing.assert_allclose(depth, toolbox, rtol=1e-6)
    np.testing.assert_allclose(depth, millimetres / 1000, rtol=1e-6)
    unchanged = make_description({"splits": {"train": "."}, "depth": {"rotated": 0}}, "sun")
    plain = FolderDataset(tmp_path, "train", unchanged)[0].targets["depth"]
    np.testing.assert_allclose(plain, stored_ / 1000, rtol=1e-6)
    write_png(tmp_path / "depth" / "1.png", np.ones((256, 256)))
    with pytest.raises(DataError, match=r"1\.png: depth\.rotated is for files of 16 bits, found uint8: leave it out"):
        FolderDataset(tmp_path, "train", described)[0]


# HDF5

MAP = np.linspace(0.5, 5, 32 * 48).reshape(32, 48).astype(np.float16)


def stored(path: Path, **options: object) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset", data=MAP, **options)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (8, 16)},
        {"compression": "gzip"},
        {"compression": "gzip", "chunks": (7, 5)},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"shuffle": True, "chunks": (8, 16)},
        {"dtype": ">f4"},
    ],
)
@pytest.mark.parametrize("name", ["a.hdf5", "a.h5", "a.HDF5"])
def test_hdf5_is_read_as_it_was_written(tmp_path: Path, options: dict[str, object], name: str):
    read = read_values(stored(tmp_path / name, **options))
    np.testing.assert_array_equal(read, MAP)
    assert read.dtype == options.get("dtype", np.float16)


def test_one_of_several_datasets_is_named(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["maps/depth"], file["other"], file["more"] = MAP, MAP + 1, MAP[:2]
        file["link"] = h5py.SoftLink("/other")
    np.testing.assert_array_equal(read_values(tmp_path / "a.h5", "maps/depth"), MAP)
    for key in (None, "depth", "maps", "link", "maps/", "maps/depth/x", "../other", "\x1b[2J"):
        with pytest.raises(DataError, match=r"a\.h5: expected (one dataset|the dataset '.*'), found .*; name it as"):
            read_values(tmp_path / "a.h5", key)


def test_an_image_in_hdf5(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["dataset"] = np.full((4, 6, 3), 0.5, np.float16)
    assert (read_rgb(tmp_path / "a.h5") == 128).all()


def test_an_image_in_a_file_of_several(tmp_path: Path):
    root = write_folder(tmp_path / "set", {"train": planes(1)})
    path = root / "train/rgb/0000.png"
    before = FolderDataset(root, "train")[0].image
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file["color"], file["other"] = before, before[:4]
    path.unlink()
    with pytest.raises(DataError, match=r"expected one dataset, found \['color', 'other'\]; name it as .*'image_key'"):
        FolderDataset(root, "train")[0]
    description = replace(read_description(root / "dataset.yaml"), image_key="color")
    np.testing.assert_array_equal(FolderDataset(root, "train", description)[0].image, before)


def declared(path: Path, shape: tuple[int, ...], kind: object = "f4", **options: object) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset", shape, kind, **options)


def elsewhere(path: Path) -> None:
    with h5py.File(stored(path.with_name("other.h5")), "r"), h5py.File(path, "w") as file:
        file["dataset"] = h5py.ExternalLink("other.h5", "dataset")


def raw_elsewhere(path: Path) -> None:
    path.with_name("raw").write_bytes(bytes(24))
    declared(path, (2, 3), external=[(str(path.with_name("raw")), 0, 24)])


def virtual(path: Path) -> None:
    stored(path.with_name("other.h5"))
    layout = h5py.VirtualLayout((32, 48), "f2")
    layout[:] = h5py.VirtualSource(path.with_name("other.h5"), "dataset", (32, 48))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("dataset", layout)


def bomb(path: Path) -> None:
    """A chunk of 1536 values that inflates to 16 MiB."""
    with h5py.File(path, "w") as file:
        made = file.create_dataset("dataset", (32, 48), "f2", chunks=(32, 48), compression="gzip")
        made.id.write_direct_chunk((0, 0), zlib.compress(bytes(2**24)))


def damaged(path: Path) -> None:
    stored(path, compression="gzip")
    data = bytearray(path.read_bytes())
    at = data.index(zlib.compress(MAP.tobytes(), 4)[2:20])
    data[at : at + 18] = bytes(18)
    path.write_bytes(data)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "an external link": (elsewhere, r"expected one dataset, found \['dataset'\]"),
    "values of another file": (raw_elsewhere, "its values are in other files"),
    "a virtual dataset": (virtual, "its values are in other files"),
    "a million squared": (lambda p: declared(p, (10**6, 10**6), chunks=(1000, 1000)), "expected numbers of shape"),
    "no values": (lambda p: declared(p, (1000, 1000)), "found 0 bytes of values"),
    "no chunks": (lambda p: declared(p, (1000, 1000), chunks=(100, 100)), "chunks that hold values"),
    "tiny chunks": (lambda p: declared(p, (1000, 1000), chunks=(1, 1)), "at most 4,096 chunks"),
    "a huge chunk": (lambda p: declared(p, (4, 4), chunks=(2**14, 2**14), maxshape=(None, None)), "chunks"),
    "a bomb": (bomb, "holds more than the 3,072 bytes"),
    "damaged gzip": (damaged, "not a readable .hdf5 file"),
    "texts": (lambda p: declared(p, (4, 4), h5py.string_dtype()), "expected numbers of shape"),
    "records": (lambda p: declared(p, (4, 4), [("a", "f4")]), "expected numbers of shape"),
    "complex": (lambda p: declared(p, (4, 4), "c8"), "expected numbers of shape"),
    "references": (lambda p: declared(p, (4, 4), h5py.ref_dtype), "expected numbers of shape"),
    "truths": (lambda p: declared(p, (4, 4), "?"), "expected numbers of shape"),
    "a number": (lambda p: declared(p, (), "f4"), "expected numbers of shape"),
    "nothing in it": (lambda p: declared(p, (0, 4)), "expected numbers of shape"),
    "four dimensions": (lambda p: declared(p, (2, 2, 2, 2), data=np.ones((2, 2, 2, 2))), r"expected numbers of shape"),
    "another compression": (lambda p: stored(p, compression="lzf"), "packed in another way than gzip"),
    "gzip of another": (
        lambda p: declared(p, (4, 4), "i4", data=np.ones((4, 4)), scaleoffset=0, compression="gzip"),
        "packed in another way than gzip",
    ),
    "cut short": (lambda p: p.write_bytes(stored(p).read_bytes()[:2000]), "not a readable .hdf5 file"),
    "rubbish": (lambda p: p.write_bytes(bytes(range(256)) * 20), "not a readable .hdf5 file"),
    "empty": (lambda p: p.write_bytes(b""), "the file is empty"),
    "no dataset": (lambda p: h5py.File(p, "w").close(), r"expected one dataset, found \[\]"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hdf5_that_is_not_what_it_says(tmp_path: Path, name: str):
    make, said = HOSTILE[name]
    make(tmp_path / "a.hdf5")
    with pytest.raises(DataError, match=rf"a\.hdf5: .*{said}") as raised:
        read_values(tmp_path / "a.hdf5")
    assert len(str(raised.value).splitlines()) == 1


def test_hdf5_of_more_than_the_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(arrays, "MOST", 2**13)
    declared(tmp_path / "a.h5", (64, 65), "u2", data=np.ones((64, 65)), compression="gzip")
    with pytest.raises(DataError, match="expected numbers of shape"):
        read_values(tmp_path / "a.h5")
    declared(tmp_path / "b.h5", (64, 64), "u2", data=np.ones((64, 64)), compression="gzip")
    assert read_values(tmp_path / "b.h5").shape == (64, 64)


def test_check_is_not_confused_by_rotated_bits(tmp_path: Path):
    for index, room in enumerate(ROOMS["train"]):
        millimetres = np.rint(room.targets["depth"] * 1000).astype(np.uint16)
        write_png(tmp_path / "set" / "rgb" / f"{index}.png", room.image)
        write_png(tmp_path / "set" / "depth" / f"{index}.png", millimetres << 3 | millimetres >> 13, np.uint16)
    (tmp_path / "set" / "dataset.yaml").write_text("splits: {train: .}\ndepth: {rotated: 3}\n")
    assert not check(tmp_path / "set", out=tmp_path / "out").faults
    data = opened(tmp_path / "set")["train"]
    np.testing.assert_allclose(data[1].targets["depth"], ROOMS["train"][1].targets["depth"], atol=0.00051)
