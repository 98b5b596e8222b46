"""`check` on real NYUv2, where someone has it: no false alarm on the good set, and faults found in broken ones."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mtl_vision.check.report import Report
from mtl_vision.check.run import check_folder
from mtl_vision.datasets.description import Description, known_description
from mtl_vision.datasets.recognise import describe

ROOT = os.environ.get("MTL_NYUV2_ROOT")
pytestmark = pytest.mark.skipif(
    ROOT is None, reason="set MTL_NYUV2_ROOT to a folder that holds nyuv2/ and nyuv2_288x384/"
)


def source(name: str) -> Path:
    root = Path(ROOT or ".") / name
    if not root.is_dir():
        pytest.skip(f"no {name}/ in MTL_NYUV2_ROOT")
    return root


@pytest.mark.parametrize("name", ["nyuv2", "nyuv2_288x384"])
def test_the_real_sets_have_no_faults(name: str):
    report = check_folder(source(name), describe(source(name)), most=60)
    assert report.faults == [] and report.unknown == []
    assert 2 < report.summaries["train"].depth["median"] < 3


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """Forty frames of the small set, as PNG, to break."""
    root = source("nyuv2_288x384")
    for split in ("train", "test"):
        for folder in ("rgb", "depth", "label40"):
            (tmp_path / split / folder).mkdir(parents=True)
            for path in sorted((root / split / folder).iterdir())[:: 795 // 20 if split == "train" else 654 // 20]:
                stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
                assert stored is not None
                cv2.imwrite(str(tmp_path / split / folder / f"{path.stem}.png"), stored)
    return tmp_path


def change(part: Path, how: Callable[[np.ndarray], np.ndarray], *folders: str) -> None:
    for folder in folders:
        for path in part.glob(f"*/{folder}/*.png"):
            stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert stored is not None
            cv2.imwrite(str(path), how(stored))


def mirrored(stored: np.ndarray) -> np.ndarray:
    return stored[:, ::-1]


def checked(part: Path, description: Description | None = None) -> Report:
    return check_folder(part, description or known_description("images8"))


@pytest.mark.parametrize(
    ("folders", "todo"),
    [
        (("rgb",), "mirror the files of images"),
        (("depth",), "mirror the files of depth"),
        (("label40",), "mirror the files of labels"),
        (("depth", "label40"), "mirror the files of depth and labels"),
    ],
)
def test_mirrored_maps(part: Path, folders: tuple[str, ...], todo: str):
    change(part, mirrored, *folders)
    (fault,) = checked(part).faults
    assert fault.test == "mirrored_maps" and fault.text.endswith(todo) and "white frame shows" in fault.text


def test_all_of_it_mirrored(part: Path):
    change(part, mirrored, "rgb", "depth", "label40")
    report = checked(part)
    (fault,) = report.faults
    assert fault.test == "mirrored_set" and "white frame" in fault.text
    assert report.fixed().mirrored and checked(part, report.fixed()).faults == []


@pytest.mark.parametrize("void", [0, 255])
def test_labels_off_by_one(part: Path, void: int):
    change(part, lambda ids: np.where(ids == 0, void, ids - 1).astype(np.uint8), "label40")
    report = checked(part)
    (fault,) = report.faults
    fixed = report.fixed()
    assert fault.test == "label_ids" and fixed.segmentation is not None and fixed.segmentation.first == 0
    assert checked(part, fixed).faults == []


@pytest.mark.parametrize("share", [0.00045, 0.3])
@pytest.mark.parametrize("form", ["8 bits", "16 bits", "10000 mm", "floats"])
def test_holes_with_a_value_of_their_own(part: Path, form: str, share: float):
    """Also at the end of a range that the others reach."""
    random = np.random.default_rng(0)
    value = {"8 bits": 255, "16 bits": 65535, "10000 mm": 10000, "floats": 65.535}[form]
    described = known_description("images8")
    assert described.depth is not None
    if form != "8 bits":
        scale = 1.0 if form == "floats" else 0.001
        described = replace(described, depth=replace(described.depth, full_scale=None, offset=0.0, scale=scale))
    for path in part.glob("*/depth/*.png"):
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert stored is not None
        metres = (stored + 0.5) * 9.9955 / 255
        if form == "floats":
            stored = metres.astype(np.float32)
        elif form != "8 bits":
            stored = np.rint(1000 * metres).astype(np.uint16)
        stored[random.random(stored.shape) < share] = value
        path.unlink()
        np.save(path.with_suffix(".npy"), stored)
    report = checked(part, described)
    assert [fault.test for fault in report.faults] == ["depth_sentinel"]
    fixed = report.fixed()
    assert fixed.depth is not None and fixed.depth.invalid == [0, value]
    after = checked(part, fixed)
    assert after.faults == [] and after.summaries["train"].depth["max"] < 10
    assert after.summaries["test"].depth["invalid_percent"] == pytest.approx(100 * share, rel=0.1)


def test_depth_that_wraps_and_depth_in_another_unit(part: Path):
    def metres(stored: np.ndarray) -> np.ndarray:
        return (stored + 0.5) * 9.9955 / 255

    change(part, lambda stored: (np.rint(metres(stored) * 1e4).astype(np.int64) % 65536).astype(np.uint16), "depth")
    described = known_description("images8")
    assert described.depth is not None
    described = replace(described, depth=replace(described.depth, full_scale=None, offset=0.0))
    assert described.depth is not None
    good = replace(described, depth=replace(described.depth, scale=1e-4, wraps=True))
    assert checked(part, good).faults == []
    for scale, tests in ((1e-4, ["depth_wraps"]), (1e-3, ["depth_unit", "depth_wraps"])):
        report = checked(part, replace(described, depth=replace(described.depth, scale=scale)))
        assert [fault.test for fault in report.faults] == tests
        assert report.fixed() == good


def renumber(part: Path, folder: str, order: Callable[[int], list[int]]) -> None:
    """Each sample's file gets what another one's holds; order: of how many, which."""
    for split in ("train", "test"):
        paths = sorted((part / split / folder).glob("*.png"))
        stored = [path.read_bytes() for path in paths]
        for path, i in zip(paths, order(len(paths)), strict=True):
            path.write_bytes(stored[i])


def test_depth_stored_three_further_on(part: Path):
    renumber(part, "depth", lambda count: np.roll(np.arange(count), 3).tolist())
    (fault,) = checked(part).faults
    assert fault.test == "wrong_pairs" and fault.split is None and "off by 3 in the order of the names" in fault.text
    (fault,) = check_folder(part, known_description("images8"), most=6).faults
    assert fault.test == "wrong_pairs" and "off by 3 in the order" in fault.text, "their neighbours are read for it"


@pytest.mark.parametrize(("folder", "name"), [("depth", "depth"), ("label40", "label map"), ("rgb", "image")])
def test_maps_of_other_frames(part: Path, folder: str, name: str):
    renumber(part, folder, lambda count: np.random.default_rng(count).permutation(count).tolist())
    (fault,) = checked(part).faults
    assert fault.test == "wrong_pairs" and f"the {name} fits the" in fault.text and ") agree" in fault.text


def test_two_depth_files_swapped(part: Path):
    renumber(part, "depth", lambda count: [5, *range(1, 5), 0, *range(6, count)])
    faults = checked(part).faults
    assert {fault.test for fault in faults} == {"wrong_pairs"}
    assert all("the depth is stored with another one" in fault.text for fault in faults)


@pytest.mark.parametrize(
    ("scale", "right", "down"), [(0.91, 0, 0), (0.95, 0, 0), (1.05, 0, 0), (1, 8, 0), (1, 0, -8), (1.1, 6, 4)]
)
def test_depth_of_another_camera(part: Path, scale: float, right: float, down: float):
    def seen(stored: np.ndarray) -> np.ndarray:
        height, width = stored.shape
        x, y = (1 - scale) * (width - 1) / 2 + right, (1 - scale) * (height - 1) / 2 + down
        return cv2.warpAffine(
            stored, np.array([[scale, 0, x], [0, scale, y]]), (width, height), flags=cv2.INTER_NEAREST
        )

    change(part, seen, "depth")
    (fault,) = checked(part).faults
    assert fault.test == "registration" and fault.fix is None
    figures = re.search(
        r"scaled by ([\d.]+) about the centre and moved by ([+-]\d+) .* right and ([+-]\d+)", fault.text
    )
    assert figures is not None, fault.text
    found = [float(figure) for figure in figures.groups()]
    np.testing.assert_allclose(found, [1 / scale, -right / scale, -down / scale], atol=2)
    assert found[0] == pytest.approx(1 / scale, abs=0.015)


def test_images_of_another_crop(part: Path):
    change(part, lambda image: cv2.resize(image[12:-12, 16:-16], image.shape[1::-1]), "rgb")
    (fault,) = checked(part).faults
    assert fault.test == "registration" and "depth scaled by 1.09" in fault.text
