"""The sentences are computed: of curves whose course is known."""

from __future__ import annotations

import numpy as np
import pytest

from mtl_vision.report.curves import tables
from mtl_vision.report.story import course, own, story

from .conftest import records

STEPS = np.arange(1000)
GRADNORM = {"class_path": "mtl_vision.balancers.gradnorm.GradNorm", "init_args": {"place": "last_shared"}}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.full(1000, 2.0), "x stayed near 2."),
        (np.where(STEPS < 100, 1.0, 0.25), "x fell from 1 to 0.25 within 108 steps and stayed there."),
        (1 + STEPS / 999, "x rose from 1 to 1.95, and was still moving near the end."),
        (1 + np.sin(STEPS / 50) * (STEPS < 890), "x moved between 0 and 2 and ended at 1, near where it began."),
        (np.array([1.0]), ""),
        (np.full(1000, np.nan), ""),
    ],
)
def test_course(values: np.ndarray, said: str) -> None:
    found = course("x", STEPS[: len(values)], values)
    if "moved between" in said:
        assert found.startswith("x moved between") and found.endswith("near where it began.")
    else:
        assert found == said


def test_course_of_random_weights() -> None:
    """As RLW draws them: they go nowhere, and are not "still moving"."""
    for seed in range(20):
        weights = 3 * np.random.default_rng(seed).dirichlet([1, 1, 1], 1000)[:, 0]
        said = course("x", STEPS, weights)
        assert said.startswith(("x went up and down between", "x moved between", "x stayed near")), said


def test_course_by_way_of_a_peak() -> None:
    values = np.interp(STEPS, [0, 200, 400, 999], [1, 9, 2, 2])
    assert course("x", STEPS, values).startswith("x rose from 1 to 2 within") and "by way of 8." in course(
        "x", STEPS, values
    )


def test_what_gradnorm_did() -> None:
    said = story(tables(records(1000)), GRADNORM)
    assert said[0].startswith("depth's weight fell from 1 to 0.333 within 1") and said[0].endswith("and stayed there.")
    assert said[1].startswith("normals' weight rose from 1 to 1.33 within")
    assert any("depth's gradient at the last shared layer (W) is 4 times" in line for line in said)
    assert "All tasks have come about as far as each other." in said
    assert said[-1].startswith("In training, the losses ended at 15 % (depth)")


@pytest.mark.parametrize("tasks", [("depth",), ("depth", "edges")])
def test_methods_without_norms_and_single_tasks(tasks: tuple[str, ...]) -> None:
    weight = dict.fromkeys(tasks, 1.0)
    history = [{"step": record["step"], "loss": record["loss"], "weight": weight} for record in records(50, tasks)]
    said = story(tables(history), {"class_path": "mtl_vision.balancers.equal.Equal"})
    kept = "Equal kept the weights as they were: all weights were 1."
    expected = kept if len(tasks) > 1 else "One task: there is nothing to balance."
    assert said[0] == expected and len(said) == 2


def test_nothing_was_recorded() -> None:
    assert story(tables([]), {}) == ["No step was taken yet."]
    one = story(tables(records(1)), GRADNORM)
    assert all("nan" not in line for line in one)


def test_tasks_that_steps_lack_are_left_out() -> None:
    history = records(200)
    for record in history[::2]:
        for key in ("loss", "weight", "grad_norm", "target", "rate"):
            record[key]["normals"] = None
    for record in history:
        record["weight"]["segmentation"] = None
    said = story(tables(history), GRADNORM)
    assert not any("nan" in line or "segmentation's weight" in line for line in said)


def test_genitive() -> None:
    assert own("depth") == "depth's" and own("normals") == "normals'"
