"""Losses and metrics worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor

from mtl_vision.tasks import Depth, Edges, Normals, Segmentation, Task, figures
from mtl_vision.tasks.depth import L1, BerHu, SiLog, Squared
from mtl_vision.tasks.edges import WeightedCrossEntropy, dilate
from mtl_vision.tasks.normals import Angular, Cosine
from mtl_vision.tasks.segmentation import CrossEntropy


def depth(*values: float) -> Tensor:
    return torch.tensor(values).view(1, 1, 1, -1)


def vectors(*values: tuple[float, float, float]) -> Tensor:
    """(1, 3, 1, N)."""
    return torch.tensor(values).T.reshape(1, 3, 1, -1)


VALID = torch.tensor([[[True, True, False]]])


def test_depth_losses() -> None:
    """Errors 1 and -2 on the valid pixels; the third does not count."""
    p, t = torch.tensor([[[3.0, 2.0, 9.0]]]), torch.tensor([[[2.0, 4.0, 0.0]]])
    assert L1()(p, t, VALID).item() == pytest.approx(1.5)
    assert Squared()(p, t, VALID).item() == pytest.approx(2.5)
    # g = (ln 1.5, ln 0.5): mean of squares less half the square of the mean
    a, b = math.log(1.5), math.log(0.5)
    assert SiLog()(p, t, VALID).item() == pytest.approx((a * a + b * b) / 2 - 0.5 * ((a + b) / 2) ** 2, rel=1e-5)
    # c = 2 / 5 = 0.4; both errors are above it: (x^2 + c^2) / 2c = 1.45 and 5.2
    assert BerHu()(p, t, VALID).item() == pytest.approx((1.45 + 5.2) / 2, rel=1e-5)


def test_normals_losses() -> None:
    """Angles of 90 degrees and 0."""
    p, t = vectors((1, 0, 0), (0, 0, -1), (0, 1, 0)), vectors((0, 0, -1), (0, 0, -1), (0, 0, 0))
    assert Cosine()(p, t, VALID).item() == pytest.approx(0.5)
    assert Angular()(p, t, VALID).item() == pytest.approx(math.pi / 4, abs=1e-5)


def test_cross_entropy() -> None:
    """Two classes with logits (0, ln 3): p = (1/4, 3/4)."""
    logits = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1).expand(1, 2, 1, 3)
    target = torch.tensor([[[0, 1, 255]]], dtype=torch.uint8)
    a, b = math.log(4), math.log(4 / 3)
    assert Segmentation(["x", "y"]).loss(logits, target).item() == pytest.approx((a + b) / 2, rel=1e-5)
    # weights 1 and 3: (1 a + 3 b) / (1 + 3)
    weighted = Segmentation(["x", "y"], loss=CrossEntropy(class_weights=[1, 3]))
    assert weighted.loss(logits, target).item() == pytest.approx((a + 3 * b) / 4, rel=1e-5)
    # smoothing 0.2: each target keeps 0.8 and spreads 0.2 over both classes, so 0.9 and 0.1
    smoothed = Segmentation(["x", "y"], loss=CrossEntropy(label_smoothing=0.2))
    assert smoothed.loss(logits, target).item() == pytest.approx((0.9 * a + 0.1 * b + 0.9 * b + 0.1 * a) / 2, rel=1e-5)
    assert Segmentation(["x", "y"]).uninformed_loss() == pytest.approx(math.log(2))


def test_depth_metrics() -> None:
    """Predictions 2, 3 and 1 against 1, 3 and 2; a fourth pixel has no truth."""
    metric = Depth().metrics()
    metric.update(depth(2, 3, 1, 7), depth(1, 3, 2, 0))
    got = metric.compute()
    assert got["abs_err"] == pytest.approx(2 / 3)
    assert got["abs_rel"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert got["rmse"] == pytest.approx(math.sqrt(2 / 3))
    assert got["log10"] == pytest.approx(2 * math.log10(2) / 3)
    assert [got[f"delta{k}"] for k in (1, 2, 3)] == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert 1.25**3 < 2  # why the ratios of 2 never count


def test_normals_metrics() -> None:
    """Angles 0, 20 and 90 degrees."""
    c, s = math.cos(math.radians(20)), math.sin(math.radians(20))
    metric = Normals().metrics()
    metric.update(
        vectors((0, 0, -1), (s, 0, -c), (1, 0, 0), (1, 0, 0)), vectors((0, 0, -1), (0, 0, -1), (0, 0, -1), (0, 0, 0))
    )
    got = metric.compute()
    assert got["mean"] == pytest.approx(110 / 3, abs=1e-4)
    assert got["median"] == pytest.approx(20, abs=0.011)
    assert got["rmse"] == pytest.approx(math.sqrt((400 + 8100) / 3), abs=1e-4)
    assert [got[f"within_{limit}"] for limit in ("11.25", "22.5", "30")] == pytest.approx([100 / 3, 200 / 3, 200 / 3])


def test_segmentation_metrics() -> None:
    """Truth 0 0 1 1, prediction 0 1 1 1, classes 2 and 3 in neither: IoU 1/2 and 2/3."""
    metric = Segmentation(["a", "b", "c", "d"]).metrics()
    metric.update(torch.tensor([[[0, 1, 1, 1, 2]]]), torch.tensor([[[0, 0, 1, 1, 255]]], dtype=torch.uint8))
    got = metric.compute()
    assert got["miou"] == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)
    assert got["pixel_accuracy"] == 75
    assert got["classes_counted"] == 2
    assert got["iou.a"] == 50 and "iou.c" not in got


def test_start_of_the_network() -> None:
    """Before training: depth of 2.5 m, a frontal wall."""
    assert Depth().activate(torch.tensor(Depth().initial_bias())).item() == pytest.approx(2.5)
    assert Normals().initial_bias() == [0, 0, -1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Depth(max_depth=0.05), r"max_depth is 0.05: expected 0.1 to 1000"),
        (lambda: SiLog(1.5), "variance_share is 1.5: expected 0 to 1"),
        (lambda: BerHu(0), "share is 0: expected 0.001 to 1"),
        (lambda: CrossEntropy(label_smoothing=1), "label_smoothing is 1: expected 0 to 0.99"),
        (lambda: CrossEntropy(class_weights=[1, 0]), r"class_weights\[1\] is 0: expected 1e-06 to 1000000"),
        (lambda: Segmentation(["a"], loss=CrossEntropy(class_weights=[1, 2])), "2 class_weights for 1 classes"),
        (lambda: WeightedCrossEntropy(0), "positive_weight is 0: expected 1e-06 to 1000000"),
    ],
)
def test_settings_out_of_range(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_settings_of_depth_losses() -> None:
    """Errors 1 and -2: SiLog(1) is the variance of g; BerHu(0.5) has c = 1, so 1 and (4 + 1) / 2."""
    p, t = torch.tensor([[[3.0, 2.0, 9.0]]]), torch.tensor([[[2.0, 4.0, 0.0]]])
    a, b = math.log(1.5), math.log(0.5)
    assert SiLog(1)(p, t, VALID).item() == pytest.approx(((a - b) / 2) ** 2, rel=1e-5)
    assert BerHu(0.5)(p, t, VALID).item() == pytest.approx((1 + 2.5) / 2, rel=1e-5)


def test_edges_loss() -> None:
    """p = 1/2 on an edge and 1/4, 1/4, 1/2 beside it; a fifth pixel does not count."""
    p, t = torch.tensor([[[0.5, 0.25, 0.25, 0.5, 0.9]]]), torch.tensor([[[1.0, 0, 0, 0, -1]]])
    valid = t >= 0
    edge, other = math.log(2), (2 * math.log(4 / 3) + math.log(2)) / 3
    assert WeightedCrossEntropy()(p, t, valid).item() == pytest.approx((edge + other) / 2, rel=1e-5)
    # weight 6 against three others: (6 edge + 3 other) / 9
    assert WeightedCrossEntropy(6)(p, t, valid).item() == pytest.approx((2 * edge + other) / 3, rel=1e-5)
    # without any edge the others' mean is left
    none = WeightedCrossEntropy()(p, t.clamp(max=0), valid)
    assert none.item() == pytest.approx((2 * edge + 2 * math.log(4 / 3)) / 4)


def test_edges_begin_where_the_loss_is_lowest() -> None:
    """Of one edge pixel in ten: both count the same, so no constant is better than 1/2, which costs ln 2."""
    target = torch.zeros(1, 1, 2, 5)
    target[..., 0] = torch.tensor([1.0, 0.0])
    task, raw = Edges(), torch.zeros_like(target).requires_grad_()  # a head without bias of its own begins at 0
    loss = task.loss(task.activate(raw), target)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2)) and loss.item() == pytest.approx(task.uninformed_loss())
    assert raw.grad is not None and raw.grad.sum().abs() < 1e-6


def test_dilation_is_a_disc() -> None:
    """Radius 2.3 reaches two pixels along a row and knight's moves, not the corner at (2, 2)."""
    x = torch.zeros(1, 1, 7, 9)
    x[0, 0, 3, 4] = 0.6
    rows, columns = torch.meshgrid(torch.arange(7) - 3, torch.arange(9) - 4, indexing="ij")
    assert torch.equal(dilate(x, 2.3)[0, 0] == torch.tensor(0.6), rows**2 + columns**2 <= 2.3**2)
    assert torch.equal(dilate(x, 0.9), x)


