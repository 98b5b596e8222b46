"""Runs from the command line on the smallest data: what they leave, resuming, several processes, bad input."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from mtl_vision.engine.cli import main
from mtl_vision.synthetic.dataset import write_rooms

REPO = Path(__file__).parents[2]


def arguments(rooms: Path, tmp_path: Path, name: str, *more: str) -> list[str]:
    return [
        f"--data.root={rooms}",
        "--data.size=[48,64]",
        "--data.batch_size=8",
        "--data.workers=0",
        f"--data.cache={tmp_path / 'cache'}",
        "--model.backbone=mobilenetv4_conv_small",
        "--model.decoder.width=32",
        "--train.epochs=2",
        "--run.device=cpu",
        f"--run.dir={tmp_path / 'runs'}",
        f"--run.name={name}",
        *more,
    ]


def history(folder: Path) -> list[dict]:
    records = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]


def test_run_directory(rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file that is promised, with what is promised in it."""
    assert main(arguments(rooms, tmp_path, "a", "--balancer.interval=1")) == 0
    folder = tmp_path / "runs" / "a"
    found = {path.name for path in folder.iterdir()}
    assert found == {
        "config.yaml", "dataset.yaml", "history.jsonl", "metrics.json", "weights.png", "panel.png", "checkpoint.pt",
        "checkpoint.previous.pt", "model.safetensors", "tensorboard", "evaluation.json", "report.html",
    }  # fmt: skip
    steps = history(folder)
    assert [record["step"] for record in steps] == list(range(6))
    for record in steps:
        for key in ("loss", "weight", "grad_norm", "rate"):
            assert set(record[key]) == {"depth", "normals", "segmentation"}
        assert sum(record["weight"].values()) == pytest.approx(3, abs=1e-4)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {"depth.rmse", "depth.delta3", "normals.within_11.25", "segmentation.miou"} <= set(metrics)
    assert metrics["protocol.ground_truth"].startswith("synthetic rooms")
    assert metrics["protocol.crop"] == "none"
    assert yaml.safe_load((folder / "config.yaml").read_text())["run"]["name"] == "a"
    said = capsys.readouterr().out
    assert "next: mtl-export" in said and "abs_rel" in said
    assert any((folder / "tensorboard").iterdir())


