"""The samples of a report: which ones, and their pictures."""

from __future__ import annotations

import base64
import json

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mtl_vision.datasets.sample import Sample
from mtl_vision.engine.gallery import SIDE, error_colours, gallery, pick
from mtl_vision.loading.loader import Loader
from mtl_vision.runtime.kinds import INVALID, KINDS
from mtl_vision.tasks import Task
from mtl_vision.tasks.depth import Depth
from mtl_vision.tasks.edges import Edges
from mtl_vision.tasks.normals import Normals
from mtl_vision.tasks.segmentation import Segmentation

nan = float("nan")


def test_worst_of_each_task_by_turns_then_others_from_all_over() -> None:
    error, score = [0.0, 5, 1, 4, nan, 2, 3, 0, 0, 0], [90.0, 80, 10, 70, 60, 50, 20, 95, 95, nan]
    samples = torch.tensor([error, score]).double().T
    assert pick(samples, [False, True], count=6, worst=2) == [1, 2, 3, 6, 0, 9]
    assert pick(samples, [False, True], count=99, worst=2)[:4] == [1, 2, 3, 6]
    assert sorted(pick(samples, [False, True], count=99, worst=2)) == list(range(10))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_of_few_samples_all(count: int) -> None:
    assert sorted(pick(torch.full((count, 3), nan).double(), [False] * 3)) == list(range(count))


def test_errors_of_each_kind() -> None:
    depth = KINDS["scalar_map"].errors(np.array([[2, 0]], np.float32), np.array([[1.5, 3]], np.float32))
    np.testing.assert_array_equal(depth, [[0.5, nan]])
    wall, left, none = (0, 0, -1), (-1, 0, 0), (0, 0, 0)
    vectors = KINDS["unit_vector_map"].errors(
        np.array([[wall, none]], np.float32), np.array([[left, left]], np.float32)
    )
    np.testing.assert_allclose(vectors, [[90, nan]], atol=1e-4)
    labels = KINDS["label_map"].errors(np.array([[1, 1, 255]], np.uint8), np.array([[1, 2, 2]], np.uint8))
    np.testing.assert_array_equal(labels, [[0, 1, nan]])
    colours = error_colours(np.array([[0, 1, 9, nan]], np.float32), 1.0).astype(int)
    assert (colours[0, 1] == colours[0, 2]).all() and (colours[0, 3] == INVALID).all()
    assert colours[0, 1].sum() > 2 * colours[0, 0].sum(), "the larger the error, the brighter"


class Constant(nn.Module):
    """The same everywhere, whatever the image."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        B, _, H, W = image.shape
        ones = torch.ones(B, 1, H, W)
        normals = torch.tensor([0.0, 0, -1])[None, :, None, None].expand(B, 3, H, W)
        return {"depth": ones, "normals": normals, "segmentation": torch.cat([ones, 0 * ones], 1), "edges": ones / 2}


def test_pictures_of_all_tasks_with_some_missing() -> None:
    H, W = 300, 800
    chosen = (Depth(), Normals(), Segmentation(["a", "</script>"]), Edges())
    tasks: dict[str, Task] = {task.name: task for task in chosen}
    depth = np.full((H, W), 2, np.float32)
    full = Sample("full", np.full((H, W, 3), 9, np.uint8), {
        "depth": depth, "normals": np.tile(np.array([0, 0, -1], np.float32), (H, W, 1)),
        "segmentation": np.ones((H, W), np.uint8), "edges": np.zeros((H, W), np.float32),
    })  # fmt: skip
    lacking = Sample("lacking", full.image, {"depth": depth * 0})
    loader = Loader([full, lacking], [*tasks], (H, W), 2)
    samples = torch.tensor([[1.0, 2, 3, nan], [nan] * 4]).double()
    found = gallery(Constant(), tasks, loader, samples, torch.device("cpu"))  # type: ignore[arg-type]
    assert json.loads(json.dumps(found)) == found, "plain data"
    first, second = found["samples"]
    assert (first["name"], second["name"]) == ("full", "lacking") and first["metrics"]["edges"] is None
    assert all(second["maps"][name]["truth"] is None for name in tasks) and second["maps"]["depth"]["prediction"]
    for maps in first["maps"].values():
        for key in ("truth", "prediction", "error"):
            image = cv2.imdecode(np.frombuffer(base64.b64decode(maps[key]), np.uint8), cv2.IMREAD_COLOR)
            assert image is not None and image.shape[:2] == (144, SIDE)
    assert found["outputs"]["depth"]["error_limit"] == 1.0 and found["outputs"]["normals"]["error_unit"] == "deg"
    assert first["maps"]["segmentation"]["ids"] == [0, 1] and len(found["outputs"]["segmentation"]["palette"]) == 2
