"""mtl-data check: what it prints, writes and returns. The faults that it finds: test_data_check_faults.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import layouts
import numpy as np
import pytest
from breaking import describe
from data_testing import planes, unit, with_camera, write_folder
from layouts import LAYOUTS, lay_out

from mtl_vision import prepare
from mtl_vision.check.reading import open_split
from mtl_vision.check.report import to_text
from mtl_vision.check.run import check_folder, run_test
from mtl_vision.check.sheet import contact_sheet
from mtl_vision.check.statistics import OK, SampleStatistics, SplitStatistics, Verdict
from mtl_vision.datasets.description import Description, LabelFiles, read_description
from mtl_vision.datasets.recognise import describe as describe_folder
from mtl_vision.synthetic import render_room

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line, its paths relative to an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: prepare.main(["check", *(str(argument) for argument in arguments)])


def rooms(root: Path, count: int = 4, size=(60, 80)) -> Path:
    """Rooms in the splits train and test."""
    samples = [render_room(seed, size) for seed in range(count)]
    return write_folder(root, {"train": samples[1:], "test": samples[:1]}, with_camera(samples[0]))


def written(tmp_path: Path, out: str = "out/check") -> dict:
    return json.loads((tmp_path / out / "check.json").read_text())


def faults(tmp_path: Path) -> list[str]:
    report = written(tmp_path)
    return [fault["text"] for one in (report, *report["splits"].values()) for fault in one["faults"]]


def test_the_report_of_a_good_set(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = rooms(tmp_path / "set")
    assert run(root) == 0
    out = capsys.readouterr().out
    assert "source: made by hand" in out and "train: 3 samples, all 60x80; depth for all" in out
    assert "val: does not exist" in out and "no faults" in out and "FAULT" not in out
    report = written(tmp_path)
    assert report["fine"] and report["faults"] == [] and report["absent"] == ["val"]
    train, test = report["splits"]["train"], report["splits"]["test"]
    assert train["count"] == 3 and test["targets"] == {"depth": 1, "normals": 1, "segmentation": 1}
    assert train["sizes"] == {"60x80": 3} and train["unlabelled_percent"] == 0
    assert sum(train["classes"].values()) == pytest.approx(100, abs=0.01)
    assert 0.5 < train["depth"]["p1"] < train["depth"]["median"] < train["depth"]["p99"] < 10
    assert train["normals"]["median_degrees_to_depth"] < 10


@pytest.mark.parametrize(("count", "size"), [(3, (16, 24)), (3, (60, 80)), (6, (48, 64)), (12, (120, 160))])
def test_rooms_of_any_number_and_size_have_no_faults(tmp_path: Path, count: int, size: tuple[int, int]):
    root = rooms(tmp_path / "set", count, size)
    assert check_folder(root, read_description(root / "dataset.yaml")).faults == []


def test_the_sheet_has_a_row_a_sample_and_five_columns(tmp_path: Path):
    root = rooms(tmp_path / "set")
    sheet = contact_sheet(check_folder(root, read_description(root / "dataset.yaml")))
    assert sheet.dtype == np.uint8 and sheet.shape[1] == 5 * 246 + 6
    assert 4 * (180 + 26) < sheet.shape[0] < 4 * (180 + 26) + 250, "four samples, a header and a legend"
    assert (sheet[:, :6] == 255).all(), "a margin"
    train = render_room(1, (60, 80))
    cells = [sheet[top : top + 180, 6:246] for top in range(30, 150)]
    wanted = cv2.resize(train.image, (240, 180), interpolation=cv2.INTER_LINEAR)
    assert min(np.abs(cell.astype(int) - wanted).mean() for cell in cells) < 1, "the first image"


def test_the_sheet_of_unreadable_images(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = rooms(tmp_path / "set", 2)
    for path in root.glob("*/rgb/*.png"):
        path.write_bytes(b"")
    assert run(root) == 2
    assert len(faults(tmp_path)) == 2
    assert (tmp_path / "out/check/check.png").is_file() and "none readable" in capsys.readouterr().out


def test_no_label_and_no_depth(run: Run, tmp_path: Path):
    root = rooms(tmp_path / "set", 2)
    for path in root.glob("*/label/*.png"):
        cv2.imwrite(str(path), np.full((60, 80), 255, np.uint8))
    for path in root.glob("*/depth/*.png"):
        cv2.imwrite(str(path), np.zeros((60, 80), np.uint16))
    assert run(root) == 2
    found = " ".join(faults(tmp_path))
    assert "no pixel has a label" in found and "no pixel has depth" in found


def test_labels_that_are_no_class_are_reported_in_one_sentence(run: Run, tmp_path: Path):
    root = rooms(tmp_path / "set", 3)
    describe(root, lambda one: replace(one, segmentation=LabelFiles(classes=["a", "b"])))
    assert run(root, "--fix") == 2
    (fault,) = faults(tmp_path)
    assert "as labels, expected 0..1 for 2 classes, 255 for void" in fault
    assert "correct segmentation.first, .void or .classes" in fault


def test_most_limits_the_samples_that_are_read(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = rooms(tmp_path / "set", 5)
    assert run(root, "--most", 2, "--out", "report") == 0
    train = written(tmp_path, "report")["splits"]["train"]
    assert train["count"] == 4 and train["read"] == 2 and train["sizes"] == {"60x80": 2}
    assert "train: 4 samples (2 read)" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run(root, "--most", 0)
    assert "expected a whole number above 0; found 0" in capsys.readouterr().err


def test_a_set_that_can_not_be_read(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(tmp_path / "nowhere") == 1
    root = rooms(tmp_path / "set", 2)
    for path in root.glob("*/rgb/*.png"):
        path.unlink()
    assert run(root) == 1
    assert "no images for split 'train'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_fix_writes_the_description_that_was_named(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = rooms(tmp_path / "set")
    mine = tmp_path / "mine.yaml"
    text = "# mine\n" + (root / "dataset.yaml").read_text().replace("scale: 0.001", "scale: 1")
    mine.write_text(text)
    here = (root / "dataset.yaml").read_bytes()
    assert run(root, "--description", mine) == 2 and mine.read_text() == text
    assert run(root, "--description", mine, "--fix") == 0
    assert f"fixed: depth.scale 1.0 -> 0.001 in {mine} (the file as it was, with its comments: {mine}.before)" in (
        capsys.readouterr().out
    )
    assert (tmp_path / "mine.yaml.before").read_text() == text and (root / "dataset.yaml").read_bytes() == here
    mine.write_text(text)
    assert run(root, "--description", mine, "--fix") == 0
    assert (tmp_path / "mine.yaml.before2").read_text() == text, "an earlier copy is kept"


def test_frontal_walls_do_not_show_x_from_minus_x(run: Run, tmp_path: Path):
    """Where the images do not show which axes are right, there is no fault."""
    wall = planes(1)[0]
    wall.targets["normals"][:] = unit(0, 0, -1)
    wall.targets["depth"][:] = 2
    assert run(write_folder(tmp_path / "set", {"train": [wall]})) == 0


def test_shared_scenes_are_counted_and_no_fault(tmp_path: Path):
    root = rooms(tmp_path / "set")
    (root / "scenes.txt").write_text("000000 kitchen\n000001 kitchen\n000002 office\n000003 office\n")
    report = check_folder(root, replace(read_description(root / "dataset.yaml"), scenes="scenes.txt"))
    assert report.faults == [] and report.shared_scenes == {"train/test": 1}
    assert report.summaries["train"].scenes == 2 and "scenes    train/test share 1" in to_text(report)


def verdicts(**states: str) -> tuple[list[tuple[str | None, bool]], list[str]]:
    """What the verdicts of the splits give; tested together, the verdict is a fault."""
    fault = Verdict("fault", "bad", lambda one: one)
    answers = {"ok": OK, "fault": fault, "unknown": Verdict("unknown", "not seen")}
    splits = {split: SplitStatistics(Description(), (SampleStatistics(state),)) for split, state in states.items()}

    def test(one: SplitStatistics) -> Verdict:
        first, *others = one.samples
        return fault if others else answers[first.stem]

    found, unknown = run_test("test", test, splits)
    return [(one.split, one.fix is not None) for one in found], unknown


def test_a_fault_is_one_of_the_whole_set_where_no_split_is_ok():
    assert verdicts(train="fault", test="fault") == ([(None, True)], [])
    assert verdicts(train="fault", test="unknown") == ([(None, True)], [])
    assert verdicts(train="unknown", test="unknown") == ([(None, True)], [])
    assert verdicts(train="fault", test="ok") == ([("train", False)], [])
    assert verdicts(train="ok", test="unknown") == ([], [])
    assert verdicts(train="unknown") == ([], ["not seen"])


def test_a_target_that_can_not_be_opened_leaves_the_others(tmp_path: Path):
    root = rooms(tmp_path / "set")
    described = read_description(root / "dataset.yaml")
    for path in (root / "train/depth").glob("*.png"):
        path.unlink()
    opened, problems = open_split(root, "train", described, None)
    assert opened is not None and opened.target_names == ("normals", "segmentation")
    assert len(problems) == 1 and "no depth for split 'train'" in problems[0]


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "nyu_mat"])
def test_every_known_layout_has_no_faults(tmp_path: Path, layout: str):
    lay_out(layout, tmp_path, layouts.rooms())
    report = check_folder(tmp_path, describe_folder(tmp_path))
    assert report.faults == []
    contact_sheet(report)
