"""What is kept of each kind of map, and the overview of them all."""

import io
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_model import CLASSES, OUTPUTS, PALETTE, manifest

from mtl_vision.runtime.contract import Output
from mtl_vision.runtime.kinds import KINDS, colour_table
from mtl_vision.runtime.render import KEY_WIDTH, PANEL, draw

DEPTH, NORMALS, SEGMENTATION = OUTPUTS


def decoded(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_scalars_are_kept_in_thousandths() -> None:
    array = np.array([[0, 0.0006, 1.2344, 65.535, 70], [np.nan, np.inf, -1, -np.inf, 2]], np.float32)
    found = decoded(KINDS["scalar_map"].encode(array, DEPTH))
    assert found.dtype == np.uint16
    assert found.tolist() == [[0, 1, 1234, 65535, 65535], [0, 65535, 0, 0, 2000]]


def test_vectors_are_kept_as_colours() -> None:
    array = np.array([[(0, 0, -1), (1, 0, 0), (0, 0, 0)]], np.float32)
    rgb = decoded(KINDS["unit_vector_map"].encode(array, NORMALS))[..., ::-1]
    assert rgb[0].tolist() == [[128, 128, 0], [255, 128, 128], [0, 0, 0]]


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (480, 640)])
def test_labels_are_kept_as_ids_with_a_palette(size: tuple[int, int]) -> None:
    ids = np.random.default_rng(0).choice(np.array([0, 1, 12, 255], np.uint8), size)
    image = Image.open(io.BytesIO(KINDS["label_map"].encode(ids, SEGMENTATION)))
    image.load()
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), ids)
    palette = np.array(image.getpalette()).reshape(-1, 3)
    assert [tuple(c) for c in palette[:2]] == PALETTE and not palette[255].any()
    np.testing.assert_array_equal(
        decoded(KINDS["label_map"].encode(ids, SEGMENTATION))[..., ::-1], colour_table(PALETTE)[ids]
    )


def test_made_up_colours_differ() -> None:
    table = colour_table([])[:40].astype(int)
    distance = np.abs(table[:, None] - table[None]).sum(-1) + 999 * np.eye(40, dtype=int)
    assert distance.min() >= 20


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (20, 30), (1, 1), (60, 4000), (2000, 3), (3000, 4000)])
def test_overviews_of_any_shape(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    maps = {
        "depth": np.linspace(0, 5, 48 * 64, dtype=np.float32).reshape(48, 64),
        "normals": np.tile(np.array([0, 0, -1], np.float32), (48, 64, 1)),
        "segmentation": np.eye(48, 64, dtype=np.uint8),
    }
    shown = draw(image, maps, manifest())
    assert shown.dtype == np.uint8 and shown.ndim == 3 and shown.shape[2] == 3
    assert KEY_WIDTH <= shown.shape[1] <= 4 * (PANEL[1] + 20) and shown.shape[0] <= 4 * PANEL[1]


def test_the_overview_shows_image_maps_and_keys() -> None:
    image = np.full((480, 640, 3), (9, 99, 199), np.uint8)
    ids = np.zeros((48, 64), np.uint8)
    ids[:, 32:] = 1
    shown = draw(image, {"segmentation": ids}, manifest())
    colours, counts = np.unique(shown.reshape(-1, 3), axis=0, return_counts=True)
    area = {tuple(c.tolist()): n for c, n in zip(colours, counts, strict=True)}
    panel = 420 * 560
    assert area[9, 99, 199] == panel
    for colour in PALETTE:  # half the panel and a swatch in the key
        assert panel / 2 < area[colour] < panel / 2 + 1000


def test_overviews_without_a_valid_pixel_or_a_known_class() -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    maps = {"depth": np.zeros((48, 64), np.float32), "segmentation": np.full((48, 64), 200, np.uint8)}
    assert draw(image, maps, manifest()).shape[2] == 3
    maps["depth"][:] = np.nan
    assert draw(image, maps, manifest()).shape[2] == 3
    assert len(CLASSES) == 2


def test_many_outputs_make_a_grid() -> None:
    outputs = [Output(f"map{i}", "scalar_map") for i in range(7)]
    maps = {o.name: np.ones((48, 64), np.float32) for o in outputs}
    shown = draw(np.zeros((480, 640, 3), np.uint8), maps, manifest(outputs=outputs))
    assert 1 < shown.shape[1] / shown.shape[0] < 4


def test_the_palette_png_is_small() -> None:
    ids = np.zeros((480, 640), np.uint8)
    assert len(KINDS["label_map"].encode(ids, SEGMENTATION)) < 1000 + len(zlib.compress(ids.tobytes()))
