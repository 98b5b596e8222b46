"""Stored values that mean no depth: as `depth.invalid` lists them, and as they are found where it does not."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import breaking
import cv2
import numpy as np
import pytest
from data_testing import planes, with_camera, write_folder
from hypothesis import given
from hypothesis import strategies as st

from mtl_vision.check.run import check
from mtl_vision.datasets.convert import convert_folder
from mtl_vision.datasets.description import DataError, DepthFiles, Description, read_description
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.sentinel import sentinels, tail
from mtl_vision.datasets.targets import depth
from mtl_vision.synthetic import render_room

# depth.invalid


@pytest.mark.parametrize(
    ("section", "metres"),
    [  # of the stored 0, 1000, 65535 and 20000
        (DepthFiles(), [0, 1, 65.535, 20]),
        (DepthFiles(invalid=[0, 65535]), [0, 1, 0, 20]),
        (DepthFiles(invalid=[0, 65535], offset=0.5), [0, 1.5, 0, 20.5]),
        (DepthFiles(offset=0.5), [0, 1.5, 66.035, 20.5]),
        (DepthFiles(invalid=65535), [0, 1, 0, 20]),
        (DepthFiles(invalid=[65535], offset=0.5), [0.5, 1.5, 0, 20.5]),
        (DepthFiles(invalid=None, offset=0.5), [0.5, 1.5, 66.035, 20.5]),
        (DepthFiles(invalid=[0, 65535.0, 1e10, 2**40, -1]), [0, 1, 0, 20]),
        (DepthFiles(invalid=[0, 65535], full_scale=65.535), [0, 1, 0, 20]),
        (DepthFiles(invalid=[0, 65535], wraps=True), [0, 1, 0, 20]),
    ],
)
def test_what_is_listed_is_no_depth(section: DepthFiles, metres: list[float]):
    stored = np.array([[0, 1000, 65535, 20000]], np.uint16)
    np.testing.assert_allclose(depth.read(stored, section), [metres], rtol=1e-6)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floats_are_the_same_however_they_were_rounded(kind: type):
    section = DepthFiles(scale=1, invalid=[0, 65.535])
    near = 65.5 if kind is np.float16 else 65.534
    stored = np.array([[0, 2.5, 65.535, near]], kind)
    np.testing.assert_allclose(depth.read(stored, section), [[0, 2.5, 0, near]], rtol=1e-6)
    of_float32 = np.array([[65.535]], np.float32).astype(np.float64)
    assert (depth.read(of_float32, section) == 0).all()
    product = np.array([[65535]], np.float32) * np.float32(0.001)
    assert (depth.read(product, section) == 0).all()


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=5), st.lists(st.integers(0, 65535), min_size=1))
def test_a_list_is_each_of_its_values(marks: list[int], stored: list[int]):
    values = np.array([stored], np.uint16)
    listed = depth.read(values, DepthFiles(invalid=[*marks]))
    one_by_one = np.min([depth.read(values, DepthFiles(invalid=mark)) for mark in marks], axis=0)
    np.testing.assert_array_equal(listed, one_by_one)


@pytest.mark.parametrize(
    ("invalid", "none"),
    [(0, 0), (None, 0), (7, 7), ([65535, 0], 65535), ([65.535, 9], 9), ([-1], 0), (2**20, 0)],
)
def test_no_depth_is_written_as_the_first_that_fits(invalid: object, none: int):
    section = DepthFiles(invalid=invalid)  # type: ignore[arg-type]
    metres = np.array([[0, 2.5]], np.float32)
    stored = depth.write(metres, section)
    assert stored.dtype == np.uint16 and stored.tolist() == [[none, 2500]]
    np.testing.assert_array_equal(depth.read(stored, section), metres)


def test_what_was_invalid_is_0_in_a_converted_set(tmp_path: Path):
    root = write_folder(tmp_path / "set", {"train": planes(2)})
    for path in (root / "train/depth").iterdir():
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert stored is not None
        stored[:4], stored[4:6] = 65535, 0
        cv2.imwrite(str(path), stored)
    described = Description(splits={"train": "train"}, depth=DepthFiles(invalid=[0, 65535]))
    convert_folder(root, tmp_path / "out", described)
    made = read_description(tmp_path / "out/dataset.yaml").depth
    assert made == DepthFiles()
    metres = FolderDataset(tmp_path / "out", "train")[1].targets["depth"]
    assert (metres[:6] == 0).all() and (metres[6:] > 0).all() and metres.max() < 10


# found where the description does not name them


def found(maps: Sequence[np.ndarray], section: DepthFiles | None = None) -> list[float]:
    """The stored values that stand for no depth in a set of these files."""
    section = section or DepthFiles()
    return [one.value for one in sentinels([tail(stored, section) for stored in maps])]


def room(farthest: float = 5000, seed: int = 0, kind: type = np.uint16) -> np.ndarray:
    """Depth (48, 64) that falls from `farthest` to a fifth of it, a little rough."""
    slope = np.linspace(1, 0.2, 48)[:, None] * np.ones(64)
    rough = np.random.default_rng(seed).uniform(0.98, 1, (48, 64))
    return (farthest * slope * rough).astype(kind)


def holed(stored: np.ndarray, value: float, pixels: int = 2, seed: int = 0) -> np.ndarray:
    """The map with so many of its pixels at that value."""
    stored = stored.copy()
    stored.flat[np.random.default_rng(seed).choice(stored.size, pixels, replace=False)] = value
    return stored


def rooms(count: int, value: float | None = None, pixels: int = 2, **how: Any) -> list[np.ndarray]:
    maps = [room(4000 + 200 * seed, seed, **how) for seed in range(count)]
    return maps if value is None else [holed(one, value, pixels, seed) for seed, one in enumerate(maps)]


METRES = DepthFiles(scale=1)
EIGHT = DepthFiles(full_scale=10)
FOUND: dict[str, tuple[list[np.ndarray], DepthFiles, list[float]]] = {
    "16 bits": (rooms(6, 65535), DepthFiles(), [65535]),
    "all but a corner": (rooms(6, 65535, 3000), DepthFiles(), [65535]),
    "nothing else at all": ([np.full((4, 6), 65535, np.uint16)], DepthFiles(), [65535]),
    "one pixel of one sample": ([*rooms(9), holed(room(), 65535, 1)], DepthFiles(), [65535]),
    "one sample without any depth": ([*rooms(3), np.full((48, 64), 65535, np.uint16)], DepthFiles(), [65535]),
    "half of 16 bits": (rooms(6, 32767), DepthFiles(), [32767]),
    "signed": (rooms(6, 32767, kind=np.int16), DepthFiles(), [32767]),
    "32 bits": (rooms(6, 2**31 - 1, kind=np.int32), DepthFiles(), [2**31 - 1]),
    "unsigned 32 bits": (rooms(6, 2**32 - 1, kind=np.uint32), DepthFiles(), [2**32 - 1]),
    "ten metres": (rooms(6, 10000), DepthFiles(), [10000]),
    "TUM's steps": ([5 * one for one in rooms(6)], DepthFiles(scale=2e-4), []),
    "TUM's steps, holes": ([holed(5 * one, 65535) for one in rooms(6)], DepthFiles(scale=2e-4), [65535]),
    "no mark that is known": (rooms(6, 23456), DepthFiles(), [23456]),
    "two of them": ([holed(one, 32767, 9, 5) for one in rooms(6, 65535)], DepthFiles(), [65535, 32767]),
    "one of them is named": (
        [holed(one, 32767, 9, 5) for one in rooms(6, 65535)], DepthFiles(invalid=[0, 65535]), [32767],
    ),
    "named": (rooms(6, 65535), DepthFiles(invalid=[0, 65535]), []),
    "none was named": (rooms(6, 65535), DepthFiles(invalid=None), [65535]),
    "an offset": (rooms(6, 65535), DepthFiles(offset=0.5), [65535]),
    "another unit": (rooms(6, 65535), DepthFiles(scale=1), [65535]),
    "8 bits": ([holed(room(150 + 9 * i, i, np.uint8), 255) for i in range(6)], EIGHT, [255]),
    "8 bits, others up to the end": (
        [holed(room(v, v, np.uint8), 255) for v in (150, 160, 170, 180, 190, 254)], EIGHT, [255],
    ),
    "8 bits, one sample, others up to the end": (
        [holed(room(90, 1, np.uint8), 255), *(room(v, v, np.uint8) for v in (150, 254))], EIGHT, [255],
    ),
    "floats in metres": ([holed(room(4 + i, i, np.float32), 65.535) for i in range(6)], METRES, [65.535]),
    "halves": ([holed(room(4 + i, i, np.float16), 1000) for i in range(6)], METRES, [1000]),
    "doubles of floats": (
        [holed(room(4 + i, i, np.float32), 65.535).astype(np.float64) for i in range(6)], METRES, [65.535],
    ),
    "a thousand metres": ([holed(room(4 + i, i, np.float64), 1e3) for i in range(6)], METRES, [1000]),
    "the sky of a simulator": ([holed(room(40 + i, i, np.float32), 1e10) for i in range(6)], METRES, [1e10]),
    "the largest float": (
        [holed(room(4, i, np.float32), np.finfo(np.float32).max) for i in range(6)], METRES, [3.402823e38],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_what_stands_for_no_depth_is_found(name: str):
    maps, section, expected = FOUND[name]
    assert found(maps, section) == expected
    fixed = section
    for value in expected:
        fixed = fixed.with_mark(value)
    assert found(maps, fixed) == [], "once it is named"
    for stored in maps:
        for value in expected:
            assert (depth.read(stored, fixed)[np.isclose(stored, value, rtol=1e-5)] == 0).all()


def window(stored: np.ndarray, value: float, rows: int = 1, columns: int = 1) -> np.ndarray:
    """The map with something behind it: rows x columns pixels near that value."""
    stored = stored.copy()
    seen = value * np.random.default_rng(1).uniform(0.97, 1, (rows, columns))
    stored[:rows, :columns] = seen.astype(stored.dtype)
    return stored


GOOD: dict[str, tuple[list[np.ndarray], DepthFiles]] = {
    "rooms": (rooms(6), DepthFiles()),
    "one room": (rooms(1), DepthFiles()),
    "no depth": ([np.zeros((48, 64), np.uint16)], DepthFiles()),
    "no depth by a number that is none": ([np.full((48, 64), np.nan)], METRES),
    "no map": ([], DepthFiles()),
    "walls": ([np.full((48, 64), 1000, np.uint16), np.full((48, 64), 2000, np.uint16)], DepthFiles()),
    "a wall behind a table": ([np.minimum(room(1600, i), 1000) for i in range(6)], DepthFiles()),
    "a wall at one metre": ([np.where(room(1600, i) > 700, 1000, room(700, i)) for i in range(6)], DepthFiles()),
    "one far pixel": ([*rooms(6), window(room(), 23456)], DepthFiles()),
    "a far window": ([*rooms(6), window(room(), 40000, 12, 12)], DepthFiles()),
    "a far window in floats": ([room(4, 1, np.float32), window(room(4, 2, np.float32), 40, 9, 9)], METRES),
    "cut off at 80 m": ([np.minimum(room(60 + 20 * i, i, np.float32), 80) for i in range(6)], METRES),
    "cut off at 10 m": ([np.minimum(room(7000 + 2000 * i, i), 10000) for i in range(6)], DepthFiles()),
    "cut off at the end of 16 bits": (
        [np.minimum(room(40000 + 20000 * i, i, np.int64), 65535).astype(np.uint16) for i in range(6)],
        DepthFiles(scale=1e-4),
    ),
    "cut off at the end of 8 bits": (
        [np.minimum(room(150 + 60 * i, i, np.int64), 255).astype(np.uint8) for i in range(6)], EIGHT,
    ),
    "8 bits": ([room(80 + 20 * i, i, np.uint8) for i in range(6)], EIGHT),
    "each map from 0 to 255": ([np.rint(room(255, i, np.float64)).astype(np.uint8) for i in range(6)], EIGHT),
    "steps of a disparity": (
        [(120000 / np.maximum(np.rint(room(40, i, np.float64)), i % 3 + 1)).astype(np.uint16) for i in range(6)],
        DepthFiles(),
    ),
    "a single value too large for a depth": ([room(4, 1, np.float32), window(room(4, 1, np.float32), 3e30)], METRES),
    "wrapped": (
        [(room(90000, i, np.int64) % 65536).astype(np.uint16) for i in range(3)], DepthFiles(scale=1e-4, wraps=True),
    ),
    "holes where values wrap": (rooms(6, 65535), DepthFiles(scale=1e-4, wraps=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_what_was_measured_is_no_sentinel(name: str):
    assert found(*GOOD[name]) == []


@given(st.data(), st.sampled_from([np.uint8, np.uint16, np.int32, np.float32, np.float64]))
def test_a_tail_is_what_is_greatest(data: st.DataObject, kind: type):
    stored = np.array(data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=30)), kind)[None]
    values, counts = np.unique(stored[stored > 0], return_counts=True)
    one = tail(stored, METRES)
    assert one.values == tuple(values[::-1][:4].tolist()) and one.counts == tuple(counts[::-1][:4].tolist())
    assert one.metres == one.values and one.pixels == stored.size


def test_a_map_of_three_equal_channels_is_one():
    grey = np.repeat(holed(room(), 65535)[..., None], 3, axis=2)
    assert found([grey]) == [65535]
    with pytest.raises(DataError, match="expected one channel"):
        tail(grey[..., :2], DepthFiles())


def test_what_is_told_of_a_sentinel():
    maps = [*rooms(6, 65535, 3), room()]
    section = DepthFiles(invalid=[0, 7])
    (one,) = sentinels([tail(stored, section) for stored in maps])
    assert one.samples == (0, 1, 2, 3, 4, 5) and one.percent == pytest.approx(100 * 18 / (7 * 48 * 64))
    text = one.told("abcdefg", section)
    assert "the stored value 65535 stands for no depth, and is read as 65.5" in text
    assert "m: 0.084 % of the pixels have exactly it" in text
    assert "in 6 of 7 samples (a, b, c, d, e and 1 more)" in text and "the greatest depth but for it is 4.9" in text
    assert text.endswith("set `depth.invalid: [0, 7, 65535]`")


# by `check`


def faults(root: Path, fix: bool = False) -> list[tuple[str, str | None]]:
    report = check(root, out=root.parent / "out", fix=fix)
    return [(one.test, one.split) for one in report.faults]


def invalid(root: Path) -> object:
    section = read_description(root / "dataset.yaml").depth
    assert section is not None
    return section.invalid


@pytest.mark.parametrize("share", [0.00045, 0.6, 0.99])
@pytest.mark.parametrize(("value", "metres"), [(65535, "65.5"), (32767, "32.77")])
def test_check_finds_and_fixes_it(
    root: Path, share: float, value: int, metres: str, capsys: pytest.CaptureFixture[str]
):
    breaking.change(root, "depth", lambda mm: holed(mm, value, max(round(share * mm.size), 2)))
    assert faults(root) == [("depth_sentinel", None)]
    out = capsys.readouterr().out
    assert f"the stored value {value} stands for no depth, and is read as {metres}" in out
    assert "in 8 of 8 samples (train/000500, " in out and f"set `depth.invalid: [0, {value}]`" in out
    assert not re.search(r"up to \d\d\.", out), "what the summary says is without it"
    assert faults(root, fix=True) == [] and invalid(root) == [0, value]
    assert f"fixed: depth.invalid 0 -> [0, {value}] in" in capsys.readouterr().out
    assert faults(root) == []
    for split in breaking.SPLITS:
        dataset = FolderDataset(root, split)
        for index in range(len(dataset)):
            metres, stored = dataset[index].targets["depth"], dataset.stored("depth", index)
            assert stored is not None and (metres[stored == value] == 0).all() and metres.max() < 10


@pytest.mark.parametrize("split", breaking.SPLITS)
def test_one_split_that_has_it_is_enough(root: Path, split: str):
    breaking.change(root, "depth", lambda mm: holed(mm, 65535, 9), splits=[split])
    assert faults(root) == [("depth_sentinel", None)]
    assert faults(root, fix=True) == [] and invalid(root) == [0, 65535]


def test_one_sample_that_has_it_is_enough(root: Path):
    path = sorted((root / "train/depth").glob("*.png"))[2]
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert stored is not None
    cv2.imwrite(str(path), holed(stored, 65535, 1))
    report = check(root, out=root.parent / "out")
    (fault,) = report.faults
    assert fault.test == "depth_sentinel" and f"in 1 of 8 samples (train/{path.stem})" in fault.text


@pytest.mark.parametrize(("share", "others"), [(0.002, ["depth_unit", "mirrored_set"]), (0.6, ["depth_unit"])])
def test_other_faults_are_found_beside_it(root: Path, share: float, others: list[str]):
    """Another unit, a mirrored set, and two sentinels, one of which was named before."""

    def how(mm: np.ndarray) -> np.ndarray:
        tenths = np.rint(mm / 10.0)[:, ::-1].astype(np.uint16)
        return holed(holed(tenths, 65534, round(share * mm.size)), 65535, round(share * mm.size), seed=1)

    breaking.change(root, "depth", how)
    breaking.mirror(root, "rgb", "normals", "label")
    text = (root / "dataset.yaml").read_text()
    (root / "dataset.yaml").write_text(text.replace("invalid: 0", "invalid: 65534"))
    assert faults(root) == [(test, None) for test in ("depth_sentinel", *others)]
    assert faults(root, fix=True) == []
    fixed = read_description(root / "dataset.yaml")
    assert fixed.mirrored == ("mirrored_set" in others) and fixed.depth is not None
    assert fixed.depth.scale == 0.01 and fixed.depth.invalid == [65534, 65535]


def test_files_that_hold_nothing_else(root: Path):
    breaking.change(root, "depth", lambda mm: np.full_like(mm, 65535))
    assert ("depth_sentinel", None) in faults(root) and ("depth_unit", None) in faults(root)
    assert faults(root, fix=True) == [("depth_unit", None)] and invalid(root) == [0, 65535]


def as_arrays(root: Path, how: Callable[[np.ndarray], np.ndarray], scale: str) -> None:
    """The depth as .npy in place of PNG."""
    for path in root.glob("*/depth/*.png"):
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert stored is not None
        np.save(path.with_suffix(".npy"), how(stored))
        path.unlink()
    text = (root / "dataset.yaml").read_text()
    (root / "dataset.yaml").write_text(text.replace("scale: 0.001", scale))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [65.535, 1000.0])
def test_files_of_floats(root: Path, value: float, kind: type):
    as_arrays(root, lambda mm: holed((mm / 1000).astype(kind), value, 4), "scale: 1")
    assert faults(root) == [("depth_sentinel", None)]
    assert faults(root, fix=True) == []
    assert np.allclose(invalid(root), [0, value], rtol=1e-3)  # type: ignore[arg-type]


def test_files_of_8_bits(root: Path):
    breaking.change(root, "depth", lambda mm: holed(np.rint(mm * 0.0255).astype(np.uint8), 255, 2))
    text = (root / "dataset.yaml").read_text()
    (root / "dataset.yaml").write_text(text.replace("scale: 0.001", "full_scale: 10"))
    assert faults(root) == [("depth_sentinel", None)]
    assert faults(root, fix=True) == [] and invalid(root) == [0, 255]


def test_a_set_of_images_only(root: Path, capsys: pytest.CaptureFixture[str]):
    (root / "dataset.yaml").write_text("splits: {train: train, test: test}\n")
    assert faults(root, fix=True) == [("targets", None)]
    out = capsys.readouterr().out
    assert "no targets, only images" in out and "such as `depth: {folder: depth}`" in out and "no faults" not in out


@pytest.mark.parametrize("mark", [8191, 10000, 40000, 65535])
def test_marks_of_rotated_bits(mark: int):
    """A mark is meant after the bits are turned back, as the description's `invalid` is."""
    rng = np.random.default_rng(0)
    section = DepthFiles(rotated=3)
    tails = []
    for _ in range(6):
        millimetres = rng.integers(800, 4000, (20, 30)).astype(np.uint16)
        millimetres[:4, :9] = mark
        tails.append(tail(millimetres << 3 | millimetres >> 13, section))
    (found,) = sentinels(tails)
    assert found.value == mark and found.metres == pytest.approx(mark / 1000)
    fixed = section.with_mark(mark)
    assert fixed.invalid == [0, mark] and fixed.with_mark(mark) == fixed
    assert not depth.read(np.uint16([[mark]]) << 3 | np.uint16([[mark]]) >> 13, fixed).any()


