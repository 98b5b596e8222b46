"""Every layout of NYUv2, laid out from the same rooms, gives the same samples: in place and converted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_testing import degrees
from layouts import EXPECT, LAYOUTS, half, ids13, instances, lay_out, names, raw_depth, rooms

from mtl_vision.datasets.folder import FolderDataset, open_splits
from mtl_vision.datasets.layouts import fitting, layouts
from mtl_vision.datasets.normals import normals_from_depth
from mtl_vision.datasets.recognise import describe
from mtl_vision.datasets.sample import Sample
from mtl_vision.prepare import main

ROOMS = rooms()
FARTHEST = 9.9955
Run = Callable[..., int]


@dataclass(frozen=True)
class Case:
    """A layout with its options, and what changes in what is expected of it."""

    layout: str
    options: tuple[tuple[str, Any], ...] = ()
    depth: float | None = None

    def lay_out(self, root: Path) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        lay_out(self.layout, root, ROOMS, **dict(self.options))
        return root

    def __str__(self) -> str:
        return "-".join([self.layout, *(f"{key}={getattr(value, '__name__', value)}" for key, value in self.options)])


CASES = [
    *(Case(layout) for layout in LAYOUTS),
    Case("mtan", (("dtype", np.float64), ("label_dtype", np.int64))),
    Case("vainf", (("black", True),)),
    Case("xapharius", (("black", True),)),
    Case("dump8", (("bits", 16),), half(FARTHEST / 65535)),
]
FOLDERS = [case for case in CASES if case.layout != "nyu_mat"]  # what can be read in place


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main([str(argument) for argument in arguments])


def assert_same(sample: Sample, truth: Sample, case: Case, stored: bool = False) -> None:
    """A sample that was read against the one that was laid out; stored: after another round through 16 bits."""
    expect = EXPECT[case.layout]
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
        angles = np.minimum(angles, 180 - angles) if expect.turns else angles
        assert angles.max() <= expect.normals + 0.01 and np.median(angles) < 1
    if expect.classes is not None:
        np.testing.assert_array_equal(sample.targets["segmentation"], labels(truth, expect.classes))


def labels(sample: Sample, classes: str) -> np.ndarray:
    if classes == "nyu40":
        return sample.targets["segmentation"]
    return np.where(ids13(sample) > 0, ids13(sample).astype(int) - 1, 255)


def pairs(case: Case, datasets: dict[str, FolderDataset]) -> list[tuple[Sample, Sample]]:
    """Each sample read beside the one that it was made from."""
    splits, found = EXPECT[case.layout].splits, []
    for ours, samples in ROOMS.items():
        dataset = datasets[splits.get(ours, "train")]
        for name, truth in zip(names(case.layout, ROOMS)[ours], samples, strict=True):
            found.append((dataset[dataset.stems.index(name)], truth))
    return found


def opened(root: Path, named: str | None = None, classes: str | None = None) -> dict[str, FolderDataset]:
    return {dataset.split: dataset for dataset in open_splits(root, describe(root, named), classes)}


# recognised, read in place, converted


@pytest.mark.parametrize("case", FOLDERS, ids=str)
def test_a_layout_is_recognised_as_itself_alone(case: Case, tmp_path: Path):
    assert fitting(case.lay_out(tmp_path)) == [case.layout]


def test_every_layout_is_laid_out_by_a_test():
    assert set(layouts()) | {"nyu_mat"} == set(LAYOUTS)


@pytest.mark.parametrize("case", FOLDERS, ids=str)
def test_read_in_place(case: Case, tmp_path: Path):
    datasets = opened(case.lay_out(tmp_path))
    expect = EXPECT[case.layout]
    assert set(datasets) == set(expect.splits.values() or ["train"])
    for split, dataset in datasets.items():
        own = [ours for ours, theirs in (expect.splits or dict.fromkeys(ROOMS, "train")).items() if theirs == split]
        assert (
            dataset.stems == [name for ours in own for name in names(case.layout, ROOMS)[ours]] or case.layout == "bts"
        )
        assert len(dataset) == sum(len(ROOMS[ours]) for ours in own)
    for sample, truth in pairs(case, datasets):
        assert_same(sample, truth, case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_converted(case: Case, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = case.lay_out(tmp_path / "source")
    splits = ["--splits", root / "splits.mat"] if case.layout == "nyu_mat" else []
    assert run("convert", root, "--out", "out", *splits) == 0
    datasets = opened(tmp_path / "out")
    for sample, truth in pairs(case, datasets):
        assert_same(sample, truth, case, stored=True)
        assert sample.image.dtype == np.uint8
    told = capsys.readouterr().out
    assert "7 samples in out" in told
    described = describe(tmp_path / "out")
    if not case.layout.startswith(("tum", "scannet")):  # whose camera nobody has told
        assert described.intrinsics is not None and described.normals is not None
        stored = "normals" in EXPECT[case.layout].targets
        assert ("normals derived from depth" in described.source) != stored


@pytest.mark.parametrize("layout", ["esanet", "dump8", "bts"])
def test_normals_that_are_not_there_are_derived_from_the_depth_as_it_stands(layout: str, tmp_path: Path):
    for dataset in opened(Case(layout).lay_out(tmp_path)).values():
        sample = dataset[0]
        assert sample.intrinsics is not None
        expected = normals_from_depth(sample.targets["depth"], sample.intrinsics)
        np.testing.assert_array_equal(sample.targets["normals"], expected)


def test_forty_classes_are_read_as_thirteen(tmp_path: Path):
    case = Case("esanet")
    for sample, truth in pairs(case, opened(case.lay_out(tmp_path), classes="nyu13")):
        np.testing.assert_array_equal(sample.targets["segmentation"], labels(truth, "nyu13"))


# choices


@pytest.mark.parametrize("layout", ["esanet", "nyu_mat"])
def test_raw_depth_has_its_holes(layout: str, run: Run, tmp_path: Path):
    root = Case(layout).lay_out(tmp_path / "source")
    splits = ["--splits", root / "splits.mat"] if layout == "nyu_mat" else []
    assert run("convert", root, "--out", "out", "--depth", "raw", *splits) == 0
    for sample, truth in pairs(Case(layout), opened(tmp_path / "out")):
        np.testing.assert_allclose(sample.targets["depth"], raw_depth(truth), atol=0.00051)


def test_raw_depth_where_there_is_none(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    Case("vainf").lay_out(tmp_path / "source")
    assert run("convert", "source", "--out", "out", "--depth", "raw") == 1
    assert "names no folder of raw depth" in capsys.readouterr().err


@pytest.mark.parametrize(("layout", "choice", "kept"), [("mtan", "none", False), ("mtan", "derived", True)])
def test_normals_may_be_left_out_or_derived(layout: str, choice: str, kept: bool, run: Run, tmp_path: Path):
    Case(layout).lay_out(tmp_path / "source")
    assert run("convert", "source", "--out", "out", "--normals", choice) == 0
    sample = opened(tmp_path / "out")["train"][0]
    assert ("normals" in sample.targets) == kept
    assert ("derived" in describe(tmp_path / "out").source) == kept


@pytest.mark.parametrize(("layout", "choice"), [("esanet", "stored"), ("tum", "derived"), ("nyu_mat", "stored")])
def test_normals_that_can_not_be_had(
    layout: str, choice: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    Case(layout).lay_out(tmp_path / "source")
    assert run("convert", "source", "--out", "out", "--normals", choice) == 1
    assert f"normals='{choice}'" in capsys.readouterr().err and not (tmp_path / "out").exists()


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
    ("layout", "folders", "left"),
    [
        ("mtan", ["train/normal", "val/normal"], ("depth", "normals", "segmentation")),  # derived
        ("mtan", ["train/depth", "val/depth"], ("normals", "segmentation")),
        ("vainf", ["normal", "depth"], ("segmentation",)),
        ("esanet", ["train/depth", "test/depth"], ("segmentation",)),
    ],
)
def test_a_source_that_lacks_targets(layout: str, folders: list[str], left: tuple[str, ...], tmp_path: Path):
    root = Case(layout).lay_out(tmp_path)
    for folder in folders:
        shutil.rmtree(root / folder)
    assert describe(root).targets() == left
    assert tuple(opened(root)["train"][0].targets) == left
