"""Weights that come from previous runs, and the validation part, through train.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from mtl_vision.balancers import ConvergedGradients, Fixed
from mtl_vision.balancers.previous_runs import converged_norms, mean_weights
from mtl_vision.engine.cli import main

TASKS = ["depth", "normals", "segmentation"]


def fake_run(folder: Path, records: list[Mapping[str, object]]) -> Path:
    folder.mkdir()
    lines = [json.dumps({"step": k, **record}) for k, record in enumerate(records)]
    (folder / "history.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_mean_weights(tmp_path: Path) -> None:
    """(1 + 3) / 2 and (3 + 1 + 2) / 3; a step in which a task was missing does not count for it."""
    weights = [{"depth": 1.0, "normals": 3.0}, {"depth": 3.0, "normals": 1.0}, {"depth": None, "normals": 2.0}]
    run = fake_run(tmp_path / "a", [*({"weight": w} for w in weights), {"metrics": {}}])
    assert mean_weights(run) == {"depth": 2.0, "normals": 2.0}


def test_converged_norms(tmp_path: Path) -> None:
    """The last tenth: of twenty steps the last two, (1 + 3) / 2."""
    norms = [9.0] * 18 + [1.0, 3.0]
    run = fake_run(tmp_path / "a", [{"weight": {"depth": 1}, "grad_norm": {"depth": g}} for g in norms])
    assert converged_norms([run]) == {"depth": 2.0}


def test_runs_that_do_not_fit(tmp_path: Path) -> None:
    two = fake_run(tmp_path / "two", [{"weight": {"depth": 1, "normals": 1}}])
    plain = fake_run(tmp_path / "plain", [{"weight": {"depth": 1}}])
    empty = fake_run(tmp_path / "empty", [{"metrics": {}}])
    with pytest.raises(ValueError, match="two trained depth, normals: expected a single task"):
        ConvergedGradients(["depth"], [str(two)])
    with pytest.raises(ValueError, match="plain recorded no gradient norms: train it with GradNorm"):
        ConvergedGradients(["depth"], [str(plain)])
    with pytest.raises(ValueError, match="none is no run directory: expected history.jsonl in it"):
        Fixed(["depth"], str(tmp_path / "none"))
    with pytest.raises(ValueError, match="empty lacks weights"):
        Fixed(["depth"], str(empty))
    with pytest.raises(ValueError, match="weights has depth, normals: expected a value for each of depth"):
        Fixed(["depth"], str(two))


def test_resolve_reads_runs_once(tmp_path: Path) -> None:
    """Numbers take the runs' place, other settings stay; resolved settings need the runs no more."""
    records = [{"weight": {"depth": 1.0}, "grad_norm": {"depth": 4.0}}]
    run = str(fake_run(tmp_path / "a", records))
    assert Fixed.resolve({"weights": run}) == {"weights": {"depth": 1.0}}
    resolved = {"norms": {"depth": 4.0}, "scale": 2.0}
    assert ConvergedGradients.resolve({"norms": [run], "scale": 2.0}) == resolved
    assert ConvergedGradients.resolve(resolved) == resolved
    assert Fixed.resolve({}) == {} and Fixed(["depth"], run).weight.tolist() == [1]


def test_static_and_converged_runs(rooms: Path, tmp_path: Path) -> None:
    """From real runs: config.yaml has the resolved numbers, and the weights are those throughout."""

    def train(name: str, *more: str) -> Path:
        common = [
            "--data.size=[48,64]",
            "--data.workers=0",
            "--model.backbone=mobilenetv4_conv_small",
            "--model.decoder.width=32",
            "--train.epochs=1",
            "--run.device=cpu",
        ]
        common += [f"--data.root={rooms}", f"--data.cache={tmp_path / 'cache'}", f"--run.dir={tmp_path}"]
        assert main([*common, f"--run.name={name}", "--run.tensorboard=false", *more]) == 0
        return tmp_path / name

    moved = train("gradnorm", "--balancer.lr=0.2")
    static = train("static", "--balancer=Fixed", f"--balancer.weights={moved}")
    expected = mean_weights(moved)
    assert max(expected.values()) > 1.05
    resolved = yaml.safe_load((static / "config.yaml").read_text())["balancer"]["init_args"]
    assert resolved["weights"] == pytest.approx(expected)
    assert mean_weights(static) == pytest.approx(expected, rel=1e-5)

    single = [train(task, f"--tasks.names=[{task}]") for task in TASKS]
    joint = train("joint", "--balancer=ConvergedGradients", f"--balancer.norms=[{','.join(map(str, single))}]")
    norms, weights = converged_norms(single), mean_weights(joint)
    products = [norms[task] * weights[task] for task in TASKS]
    assert products == pytest.approx([products[0]] * 3, rel=1e-4)
    assert sum(weights.values()) == pytest.approx(3, rel=1e-4)


def test_a_part_of_training_is_held_out(rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rest is trained on, the part is measured, and metrics name the part."""
    common = [
        f"--data.root={rooms}",
        "--data.size=[48,64]",
        "--data.workers=0",
        "--model.backbone=mobilenetv4_conv_small",
        "--model.decoder.width=32",
        "--train.epochs=1",
    ]
    common += [f"--data.cache={tmp_path / 'cache'}", f"--run.dir={tmp_path / 'runs'}", "--run.name=a"]
    common += ["--data.eval_split=holdout", "--run.tensorboard=false", "--run.device=cpu"]
    assert main([*common, "--data.holdout=7"]) == 0
    metrics = json.loads((tmp_path / "runs" / "a" / "metrics.json").read_text())
    assert metrics["protocol.split"] == "holdout" and metrics["protocol.samples"] == 7
    assert "7 (holdout) to measure" in capsys.readouterr().out
    assert main([*common, "--run.name=b"]) == 1
    assert "data: holdout is 0: expected 1 to" in capsys.readouterr().err
