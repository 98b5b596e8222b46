"""Letterboxing there and back."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tiny_model import manifest

from mtl_vision.runtime.kinds import KINDS, resize_pixels
from mtl_vision.runtime.predictor import Prepared, input_size, letterbox

FILL = (1, 2, 3)
SIDES = st.integers(1, 300)


@given(h=SIDES, w=SIDES, height=SIDES, width=SIDES)
@example(h=1, w=3, height=3, width=5)  # rounding first would stretch it by more than a pixel
def test_the_image_fits_its_canvas_and_keeps_its_shape(h: int, w: int, height: int, width: int) -> None:
    canvas, (top, left, box_h, box_w) = letterbox(np.full((h, w, 3), 200, np.uint8), (height, width), FILL)
    assert canvas.shape == (height, width, 3) and canvas.dtype == np.uint8
    assert top >= 0 and left >= 0 and top + box_h <= height and left + box_w <= width
    assert box_h == height or box_w == width
    inside = np.zeros((height, width), bool)
    inside[top : top + box_h, left : left + box_w] = True
    assert (canvas[inside] == 200).all() and (canvas[~inside] == FILL).all()
    assert abs(top - (height - box_h - top)) <= 1 and abs(left - (width - box_w - left)) <= 1
    scale = min(height / h, width / w)
    assert abs(box_h - max(1, h * scale)) <= 1 and abs(box_w - max(1, w * scale)) <= 1


@pytest.mark.parametrize("size", [(480, 640), (240, 320), (30, 40), (481, 640), (288, 384)])
def test_an_agreeing_shape_is_resized_bit_for_bit(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    canvas, box = letterbox(image, (288, 384), FILL)
    assert box == (0, 0, 288, 384)
    np.testing.assert_array_equal(canvas, resize_pixels(image, (288, 384)))


@given(h=SIDES, w=SIDES)
def test_maps_of_constants_come_back_constant(h: int, w: int) -> None:
    image = np.zeros((h, w, 3), np.uint8)
    canvas, box = letterbox(image, (48, 64), FILL)
    prepared = Prepared((h, w), canvas, box)
    top, left, height, width = box
    inside = np.zeros((48, 64), bool)
    inside[top : top + height, left : left + width] = True
    depth = prepared.at_image_size(np.where(inside, np.float32(2), np.float32(9)), KINDS["scalar_map"])
    np.testing.assert_allclose(depth, np.full((h, w), 2), rtol=1e-6)
    labels = prepared.at_image_size(np.where(inside, 3, 7).astype(np.uint8), KINDS["label_map"])
    np.testing.assert_array_equal(labels, np.full((h, w), 3))


@given(h=st.integers(1, 5000), w=st.integers(1, 5000))
def test_dynamic_sizes(h: int, w: int) -> None:
    model = manifest(height=288, width=384, stride=32, dynamic_size=True)
    height, width = input_size(model, (h, w))
    assert height % 32 == width % 32 == 0 and height >= 32 and width >= 32
    assert height * width <= 1.5 * 288 * 384
    if 0.5 <= h / w <= 2:
        assert height * width >= 0.75 * 288 * 384
        assert height / width == pytest.approx(h / w, rel=0.2)


def test_sizes_by_hand() -> None:
    dynamic = manifest(height=288, width=384, stride=32, dynamic_size=True)
    assert input_size(dynamic, (480, 640)) == (288, 384)
    assert input_size(dynamic, (640, 480)) == (384, 288)
    assert input_size(dynamic, (1, 100_000)) == (32, 3456)
    assert input_size(manifest(), (999, 3)) == (48, 64)
