"""The validation part: fixed, in stretches of neighbours, apart from the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_vision.datasets.splits import STRETCH, held_out


def stems(count: int) -> list[str]:
    return [f"{i:05d}" for i in range(count)]


def test_ninety_five_of_nyuv2s_training_frames() -> None:
    """19 stretches of 5 neighbours, one in each nineteenth of the frames: the first four begin at 0, 41, 83, 125."""
    held = held_out(stems(795), 95)
    assert len(set(held)) == 95
    assert [int(stem) for stem in held[:20:5]] == [0, 41, 83, 125]
    assert all(int(held[k + 4]) - int(held[k]) == 4 for k in range(0, 95, 5))


@given(st.integers(2, 500), st.data())
def test_the_count_is_kept_and_none_is_twice(total: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, total // 2))
    held = held_out(stems(total), count)
    assert len(held) == len(set(held)) == count
    assert held == sorted(held) == held_out(stems(total), count)
    assert count < STRETCH or int(held[STRETCH - 1]) == STRETCH - 1


@pytest.mark.parametrize("count", [-1, 0, 6])
def test_too_many_is_an_error(count: int) -> None:
    with pytest.raises(ValueError, match="holdout is .*: expected 1 to 5, half of the training samples"):
        held_out(stems(10), count)
