"""What is measured over a split."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mtl_vision.datasets.sample import Sample
from mtl_vision.engine.evaluate import evaluate
from mtl_vision.loading.loader import Loader
from mtl_vision.tasks import Task
from mtl_vision.tasks.depth import Depth
from mtl_vision.tasks.normals import Normals

H, W = 2, 4


class Constant(nn.Module):
    """Two metres everywhere, and walls that face us."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        B = len(image)
        normals = torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1).expand(B, 3, H, W)
        return {"depth": torch.full((B, 1, H, W), 2.0), "normals": normals}


@pytest.mark.parametrize("batch", [1, 2])
def test_loss_is_the_mean_over_valid_pixels(batch: int) -> None:
    """One pixel is 1 m off and eight are half a metre off: (1 * 1 + 8 * 0.5) / 9, in one batch or in two."""
    one, eight = np.zeros((H, W), np.float32), np.full((H, W), 2.5, np.float32)
    one[0, 0] = 3
    image, nothing = np.zeros((H, W, 3), np.uint8), np.zeros((H, W, 3), np.float32)
    samples = [Sample(str(k), image, {"depth": depth, "normals": nothing}) for k, depth in enumerate((one, eight))]
    tasks: dict[str, Task] = {"depth": Depth(), "normals": Normals()}
    found = evaluate(Constant(), tasks, Loader(samples, [*tasks], (H, W), batch), torch.device("cpu")).metrics  # type: ignore[arg-type]
    assert found["depth.loss"] == pytest.approx(5 / 9)
    assert found["depth.abs_err"] == pytest.approx(5 / 9)
    assert not any(key.startswith("normals") for key in found)  # no valid pixel: no figure


def test_each_sample_and_the_error_by_distance() -> None:
    """Three samples in batches of two: 1 m off at 3 m, half a metre at 2.5 m, and one without depth."""
    depths = [np.full((H, W), depth, np.float32) for depth in (3, 2.5, 0)]
    image, nothing = np.zeros((H, W, 3), np.uint8), np.zeros((H, W, 3), np.float32)
    wall = np.broadcast_to(np.array([0, 0, -1], np.float32), (H, W, 3)).copy()
    maps = zip(depths, (wall, nothing, wall), strict=True)
    samples = [Sample(str(k), image, {"depth": depth, "normals": n}) for k, (depth, n) in enumerate(maps)]
    tasks: dict[str, Task] = {"depth": Depth(), "normals": Normals()}
    found = evaluate(Constant(), tasks, Loader(samples, [*tasks], (H, W), 2), torch.device("cpu"))  # type: ignore[arg-type]
    nan = float("nan")
    torch.testing.assert_close(found.samples, torch.tensor([[1, 0], [0.5, nan], [nan, 0]]).double(), equal_nan=True)
    (by_distance,) = found.charts["depth"]
    values = dict(zip(by_distance.edges, by_distance.values["RMSE"], strict=False))
    assert values[3.0] == pytest.approx(1) and values[2.5] == pytest.approx(0.5) and values[2.0] is None
    assert by_distance.shares[5:7] == pytest.approx([50, 50])
    (angles,) = found.charts["normals"]
    assert angles.values["pixels"][0] == pytest.approx(100) and not any(angles.values["pixels"][1:])
