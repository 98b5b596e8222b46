"""Each kind of map behaves as the conventions promise."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_vision.runtime.contract import Output
from mtl_vision.runtime.kinds import IGNORE, INVALID, KINDS, normalise, resize_pixels

SCALAR, VECTOR, LABEL, SHARE = (KINDS[k] for k in ("scalar_map", "unit_vector_map", "label_map", "probability_map"))
QUARTER = np.array([[0, -1, 2], [1, 0, 0]], np.float32)  # turns a 3 x 3 map clockwise: x' = 2 - y, y' = x
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def example(kind: str, size: tuple[int, int] = (6, 8), seed: int = 0) -> np.ndarray:
    """A random map, a fifth of it invalid."""
    rng = np.random.default_rng(seed)
    invalid = rng.random(size) < 0.2
    if kind == "scalar_map":
        return np.where(invalid, 0, rng.uniform(1, 9, size)).astype(np.float32)
    if kind == "unit_vector_map":
        return normalise(np.where(invalid[..., None], 0, rng.normal(size=(*size, 3))).astype(np.float32))
    if kind == "probability_map":
        return np.where(invalid, -1, rng.choice([0, 1, 0.25], size)).astype(np.float32)
    return np.where(invalid, IGNORE, rng.integers(0, 13, size)).astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_flip_twice_and_rotate_by_nothing_change_nothing(kind: str) -> None:
    array = example(kind)
    np.testing.assert_array_equal(KINDS[kind].flip(KINDS[kind].flip(array)), array)
    still = KINDS[kind].rotate(array, np.eye(2, 3, dtype=np.float32), 0.0)
    np.testing.assert_allclose(still, array, atol=1e-6)
    assert still.dtype == array.dtype


def test_flip_mirrors_and_turns_vectors() -> None:
    left = np.zeros((1, 2, 3), np.float32)
    left[0, 0] = (0.6, 0, -0.8)
    np.testing.assert_allclose(VECTOR.flip(left)[0], [(0, 0, 0), (-0.6, 0, -0.8)])
    np.testing.assert_array_equal(SCALAR.flip(np.array([[1, 2]], np.float32)), [[2, 1]])
    np.testing.assert_array_equal(LABEL.flip(np.array([[1, IGNORE]], np.uint8)), [[IGNORE, 1]])


def test_a_quarter_turn_by_hand() -> None:
    numbers = np.arange(1, 10).reshape(3, 3)
    turned = np.array([[7, 4, 1], [8, 5, 2], [9, 6, 3]])
    angle = np.pi / 2
    np.testing.assert_allclose(SCALAR.rotate(numbers.astype(np.float32), QUARTER, angle), turned, atol=1e-5)
    np.testing.assert_array_equal(LABEL.rotate(numbers.astype(np.uint8), QUARTER, angle), turned)
    # What points left in the image points up after a clockwise quarter turn
    left = np.tile(np.array([-0.6, 0, -0.8], np.float32), (3, 3, 1))
    up = np.tile(np.array([0, -0.6, -0.8], np.float32), (3, 3, 1))
    np.testing.assert_allclose(VECTOR.rotate(left, QUARTER, angle), up, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_rotation_uncovers_is_invalid(kind: str) -> None:
    moved = KINDS[kind].rotate(example(kind), np.array([[1, 0, 4], [0, 1, 0]], np.float32), 0.0)
    assert not KINDS[kind].valid(moved)[:, :4].any()


@given(size=SIZES, seed=st.integers(0, 99))
def test_resizing_never_mixes_invalid_values_in(size: tuple[int, int], seed: int) -> None:
    depth = SCALAR.resize(np.where(example("scalar_map", seed=seed) > 0, np.float32(3), np.float32(0)), size)
    assert depth.shape == size and depth.dtype == np.float32
    assert np.all((depth == 0) | (np.abs(depth - 3) < 1e-5))
    length = np.linalg.norm(VECTOR.resize(example("unit_vector_map", seed=seed), size), axis=-1)
    assert np.all((length == 0) | (np.abs(length - 1) < 1e-5))
    labels = example("label_map", seed=seed)
    assert set(np.unique(LABEL.resize(labels, size))) <= set(np.unique(labels))


@given(size=SIZES, label=st.integers(0, 255))
def test_constants_stay(size: tuple[int, int], label: int) -> None:
    np.testing.assert_array_equal(LABEL.resize(np.full((7, 9), label, np.uint8), size), label)
    np.testing.assert_allclose(SCALAR.resize(np.full((7, 9), 2.5, np.float32), size), 2.5, rtol=1e-6)
    vectors = np.tile(np.array([0.6, 0, -0.8], np.float32), (7, 9, 1))
    resized = VECTOR.resize(vectors, size)
    np.testing.assert_allclose(resized, np.broadcast_to(vectors[0, 0], (*size, 3)), atol=1e-6)


def test_a_pixel_less_than_half_valid_is_invalid() -> None:
    three_of_four, one_of_four = np.array([[2, 4], [6, 0]]), np.array([[2, 0], [0, 0]])
    array = np.hstack([three_of_four, one_of_four]).astype(np.float32)
    np.testing.assert_allclose(SCALAR.resize(array, (1, 2)), [[4, 0]])


def test_labels_grow_by_the_linear_vote() -> None:
    """As the arg-max of the resized one-hot map, ties to the smaller id."""
    array = example("label_map", (5, 6))
    ids = np.unique(array)
    votes = np.stack([resize_pixels((array == i).astype(np.float32), (17, 23)) for i in ids])
    np.testing.assert_array_equal(LABEL.resize(array, (17, 23)), ids[votes.argmax(0)])


def test_compare_by_hand() -> None:
    ones = np.ones((1, 2), np.float32)
    found = SCALAR.compare(ones, np.array([[1.5, 1]], np.float32))
    assert found == {"max_difference": 0.5, "mean_difference": 0.25}
    x, y, small = (1, 0, 0), (0, 1, 0), (1, 1e-4, 0)
    found = VECTOR.compare(np.array([[x, x]], np.float32), np.array([[y, x]], np.float32))
    assert found["max_degrees"] == pytest.approx(90) and found["mean_degrees"] == pytest.approx(45)
    found = VECTOR.compare(np.array([[x]], np.float32), np.array([[small]], np.float32))
    assert found["max_degrees"] == pytest.approx(np.degrees(1e-4), rel=1e-3)
    assert LABEL.compare(np.array([[1, 2, 3, 4]]), np.array([[1, 2, 3, 5]])) == {"share_different": 0.25}


def test_colours() -> None:
    none = INVALID.tolist()
    vectors = np.array([[(0, 0, -1), (1, 0, 0), (0, 0, 0)]], np.float32)
    assert VECTOR.colour(vectors)[0].tolist() == [[128, 128, 0], [255, 128, 128], none]
    assert LABEL.colour(np.array([[1, IGNORE]], np.uint8), palette=[(1, 2, 3), (4, 5, 6)])[0].tolist() == [
        [4, 5, 6],
        none,
    ]
    near, far, hole = SCALAR.colour(np.array([[1, 9, 0]], np.float32))[0].astype(int)
    assert near.sum() > far.sum() and hole.tolist() == none
    assert (SCALAR.colour(np.zeros((2, 2), np.float32)) == INVALID).all()


@given(depth=st.floats(0.1, 9), direction=st.tuples(*[st.floats(-1, 1)] * 3), share=st.floats(0, 1))
def test_no_value_has_the_colour_of_none(depth: float, direction: tuple[float, ...], share: float) -> None:
    vector = normalise(np.array([[direction]], np.float32))
    found = [
        SCALAR.colour(np.array([[depth]], np.float32), limits=(0.5, 5)),
        SHARE.colour(np.array([[share]], np.float32)),
        *([VECTOR.colour(vector)] if VECTOR.valid(vector).all() else []),
    ]
    for shown in found:
        assert np.abs(shown.astype(int) - INVALID).max() >= 40


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_map_is_the_same_map(kind: str) -> None:
    array = example(kind)
    packed = KINDS[kind].pack(array)
    assert packed.dtype == KINDS[kind].packed and array.dtype == KINDS[kind].dtype
    back = KINDS[kind].unpack(packed)
    assert back.dtype == array.dtype and KINDS[kind].unpack(array) is array
    np.testing.assert_allclose(back, array, atol=2e-5 if packed.dtype == np.int16 else 0)
    np.testing.assert_array_equal(KINDS[kind].valid(packed), KINDS[kind].valid(array))


def test_packed_probabilities_move_as_they_do() -> None:
    array = example("probability_map", (12, 16))
    moves = (
        lambda m: SHARE.resize(m, (5, 7)),
        lambda m: SHARE.zoom(m, (20, 30)),
        SHARE.flip,
        lambda m: SHARE.rotate(m, np.array([[1, 0.1, 1], [-0.1, 1, 2]], np.float32), 0.1),
    )
    for move in moves:
        found = SHARE.unpack(move(SHARE.pack(array)))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, move(array), atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_tensor_layout_and_back(kind: str) -> None:
    maps = np.stack([example(kind, seed=seed) for seed in range(2)])
    there = KINDS[kind].to_tensor_layout(maps)
    channels = {"unit_vector_map": (3,), "label_map": ()}.get(kind, (1,))
    assert there.shape == (2, *channels, 6, 8) and np.shares_memory(there, maps)
    np.testing.assert_array_equal(KINDS[kind].from_tensor_layout(there[1]), maps[1])


def test_zero_is_a_probability() -> None:
    array = np.array([[0, 1, -1, 0.5]], np.float32)
    assert SHARE.valid(array).tolist() == [[True, True, False, True]]
    assert SHARE.unpack(SHARE.pack(array))[0, :3].tolist() == [0, 1, -1]
    # a mean over valid pixels: (0 + 1) / 2; the right half is half valid, and then only 0.5 counts
    assert SHARE.resize(array, (1, 2)).tolist() == [[0.5, 0.5]]
    assert SHARE.resize(np.array([[0, 0, -1, -1]], np.float32), (1, 2)).tolist() == [[0, -1]]
    assert SHARE.compare(array[:, :2], array[:, 1::-1]) == {"max_difference": 1, "mean_difference": 1}


def test_probabilities_are_kept_as_grey_and_drawn_on_a_ramp() -> None:
    output = Output("edges", "probability_map")
    data = SHARE.encode(np.array([[0, 1, -1, 0.5, np.nan, 2]], np.float32), output)
    grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert grey is not None and grey.dtype == np.uint8 and grey.tolist() == [[0, 255, 0, 128, 0, 255]]
    array = np.array([[0, 1, -1, 0.5]], np.float32)
    white, blue, none, between = SHARE.colour(array)[0].tolist()
    assert white == [255] * 3 and blue == [0, 70, 190] and none == INVALID.tolist() and between == [128, 162, 222]
    drawn, key = SHARE.draw(array, output, (1, 4), 320)
    assert drawn.tolist() == [[white, blue, none, between]]
    assert key.shape[1] == 320 and {tuple(key[20, 0]), tuple(key[20, -1])} == {(255,) * 3, (0, 70, 190)}


def test_ids_from_logits_by_hand() -> None:
    two, one = Output("label", "label_map", classes=["no", "yes"]), Output("label", "label_map", classes=["all"])
    logits = np.array([[[[-1.0, 0.0, 2.0]]]], np.float32)  # one channel
    for output in (two, Output("label", "label_map")):
        assert LABEL.from_graph(logits, output).tolist() == [[[0, 0, 1]]]
    assert LABEL.from_graph(logits, one).tolist() == [[[0, 0, 0]]]
    assert LABEL.from_graph(np.concatenate([0 * logits, logits], axis=1), two).tolist() == [[[0, 0, 1]]]
    ids = np.array([[[3, 255]]], np.uint8)
    assert LABEL.from_graph(ids, two) is ids


def test_tolerances() -> None:
    assert {name: kind.tolerance for name, kind in KINDS.items()} == {
        "scalar_map": ("max_difference", 0.01),
        "unit_vector_map": ("max_degrees", 0.5),
        "label_map": ("share_different", 0.001),
        "probability_map": ("max_difference", 0.01),
    }
