"""Curves: what is kept of a long history, and what it is smoothed to."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_vision.report.curves import MEANS, Table, charts, measured, smoothed, tables, thinned


def test_tables_have_every_key_and_leave_out_what_is_no_number() -> None:
    history = [
        {"step": 4, "lr": 0.1, "loss": {"a": 1.0, "b": None}},
        {"step": 2, "lr": 0.2, "loss": {"a": 2.0, "b": 5.0}, "note": "text", "grad_norm": {"a": "x"}},
        {"step": 4, "lr": 0.3, "loss": {"a": 3.0}},  # done again: it counts
        {"step": 6, "loss": {"b": float("inf")}, "metrics": {"a.rmse": 1.5}},
    ]
    found = tables(history)
    assert set(found) == {"lr", "loss", "metrics"}
    assert found["loss"].steps.tolist() == [2, 4] and found["loss"].names == ("a", "b")
    np.testing.assert_array_equal(found["loss"].values, [[2.0, 3.0], [5.0, np.nan]])
    assert found["lr"].names == ("",) and found["lr"].values.tolist() == [[0.2, 0.3]]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 5000), S=st.integers(1, 4), most=st.integers(20, 600))
def test_thinning_keeps_records_as_they_are_and_the_extremes(seed: int, n: int, S: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(S, n))
    values[rng.random((S, n)) < 0.1] = np.nan
    table = Table(np.arange(n) * 3, tuple("abcd"[:S]), values)
    kept = thinned(table, most)
    assert len(kept.steps) <= max(most, 2 * S) + 2
    at = kept.steps // 3
    assert (np.diff(at) > 0).all() and at[0] == 0 and at[-1] == n - 1
    np.testing.assert_array_equal(kept.values, values[:, at])
    for row, all_of_it in zip(kept.values, values, strict=True):
        if not np.isnan(all_of_it).all():
            assert np.nanmin(row) == np.nanmin(all_of_it) and np.nanmax(row) == np.nanmax(all_of_it)


def test_one_spike_among_100000_steps_stays() -> None:
    history = [{"step": k, "loss": {"a": 1.0, "b": 2.0, "c": 3.0}} for k in range(100_000)]
    history[61_803]["loss"] = {"a": 50.0, "b": 2.0, "c": 3.0}
    begun = time.process_time()
    found = charts([tables(history)])
    assert time.process_time() - begun < 10
    (loss,) = found
    raw, mean = loss["tables"]
    assert len(raw["x"]) < 4000 and len(mean["x"]) == MEANS
    assert raw["series"][0]["y"][raw["x"].index(61_803)] == 50.0
    assert mean["series"][1]["y"] == [2.0] * MEANS


def test_smoothed_values_are_means_of_buckets() -> None:
    table = Table(np.arange(600), ("a",), np.arange(600, dtype=float)[None])
    means = smoothed(table, 150)
    assert means is not None and means.values[0, :2].tolist() == [1.5, 5.5]  # of 0..3 and 4..7
    assert smoothed(table.taken(np.arange(300)), 150) is None, "few records are shown as they are"


def test_targets_are_drawn_with_the_norms_of_one_run_and_metrics_where_there_are_several() -> None:
    history = [{"step": k, "grad_norm": {"a": 1.0}, "target": {"a": 2.0}, "head_weight": {"a": 3.0}} for k in range(3)]
    metrics = [{"step": k, "metrics": {"a.rmse": 1.0 / (k + 1)}} for k in (1, 2)]
    one = charts([tables(history)])
    assert [chart["key"] for chart in one] == ["grad_norm", "head_weight"]
    assert [s["kind"] for t in one[0]["tables"] for s in t["series"]] == ["raw", "target"]
    both = charts([tables(history)] * 2)
    assert [s["run"] for t in both[0]["tables"] for s in t["series"]] == [0, 1]
    (rmse,) = measured([tables(metrics)], {"a.rmse": {"main": True, "unit": "m", "higher_is_better": False}})
    assert rmse["title"] == "a.rmse (m)" and rmse["tables"][0]["series"][0]["y"] == pytest.approx([0.5, 0.33333])
    assert not measured([tables(metrics[:1])], {"a.rmse": {"main": True}}), "one point is no curve"