def test_a_report_that_fails_costs_a_line_not_the_run(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no\nway")

    monkeypatch.setattr("mtl_vision.engine.details.gallery", fails)
    assert main(arguments(rooms, tmp_path, "a", "--run.tensorboard=false", "--train.eval_every=1")) == 0
    folder = tmp_path / "runs" / "a"
    assert (folder / "metrics.json").exists() and not (folder / "report.html").exists()
    warnings = [line for line in capsys.readouterr().err.splitlines() if "report.html" in line]
    assert len(warnings) == 2 and warnings[0].startswith("warning: no report.html (RuntimeError: no\\nway)")


def test_the_report_is_there_while_the_training_goes_on(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first of two epochs, of a run that is then stopped; and of the four tasks, when it has resumed."""
    more = ("--train.eval_every=1", "--run.tensorboard=false", "--tasks.names=[depth, normals, segmentation, edges]")
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        assert main(arguments(rooms, tmp_path, "a", "--balancer=PCGrad", *more)) == 130
    folder = tmp_path / "runs" / "a"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "measured after 1 of 2 epochs, 3 steps" in page and "Edges by threshold" in page
    assert main([f"--run.dir={tmp_path / 'runs'}", "--run.name=a", "--run.resume=true"]) == 0
    assert "finished, 6 steps" in (folder / "report.html").read_text(encoding="utf-8")
    found = json.loads((folder / "evaluation.json").read_text())
    metrics = json.loads((folder / "metrics.json").read_text())
    assert found["metrics"] == metrics and found["epoch"] == 2 and len(found["gallery"]["samples"]) == 3


def test_same_seed_same_run(rooms: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert main(arguments(rooms, tmp_path, name, f"--run.seed={seed}", "--run.tensorboard=false")) == 0
    a, b, c = (history(tmp_path / "runs" / name) for name in "abc")
    assert a == b != c


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """As if Ctrl-C were pressed before that step."""
    from mtl_vision.engine.loop import Trainer

    real, calls = Trainer.step, []

    def step_or_stop(self: Trainer, batches: list) -> dict:
        calls.append(1)
        if len(calls) == step + 1:
            raise KeyboardInterrupt
        return real(self, batches)

    monkeypatch.setattr(Trainer, "step", step_or_stop)


@pytest.mark.parametrize(
    "balancer",
    ["GradNorm", "Equal", "Uncertainty", "DTP", "DBMTL", "DWA", "FAMO", "IMTLL", "NashMTL", "RLW", "Fixed"],
)
def test_resumed_run_equals_an_unbroken_one(
    rooms: Path, tmp_path: Path, balancer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the second epoch, between two checkpoints; history and weights come out the same."""
    more = (f"--balancer={balancer}", "--train.epochs=3", "--run.tensorboard=false")
    if balancer == "Fixed":
        more += ("--balancer.weights={depth: 1, normals: 2, segmentation: 0.5}",)
    if balancer == "RLW":  # what it draws must not depend on loading workers or on evaluations
        more += ("--data.workers=1", "--train.eval_every=1")
    assert main(arguments(rooms, tmp_path, "whole", *more)) == 0

    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        assert main(arguments(rooms, tmp_path, "broken", *more)) == 130
    assert main([f"--run.dir={tmp_path / 'runs'}", "--run.name=broken", "--run.resume=true"]) == 0
    assert history(tmp_path / "runs" / "broken") == history(tmp_path / "runs" / "whole")
    weights = [load_file(tmp_path / "runs" / name / "model.safetensors") for name in ("whole", "broken")]
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name


@pytest.mark.parametrize("killed", ["before", "after"])
def test_metrics_of_an_epoch_are_never_lost(
    killed: str, rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended between a checkpoint and its evaluation, or right after it: the resumed run has every row once."""
    from mtl_vision.engine.run import Run

    more = ("--balancer=Equal", "--train.epochs=3", "--train.eval_every=1", "--run.tensorboard=false")
    assert main(arguments(rooms, tmp_path, "whole", *more)) == 0
    real = Run.evaluate

    def ended(self: Run) -> dict[str, float]:
        if killed == "before" and self.trainer.epochs == 2:
            raise KeyboardInterrupt
        return real(self)

    def ended_after(self: Run, *args: object, **kwargs: object) -> None:
        measure(self, *args, **kwargs)
        if self.trainer.epochs == 2:
            raise KeyboardInterrupt

    measure = Run._measure
    monkeypatch.setattr(Run, "evaluate", ended)
    if killed == "after":
        monkeypatch.setattr(Run, "_measure", ended_after)
    assert main(arguments(rooms, tmp_path, "broken", *more)) == 130
    monkeypatch.undo()
    assert main([f"--run.dir={tmp_path / 'runs'}", "--run.name=broken", "--run.resume"]) == 0
    whole = history(tmp_path / "runs/whole")
    assert [record["step"] for record in whole if "metrics" in record] == [2, 5]
    assert history(tmp_path / "runs/broken") == whole


def test_a_run_goes_on_with_data_that_were_moved(rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtl_vision.engine import run as engine_run

    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(rooms, old)
    monkeypatch.setattr(engine_run.Run, "_finish", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(arguments(old, tmp_path, "left", "--run.tensorboard=false")) == 130
    monkeypatch.undo()
    old.rename(new)
    resume = [f"--run.dir={tmp_path / 'runs'}", "--run.name=left", "--run.resume=true"]
    assert main(resume) == 1
    assert main([*resume, f"--data.root={new}"]) == 0


def test_resume_finds_the_interrupted_run_by_itself(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtl_vision.engine import run as engine_run

    monkeypatch.setattr(engine_run.Run, "_finish", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(arguments(rooms, tmp_path, "left", "--run.tensorboard=false")) == 130
    monkeypatch.undo()
    assert main([f"--run.dir={tmp_path / 'runs'}", "--run.resume=true"]) == 0
    assert (tmp_path / "runs" / "left" / "metrics.json").exists()


def test_accumulated_micro_batches_make_one_step(rooms: Path, tmp_path: Path) -> None:
    assert (
        main(arguments(rooms, tmp_path, "a", "--train.accumulate=4", "--train.clip=1.0", "--train.eval_every=1")) == 0
    )
    steps = [record for record in history(tmp_path / "runs" / "a") if "loss" in record]
    assert len(steps) == 6


def test_one_task_alone_and_classes_of_its_own(rooms: Path, tmp_path: Path) -> None:
    assert main(arguments(rooms, tmp_path, "one", "--tasks.names=[normals]", "--balancer=Equal")) == 0
    metrics = json.loads((tmp_path / "runs" / "one" / "metrics.json").read_text())
    assert "normals.mean" in metrics and "depth.rmse" not in metrics


def test_resume_before_the_first_checkpoint_begins_anew(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the first epoch: the resumed run equals one that never stopped, from the same pretrained weights."""
    import timm

    donor = timm.create_model("mobilenetv4_conv_small", pretrained=False)
    torch.save(donor.state_dict(), tmp_path / "weights.pth")
    more = (f"--model.pretrained={tmp_path / 'weights.pth'}", "--run.tensorboard=false", "--train.epochs=1")
    assert main(arguments(rooms, tmp_path, "whole", *more)) == 0

    from mtl_vision.engine.loop import Trainer

    def stop(self: Trainer, batches: list) -> dict:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", stop)
        assert main(arguments(rooms, tmp_path, "broken", *more)) == 130
    assert main(arguments(rooms, tmp_path, "broken", *more, "--run.resume")) == 0
    assert history(tmp_path / "runs" / "broken") == history(tmp_path / "runs" / "whole")


def test_a_broken_test_split_is_told_not_passed_over(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    broken = tmp_path / "rooms"
    shutil.copytree(rooms, broken)
    shutil.rmtree(broken / "test" / "depth")
    assert main(arguments(broken, tmp_path, "bad")) == 1
    assert "no depth for split 'test'" in capsys.readouterr().err
    shutil.rmtree(broken / "test")
    assert main(arguments(broken, tmp_path, "val", "--run.tensorboard=false", "--train.epochs=1")) == 0
    assert json.loads((tmp_path / "runs" / "val" / "metrics.json").read_text())["protocol.split"] == "val"


def test_an_unreadable_image_is_named_by_a_worker_too(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    broken = tmp_path / "rooms"
    shutil.copytree(rooms, broken)
    bad = sorted((broken / "train" / "rgb").iterdir())[5]
    bad.write_bytes(b"")
    assert main(arguments(broken, tmp_path, "bad", "--data.cache=null", "--data.workers=1")) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("mtl-train: ") and bad.name in message and "Traceback" not in message


@pytest.mark.slow
def test_two_processes_from_the_command_line(rooms: Path, python: str, tmp_path: Path) -> None:
    """torchrun with two processes: one run directory, every test image measured once."""
    more = ("--run.tensorboard=false", "--train.epochs=1", "--data.batch_size=4")
    script = [str(REPO / "train.py"), *arguments(rooms, tmp_path, "two", *more)]
    torchrun = [python, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29517"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*torchrun, *script], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(history(tmp_path / "runs" / "two")) == 3
    assert json.loads((tmp_path / "runs" / "two" / "metrics.json").read_text())["protocol.samples"] == 3


@pytest.mark.parametrize(
    "more, said",
    [
        (("--data.root=/nowhere",), "/nowhere: no such folder"),
        (("--data.description=x.yaml", "--data.root=null"), "it describes data at data.root; give that, too"),
        (("--data.batch_size=100",), "do not fill one batch of 100"),
        (("--data.size=[48,48]",), "would stretch the images of 48x64: .* such as .48, 64."),
        (("--data.train_split=trian",), "no images for split 'trian'"),
        (("--model.backbone=resnet1",), "model: .* did you mean 'resnet"),
        (("--model.decoder.width=20",), "model: width is 20: expected a multiple of 16"),
        (("--data.classes=nyu40",), "coarse set has lost the finer"),
        (("--balancer.lr=-1",), "balancer: lr is -1.0: expected"),
        (("--tasks.depth.max_depth=0",), "tasks.depth: max_depth is 0.0: expected"),
        (("--run.resume",), "no run at .*to resume"),
    ],
)
def test_bad_input_is_told(
    rooms: Path, tmp_path: Path, more: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(rooms, tmp_path, "bad", *more)) == 1
    message = capsys.readouterr().err
    assert re.search(said, message), message
    assert not (tmp_path / "runs" / "bad").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_told(rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(rooms, tmp_path, "bad", "--run.device=cuda")) == 1
    assert "torch sees no GPU" in capsys.readouterr().err


def test_a_run_is_never_overwritten(rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--train.epochs=1", "--run.tensorboard=false")
    assert main(arguments(rooms, tmp_path, "a", *more)) == 0
    before = (tmp_path / "runs" / "a" / "metrics.json").read_bytes()
    assert main(arguments(rooms, tmp_path, "a", *more)) == 1
    assert "holds a run already" in capsys.readouterr().err
    assert main(arguments(rooms, tmp_path, "a", *more, "--train.lr=0.5", "--run.resume=true")) == 1
    assert "was begun with train.lr" in capsys.readouterr().err
    assert (tmp_path / "runs" / "a" / "metrics.json").read_bytes() == before


def test_a_loss_that_is_not_finite_names_task_and_step(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtl_vision.tasks.depth.Squared.__call__", lambda self, p, target, valid: p.mean() * math.inf)
    assert main(arguments(rooms, tmp_path, "a", "--run.tensorboard=false")) == 1
    message = capsys.readouterr().err
    assert "the loss of task '" in message and "at step " in message
    assert not (tmp_path / "runs" / "a" / "metrics.json").exists()


@pytest.mark.parametrize(
    "given, said",
    [
        (["--balancer.alhpa=1"], "balancer: Option 'alhpa' is not accepted, did you mean 'alpha'?"),
        (["--batch_size=3"], "did you mean 'data.batch_size'?"),
        (["--model.width=32"], "did you mean 'model.decoder.width'?"),
        (["--data.workers=x"], "data.workers: expected int or null, found x"),
        (["--data.holdout=x"], "data.holdout: expected int, found x"),
        (["--data.classes=x"], "data.classes: expected 'nyu13', 'nyu40' or null, found x"),
        (["--config=/nowhere.yaml"], "no recipe at /nowhere.yaml"),
        (["--balancer=gradnrm"], "no Balancer is called 'gradnrm', did you mean 'GradNorm'?; expected UPGrad, "),
        (["--balancer=a.b.C"], "cannot import 'a.b.C' (No module named 'a')"),
        (["--balancer=mtl_vision.tasks.Depth"], "expected the import path of a Balancer"),
        (["--balancer=null"], "balancer is None: expected a class"),
        (["--balancer=Equal", "--balancer.alpha=1"], "balancer: Option 'alpha' is not accepted"),
        (["--balancer=Fixed"], "balancer: the following arguments are required: weights"),
        (["--balancer.initial=zeroth"], "expected 'first', 'mean', 'theoretical', found zeroth"),
        (["--tasks.names=[depth, egdes]"], "no Task is called 'egdes', did you mean 'edges'?"),
        (["--tasks.names=[]"], "expected at least one task"),
        (["--tasks.names=[depth, depth]"], "expected tasks of different names, 'depth' is there already"),
        (["--tasks.depth.loss=squared"], "no DepthLoss is called 'squared', did you mean 'Squared'?"),
        (["--train.epochs=0"], "train.epochs is 0: expected 1 to 1000000"),
        (["--train.accumulate=3"], "data.batch_size is 8: expected a multiple of train.accumulate, which is 3"),
        (["--data.size=[0,0]"], "data.size is [0, 0]: expected height and width, each 32 to 8192"),
        (["--data.augment=wild"], "data.augment: expected 'none', 'flip', 'standard', 'strong', 'heavy', found wild"),
        (["--run.precision=fp8"], "run.precision: expected 'auto', 'fp32', 'bf16', 'fp16', found fp8"),
    ],
)
def test_a_wrong_option_is_an_error_in_one_line(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(given) == 2
    message = capsys.readouterr().err
    assert message.startswith("mtl-train: ") and said in message, message
    assert message.count("\n") == 2 and "mtl-train --help" in message


def test_unknown_key_in_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").write_text("train:\n  epoch: 3\n")
    assert main([f"--config={tmp_path / 'recipe.yaml'}"]) == 2
    assert "did you mean 'train.epochs'?" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", sorted((REPO / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_says_what_it_costs(recipe: Path) -> None:
    from mtl_vision.engine.parse import parse

    config = parse([f"--config={recipe}"])
    assert recipe.read_text().startswith("# ")
    assert config.data.description is None, "a recipe takes NYUv2 in any known layout"


def test_the_synthetic_recipe_is_the_default() -> None:
    from mtl_vision.engine.parse import parse

    assert parse([f"--config={REPO / 'configs' / 'synthetic.yaml'}"]) == parse([])


def test_the_config_of_a_resumed_run_is_a_recipe(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does not ask to resume; and a run that is not there is told with what is near, not with all there are."""
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        assert main(arguments(rooms, tmp_path, "a", "--run.tensorboard=false")) == 130
    runs = tmp_path / "runs"
    assert main([f"--run.dir={runs}", "--run.name=a", "--run.resume=true"]) == 0
    assert yaml.safe_load((runs / "a" / "config.yaml").read_text())["run"]["resume"] is False
    assert main([f"--config={runs / 'a' / 'config.yaml'}", "--run.name=b", "--train.epochs=1"]) == 0
    for k in range(8):
        shutil.copytree(runs / "b", runs / f"copy{k}")
    capsys.readouterr()
    assert main([f"--run.dir={runs}", "--run.name=copy9", "--run.resume=true"]) == 1
    said = capsys.readouterr().err
    assert "did you mean 'copy" in said and "and 5 more; without run.resume it begins" in said


def test_one_sample_with_one_pixel_of_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Batch norm has nothing to normalise: told by the settings' names, before a folder is made."""
    write_rooms(tmp_path / "data", 12, (32, 32), workers=1)
    more = ("--data.size=[32,32]", "--model.backbone=resnet10t", "--train.epochs=1", "--run.tensorboard=false")
    assert main(arguments(tmp_path / "data", tmp_path, "a", *more, "--train.accumulate=8")) == 1
    said = capsys.readouterr().err
    assert "a micro-batch has one sample (data.batch_size 8, train.accumulate 8)" in said
    assert not (tmp_path / "runs" / "a").exists()
    assert main(arguments(tmp_path / "data", tmp_path, "a", *more, "--train.accumulate=4")) == 0


@pytest.mark.parametrize("far", [0.5, 10.0])
def test_depths_beyond_the_networks_range(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], far: float
) -> None:
    more = ("--train.epochs=1", "--run.tensorboard=false", f"--tasks.depth.max_depth={far}")
    assert main(arguments(rooms, tmp_path, "a", *more)) == 0
    said = capsys.readouterr().out
    note = r"note       \d+ % of the depths for training are beyond tasks.depth.max_depth, 0.5 m, .* largest is \d"
    assert bool(re.search(note, said)) == (far == 0.5)


def test_a_target_that_not_all_samples_have_is_told(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(rooms, tmp_path / "data")
    for path in sorted((tmp_path / "data/train/depth").iterdir())[5:]:
        path.unlink()
    assert main(arguments(tmp_path / "data", tmp_path, "a", "--train.epochs=1", "--run.tensorboard=false")) == 0
    said = capsys.readouterr().out
    assert "note       depth for 5 of 24 training samples\n" in said and "normals for" not in said
