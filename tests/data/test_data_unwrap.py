"""Depth that wrapped around at 65536: given back where a seam or a neighbour tells, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_testing import FULL, write_folder
from hypothesis import given
from hypothesis import strategies as st

from mtl_vision.datasets.arrays import read_values
from mtl_vision.datasets.description import DepthFiles, Description
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.unwrap import unwrap

NEAREST = 4000  # 0.4 m in steps of 0.1 mm


def wrapped(metres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The true values in steps of 0.1 mm, and what 16 bits keep of them."""
    true = np.rint(metres * 1e4).astype(np.int64)
    return true, (true % 65536).astype(np.uint16)


def test_a_floor_that_runs_beyond_the_limit():
    true, stored = wrapped(np.linspace(2, 9.9, 200)[:, None] * np.ones((200, 50)))
    assert (stored != true).any()
    np.testing.assert_array_equal(unwrap(stored, NEAREST), true)


def test_a_far_wall_behind_a_door_is_known_by_the_floor_that_reaches_it():
    metres = np.full((160, 60), 3.0)  # the wall with the door
    metres[10:60, 20:40] = 8.0  # another room's wall
    metres[60:160, 20:40] = np.linspace(8.0, 3.0, 100)[:, None]  # the floor between
    true, stored = wrapped(metres)
    np.testing.assert_array_equal(unwrap(stored, NEAREST), true)


def test_what_nothing_tells_stays():
    metres = np.full((40, 40), 5.0)
    metres[10:20, 10:20] = 8.0  # looks like 1.45 m, and nothing touches it but the wall at 5 m
    true, stored = wrapped(metres)
    np.testing.assert_array_equal(unwrap(stored, NEAREST), stored)
    assert (stored != true).sum() == 100


def test_holes_stay_holes():
    metres = np.linspace(5, 9, 80)[:, None] * np.ones((80, 40))
    metres[30:50, 5:20] = 0
    true, stored = wrapped(metres)
    np.testing.assert_array_equal(unwrap(stored, NEAREST), true)
    assert (unwrap(np.zeros((5, 5), np.uint16), NEAREST) == 0).all()


@given(st.floats(0.5, 6.5), st.floats(-0.02, 0.02), st.floats(-0.02, 0.02), st.integers(0, 2**31))
def test_what_has_not_wrapped_is_left_alone(near: float, across: float, down: float, seed: int):
    v, u = np.mgrid[:40, :50]
    metres = near + across * u + down * v + np.random.default_rng(seed).normal(0, 0.005, (40, 50))
    metres = np.clip(metres, 0.45, 6.55)
    true, stored = wrapped(metres)
    np.testing.assert_array_equal(unwrap(stored, NEAREST), true)


@given(st.floats(1, 9.9), st.floats(-0.055, 0.055), st.floats(-0.055, 0.055))
def test_a_plane_that_begins_within_the_limit_is_given_back_whole(start: float, across: float, down: float):
    v, u = np.mgrid[:40, :50]
    metres = np.clip(start + across * u + down * v, 0.8, 9.9)
    true, stored = wrapped(metres)
    if (true < 60000).any():  # else nothing shows that it is far
        np.testing.assert_array_equal(unwrap(stored, NEAREST), np.where(stored > 0, true, 0))  # 65536 is lost as 0


def test_a_described_wrap_is_undone_by_the_reader(tmp_path: Path):
    metres = np.linspace(5, 9, 48)[:, None] * np.ones((48, 64))
    root = write_folder(tmp_path / "set", {"train": [Sample("a", np.zeros((48, 64, 3), np.uint8))]}, FULL)
    (root / "train/depth").mkdir()
    cv2.imwrite(str(root / "train/depth/a.png"), wrapped(metres)[1])
    told = Description(depth=DepthFiles(scale=0.0001, wraps=True))
    np.testing.assert_allclose(FolderDataset(root, "train", told)[0].targets["depth"], metres, atol=1e-4)


@pytest.mark.skipif("MTL_NYUV2_ROOT" not in os.environ, reason="set MTL_NYUV2_ROOT to a folder that holds nyuv2/")
def test_real_rooms_are_given_back():
    """Every 13th test frame, depth of 8 bits: the hardest kind, for it moves in steps."""
    files = sorted((Path(os.environ["MTL_NYUV2_ROOT"]) / "nyuv2/test/depth").iterdir())[::13]
    lost = back = false = 0
    for path in files:
        true, stored = wrapped(read_values(path) / 1e3)
        got = unwrap(stored, NEAREST)
        lost += (true > 65535).sum()
        back += ((true > 65535) & (got == true)).sum()
        false += ((true <= 65535) & (got != true)).sum()
    assert lost > 100_000 and back > 0.97 * lost and false < 1e-5 * 480 * 640 * len(files)
