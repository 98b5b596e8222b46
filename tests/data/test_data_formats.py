"""Every form of NYUv2, laid out from the same rooms, gives the same samples: in place and converted."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.io
from data_testing import degrees
from layouts import EXPECT, LAYOUTS, half, ids13, instances, lay_out, names, raw_depth, rooms
from PIL import Image

from data.prepare import main
from mtl_vision.data.classes import label_table
from mtl_vision.data.description import DataError
from mtl_vision.data.folder import FolderDataset, open_splits
from mtl_vision.data.formats import fitting, formats
from mtl_vision.data.normals import normals_from_depth
from mtl_vision.data.recognise import describe
from mtl_vision.data.sample import Sample

ROOMS = rooms()
FARTHEST = 9.9955
Run = Callable[..., int]


@dataclass(frozen=True)
class Case:
    """A form with its options, and what changes in what is expected of it."""

    form: str
    options: tuple[tuple[str, Any], ...] = ()
    depth: float | None = None

    def lay_out(self, root: Path) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        lay_out(self.form, root, ROOMS, **dict(self.options))
        return root

    def __str__(self) -> str:
        return "-".join([self.form, *(f"{key}={getattr(value, '__name__', value)}" for key, value in self.options)])


CASES = [
    *(Case(form) for form in LAYOUTS),
    Case("mtan", (("dtype", np.float64), ("label_dtype", np.int64))),
    Case("vainf", (("black", True),)),
    Case("xapharius", (("black", True),)),
    Case("dump8", (("bits", 16),), half(FARTHEST / 65535)),
]
FOLDERS = [case for case in CASES if case.form != "nyu_mat"]  # what can be read in place


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main([str(argument) for argument in arguments])


def assert_same(sample: Sample, truth: Sample, case: Case, stored: bool = False) -> None:
    """A sample that was read against the one that was laid out; stored: after another round through 16 bits."""
    expect = EXPECT[case.form]
    assert np.abs(sample.image.astype(float) - truth.image).mean() <= expect.image
    depth = sample.targets["depth"]
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth > 0, truth.targets["depth"] > 0)
    difference = np.abs(depth - truth.targets["depth"])
    difference = np.minimum(difference, np.abs(expect.wraps - difference))  # where nothing tells, it stays wrapped
    tolerance = expect.depth if case.depth is None else case.depth
    assert difference.max() <= tolerance + (0.000502 if stored else 0)
    if "normals" in expect.targets:
        valid = (truth.targets["normals"] != 0).any(axis=-1)
        np.testing.assert_array_equal((sample.targets["normals"] != 0).any(axis=-1), valid)
        angles = degrees(sample.targets["normals"], truth.targets["normals"])[valid]
        assert angles.max() <= expect.normals + 0.01 and np.median(angles) < 1
    if expect.classes is not None:
        np.testing.assert_array_equal(sample.targets["segmentation"], labels(truth, expect.classes))


def labels(sample: Sample, classes: str) -> np.ndarray:
    if classes == "nyu40":
        return sample.targets["segmentation"]
    return np.where(ids13(sample) > 0, ids13(sample).astype(int) - 1, 255)


def pairs(case: Case, datasets: dict[str, FolderDataset]) -> list[tuple[Sample, Sample]]:
    """Each sample read beside the one that it was made from."""
    splits, found = EXPECT[case.form].splits, []
    for ours, samples in ROOMS.items():
        dataset = datasets[splits.get(ours, "train")]
        for name, truth in zip(names(case.form, ROOMS)[ours], samples, strict=True):
            found.append((dataset[dataset.stems.index(name)], truth))
    return found


def opened(root: Path, named: str | None = None, classes: str | None = None) -> dict[str, FolderDataset]:
    return {dataset.split: dataset for dataset in open_splits(root, describe(root, named), classes)}


# recognised, read in place, converted


@pytest.mark.parametrize("case", FOLDERS, ids=str)
def test_a_form_is_recognised_as_itself_alone(case: Case, tmp_path: Path):
    assert fitting(case.lay_out(tmp_path)) == [case.form]


def test_every_form_is_laid_out_by_a_test():
    assert set(formats()) | {"nyu_mat"} == set(LAYOUTS)


@pytest.mark.parametrize("case", FOLDERS, ids=str)
def test_read_in_place(case: Case, tmp_path: Path):
    datasets = opened(case.lay_out(tmp_path))
    expect = EXPECT[case.form]
    assert set(datasets) == set(expect.splits.values() or ["train"])
    for split, dataset in datasets.items():
        own = [ours for ours, theirs in (expect.splits or dict.fromkeys(ROOMS, "train")).items() if theirs == split]
        assert dataset.stems == [name for ours in own for name in names(case.form, ROOMS)[ours]] or case.form == "bts"
        assert len(dataset) == sum(len(ROOMS[ours]) for ours in own)
    for sample, truth in pairs(case, datasets):
        assert_same(sample, truth, case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_converted(case: Case, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = case.lay_out(tmp_path / "source")
    splits = ["--splits", root / "splits.mat"] if case.form == "nyu_mat" else []
    assert run("convert", root, "--out", "out", *splits) == 0
    datasets = opened(tmp_path / "out")
    for sample, truth in pairs(case, datasets):
        assert_same(sample, truth, case, stored=True)
        assert sample.image.dtype == np.uint8
    told = capsys.readouterr().out
    assert "7 samples in out" in told
    described = describe(tmp_path / "out")
    if case.form not in ("tum", "scannet"):  # whose camera nobody has told
        assert described.intrinsics is not None and described.normals is not None
        stored = "normals" in EXPECT[case.form].targets
        assert ("normals derived from depth" in described.source) != stored


@pytest.mark.parametrize("form", ["esanet", "dump8", "bts"])
def test_normals_that_are_not_there_are_derived_from_the_depth_as_it_stands(form: str, tmp_path: Path):
    for dataset in opened(Case(form).lay_out(tmp_path)).values():
        sample = dataset[0]
        assert sample.intrinsics is not None
        expected = normals_from_depth(sample.targets["depth"], sample.intrinsics)
        np.testing.assert_array_equal(sample.targets["normals"], expected)


def test_forty_classes_are_read_as_thirteen(tmp_path: Path):
    case = Case("esanet")
    for sample, truth in pairs(case, opened(case.lay_out(tmp_path), classes="nyu13")):
        np.testing.assert_array_equal(sample.targets["segmentation"], labels(truth, "nyu13"))


# choices


@pytest.mark.parametrize("form", ["esanet", "nyu_mat"])
def test_raw_depth_has_its_holes(form: str, run: Run, tmp_path: Path):
    root = Case(form).lay_out(tmp_path / "source")
    splits = ["--splits", root / "splits.mat"] if form == "nyu_mat" else []
    assert run("convert", root, "--out", "out", "--depth", "raw", *splits) == 0
    for sample, truth in pairs(Case(form), opened(tmp_path / "out")):
        np.testing.assert_allclose(sample.targets["depth"], raw_depth(truth), atol=0.00051)


def test_raw_depth_where_there_is_none(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    Case("vainf").lay_out(tmp_path / "source")
    assert run("convert", "source", "--out", "out", "--depth", "raw") == 1
    assert "names no folder of raw depth" in capsys.readouterr().err


@pytest.mark.parametrize(("form", "choice", "kept"), [("mtan", "none", False), ("mtan", "derived", True)])
def test_normals_may_be_left_out_or_derived(form: str, choice: str, kept: bool, run: Run, tmp_path: Path):
    Case(form).lay_out(tmp_path / "source")
    assert run("convert", "source", "--out", "out", "--normals", choice) == 0
    sample = opened(tmp_path / "out")["train"][0]
    assert ("normals" in sample.targets) == kept
    assert ("derived" in describe(tmp_path / "out").source) == kept


@pytest.mark.parametrize(("form", "choice"), [("esanet", "stored"), ("tum", "derived"), ("nyu_mat", "stored")])
def test_normals_that_can_not_be_had(
    form: str, choice: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    Case(form).lay_out(tmp_path / "source")
    assert run("convert", "source", "--out", "out", "--normals", choice) == 1
    assert f"--normals {choice}" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_instances_and_scenes_of_the_mat_file(run: Run, tmp_path: Path):
    root = Case("nyu_mat").lay_out(tmp_path / "source")
    assert run("convert", root, "--out", "out", "--splits", root / "splits.mat") == 0
    datasets = opened(tmp_path / "out")
    for sample, truth in pairs(Case("nyu_mat"), datasets):
        got, labelled = sample.targets["instances"], truth.targets["segmentation"]
        pair = labelled.astype(int) * 256 + instances(truth)
        known = (labelled != 255) & (instances(truth) > 0)
        np.testing.assert_array_equal(got != 255, known)
        both = np.unique(np.stack([got[known], pair[known]]), axis=1)
        assert both.shape[1] == len(set(both[0])) == len(set(both[1])), "one number a thing"
        assert set(got[known]) == set(range(both.shape[1]))
    assert datasets["train"].scenes["0002"] == "kitchen_0028a"


@pytest.mark.parametrize(
    ("form", "folders", "left"),
    [
        ("mtan", ["train/normal", "val/normal"], ("depth", "normals", "segmentation")),  # derived
        ("mtan", ["train/depth", "val/depth"], ("normals", "segmentation")),
        ("vainf", ["normal", "depth"], ("segmentation",)),
        ("esanet", ["train/depth", "test/depth"], ("segmentation",)),
    ],
)
def test_a_source_that_lacks_targets(form: str, folders: list[str], left: tuple[str, ...], tmp_path: Path):
    root = Case(form).lay_out(tmp_path)
    for folder in folders:
        shutil.rmtree(root / folder)
    assert describe(root).targets() == left
    assert tuple(opened(root)["train"][0].targets) == left


# dataset.yaml, lists and names


def test_a_short_description_on_top_of_a_known_form(tmp_path: Path):
    root = Case("tum").lay_out(tmp_path)
    camera = {"fx": 51.9, "fy": 51.9, "cx": 32, "cy": 25, "height": 48, "width": 64}
    (root / "dataset.yaml").write_text(
        f"format: tum\nsource: my room\nnormals: {{derive: true}}\nintrinsics: {camera}\n"
    )
    dataset = opened(root)["train"]
    assert dataset.description.source == "my room" and set(dataset[0].targets) == {"depth", "normals"}
    assert dataset.description.depth is not None and dataset.description.depth.scale == 0.0002


def test_a_form_named_in_a_description_may_be_bent(tmp_path: Path):
    root = Case("scannet").lay_out(tmp_path)
    (root / "dataset.yaml").write_text("format: scannet\ndepth: {scale: 0.002}\nsplits: {test: .}\n")
    dataset = opened(root)["test"]
    truth = ROOMS["train"][0]
    np.testing.assert_allclose(dataset[0].targets["depth"], 2 * truth.targets["depth"], atol=0.002)


def test_an_unknown_form_names_the_nearest(tmp_path: Path):
    (tmp_path / "dataset.yaml").write_text("format: vanif\n")
    with pytest.raises(DataError, match=r"unknown form 'vanif' \(vainf\?\): expected one of astmt, bts"):
        describe(tmp_path)


def test_a_folder_that_could_be_two_forms_asks(tmp_path: Path):
    Case("mtan").lay_out(tmp_path)
    Case("vainf").lay_out(tmp_path)
    with pytest.raises(DataError, match="could be mtan or vainf: name the one"):
        describe(tmp_path)
    assert describe(tmp_path, "vainf").source.startswith("NYUv2 as prepared by VainF")


def test_a_folder_of_no_known_form(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=r"none of the known forms \(astmt, .*expected.*found \['photos'\]"):
        describe(tmp_path)


@pytest.mark.parametrize("place", ["", "nyu_depth_v2_labeled.mat"])
def test_the_mat_file_has_to_be_converted_first(place: str, tmp_path: Path):
    root = Case("nyu_mat").lay_out(tmp_path)
    with pytest.raises(DataError, match=r"found nyu_depth_v2_labeled.mat: python data/prepare.py convert"):
        describe(root / place if place else root)


def test_color_and_depth_of_different_sizes(tmp_path: Path):
    root = Case("scannet").lay_out(tmp_path)
    for path in (root / "color").iterdir():
        picture = cv2.imread(str(path))
        assert picture is not None
        cv2.imwrite(str(path), cv2.resize(picture, (130, 97)))
    sample = opened(root)["train"][0]
    assert sample.size == (48, 64) and sample.targets["depth"].shape == (48, 64)
    cv2.imwrite(str(root / "color/0.jpg"), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(DataError, match="both must be of one size"):
        opened(root)["train"][0]


def test_a_list_names_what_is_not_there(tmp_path: Path):
    root = Case("nyud_mt").lay_out(tmp_path)
    with (root / "gt_sets/train.txt").open("a") as file:
        file.write("0999\n")
    dataset = opened(root)["train"]
    assert dataset.stems[-1] == "0999" and not any("0999" in path.name for path in dataset.paths())
    with pytest.raises(DataError, match=r"images/0999\.jpg: .*no such file|images/0999\.jpg: .*[Nn]o such"):
        dataset[len(dataset) - 1]


def test_a_list_that_names_a_sample_twice(tmp_path: Path):
    root = Case("nyud_mt").lay_out(tmp_path)
    path = root / "gt_sets/train.txt"
    path.write_text(path.read_text() * 2)
    with pytest.raises(DataError, match="the list of split 'train' names 0002 twice"):
        opened(root)


def test_two_lists_for_one_split(tmp_path: Path):
    root = Case("bts").lay_out(tmp_path)
    shutil.copy(root / "nyudepthv2_train_files_with_gt.txt", root / "my_train.txt")
    with pytest.raises(DataError, match=r"2 lists for split 'train' \(my_train.txt, nyudepthv2_train"):
        opened(root)


def test_a_line_without_a_picture(tmp_path: Path):
    root = Case("tum").lay_out(tmp_path)
    (root / "associations.txt").write_text("# a comment\n\n1305031102.1\n")
    with pytest.raises(DataError, match=r"the line '1305031102.1': expected time image time depth"):
        opened(root)


def test_numbers_that_are_none_of_nyuv2(tmp_path: Path):
    root = Case("dump8").lay_out(tmp_path)
    (root / "nyu_images/8.jpg").rename(root / "nyu_images/1449.jpg")
    with pytest.raises(DataError, match="has the picture 1449: expected NYUv2's official numbers from 0 to 1448"):
        opened(root)


def test_a_pattern_tells_pictures_and_depth_of_one_folder(tmp_path: Path):
    root = Case("scannet").lay_out(tmp_path / "a")
    one = tmp_path / "frames"
    one.mkdir()
    for path in (root / "color").iterdir():
        shutil.copy(path, one / f"frame-{path.stem}.color.jpg")
    for path in (root / "depth").iterdir():
        shutil.copy(path, one / f"frame-{path.stem}.depth.png")
    (tmp_path / "dataset.yaml").write_text(
        'splits: {train: frames}\nimage: "frame-*.color.jpg"\ndepth: {folder: "frame-*.depth.png"}\n'
    )
    dataset = opened(tmp_path)["train"]
    assert dataset.stems == ["0", "20", "40", "60", "80", "100", "120"] and set(dataset[3].targets) == {"depth"}


# one file wrong


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((48, 64), 2.5, np.float32), "expected whole numbers, the classes' ids"),
        (np.full((48, 64), np.nan, np.float32), "expected whole numbers, the classes' ids"),
        (np.full((48, 64), 13, np.int64), r"label 13 is not a class: expected 0\.\.12, or -1 for void"),
        (np.full((48, 64), -2, np.int64), "label -2 is not a class"),
        (np.full((40, 64), 1, np.int64), "is 40x64 .HxW., its picture"),
        (np.zeros((48, 64, 2)), "expected one channel"),
        (np.zeros(5), "expected numbers of shape"),
        (np.array([["a"]]), "expected numbers of shape"),
        (np.array([None]), r"not a readable \.npy file"),
    ],
)
def test_wrong_label_arrays(array: np.ndarray, message: str, tmp_path: Path):
    root = Case("mtan").lay_out(tmp_path)
    np.save(root / "train/label/1.npy", array)
    with pytest.raises(DataError, match=rf"label/1\.npy.*{message}"):
        opened(root)["train"][1]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((48, 64, 3), 200.0), "expected floats from 0 to 1, found 200 to 200"),
        (np.full((48, 64, 3), np.nan), "expected floats from 0 to 1"),
        (np.full((48, 64, 3), 7, np.int64), "expected a picture .H, W, 3. of uint8"),
        (np.zeros((48, 64)), "expected a picture"),
    ],
)
def test_wrong_picture_arrays(array: np.ndarray, message: str, tmp_path: Path):
    root = Case("mtan").lay_out(tmp_path)
    np.save(root / "train/image/1.npy", array)
    with pytest.raises(DataError, match=rf"image/1\.npy: {message}"):
        opened(root)["train"][1]


def test_depth_that_is_no_number_is_invalid(tmp_path: Path):
    root = Case("nyud_mt").lay_out(tmp_path)
    depth = np.full((48, 64), 2.0, np.float32)
    depth[0, :3] = np.nan, np.inf, -1
    np.save(root / "depth/0002.npy", depth)
    read = opened(root)["train"][0].targets["depth"]
    assert (read[0, :3] == 0).all() and (read[1:] == 2).all()


@pytest.mark.parametrize("damage", [b"", b"hello", b"\x93NUMPY"])
@pytest.mark.parametrize(("form", "file"), [("mtan", "train/depth/0.npy"), ("astmt", "depth/0002.mat")])
def test_damaged_arrays_are_named(damage: bytes, form: str, file: str, tmp_path: Path):
    root = Case(form).lay_out(tmp_path)
    (root / file).write_bytes(damage)
    with warnings.catch_warnings(), pytest.raises(DataError, match=rf"{file}: not a readable"):
        warnings.simplefilter("error")
        opened(root)["train"][0]


def test_a_mat_file_without_the_variable(tmp_path: Path):
    root = Case("astmt").lay_out(tmp_path)
    scipy.io.savemat(root / "depth/0002.mat", {"height": np.ones((48, 64))})
    with pytest.raises(DataError, match=r"0002\.mat: expected the variable 'depth', found \['height'\]"):
        opened(root)["train"][0]


def test_palette_pictures_are_ids(tmp_path: Path):
    root = Case("nyud_mt").lay_out(tmp_path)
    dataset = opened(root)["train"]
    before = dataset[0].targets["segmentation"]
    path = root / "segmentation/0002.png"
    with Image.open(path) as picture:
        indexed = Image.frombytes("P", picture.size, picture.tobytes())
    indexed.putpalette([value for i in range(256) for value in (i, 255 - i, 7)])
    indexed.save(path)
    np.testing.assert_array_equal(dataset[0].targets["segmentation"], before)


def test_the_classes_of_every_form_are_known():
    for name, form in formats().items():
        if "segmentation" in form.description:
            assert label_table(form.description["segmentation"]["classes"], "nyu13", 0, -1) is not None, name
