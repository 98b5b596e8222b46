"""The contract that every task keeps. A new task in TASKS is tested by adding how to make it and a target for it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from mtl_vision.runtime.kinds import KINDS
from mtl_vision.tasks import TASKS, Depth, Edges, Normals, Segmentation, Task, figures
from mtl_vision.tasks.depth import L1, BerHu, SiLog, Squared
from mtl_vision.tasks.edges import WeightedCrossEntropy
from mtl_vision.tasks.normals import Angular, Cosine
from mtl_vision.tasks.segmentation import CrossEntropy

NAMES = ["bed", "books", "ceiling", "chair"]
MAKE: dict[str, Callable[[], Task]] = {
    **{f"depth-{loss.__name__}": (lambda loss=loss: Depth(loss())) for loss in (L1, Squared, SiLog, BerHu)},
    **{f"normals-{loss.__name__}": (lambda loss=loss: Normals(loss())) for loss in (Cosine, Angular)},
    "segmentation": lambda: Segmentation(NAMES),
    "segmentation-smoothed": lambda: Segmentation(NAMES, loss=CrossEntropy(label_smoothing=0.1)),
    "segmentation-weighted": lambda: Segmentation(NAMES, loss=CrossEntropy(class_weights=[1.0, 2.0, 0.5, 3.0])),
    "edges": Edges,
    "edges-weighted": lambda: Edges(WeightedCrossEntropy(positive_weight=5.0)),
}


def make_target(task: Task, seed: int = 0, B: int = 2, H: int = 5, W: int = 6) -> Tensor:
    """A random target in which every pixel is valid."""
    g = torch.Generator().manual_seed(seed)
    if task.name == "depth":
        return torch.rand(B, 1, H, W, generator=g) * 8 + 0.5
    if task.name == "normals":
        return F.normalize(torch.randn(B, 3, H, W, generator=g), dim=1)
    if task.name == "edges":
        return (torch.rand(B, 1, H, W, generator=g) < 0.3).float()
    return torch.randint(0, task.channels, (B, H, W), generator=g, dtype=torch.uint8)


def invalid(task: Task, target: Tensor, where: Tensor) -> Tensor:
    """The target with the pixels `where` (B, H, W) invalid."""
    if task.name == "segmentation":
        return torch.where(where, 255, target)
    return torch.where(where[:, None], -1 if task.name == "edges" else 0, target)


def make_raw(task: Task, seed: int = 1, B: int = 2, H: int = 5, W: int = 6) -> Tensor:
    return torch.randn(B, task.channels, H, W, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@pytest.fixture(params=list(MAKE))
def task(request: pytest.FixtureRequest) -> Task:
    return MAKE[request.param]()


def test_every_task_is_here() -> None:
    assert {name.split("-")[0] for name in MAKE} == set(TASKS)


def test_loss_is_a_finite_scalar_that_trains(task: Task) -> None:
    raw = make_raw(task)
    loss = task.loss(task.activate(raw), make_target(task))
    loss.backward()
    assert loss.shape == () and loss.isfinite() and loss > 0
    assert raw.grad is not None and raw.grad.isfinite().all() and raw.grad.abs().sum() > 0


def test_a_step_downhill_lowers_the_loss(task: Task) -> None:
    raw, target = make_raw(task), make_target(task)
    loss = task.loss(task.activate(raw), target)
    (gradient,) = torch.autograd.grad(loss, raw)
    after = task.loss(task.activate(raw - 0.05 * gradient / gradient.norm()), target)
    assert after < loss


def test_no_valid_pixel_gives_a_zero_that_trains_nothing(task: Task) -> None:
    raw, target = make_raw(task), make_target(task)
    loss = task.loss(task.activate(raw), invalid(task, target, torch.ones(2, 5, 6, dtype=torch.bool)))
    loss.backward()
    assert loss == 0
    assert raw.grad is not None and (raw.grad == 0).all()


def test_invalid_pixels_neither_count_nor_train(task: Task) -> None:
    raw, target = make_raw(task), make_target(task)
    where = torch.zeros(2, 5, 6, dtype=torch.bool)
    where[:, 1:3, 2:] = True
    target = invalid(task, target, where)
    loss = task.loss(task.activate(raw), target)
    loss.backward()
    assert raw.grad is not None and (raw.grad.movedim(1, -1)[where] == 0).all()
    other = torch.where(where[:, None], raw + 3, raw)
    torch.testing.assert_close(task.loss(task.activate(other), target), loss)


@settings(deadline=None, max_examples=25)
@given(scale=st.floats(1e-3, 1e4), seed=st.integers(0, 99), name=st.sampled_from(list(MAKE)))
def test_extreme_outputs_stay_finite(scale: float, seed: int, name: str) -> None:
    task = MAKE[name]()
    raw = (make_raw(task, seed).detach() * scale).requires_grad_()
    loss = task.loss(task.activate(raw), make_target(task, seed + 1))
    loss.backward()
    assert loss.isfinite()
    assert raw.grad is not None and raw.grad.isfinite().all()


def test_decoded_map_is_what_the_manifest_says(task: Task) -> None:
    output = task.output()
    decoded = task.decode(task.activate(make_raw(task))).detach().numpy()
    tail = (3,) if output.kind == "unit_vector_map" else ()
    assert output.name == task.name and output.kind in {*KINDS, "probability_map"}
    assert decoded.shape == (2, 5, 6, *tail)
    assert decoded.dtype == (np.uint8 if output.kind == "label_map" else np.float32)
    if output.range:
        assert decoded.min() >= output.range[0] - 1e-6 and decoded.max() <= output.range[1] + 1e-6
    if output.kind == "unit_vector_map":
        np.testing.assert_allclose(np.linalg.norm(decoded, axis=-1), 1, atol=1e-5)
    if output.kind == "label_map":
        assert len(output.classes) == task.channels


def truth(task: Task, target: Tensor) -> Tensor:
    """The prediction that is right everywhere."""
    if task.name == "segmentation":
        return F.one_hot(target.long(), task.channels).movedim(-1, 1).float()
    return target


def test_metrics_pool_pixels_over_batches(task: Task) -> None:
    """One update with everything equals many updates with parts of different sizes."""
    prediction, target = task.activate(make_raw(task, B=6)).detach(), make_target(task, B=6)
    target = invalid(task, target, torch.rand(6, 5, 6, generator=torch.Generator().manual_seed(2)) < 0.4)
    whole, parts = task.metrics(), task.metrics()
    whole.update(prediction, target)
    for a, b in ((0, 1), (1, 2), (2, 6)):
        parts.update(prediction[a:b], target[a:b])
    assert parts.compute() == pytest.approx(whole.compute())
    assert set(task.figures) <= set(whole.compute())


def test_one_figure_is_the_main_one(task: Task) -> None:
    main = [key for key, figure in figures([task]).items() if figure.main]
    assert len(main) == 1 and main[0].startswith(f"{task.name}.")


def test_reading_a_batch_on_the_way(task: Task) -> None:
    """The share predicted well is 1 for the truth, and says nothing (NaN) where no pixel is valid."""
    target = make_target(task, H=16, W=16)
    assert task.kpi(truth(task, target), target) == 1
    everywhere = torch.ones(2, 16, 16, dtype=torch.bool)
    assert task.kpi(truth(task, target), invalid(task, target, everywhere)).isnan()


def test_metrics_of_the_truth_are_perfect(task: Task) -> None:
    target = make_target(task)
    metric = task.metrics()
    metric.update(truth(task, target), target)
    best = {("m", False): 0.0, ("deg", False): 0.0, ("%", True): 100.0, ("", True): 1.0, ("", False): 0.0}
    for name, figure in task.figures.items():
        assert metric.compute()[name] == pytest.approx(best[figure.unit, figure.higher_is_better], abs=0.03)


def test_metrics_without_a_valid_pixel_are_left_out(task: Task) -> None:
    target = invalid(task, make_target(task), torch.ones(2, 5, 6, dtype=torch.bool))
    metric = task.metrics()
    metric.update(truth(task, make_target(task)), target)
    assert metric.compute() == {}


UNINFORMED = {
    "normals-Cosine": 1.0,
    "normals-Angular": math.pi / 2,
    **dict.fromkeys(("segmentation", "segmentation-smoothed", "segmentation-weighted"), math.log(len(NAMES))),
    **dict.fromkeys(("edges", "edges-weighted"), math.log(2)),
}


@pytest.mark.parametrize("name", MAKE)
def test_the_uninformed_loss(name: str) -> None:
    """Theory's value, whatever the targets; that of depth is the data's, and not known without them."""
    task = MAKE[name]()
    target = invalid(task, make_target(task), torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(2)) < 0.4)
    loss = task.uninformed_loss(target)
    assert isinstance(loss, float) and loss > 0
    if name in UNINFORMED:
        assert loss == pytest.approx(UNINFORMED[name], rel=1e-6)
        assert task.uninformed_loss() == pytest.approx(UNINFORMED[name], rel=1e-6)
    else:
        assert task.uninformed_loss() is None


def test_the_uninformed_loss_of_depth_by_hand() -> None:
    """Depths 1, 2 and 6 and an invalid pixel: of the mean, 3, L1 is (2 + 1 + 3) / 3 and the square (4 + 1 + 9) / 3."""
    target = torch.tensor([1.0, 2.0, 6.0, 0.0]).view(1, 1, 2, 2)
    assert Depth(L1()).uninformed_loss(target) == pytest.approx(2)
    assert Depth(Squared()).uninformed_loss(target) == pytest.approx(14 / 3)
