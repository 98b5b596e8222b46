"""The toy problem: its statistics, the pairing of runs, resuming, and the study end to end."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from studies import toy
from studies.toy import METHODS, SETTINGS, Choices, Run, main

SMALL = Choices(steps=6, batch=8)


@pytest.mark.parametrize("spread, variance", [("variance", 10 + 3.5), ("deviation", 10**2 + 3.5**2)])
@pytest.mark.parametrize("input", ["normal", "unit"])
def test_the_pre_activation_has_the_deviation_of_theory(spread: str, variance: float, input: str) -> None:
    """Var[(B + e_i) x] = 250 (Var B + Var e) for x ~ N(0, 1); two tasks correlate by Var B / (Var B + Var e)."""
    generator = torch.Generator().manual_seed(0)
    matrices = toy.make_matrices(3, replace(SMALL, spread=spread, input=input), generator)
    assert matrices.shape == (3, 100, 250)
    inside = torch.randn(2000, 250, generator=generator) @ matrices.transpose(1, 2)
    expected = 1.0 if input == "unit" else math.sqrt(250 * variance)
    assert inside.std().item() == pytest.approx(expected, rel=0.03)
    shared = 10.0 if spread == "variance" else 100.0
    correlation = (inside[0] * inside[1]).mean() / inside.var()
    assert correlation.item() == pytest.approx(shared / variance, abs=0.03)


def test_targets_are_scaled_tanh() -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = toy.make_matrices(2, SMALL, generator)
    x = torch.randn(5, 250, generator=generator)
    targets = toy.make_targets(x, matrices, torch.tensor([1.0, 100.0]))
    assert targets.shape == (2, 5, 100)
    torch.testing.assert_close(targets[1, 3], 100 * torch.tanh(matrices[1] @ x[3]), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("init", ["glorot", "torch"])
def test_the_network_is_the_papers(init: str) -> None:
    """Four layers of width 100 before the heads, the last of which is the last shared one."""
    trunk, last, heads = toy.make_network(3, replace(SMALL, init=init), seed=0)
    shapes = [tuple(p.shape) for p in [*trunk.parameters(), *last.parameters()] if p.ndim == 2]
    assert shapes == [(100, 250), (100, 100), (100, 100), (100, 100)]
    assert [head(last(trunk(torch.randn(7, 250)))).shape for head in heads] == [(7, 100)] * 3


@pytest.mark.parametrize("method", METHODS)
def test_a_run_begins_at_the_number_of_tasks_and_repeats(method: str) -> None:
    run = Run("t2", method, 3, SMALL)
    curves = toy.train(run)
    assert curves["step"] == list(range(7))
    assert toy.merit({"loss": np.array(curves["loss"])})[0] == pytest.approx(2)
    assert toy.train(run) == curves


def test_the_methods_are_paired_and_the_seeds_differ() -> None:
    first = {
        (method, seed): toy.train(Run("t2", method, seed, SMALL))["loss"][0] for method in METHODS for seed in (0, 1)
    }
    assert first["equal", 0] == first["uncertainty", 0] == first["gradnorm", 0]
    assert first["equal", 0] != first["equal", 1]


def test_equal_weights_learn() -> None:
    curves = toy.train(Run("t2", "equal", 0, replace(SMALL, steps=60, batch=50, lr=0.01)))
    assert curves["loss"][-1][1] < 0.97 * curves["loss"][0][1]


def test_a_file_is_that_of_its_settings() -> None:
    """A choice of GradNorm's is of its runs alone, any other one of all."""

    def paths(choices: Choices) -> list[Path]:
        return [Run("t10", method, 0, choices).path(Path("out")) for method in METHODS]

    given, other, longer = (paths(c) for c in (SMALL, replace(SMALL, gradnorm_lr=0.1), replace(SMALL, steps=7)))
    assert [a == b for a, b in zip(given, other, strict=True)] == [True, True, False]
    assert not set(given) & set(longer)
    assert given[2].name.startswith("T10-gradnorm-s0-")


def test_end_to_end_and_again(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    command = ["--out", str(tmp_path), "--jobs", "1", "--steps", "3", "--batch", "4", "--seeds", "0", "1"]
    assert main(command) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(figures) == {f"{s}.{m}{end}" for s in SETTINGS for m in METHODS for end in ("", "_final")}
    assert figures["t2.gradnorm"] == pytest.approx(2, abs=0.5) and figures["t10.equal"] == pytest.approx(10, abs=2)
    assert len(list((tmp_path / "runs").iterdir())) == 12
    assert "t10, final" in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert (tmp_path / "toy.png").stat().st_size > 10_000

    trained: list[Run] = []
    monkeypatch.setattr(
        toy, "train", lambda run: trained.append(run) or {"step": [0], "loss": [[1, 1]], "weight": [[1, 1]]}
    )
    assert main(command) == 0
    assert not trained
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == figures
    (lost,) = (tmp_path / "runs").glob("T2-equal-s1-*")
    lost.unlink()
    toy.train_all([Run("t2", "equal", seed, replace(Choices(), steps=3, batch=4)) for seed in (0, 1)], tmp_path, 1)
    assert [run.seed for run in trained] == [1]


def test_variations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--out", str(tmp_path), "--jobs", "1", "--steps", "2", "--batch", "4", "--seeds", "0"]
    assert main([*command, "--settings", "t2", "--variations"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {f"{v}.t2.gradnorm" for v in toy.make_variants(SMALL)} <= set(figures)
    assert figures["gradnorm_lr_x0.1.t2.equal"] == figures["as_given.t2.equal"]
    assert "t2, averaged, lr_x3" in (tmp_path / "variations.md").read_text(encoding="utf-8")
