"""What is kept of each kind of map, and the overview of them all."""

import io
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_model import CLASSES, OUTPUTS, PALETTE, manifest

from mtl_vision.runtime.contract import Output
from mtl_vision.runtime.kinds import INVALID, KINDS, colour_table
from mtl_vision.runtime.paint import LINE, MARGIN, bar, fitted, legend, text_width
from mtl_vision.runtime.render import KEY_WIDTH, PANEL, common_limits, draw

DEPTH, NORMALS, SEGMENTATION = OUTPUTS
SWATCH = (LINE - MARGIN) ** 2  # pixels


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
    ids, palette = np.zeros((480, 640), np.uint8), 850
    assert len(KINDS["label_map"].encode(ids, SEGMENTATION)) < 2500
    for i in range(40):
        cv2.circle(ids, (17 * i, 97 * i % 480), 20 + 2 * i, i % 7, -1)
    data = KINDS["label_map"].encode(ids, SEGMENTATION)
    assert len(data) - palette < 0.8 * len(zlib.compress(ids.tobytes(), 4))
    colours = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(colours, colour_table(SEGMENTATION.palette)[ids])


def test_the_png_of_depth_is_small_and_exact() -> None:
    """OpenCV's own choice makes it larger by 70 %."""
    y, x = np.mgrid[:480, :640]
    depth = (2 + np.sin(x / 90) + np.cos(y / 70) + 0.002 * x).astype(np.float32)
    data = KINDS["scalar_map"].encode(depth, DEPTH)
    stored = decoded(data)
    np.testing.assert_array_equal(stored, np.rint(depth * 1000).astype(np.uint16))
    assert len(data) < 0.8 * cv2.imencode(".png", stored)[1].nbytes


def areas(shown: np.ndarray) -> dict[tuple[int, ...], int]:
    """How many pixels have each colour."""
    colours, counts = np.unique(shown.reshape(-1, 3), axis=0, return_counts=True)
    return {tuple(c.tolist()): int(n) for c, n in zip(colours, counts, strict=True)}


def test_in_the_overview_no_value_is_apart_from_far_and_its_key_says_so() -> None:
    depth = np.full((48, 64), 9, np.float32)
    depth[:, :16], depth[:, 48:] = 0, 1
    image, none = np.zeros((480, 640, 3), np.uint8), tuple(INVALID.tolist())
    area, quarter = areas(draw(image, {"depth": depth}, manifest())), 420 * 560 / 4
    assert quarter + SWATCH <= area[none] < quarter * 1.1
    full = areas(draw(image, {"depth": np.where(depth > 0, depth, np.float32(1))}, manifest()))
    assert full.get(none, 0) < 99, "only edges of letters"
    normals = np.zeros((48, 64, 3), np.float32)
    normals[:, 16:] = (0, 0, -1)
    area = areas(draw(image, {"normals": normals}, manifest()))
    assert quarter + SWATCH <= area[none] < quarter * 1.1 and area[128, 128, 0] > 2.9 * quarter


def test_pictures_within_limits_can_be_compared_and_are_of_one_size() -> None:
    """The same depth has the same colour whatever else is in the picture, and keys of any length take as much room."""
    segmentation = Output("segmentation", "label_map", classes=[f"class of things {i}" for i in range(40)])
    says = manifest(outputs=[DEPTH, segmentation])
    near, far = np.full((2, 48, 64), 2, np.float32)
    far[:24] = 1
    image, ids = np.zeros((480, 640, 3), np.uint8), np.zeros((48, 64), np.uint8)
    many = np.resize(np.arange(40, dtype=np.uint8), (48, 64))
    many[0, 0] = 255

    def pair(limits: dict | None) -> list[np.ndarray]:
        return [
            draw(image, {"depth": near, "segmentation": ids}, says, limits=limits),
            draw(image, {"depth": far, "segmentation": many}, says, limits=limits),
        ]

    def low(shown: np.ndarray) -> list[int]:
        return shown[400, 560 + 300].tolist()  # in the lower half of the depth

    one, other = pair({"depth": (1.0, 5.0)})
    assert one.shape == other.shape and low(one) == low(other)
    assert low(one) == KINDS["scalar_map"].colour(near[:1, :1], limits=(1.0, 5.0))[0, 0].tolist()
    one, other = pair(None)
    assert one.shape != other.shape and low(one) != low(other)


def test_common_limits_are_those_given_or_the_models() -> None:
    edges = Output("edges", "probability_map", range=(0.0, 1.0))
    says = manifest(outputs=[Output("depth", "scalar_map", unit="m", range=(0.0, 10.0)), NORMALS, edges])
    assert common_limits(says) == {"depth": (0.0, 10.0)} and common_limits(says, (1.0, 4.0)) == {"depth": (1.0, 4.0)}
    with pytest.raises(ValueError, match="does not say in which range its depth lies"):
        common_limits(manifest())
    with pytest.raises(ValueError, match="expected a model with a map of numbers, such as depth, to colour; found n"):
        common_limits(manifest(outputs=[NORMALS]), (1.0, 4.0))


@pytest.mark.parametrize("width", [1, 40, 320])
def test_texts_are_cut_to_their_room(width: int) -> None:
    for text in ("", "wall", "a name that is longer than that " * 9, "\N{SNOWMAN}" * 99):
        assert text_width(fitted(text, width)) <= width or not fitted(text, width)
    strip = legend([("a heading", None), ("a name that is longer than that " * 9, INVALID), ("wall", INVALID)], width)
    assert strip.shape[1] == width and bar(np.zeros((1, width, 3), np.uint8), (0, 123.4), "m" * 99).shape[1] == width


def test_the_least_room_that_a_text_needs_is_enough() -> None:
    assert fitted("wall", text_width("wall")) == "wall" and fitted("wall", text_width("wall") - 1).endswith("..")
