"""Losses and metrics worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mtl_vision.tasks import Depth, Normals, Segmentation
from mtl_vision.tasks.depth import berhu, l1, silog, squared
from mtl_vision.tasks.normals import angular, cosine


def depth(*values: float) -> Tensor:
    return torch.tensor(values).view(1, 1, 1, -1)


def vectors(*values: tuple[float, float, float]) -> Tensor:
    """(1, 3, 1, N)."""
    return torch.tensor(values).T.reshape(1, 3, 1, -1)


VALID = torch.tensor([[[True, True, False]]])


def test_depth_losses() -> None:
    """Errors 1 and -2 on the valid pixels; the third does not count."""
    p, t = torch.tensor([[[3.0, 2.0, 9.0]]]), torch.tensor([[[2.0, 4.0, 0.0]]])
    assert l1(p, t, VALID).item() == pytest.approx(1.5)
    assert squared(p, t, VALID).item() == pytest.approx(2.5)
    # g = (ln 1.5, ln 0.5): mean of squares less half the square of the mean
    a, b = math.log(1.5), math.log(0.5)
    assert silog(p, t, VALID).item() == pytest.approx((a * a + b * b) / 2 - 0.5 * ((a + b) / 2) ** 2, rel=1e-5)
    # c = 2 / 5 = 0.4; both errors are above it: (x^2 + c^2) / 2c = 1.45 and 5.2
    assert berhu(p, t, VALID).item() == pytest.approx((1.45 + 5.2) / 2, rel=1e-5)


def test_normals_losses() -> None:
    """Angles of 90 degrees and 0."""
    p, t = vectors((1, 0, 0), (0, 0, -1), (0, 1, 0)), vectors((0, 0, -1), (0, 0, -1), (0, 0, 0))
    assert cosine(p, t, VALID).item() == pytest.approx(0.5)
    assert angular(p, t, VALID).item() == pytest.approx(math.pi / 4, abs=1e-5)


def test_cross_entropy() -> None:
    """Two classes with logits (0, ln 3): p = (1/4, 3/4)."""
    logits = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1).expand(1, 2, 1, 3)
    target = torch.tensor([[[0, 1, 255]]], dtype=torch.uint8)
    a, b = math.log(4), math.log(4 / 3)
    assert Segmentation(["x", "y"]).loss(logits, target).item() == pytest.approx((a + b) / 2, rel=1e-5)
    # weights 1 and 3: (1 a + 3 b) / (1 + 3)
    weighted = Segmentation(["x", "y"], class_weights=[1, 3])
    assert weighted.loss(logits, target).item() == pytest.approx((a + 3 * b) / 4, rel=1e-5)
    # smoothing 0.2: each target keeps 0.8 and spreads 0.2 over both classes, so 0.9 and 0.1
    smoothed = Segmentation(["x", "y"], label_smoothing=0.2)
    assert smoothed.loss(logits, target).item() == pytest.approx((0.9 * a + 0.1 * b + 0.9 * b + 0.1 * a) / 2, rel=1e-5)
    assert Segmentation(["x", "y"]).initial_loss() == pytest.approx(math.log(2))


def test_depth_metrics() -> None:
    """Predictions 2, 3 and 1 against 1, 3 and 2; a fourth pixel has no truth."""
    metric = Depth().metrics()
    metric.update(depth(2, 3, 1, 7), depth(1, 3, 2, 0))
    got = metric.compute()
    assert got["depth.abs_err"] == pytest.approx(2 / 3)
    assert got["depth.abs_rel"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert got["depth.rmse"] == pytest.approx(math.sqrt(2 / 3))
    assert got["depth.log10"] == pytest.approx(2 * math.log10(2) / 3)
    assert [got[f"depth.delta{k}"] for k in (1, 2, 3)] == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert 1.25**3 < 2  # why the ratios of 2 never count


def test_normals_metrics() -> None:
    """Angles 0, 20 and 90 degrees."""
    c, s = math.cos(math.radians(20)), math.sin(math.radians(20))
    metric = Normals().metrics()
    metric.update(
        vectors((0, 0, -1), (s, 0, -c), (1, 0, 0), (1, 0, 0)), vectors((0, 0, -1), (0, 0, -1), (0, 0, -1), (0, 0, 0))
    )
    got = metric.compute()
    assert got["normals.mean"] == pytest.approx(110 / 3, abs=1e-4)
    assert got["normals.median"] == pytest.approx(20, abs=0.011)
    assert got["normals.rmse"] == pytest.approx(math.sqrt((400 + 8100) / 3), abs=1e-4)
    assert [got[f"normals.within_{limit}"] for limit in ("11.25", "22.5", "30")] == pytest.approx(
        [100 / 3, 200 / 3, 200 / 3]
    )


def test_segmentation_metrics() -> None:
    """Truth 0 0 1 1, prediction 0 1 1 1, classes 2 and 3 in neither: IoU 1/2 and 2/3."""
    metric = Segmentation(["a", "b", "c", "d"]).metrics()
    metric.update(torch.tensor([[[0, 1, 1, 1, 2]]]), torch.tensor([[[0, 0, 1, 1, 255]]], dtype=torch.uint8))
    got = metric.compute()
    assert got["segmentation.miou"] == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)
    assert got["segmentation.pixel_accuracy"] == 75
    assert got["segmentation.classes_counted"] == 2
    assert got["segmentation.iou.a"] == 50 and "segmentation.iou.c" not in got


def test_start_of_the_network() -> None:
    """Before training: depth of 2.5 m, a frontal wall."""
    assert Depth().activate(torch.tensor(Depth().initial_bias())).item() == pytest.approx(2.5)
    assert Normals().initial_bias() == [0, 0, -1]


@pytest.mark.parametrize("make", [lambda: Depth("l3"), lambda: Normals("l3")])
def test_unknown_loss(make) -> None:
    with pytest.raises(ValueError, match=r"unknown .* loss 'l3': expected"):
        make()


def test_wrong_number_of_class_weights() -> None:
    with pytest.raises(ValueError, match="3 class weights for 2 classes"):
        Segmentation(["a", "b"], class_weights=[1, 2, 3])
