"""The studies: specs, folders, and figures worked by hand from runs that the tests write."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from mtl_vision.engine.parse import parse
from studies import alpha, common, compare, static_search
from studies.common import Study, make_parser, open_study, read_spec, split_options
from studies.tables import Column, markdown, spread, table

REPO = Path(__file__).parents[2]
SMOKE = REPO / "configs" / "smoke.yaml"
TASKS = ("depth", "normals", "segmentation")
PROTOCOL = {
    "split": "test", "samples": 3, "size": [96, 128], "crop": "none", "ground_truth": "rooms", "normals": "as stored",
    "epochs": 2,
}  # fmt: skip


def open_at(out: Path, *options: str, config: Path = SMOKE) -> Study:
    return open_study(make_parser("").parse_args([str(config), f"--out={out}"]), options, "python studies/x.py")


def leave(
    out: Path,
    name: str,
    rmse: float,
    mean: float,
    miou: float,
    seconds: float = 0.1,
    weights: Sequence[float] = (1, 1, 1),
    tasks: Sequence[str] = TASKS,
) -> None:
    """A finished run. Its first tenth of steps is slow."""
    folder = out / name
    folder.mkdir(parents=True)
    found = {
        "depth.rmse": rmse, "depth.abs_err": rmse, "depth.abs_rel": rmse, "normals.mean": mean, "normals.median": mean,
        "segmentation.miou": miou,
    }  # fmt: skip
    metrics = {key: value for key, value in found.items() if key.split(".")[0] in tasks}
    protocol = {f"protocol.{key}": value for key, value in PROTOCOL.items()}
    (folder / "metrics.json").write_text(json.dumps(metrics | protocol))
    (folder / "config.yaml").write_text("")
    weight = dict(zip(TASKS, weights, strict=True))
    records: list[dict] = [{"step": i, "seconds": 9.0 if i < 2 else seconds, "weight": weight} for i in range(20)]
    records.append({"step": 19, "metrics": {}})
    (folder / "history.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def leave_compared(out: Path) -> None:
    """Single-task runs, equal, gradnorm and dwa over two seeds."""
    for seed, single in enumerate((1.1, 0.9)):
        for task in TASKS:
            leave(out, f"single_{task}-s{seed}", single, 20.0, 40.0, tasks=[task])
    for seed in (0, 1):
        leave(out, f"equal-s{seed}", 1.0, 20.0, 40.0, 0.1)
        leave(out, f"gradnorm-s{seed}", 0.8 + 0.2 * seed, 18.0, 44.0, 0.11)
        leave(out, f"dwa-s{seed}", 1.2, 20.0, 20.0, 0.1)


# specs and options


def test_specs() -> None:
    assert read_spec("GradNorm") == ("gradnorm", "GradNorm", {})
    label, name, settings = read_spec("GradNorm:alpha=0.5,lr=0.01")
    assert (label, name, settings) == ("gradnorm_alpha0.5_lr0.01", "GradNorm", {"alpha": "0.5", "lr": "0.01"})
    assert read_spec("Fixed:weights=a/b")[0] == "fixed_weightsa_b"
    for bad in ("", ":alpha=1", "GradNorm:alpha", "GradNorm:=1", "GradNorm:alpha=1,"):
        with pytest.raises(ValueError, match="expected NAME or NAME:SETTING=VALUE"):
            read_spec(bad)


def test_options_of_train_are_told_by_their_dot() -> None:
    given = ["c.yaml", "--methods", "equal", "--data.root", "/x y", "--jobs=2", "--train.epochs=3", "gradnorm"]
    mine, extra = split_options(given)
    assert mine == ["c.yaml", "--methods", "equal", "--jobs=2", "gradnorm"]
    assert extra == ["--data.root=/x y", "--train.epochs=3"]
    with pytest.raises(ValueError, match="--data.root has no value"):
        split_options(["c.yaml", "--data.root"])
    with pytest.raises(ValueError, match="--run.dir is no option here: give --out"):
        split_options(["--run.dir=x"])


def test_a_recipes_settings_are_for_its_own_balancer(tmp_path: Path) -> None:
    """DTP has an alpha, too: the recipe's, GradNorm's, is not meant for it."""
    study = open_at(tmp_path, "--balancer.alpha=0.7")
    assert study.recipe.balancer.name == "GradNorm" and not study.extra

    def alpha(name: str, **settings: str) -> float:
        options = common.balancer_options(study.recipe, name, settings)
        return parse([f"--config={SMOKE}", *study.extra, *options]).balancer.init_args["alpha"]

    assert (alpha("GradNorm"), alpha("GradNorm", alpha="0.3")) == (0.7, 0.3)
    assert (alpha("DTP"), alpha("DTP", alpha="0.3")) == (0.1, 0.3)
    assert common.balancer_options(study.recipe, "Equal", {}) == ("--balancer=Equal",)


def test_weights_arrive_as_they_are(tmp_path: Path) -> None:
    study = open_at(tmp_path)
    drawn = static_search.draw(study.tasks, 3)
    runs = static_search.make_runs(study, drawn, 4)
    assert [run.name for run in runs] == ["gradnorm-s4", "equal-s4", "static000-s4", "static001-s4", "static002-s4"]
    config = parse([f"--config={SMOKE}", *runs[-1].arguments])
    assert (config.balancer.name, config.balancer.init_args["weights"]) == ("Fixed", drawn["static002"])
    assert config.run.seed == 4


def test_weightings_are_always_the_same_and_sum_to_the_number_of_tasks() -> None:
    few, many = static_search.draw(TASKS, 2), static_search.draw(TASKS, 50)
    assert list(many.values())[:2] == list(few.values())
    for weights in many.values():
        assert sum(weights.values()) == pytest.approx(3, abs=1e-5) and min(weights.values()) > 0


def test_methods_that_are_made_from_runs(tmp_path: Path) -> None:
    """They need those runs, name them, and bring them along."""
    study = open_at(tmp_path / "out")
    methods = compare.complete(["gradnorm_static", "ConvergedGradients", "Equal", "gradnorm_static"])
    assert methods == ["Equal", "GradNorm", "gradnorm_static", "ConvergedGradients"]
    runs = {run.name: run for run in compare.make_runs(study, methods, [0, 1])}
    assert len(runs) == 2 * (3 + 4)
    static, converged = runs["gradnorm_static-s1"], runs["convergedgradients-s1"]
    assert static.needs == ("gradnorm-s1",)
    assert converged.needs == tuple(f"single_{task}-s1" for task in TASKS)
    balancer = parse([f"--config={SMOKE}", *static.arguments]).balancer
    assert (balancer.name, balancer.init_args) == ("Fixed", {"weights": str(tmp_path / "out" / "gradnorm-s1")})
    config = parse([f"--config={SMOKE}", *converged.arguments])
    assert config.balancer.init_args["norms"] == [str(tmp_path / "out" / name) for name in converged.needs]
    assert config.run.seed == 1
    single = parse([f"--config={SMOKE}", *runs["single_normals-s0"].arguments])
    assert (single.tasks.names, single.balancer.name) == (["normals"], "GradNorm")


def test_what_train_would_not_take_ends_the_study_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [str(SMOKE), f"--out={tmp_path / 'out'}"]
    assert compare.main([*given, "--methods", "Gradnorn"]) == 1
    assert "no Balancer is called 'Gradnorn', did you mean 'GradNorm'?" in capsys.readouterr().err
    assert compare.main([*given, "--methods", "GradNorm:alhpa=1"]) == 1
    assert "did you mean 'alpha'?" in capsys.readouterr().err
    assert compare.main([str(tmp_path / "none.yaml")]) == 1
    assert "no recipe at" in capsys.readouterr().err
    assert compare.main([*given, "--jobs=0"]) == 1
    assert "--jobs is 0: expected at least 1" in capsys.readouterr().err
    assert static_search.main([*given, "--count=1"]) == 1
    assert "--count is 1: expected at least 2" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*/"))


def test_a_folder_holds_one_recipe(tmp_path: Path) -> None:
    out = tmp_path / "out"
    open_at(out, "--train.epochs=2")
    open_at(out, "--train.epochs=3")  # nothing was trained yet
    leave(out, "equal-s0", 1, 1, 1)
    open_at(out, "--train.epochs=3", "--data.workers=2", "--run.device=cpu")
    with pytest.raises(ValueError, match="holds runs with train.epochs = 3, now 5 is asked for"):
        open_at(out, "--train.epochs=5")
    with pytest.raises(ValueError, match="data.root"):
        open_at(out, "--train.epochs=3", f"--data.root={tmp_path}")
    (out / "study.json").unlink()
    with pytest.raises(ValueError, match="runs that no study made"):
        open_at(out, "--train.epochs=3")


# figures


def test_tables() -> None:
    rows = {"one": {"x": [1.0, 3.0], "y": [5.0]}, "two": {"x": [4.0, 4.0]}, "aside": {"x": [9.0, 9.0], "y": [1.0]}}
    columns = [Column("x (m)", "x", 1, False), Column("y", "y", 0, True)]
    assert table(rows, columns, ["one", "two"]).splitlines() == [
        "|       |         x (m) |   y |",
        "|:------|--------------:|----:|",
        "| one   | **2.0 ± 1.4** |   5 |",  # the only rival with a y: there is nothing to be best of
        "| two   |     4.0 ± 0.0 |   - |",
        "| aside |     9.0 ± 0.0 |   1 |",
    ]
    assert spread([], 2) == "-" and spread([1.25], 1) == "1.2" and spread([1, 2, 3], 1) == "2.0 ± 1.0"
    assert markdown([["", "a"], ["b", "c"]]).splitlines()[1] == "|:----|----:|"


def test_compared_by_hand(tmp_path: Path) -> None:
    study = open_at(tmp_path)
    leave_compared(tmp_path)
    rows = compare.collect(study, ["equal", "gradnorm", "dwa"], [0, 1])
    # the single-task RMSE is 1 in the mean: a seed is 10 % off, a third of which is in the mean over three tasks
    assert rows["single task"]["delta_m.main"] == pytest.approx([-10 / 3, 10 / 3])
    assert rows["equal"]["delta_m.main"] == pytest.approx([0, 0])
    assert rows["gradnorm"]["delta_m.main"] == pytest.approx([(20 + 10 + 10) / 3, (0 + 10 + 10) / 3])
    # of the nine there are abs_err, abs_rel, mean, median, miou
    assert rows["dwa"]["delta_m.nine"] == pytest.approx([(-20 - 20 - 50) / 5] * 2)
    assert rows["gradnorm"]["gain.depth.rmse"] == pytest.approx([20, 0])
    assert rows["gradnorm"]["ms"] == pytest.approx([110, 110])
    assert rows["gradnorm"]["time_ratio"] == pytest.approx([1.1, 1.1])
    # ranks: gradnorm is first in all five; equal and dwa share 2 and 3 in the normals
    assert rows["gradnorm"]["rank"] == [1]
    assert rows["equal"]["rank"] == pytest.approx([(2 + 2 + 2.5 + 2.5 + 2) / 5])
    assert rows["dwa"]["rank"] == pytest.approx([(3 + 3 + 2.5 + 2.5 + 3) / 5])
    assert "rank" not in rows["single task"] and "ms" not in rows["single task"]


def test_a_gain_over_nothing_is_left_out(tmp_path: Path) -> None:
    """A single-task network that knows no class: no delta over its mIoU."""
    study = open_at(tmp_path)
    for task in TASKS:
        leave(tmp_path, f"single_{task}-s0", 1.0, 20.0, 0.0, tasks=[task])
    leave(tmp_path, "equal-s0", 0.9, 18.0, 30.0)
    rows = compare.collect(study, ["equal"], [0])
    assert rows["equal"]["delta_m.main"] == pytest.approx([10])
    assert "segmentation.miou" not in rows["equal"]


def test_compare_writes_its_table_figure_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    given = [str(SMOKE), f"--out={out}", "--methods", "GradNorm", "DWA"]
    open_at(out)
    leave_compared(out)
    assert compare.main(given) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["delta_m.main.gradnorm"] == pytest.approx(10)
    assert figures["gradnorm.depth.rmse"] == pytest.approx(0.9)
    assert {"rank.dwa", "time_ratio.dwa", "delta_m.nine.equal", "equal.segmentation.miou"} <= set(figures)
    text = (out / "compare.md").read_text()
    order = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][:5]
    assert order == ["", "single task", "gradnorm", "equal", "dwa"]
    assert "**0.900 ± 0.141**" in text and "python studies/" in text and "3 images of 'test'" in text
    assert (out / "compare.png").stat().st_size > 10_000


def test_two_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, two = tmp_path / "out", ["depth", "normals"]
    open_at(out, "--tasks.names=[depth,normals]")
    for name, rmse in (("equal-s0", 1.0), ("gradnorm-s0", 0.9), ("single_depth-s0", 1.0), ("single_normals-s0", 1.0)):
        leave(out, name, rmse, 20.0, 40.0, tasks=[name[7:-3]] if "single" in name else two)
    options = [f"--out={out}", "--tasks.names=[depth,normals]", "--methods", "GradNorm", "--seeds", "0"]
    assert compare.main([str(SMOKE), *options]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["delta_m.main.gradnorm"] == pytest.approx(5)
    assert not [key for key in figures if "segmentation" in key]


def test_static_search_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    open_at(out)
    leave(out, "gradnorm-s0", 1.0, 20.0, 40.0, weights=(1, 1.5, 0.5))
    leave(out, "equal-s0", 1.0, 20.0, 44.0)
    leave(out, "static000-s0", 1.3, 20.0, 40.0)
    leave(out, "static001-s0", 0.7, 20.0, 40.0)
    leave(out, "static002-s0", 1.0, 26.0, 40.0)
    assert static_search.main([str(SMOKE), f"--out={out}", "--count=3"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (figures["count"], figures["beat_gradnorm"], figures["best_change"]) == (3, 1, 10)
    assert figures["equal_change"] == pytest.approx(10 / 3, abs=1e-3)
    assert figures["equal_distance"] == pytest.approx(0.5**0.5, abs=1e-3)
    assert -1 <= figures["spearman"] <= 1
    assert "1 of 3 random weightings" in (out / "static_search.md").read_text()
    assert (out / "static_search.png").exists()


def test_alpha_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    open_at(out)
    for seed in (0, 1):
        leave(out, f"equal-s{seed}", 1.0 + seed, 20.0, 40.0)
        leave(out, f"gradnorm-s{seed}", 0.9 * (1 + seed), 20.0, 40.0, weights=(0.5 + seed, 1, 1))  # 0: the recipe's
        leave(out, f"gradnorm_alpha1.5-s{seed}", 1.0 + seed, 22.0, 36.0)
    assert alpha.main([str(SMOKE), f"--out={out}", "--alphas", "1.5", "0"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["gain.0.depth"] == pytest.approx(10)
    assert figures["gain.0"] == pytest.approx(10 / 3, abs=1e-3)
    assert figures["gain.1.5"] == pytest.approx(-20 / 3, abs=1e-3)
    assert figures["gain.1.5.segmentation"] == pytest.approx(-10)
    text = (out / "alpha.md").read_text()
    assert "**10.00 ± 0.00**" in text and "1.00 ± 0.71" in text
    assert (out / "alpha.png").exists()


def test_steps_are_timed_after_the_first_tenth(tmp_path: Path) -> None:
    leave(tmp_path, "a", 1, 1, 1, seconds=0.25)
    assert common.step_seconds(tmp_path, "a") == 0.25


@pytest.mark.slow
def test_compare_from_the_command_line(
    rooms: Path, python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One epoch of the single tasks and two methods; the second time nothing is trained."""
    monkeypatch.chdir(tmp_path)
    options = [
        "--quick",
        "--jobs=2",
        "--out=out",
        f"--data.root={rooms}",
        "--data.size",
        "[48,64]",
        "--model.backbone=mobilenetv4_conv_small",
        "--model.decoder.width=32",
        "--tasks.names=[depth, segmentation]",
    ]
    script = [python, str(REPO / "studies" / "compare.py"), str(SMOKE), *options]
    done = subprocess.run(script, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["time_ratio.equal"] == 1 and figures["time_ratio.gradnorm"] > 0
    assert figures["rank.equal"] + figures["rank.gradnorm"] == pytest.approx(3)
    names = {path.parent.name for path in (tmp_path / "out").glob("*/metrics.json")}
    assert names == {"equal-s0", "gradnorm-s0", "single_depth-s0", "single_segmentation-s0"}
    assert compare.main([str(SMOKE), *options]) == 0
    assert "4 of them finished" in capfd.readouterr().out
