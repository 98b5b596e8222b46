"""Trainings side by side, with a train.py that only pretends: order, going on, failure, interruption."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from studies import schedule
from studies.schedule import Run, run_all

SMOKE = Path(__file__).parents[2] / "configs" / "smoke.yaml"
FAKE = """
import json, sys, time
from pathlib import Path
options = dict(word[2:].split("=", 1) for word in sys.argv[1:])
out, name = Path(options["run.dir"]), options["run.name"]
(out / name).mkdir(exist_ok=True)
with (out / "calls.jsonl").open("a") as file:
    file.write(json.dumps([name, sys.argv[1:]]) + "\\n")
time.sleep(0.1)
(out / name / "config.yaml").touch()
if name.startswith("hang"):
    time.sleep(60)
if name.startswith("fail"):
    print("tried\\r  hard\\nlast words")
    sys.exit(1)
time.sleep(0.5)
for _ in range(600):  # b and c are there at the same time, however slow the machine is
    if name not in "bc" or (out / "b").exists() and (out / "c").exists():
        break
    time.sleep(0.05)
(out / name / "metrics.json").write_text("{}")
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A train.py that notes its calls."""
    monkeypatch.setattr(schedule, "POLL", 0.02)
    path = tmp_path / "fake_train.py"
    path.write_text(FAKE)
    return path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list:
    """The processes, as they are started; each with how many go beside it."""
    found: list = []
    real = schedule.start

    def start(arguments: Sequence[str], log: Path, jobs: int):
        beside = sum(process.poll() is None for process, _ in found)
        found.append((real(arguments, log, jobs), beside))
        return found[-1][0]

    monkeypatch.setattr(schedule, "start", start)
    return found


def calls(out: Path) -> list[tuple[str, list[str]]]:
    path = out / "calls.jsonl"
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def test_runs_wait_for_what_they_need(
    tmp_path: Path, fake: Path, started: list, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first one goes alone; then two at a time, each after its needs."""
    runs = [Run("d", needs=("b", "c")), Run("a"), Run("b"), Run("c"), Run("a")]
    run_all(runs, SMOKE, tmp_path, ["--x.y=1"], jobs=2, train=fake)
    names = [name for name, _ in calls(tmp_path)]
    assert names[0] == "a" and sorted(names[1:3]) == ["b", "c"] and names[3:] == ["d"]
    beside = [count for _, count in started]
    assert beside[0] == beside[-1] == 0 and max(beside) == 1
    options = calls(tmp_path)[0][1]
    assert options == [
        f"--config={SMOKE}", "--x.y=1", f"--run.dir={tmp_path}", "--run.name=a", "--run.tensorboard=false",
    ]  # fmt: skip
    said = capsys.readouterr().out
    assert "4 runs" in said and "[4/4] d done in" in said
    run_all(runs, SMOKE, tmp_path, jobs=2, train=fake)
    assert len(calls(tmp_path)) == 4  # all are finished


def test_an_interrupted_run_goes_on_or_begins_anew(tmp_path: Path, fake: Path) -> None:
    for name, left in (("on", "checkpoint.pt"), ("anew", "history.jsonl")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
        (tmp_path / name / left).touch()
    run_all([Run("on", ("--a.b=1",)), Run("anew", ("--a.b=1",))], SMOKE, tmp_path, train=fake)
    options = dict(calls(tmp_path))
    assert options["on"] == [f"--run.dir={tmp_path}", "--run.name=on", "--run.resume=true"]
    assert "--a.b=1" in options["anew"] and "--run.resume=true" not in options["anew"]
    assert (tmp_path / "on" / "checkpoint.pt").exists() and not (tmp_path / "anew" / "history.jsonl").exists()


def test_a_failed_run_is_told_and_the_others_end(tmp_path: Path, fake: Path) -> None:
    runs = [Run("a"), Run("fail"), Run("later", needs=("fail",)), Run("late", needs=("a",))]
    with pytest.raises(RuntimeError) as error:
        run_all(runs, SMOKE, tmp_path, jobs=2, train=fake)
    message = str(error.value)
    assert f"fail failed; the end of {tmp_path / 'fail.log'}" in message and "last words" in message
    assert schedule.finished(tmp_path / "a")
    assert {name for name, _ in calls(tmp_path)} == {"a", "fail"}


def test_a_need_that_no_run_meets(tmp_path: Path, fake: Path) -> None:
    with pytest.raises(ValueError, match="a needs b: it is neither finished in .* nor among the runs"):
        run_all([Run("a", needs=("b",))], SMOKE, tmp_path, train=fake)


def test_an_interrupted_study_leaves_no_training_behind(
    tmp_path: Path, fake: Path, started: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(schedule.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        run_all([Run("hang")], SMOKE, tmp_path, train=fake)
    assert len(started) == 1 and started[0][0].poll() is not None
