"""The published class maps, pinned, and the tables made of them."""

from __future__ import annotations

import numpy as np
import pytest

from mtl_vision.datasets.classes import class_set, facts, label_table, make_palette

# id of 894 -> id of 40 -> id of 13, all 1-based, with the names that the published lists give them
PINNED = [
    (21, 1, "wall", 12, "wall"),
    (11, 2, "floor", 5, "floor"),
    (3, 3, "cabinet", 6, "furniture"),
    (157, 4, "bed", 1, "bed"),
    (5, 5, "chair", 4, "chair"),
    (83, 6, "sofa", 9, "sofa"),
    (19, 7, "table", 10, "table"),
    (28, 8, "door", 12, "wall"),
    (59, 9, "window", 13, "window"),
    (88, 10, "bookshelf", 6, "furniture"),
    (36, 14, "desk", 10, "table"),
    (4, 22, "ceiling", 3, "ceiling"),
    (1, 40, "otherprop", 7, "objects"),  # book: one book is a prop
    (2, 40, "otherprop", 7, "objects"),  # bottle
]


@pytest.mark.parametrize(("id894", "id40", "name40", "id13", "name13"), PINNED)
def test_the_maps_of_well_known_classes(id894: int, id40: int, name40: str, id13: int, name13: str):
    assert facts()["id894_to_id40"][id894] == id40 and facts()["names40"][id40 - 1] == name40
    assert facts()["id40_to_id13"][id40] == id13 and facts()["names13"][id13 - 1] == name13


@pytest.mark.parametrize(
    ("name40", "name13"),
    [("books", "books"), ("television", "tv"), ("picture", "picture"), ("blinds", "window"), ("pillow", "objects"),
     ("counter", "furniture"), ("floor mat", "floor"), ("mirror", "objects"), ("otherstructure", "objects")],
)  # fmt: skip
def test_the_thirteen_classes_of_the_forty(name40: str, name13: str):
    index = facts()["names40"].index(name40) + 1
    assert facts()["names13"][facts()["id40_to_id13"][index] - 1] == name13


def test_the_facts_are_whole():
    known = facts()
    assert len(known["id894_to_id40"]) == 895 and set(known["id894_to_id40"]) == set(range(41))
    assert len(known["id40_to_id13"]) == 41 and set(known["id40_to_id13"]) == set(range(14))
    assert known["id894_to_id40"][0] == known["id40_to_id13"][0] == 0, "unlabelled stays unlabelled"
    test = known["test_indices"]
    assert len(set(test)) == 654 and min(test) == 1 and max(test) == 1449


def test_class_sets():
    assert class_set("nyu40").names[0] == "wall" and len(class_set("nyu40").palette) == 40
    assert class_set("nyu13").names == (
        "bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa", "table", "tv",
        "wall", "window",
    )  # fmt: skip
    with pytest.raises(ValueError, match="unknown class set 'nyu37': expected nyu13 or nyu40"):
        class_set("nyu37")


@pytest.mark.parametrize("count", [1, 13, 40, 255])
def test_colours_differ(count: int):
    palette = make_palette(count)
    assert len(set(palette)) == count and all(0 <= part <= 255 for colour in palette for part in colour)


def test_forty_from_one_as_forty_from_zero():
    table = label_table("nyu40", "nyu40", first=1, void=0)
    assert table[[0, 1, 40, 41, 255]].tolist() == [255, 0, 39, 255, 255]
    assert table.dtype == np.uint8 and table.shape == (65536,)


def test_forty_to_thirteen_by_hand():
    # wall, bed, ceiling, books, void
    assert label_table("nyu40", "nyu13", first=1, void=0)[[1, 4, 22, 23, 0]].tolist() == [11, 0, 2, 1, 255]
    assert label_table("nyu40", "nyu13", first=0, void=255)[[0, 3, 21, 22, 255]].tolist() == [11, 0, 2, 1, 255]


def test_894_to_forty_and_thirteen_by_hand():
    assert label_table("nyu894", "nyu40", first=1, void=0)[[0, 21, 157, 894, 895]].tolist() == [255, 0, 3, 39, 255]
    assert label_table("nyu894", "nyu13", first=1, void=0)[[0, 21, 157, 894]].tolist() == [255, 11, 0, 6]


def test_void_wins_over_a_class_and_may_be_none():
    assert label_table("nyu13", "nyu13", first=0, void=6)[[5, 6, 7]].tolist() == [5, 255, 7]
    assert label_table("nyu13", "nyu13", first=0, void=-1)[[0, 12, 13, 65535]].tolist() == [0, 12, 255, 255]


@pytest.mark.parametrize("stored", ["nyu13", "unheard"])
def test_a_coarse_set_has_lost_the_finer_one(stored: str):
    with pytest.raises(ValueError, match=f"labels of class set {stored} can not be read as nyu40"):
        label_table(stored, "nyu40", first=0, void=255)
