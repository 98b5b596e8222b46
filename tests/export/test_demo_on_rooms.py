"""What the small network of the package sees in rendered rooms that it was not trained on."""

import numpy as np
import pytest

from mtl_vision.runtime import Model
from mtl_vision.synthetic import render_room


@pytest.mark.parametrize("seed", [5, 31])
def test_depth_normals_and_classes_are_about_right(seed: int) -> None:
    room = render_room(seed, (240, 320))
    maps = Model("demo", threads=1).predict(room.image)
    depth, normals = room.targets["depth"], room.targets["normals"]
    assert np.mean(np.abs(maps["depth"] - depth) / depth) < 0.25
    cosine = np.clip((maps["normals"] * normals).sum(-1), -1, 1)
    assert np.degrees(np.arccos(cosine)).mean() < 28
    assert (maps["segmentation"] == room.targets["segmentation"]).mean() > 0.6