def test_files_of_8_and_of_16_bits_have_values_of_their_own():
    """DenseDepth's training depth has 8 bits, its test depth 16: the greatest of one is no depth of the other."""
    rng = np.random.default_rng(0)
    section = DepthFiles(scale8=10 / 255)
    small, large = rng.integers(20, 120, (6, 20, 30)).astype(np.uint8), rng.integers(800, 4000, (6, 20, 30))
    small[:, :4, :9] = 255
    tails = [tail(one, section) for one in (*small, *large.astype(np.uint16))]
    (found,) = sentinels(tails)
    assert found.value == 255 and found.samples == (0, 1, 2, 3, 4, 5) and found.count == 6
    assert sentinels(tails[6:]) == []


def in_16_bits(root: Path, how: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> None:
    """Every depth map of a set, as stored, changed."""
    rng = np.random.default_rng(0)
    for path in sorted(root.glob("*/depth/*.png")):
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), how(stored, rng))


def room_set(folder: Path) -> Path:
    samples = [render_room(seed, (48, 64)) for seed in range(6)]
    return write_folder(folder, {"train": samples}, with_camera(samples[0]))


def test_several_values_near_the_largest_are_no_reason_to_unwrap(tmp_path: Path):
    """As where a map with holes at 65535 was resized: named, and the description, which is right, stays."""
    root = room_set(tmp_path / "set")

    def spread(stored: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        marks = rng.random(stored.shape) < 0.03
        return np.where(marks, rng.integers(65335, 65536, stored.shape), stored).astype(np.uint16)

    in_16_bits(root, spread)
    before = (root / "dataset.yaml").read_text()
    report = check(root, fix=True, out=tmp_path / "out")
    texts = [fault.text for fault in report.faults if fault.test == "depth_wraps"]
    assert texts and "they stand for no depth" in texts[0]
    assert (root / "dataset.yaml").read_text() == before or "wraps" not in (root / "dataset.yaml").read_text()


def test_bits_that_are_rotated_are_named(tmp_path: Path):
    root = room_set(tmp_path / "set")
    in_16_bits(root, lambda stored, _: stored << 3 | stored >> 13)
    fault = next(one for one in check(root, out=tmp_path / "out").faults if one.test == "depth_unit")
    assert "`depth.rotated: 3` makes it" in fault.text
    assert not [one for one in check(root, fix=True, out=tmp_path / "out").faults if one.test.startswith("depth")]
    section = read_description(root / "dataset.yaml").depth
    assert section is not None and section.rotated == 3 and not section.wraps
