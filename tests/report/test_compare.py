"""Runs beside each other."""

from __future__ import annotations

import pytest

from mtl_vision.report.compare import baseline_of, delta_m, delta_rows, metric_rows, recipe_differences
from mtl_vision.report.reading import read_run

from .conftest import MakeRun


def test_delta_m_by_hand() -> None:
    higher = {"miou": True, "rmse": False}
    assert delta_m({"miou": 44.0, "rmse": 0.9}, {"miou": 40.0, "rmse": 1.0}, higher) == pytest.approx(10.0)


def test_differences_say_what_is_better_and_which_run_is_best(make_run: MakeRun) -> None:
    better = {"depth.rmse": 0.4, "depth.delta1": 0.8, "normals.mean": 20.0, "segmentation.miou": 44.0}
    runs = [read_run(make_run("a")), read_run(make_run("b", metrics=better, balancer="Equal"))]
    baseline = baseline_of(runs[:1])
    rows = {f"{task}.{row.name}": row for task, of_task in metric_rows(runs, baseline).items() for row in of_task}
    rmse, delta1, mean = rows["depth.rmse"].cells[1], rows["depth.delta1"].cells[1], rows["normals.mean"].cells[1]
    assert (rmse.value, rmse.better, rmse.best) == ("0.4000", True, True) and rmse.change == pytest.approx(-20)
    assert delta1.better is False and not delta1.best and delta1.change == pytest.approx(-11.11, abs=0.01)
    assert mean.better is None and mean.change == 0
    main, nine = delta_rows(runs, baseline)
    assert main.cells[1].value == "+10.00"  # (20 + 0 + 10) / 3
    assert nine.cells[1].value == "+5.00"
    assert recipe_differences(runs) == [("balancer", ["GradNorm", "Equal"])]


def test_delta_m_against_single_task_runs(make_run: MakeRun) -> None:
    single = [make_run(task, tasks=(task,)) for task in ("depth", "normals", "segmentation")]
    multi = read_run(make_run("multi", metrics={"depth.rmse": 0.45, "normals.mean": 20.0, "segmentation.miou": 40.0}))
    main, _ = delta_rows([multi], baseline_of([read_run(folder) for folder in single]))
    assert main.cells[0].value == "+3.33"


def test_a_run_without_a_task_has_no_figure_for_it(make_run: MakeRun) -> None:
    runs = [read_run(make_run("a")), read_run(make_run("b", tasks=("depth",)))]
    rows = metric_rows(runs, baseline_of(runs[:1]))
    assert [cell.value for cell in rows["normals"][0].cells] == ["20.00", "–"]
    assert delta_rows(runs, baseline_of(runs[:1]))[0].cells[1].value == "–"