def edge_metric(rows: list[list[float]], truth: list[list[float]]) -> dict[str, float]:
    metric = Edges().metrics()
    metric.update(torch.tensor(rows)[None, None], torch.tensor(truth)[None, None])
    return metric.compute()


def test_edges_metrics_without_tolerance() -> None:
    """In so small an image the tolerance is below a pixel. True edges at 0.9 and 0.4, others at 0.6, 0.1; one invalid.

    t <= 0.4 (above 0.1): precision 2/3, recall 1, F = 0.8; t in (0.6, 0.9]: precision 1, recall 1/2, F = 2/3.
    """
    got = edge_metric([[0.9, 0.6, 0.4, 0.1, 0.99]], [[1, 0, 1, 0, -1]])
    assert got["f_measure"] == pytest.approx(0.8)
    assert 0.1 < got["threshold"] <= 0.4
    assert got["average_precision"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_edges_metrics_with_tolerance() -> None:
    """A diagonal of 200 pixels gives 1.5: an edge drawn a pixel beside the true one is right, two pixels beside not."""
    truth, beside, far = (torch.zeros(1, 1, 120, 160) for _ in range(3))
    truth[..., 50] = 1
    beside[..., 51] = 0.8
    far[..., 52] = 0.8
    for drawn, expected in ((beside, 1), (far, 0), ((beside + far) / 1, 2 / 3)):
        metric = Edges().metrics()
        metric.update(drawn, truth)
        assert metric.compute()["f_measure"] == pytest.approx(expected, abs=0.02)  # 0.02: an edge everywhere
    metric = Edges().metrics()
    metric.update(beside, torch.zeros_like(truth))
    assert metric.compute() == {}


def test_edges_in_a_batch_on_the_way() -> None:
    """A map without edges is right on no edge and on all else: 1/2, however rare edges are."""
    target = torch.zeros(1, 1, 40, 40)
    target[..., 8] = 1
    assert Edges().kpi(torch.zeros_like(target), target) == 0.5


def test_nine_figures_and_the_main_ones() -> None:
    """The literature's nine, and one per task."""
    known = figures([Depth, Normals, Segmentation])
    assert [key for key, figure in known.items() if figure.main] == ["depth.rmse", "normals.mean", "segmentation.miou"]
    assert {key: figure.higher_is_better for key, figure in known.items() if figure.nine} == {
        "depth.abs_err": False,
        "depth.abs_rel": False,
        "normals.mean": False,
        "normals.median": False,
        "normals.within_11.25": True,
        "normals.within_22.5": True,
        "normals.within_30": True,
        "segmentation.miou": True,
        "segmentation.pixel_accuracy": True,
    }


def test_classes_that_are_nowhere_are_noted() -> None:
    task = Segmentation(["a", "b", "c"])
    assert task.note({"classes_counted": 3.0}) == "" == task.note({})
    assert task.note({"classes_counted": 2.0}).startswith("mIoU over 2 of 3 classes")


@pytest.mark.parametrize(
    ("task", "skip", "loss", "settings"),
    [
        (Depth, set(), SiLog, {"variance_share": 0.3}),
        (Depth, set(), L1, {}),
        (Normals, set(), Angular, {}),
        (Segmentation, {"classes", "palette"}, CrossEntropy, {"label_smoothing": 0.1}),
        (Edges, set(), WeightedCrossEntropy, {"positive_weight": 3.0}),
    ],
)
def test_losses_from_a_command_line(task: type[Task], skip: set[str], loss: type, settings: dict[str, float]) -> None:
    """Each loss is chosen by name, with its own settings; the default too; what is dumped is read again the same."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(task, f"tasks.{task.name}", skip=skip, instantiate=False)
    default = parser.instantiate(parser.parse_args([])).tasks[task.name]["loss"]
    assert type(default) is type(task(["a"]).loss_function if skip else task().loss_function)  # type: ignore[call-arg]
    key = f"--tasks.{task.name}.loss"
    given = parser.parse_args([f"{key}={loss.__name__}", *(f"{key}.{name}={v}" for name, v in settings.items())])
    assert parser.parse_string(parser.dump(given)) == given
    made = parser.instantiate(given).tasks[task.name]["loss"]
    assert type(made) is loss and all(getattr(made, name) == value for name, value in settings.items())
