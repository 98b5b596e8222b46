"""What is trained on and what is measured, from plain arguments."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_testing import FULL, cut_short, planes, write_folder

from mtl_vision.datasets.description import DataError
from mtl_vision.datasets.splits import HOLDOUT, held_out, open_data, open_split


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "set", {"train": planes(12), "val": planes(2), "test": planes(3)})


def test_test_is_measured_else_val(root: Path):
    train, measured = open_data(root)
    assert (train.split, len(train), measured.split, len(measured)) == ("train", 12, "test", 3)
    (root / "test").rename(root / "gone")
    assert open_data(root)[1].split == "val"
    (root / "val").rename(root / "gone2")
    with pytest.raises(ValueError, match="neither test nor val to measure: .*holdout 1, eval_split holdout"):
        open_data(root)
    assert open_data(root, eval_split="train")[1].split == "train"


def test_a_part_is_held_out_of_the_training_split(root: Path):
    train, measured = open_data(root, holdout=5, eval_split=HOLDOUT)
    held = held_out([f"{i:04d}" for i in range(12)], 5)
    assert measured.stems == held and measured.split == HOLDOUT
    assert set(train.stems) == {f"{i:04d}" for i in range(12)} - set(held)
    assert open_split(root, "train", holdout=5).stems == train.stems
    assert open_split(root, HOLDOUT, holdout=5).stems == held
    assert len(open_split(root, "test", holdout=5)) == 3
    with pytest.raises(ValueError, match="holdout is 7: expected 1 to 6, half of the training samples"):
        open_data(root, holdout=7)


def test_samples_that_can_not_be_read_are_skipped_and_kept_in_mind(root: Path):
    cut_short(root / "train/depth/0003.png")
    train, measured = open_data(root, on_error="skip", holdout=2, eval_split=HOLDOUT)
    assert len(train) == 9 and len(measured) == 2 and train.left_out == 1
    assert "depth/0003.png" in train.faults["0003"] and "0003" not in (*train.stems, *measured.stems)
    assert open_data(root)[0].left_out == 0, "nothing is read before it is needed"
    with pytest.raises(ValueError, match="on_error is ignore: expected stop or skip"):
        open_data(root, on_error="ignore")  # type: ignore[arg-type]


def test_description_classes_and_derived_targets_are_handed_on(root: Path):
    (root / "dataset.yaml").rename(root.parent / "apart.yaml")
    for description in (FULL, root.parent / "apart.yaml", str(root.parent / "apart.yaml")):
        train, measured = open_data(root, description=description, derived=("edges",))
        assert train.target_names == measured.target_names == (*FULL.targets(), "edges")
    with pytest.raises(DataError, match="classes: labels of class set nyu13 can not be read as nyu40"):
        open_data(root, description=FULL, classes="nyu40")
