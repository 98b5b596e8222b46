"""torchrun: metrics, resuming with another number of processes, restarts."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import InProcesses
from test_run import REPO, arguments, history

from mtl_vision.config import Config, DataConfig, RunConfig, TrainConfig
from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.targets import target_of
from mtl_vision.engine import build, distributed
from mtl_vision.engine.cli import main
from mtl_vision.engine.evaluate import evaluate
from mtl_vision.engine.folder import is_resumed
from mtl_vision.loading.loader import Loader
from mtl_vision.models import Fusion, Network
from mtl_vision.synthetic import render_room
from mtl_vision.tasks import Task
from mtl_vision.tasks.depth import Depth
from mtl_vision.tasks.edges import Edges
from mtl_vision.tasks.normals import Normals
from mtl_vision.tasks.segmentation import Segmentation

PLAIN = ("--run.tensorboard=false", "--train.eval_every=1", "--train.lr=1e-4")
# one process fails in the second epoch, each time another way: a rank, where it happens, and what
FAILS = """
import errno, os, signal, sys, time
from mtl_vision.engine import checkpoint, distributed
from mtl_vision.engine.cli import main
from mtl_vision.engine.loop import Trainer

def fail(error):
    print(f"\\nFAILS {time.time()}", flush=True)
    if error is None:
        os.kill(os.getpid(), signal.SIGKILL)
    raise error

WAYS = [
    (0, checkpoint, "save", OSError(errno.ENOSPC, "No space left", "checkpoint.pt")),
    (1, Trainer, "_losses", None),
]
print(f"\\nBEGINS {time.time()}", flush=True)
epoch, attempt = Trainer.epoch, int(os.environ["TORCHELASTIC_RESTART_COUNT"])

def begin(self, *args):
    if self.epochs == 1 and attempt < len(WAYS):
        rank, owner, name, error = WAYS[attempt]
        if distributed.rank() == rank:
            setattr(owner, name, lambda *args: fail(error))
    epoch(self, *args)

Trainer.epoch = begin
sys.exit(main())
"""


def torchrun(
    python: str, tmp_path: Path, script: Path, words: Sequence[str], *options: str
) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *options]
    env = os.environ | {"PYTHONPATH": str(REPO)}
    return subprocess.run(
        [*command, str(script), *words], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=400
    )


@pytest.mark.slow
def test_two_processes_are_one_run_and_go_on_as_one(rooms: Path, python: str, tmp_path: Path) -> None:
    """The same global batch: losses and metrics of two processes are one's, and one resumes what two began."""
    assert main(arguments(rooms, tmp_path, "one", *PLAIN)) == 0
    done = torchrun(
        python, tmp_path, REPO / "train.py", arguments(rooms, tmp_path, "two", *PLAIN, "--data.batch_size=4")
    )
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-3000:]
    one, two = (history(tmp_path / "runs" / name) for name in ("one", "two"))
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        for key in ("loss", "weight", "metrics"):
            assert b.get(key) == (pytest.approx(a[key], rel=2e-2, abs=2e-2) if key in a else None), (a["step"], key)
    assert two[0]["loss"] == pytest.approx(one[0]["loss"], rel=1e-5)  # not one process' alone
    assert json.loads((tmp_path / "runs/two/metrics.json").read_text())["protocol.samples"] == 3

    for name in ("metrics.json", "model.safetensors"):
        (tmp_path / "runs/two" / name).unlink()
    state = torch.load(tmp_path / "runs/two/checkpoint.previous.pt", weights_only=True)
    assert state["epoch"] == 1
    (tmp_path / "runs/two/checkpoint.previous.pt").rename(tmp_path / "runs/two/checkpoint.pt")
    assert main([f"--run.dir={tmp_path / 'runs'}", "--run.name=two", "--run.resume"]) == 0
    again = history(tmp_path / "runs/two")
    assert [record["step"] for record in again] == [record["step"] for record in two]
    for a, b in zip(again, two, strict=True):
        assert b["loss" if "loss" in b else "metrics"] == pytest.approx(
            a["loss" if "loss" in b else "metrics"], rel=2e-2, abs=2e-2
        )


@pytest.mark.slow
def test_a_restarted_run_resumes(rooms: Path, python: str, tmp_path: Path) -> None:
    """Each failure is told in one line by the process that failed, or by another one if it was killed."""
    words = arguments(rooms, tmp_path, "again", *PLAIN, "--data.batch_size=4")
    script = tmp_path / "fails.py"
    script.write_text(FAILS)
    done = torchrun(python, tmp_path, script, words, "--max-restarts=2")
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-3000:]
    full, *killed = (line for line in done.stderr.splitlines() if line.startswith("mtl-train: "))
    assert full.startswith("mtl-train: no space is left for checkpoint.pt (No space left): free some")
    # where torchrun ends the other one before it has noticed, torchrun says it
    assert [line.partition(" (")[0] for line in killed] in ([], ["mtl-train: another process does not answer"])
    assert "Traceback" not in done.stderr
    times = [line.split() for line in done.stdout.splitlines() if line.startswith(("BEGINS ", "FAILS "))]
    assert [word for word, _ in times] == ["BEGINS", "BEGINS", "FAILS"] * 2 + ["BEGINS"] * 2
    for failed in (2, 5):
        assert float(times[failed + 1][1]) - float(times[failed][1]) < 100  # new ones, which import torch
    assert "resuming after epoch 1" in done.stdout
    # the second checkpoint was not written
    steps = [record["step"] for record in history(tmp_path / "runs/again") if "loss" in record]
    assert steps == list(range(6))


def test_a_restarted_run_needs_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(run=RunConfig(dir=str(tmp_path)))
    named = replace(config, run=replace(config.run, name="a"))
    assert not is_resumed(config)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert not is_resumed(config)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    with pytest.raises(ValueError, match=r"run has no run.name .*: give one"):
        is_resumed(config)
    assert not is_resumed(named)  # it failed before it began
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").touch()
    assert is_resumed(named)
    (tmp_path / "a" / "metrics.json").touch()  # an older one, which is finished
    assert not is_resumed(named)
    assert is_resumed(replace(config, run=replace(config.run, resume=True)))


@pytest.mark.parametrize(
    "batch, begun, accumulate, now, expected",
    [(8, 1, 1, 1, 8), (8, None, 2, 3, 4), (4, 2, 1, 1, 8), (4, 2, 1, 4, 2), (6, 2, 2, 3, 2), (1, 5, 1, 5, 1)],
)
def test_the_global_batch_stays(
    batch: int, begun: int | None, accumulate: int, now: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "world", lambda: now)
    config = Config(RunConfig(processes=begun), DataConfig(batch_size=batch), train=TrainConfig(accumulate=accumulate))
    assert build.share_of_batch(config) == expected


def test_a_batch_that_cannot_be_shared_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world", lambda: 3)
    config = Config(RunConfig(processes=2), DataConfig(batch_size=8), train=TrainConfig(accumulate=2))
    with pytest.raises(ValueError, match=r"3 processes cannot share .* of 8 samples .*: expected 1, 2, 4, 8 processes"):
        build.share_of_batch(config)


class _Rooms:
    """Some rooms with edges; one has no depth."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        sample = render_room(index, (48, 64))
        derive = target_of("edges").derive
        assert derive is not None
        targets = sample.targets | {"edges": derive(sample)}
        return replace(sample, targets={k: v for k, v in targets.items() if k != "depth" or index != 1})


def measured() -> list[dict[str, Any]]:
    """Of 5 samples and of one, in batches of 2, by a network in float64: sizes of batches do not matter to it."""
    torch.manual_seed(0)
    labelled: dict[str, Task] = {"segmentation": Segmentation([*"abcdefghijklm"]), "edges": Edges()}
    tasks = {"depth": Depth(), "normals": Normals(), **labelled}
    net = Network(tasks, "resnet10t", Fusion(16), size=(48, 64)).double()
    loaders = [
        Loader(_Rooms(count), [*tasks], (48, 64), 2, rank=distributed.rank(), world=distributed.world())
        for count in (5, 1)
    ]
    found = [evaluate(net, tasks, loader, torch.device("cpu")) for loader in loaders]
    each = [dict(enumerate(one.samples.nan_to_num(-1).flatten().tolist())) for one in found]
    return [
        one.metrics | {f"sample.{k}": value for k, value in of.items()} for one, of in zip(found, each, strict=True)
    ]


@pytest.mark.slow
def test_metrics_of_processes_are_ones(in_processes: InProcesses, tmp_path: Path) -> None:
    """Where the samples do not divide, and where two of three processes have none."""
    one = measured()
    assert {"depth.rmse", "normals.median", "segmentation.miou", "edges.f_measure", "edges.threshold"} <= set(one[0])
    for found in in_processes(measured, 3, tmp_path):
        for a, b in zip(found, one, strict=True):
            losses = {key: value for key, value in b.items() if key.endswith(".loss")}  # of batches, in float32
            assert a == pytest.approx(b | {key: a[key] for key in losses}, rel=1e-9)
            assert {key: a[key] for key in losses} == pytest.approx(losses, rel=1e-5)
