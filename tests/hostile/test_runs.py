"""Runs on full disks, side by side, killed, with damaged records: nothing is lost, and a sentence says what to do."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from data_testing import FULL as DESCRIPTION
from data_testing import planes, write_folder

from mtl_vision import commands
from mtl_vision.balancers.previous_runs import mean_weights, read_history
from mtl_vision.config import Config, DataConfig, RunConfig
from mtl_vision.datasets.description import DataError
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.write import FolderWriter
from mtl_vision.engine import build, checkpoint, cli
from mtl_vision.engine import run as engine_run
from mtl_vision.engine.cli import main
from mtl_vision.engine.folder import make_folder, new_folder, remove_unbegun, resumed_folder
from mtl_vision.engine.parse import resolve
from mtl_vision.engine.plots import plot_weights
from mtl_vision.engine.tracking import Tracker, is_being_trained
from mtl_vision.loading.cache import PackedDataset

SHORT = (
    "--data.size=[48,64]",
    "--data.workers=0",
    "--data.cache=null",
    "--model.decoder.width=16",
    "--train.epochs=2",
    "--run.device=cpu",
)
CASES = Path(__file__).parent


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file gets longer: writing more is an error, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fill_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def begin(code: str, *arguments: object, executable: str = sys.executable) -> subprocess.Popen[bytes]:
    """A process of its own, and the leader of its group."""
    words = [executable, "-c", code, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdout=pipe, stderr=pipe, cwd=CASES.parents[1], start_new_session=True)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()  # ended, but nobody has asked how
    except OSError:
        return False


@pytest.fixture
def source(tmp_path: Path) -> FolderDataset:
    return FolderDataset(write_folder(tmp_path / "set", {"train": planes(3)}), "train")


# full disks


@pytest.mark.parametrize("missing", ["fallocate", "usage", "limit"])
def test_packing_on_a_full_disk(
    tmp_path: Path, source: FolderDataset, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was SIGBUS: a mapped file is written to without space for its pages."""
    if missing == "fallocate":
        monkeypatch.setattr(os, "posix_fallocate", fill_disk)
    if missing == "usage":
        monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 5000}))
    with files_end_at(10_000 if missing == "limit" else 10**9), pytest.raises(DataError) as found:
        PackedDataset(source, tmp_path / "cache")
    message = str(found.value)
    assert "the packed copy in" in message and "needs 0 MB" in message and "free some, set data.cache" in message
    assert list((tmp_path / "cache").iterdir()) == []
    monkeypatch.undo()
    assert len(PackedDataset(source, tmp_path / "cache")) == 3


def test_rooms_on_a_full_disk(tmp_path: Path) -> None:
    with files_end_at(1000), pytest.raises(DataError, match="set can not be written .*: free some space"):
        write_folder(tmp_path / "set", {"train": planes(1)})
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_on_a_full_disk(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was a traceback. The last checkpoint stays whole, and the command in the message goes on with it."""
    monkeypatch.chdir(tmp_path)
    save = checkpoint.save

    def full_at_the_second(path: Path, state: dict) -> None:
        with files_end_at(10**5 if path.exists() else 10**9):
            save(path, state)

    monkeypatch.setattr(checkpoint, "save", full_at_the_second)
    assert main([f"--data.root={rooms}", *SHORT]) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    name = "rooms-gradnorm-1"
    assert f"mtl-train: no space is left for runs/{name}/checkpoint.pt" in message and "Traceback" not in message
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    folder = Path("runs", name)
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["epoch"] == 1
    (folder / ".0123456789ab.partial.pt").write_bytes(b"of a killed process")
    assert main(message.partition("then mtl-train ")[2].split()) == 0
    assert [record["step"] for record in read_history(folder)] == list(range(6))
    assert not list(folder.glob(".*"))
    mask = os.umask(0o022)
    os.umask(mask)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir() if path.is_file()}
    assert set(modes.values()) == {0o666 & ~mask}, modes  # the weights were readable by their owner alone


def test_a_start_on_a_full_disk_leaves_no_folder(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_run, "write_config", fill_disk)
    assert main([f"--data.root={rooms}", *SHORT, f"--run.dir={tmp_path / 'runs'}"]) == 1
    assert "no space is left for" in (message := capsys.readouterr().err) and "then begin again" in message
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("tensorboard", [False, True])
def test_records_on_a_full_disk(tmp_path: Path, tensorboard: bool) -> None:
    """The step that finds no space raises, here and not in a thread; its half line is cut when the run goes on."""
    tracker = Tracker(tmp_path, tensorboard)
    record = {"weight": {"depth": 1.0}, "seconds": 0.1}
    with files_end_at(600), pytest.raises(OSError, match="File too large"):
        for step in range(99):
            tracker.step({"step": step, **record})
    with files_end_at(600), pytest.raises(OSError, match="File too large"):
        tracker.close()
    before = len(read_history(tmp_path))
    assert before < 12
    tracker = Tracker(tmp_path, tensorboard, 99)
    tracker.step({"step": 99, **record})
    tracker.close()
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [*range(before), 99]


# side by side


def test_unnamed_runs_never_share_a_folder(tmp_path: Path) -> None:
    """One of four pairs did: one run was lost, and both said that all was well."""
    first = tmp_path / "runs" / "rooms-gradnorm-1"
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: make_folder(first, True), range(16)))
    assert {folder.name for folder in made} == {f"rooms-gradnorm-{k}" for k in range(1, 17)}


def test_a_named_run_takes_an_empty_folder_and_no_other(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", False)
    (folder / "history.jsonl").touch()  # left by a start that was killed
    assert make_folder(folder, False) == folder
    (folder / "dataset.yaml").write_text("source: not ours\n")
    with pytest.raises(ValueError, match="run holds other files: choose another run.name"):
        make_folder(folder, False)
    remove_unbegun(folder)
    assert [path.name for path in folder.iterdir()] == ["dataset.yaml"]


def test_ctrl_c_at_a_checkpoint_is_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's writer makes an error of its own of it."""

    def interrupted(state: object, file: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise RuntimeError("unexpected pos 64 vs 0")  # noqa: B904 (as torch does)

    checkpoint.save(tmp_path / "checkpoint.pt", {"epoch": 1})
    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path / "checkpoint.pt", {"epoch": 2})
    monkeypatch.undo()
    assert checkpoint.load(tmp_path / "checkpoint.pt")["epoch"] == 1 and len(list(tmp_path.iterdir())) == 1


def test_a_run_that_is_being_trained_is_left_alone(tmp_path: Path) -> None:
    """Neither resumed by another process, nor taken for the newest interrupted one."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("{}")
    options = {"run.dir": str(tmp_path), "run.resume": True}
    with closing(Tracker(tmp_path / "new", False)) as tracker:
        inherited = os.dup(tracker.file.fileno())  # as a loading process has it
        assert resumed_folder(resolve(options=options))[0] == tmp_path / "old"
        with pytest.raises(ValueError, match="new is being trained by another process: wait for it, or end it"):
            resumed_folder(resolve(options=options | {"run.name": "new"}))
        with pytest.raises(ValueError, match="is being trained"):
            Tracker(tmp_path / "new", False)
        remove_unbegun(tmp_path / "new")
    assert not is_being_trained(tmp_path / "new")
    os.close(inherited)


def test_four_processes_pack_one_split_at_once(python: str, tmp_path: Path, source: FolderDataset) -> None:
    """Two pairs died as they renamed what the other had just made."""
    code = (
        "import sys; from pathlib import Path; from mtl_vision.datasets.folder import FolderDataset\n"
        "from mtl_vision.loading.cache import PackedDataset\n"
        "source = FolderDataset(Path(sys.argv[1]), 'train'); print(flush=True); sys.stdin.read()\n"
        "for k in range(12): PackedDataset(source, Path(sys.argv[2]) / str(k))"
    )
    words = [python, "-c", code, str(source.root), str(tmp_path / "cache")]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, cwd=CASES.parents[1]) for _ in range(4)]
    for process in processes:
        assert process.stdout and process.stdout.readline()
    for process in processes:
        assert process.stdin
        process.stdin.close()
    for process in processes:
        assert process.stdout and process.stderr
        error = process.stderr.read().decode()
        assert process.wait() == 0, error
        process.stdout.close()
        process.stderr.close()
    assert [len(list(folder.iterdir())) for folder in (tmp_path / "cache").iterdir()] == [1] * 12


def test_rooms_that_another_process_has_just_made_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(root: Path, *_: object, **__: object) -> None:
        with FolderWriter(root, DESCRIPTION) as writer:
            writer.write("train", planes(1)[0])
            write_folder(root, {"train": planes(2)})

    with pytest.raises(DataError, match="other was made by another process meanwhile: choose another folder"):
        lose(tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "write_rooms", lose)
    assert len(FolderDataset(build.data_root(DataConfig()), "train")) == 2


# what killed and interrupted processes leave


@pytest.mark.parametrize("damage", ["cut", "empty", "header", "nested", "shape", "missing", "present"])
def test_a_damaged_packed_copy_is_made_anew(
    tmp_path: Path, source: FolderDataset, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = PackedDataset(source, tmp_path / "cache").folder
    path = folder / ("present.npy" if damage == "present" else "depth.npy")
    data, array = path.read_bytes(), np.load(path)
    if damage == "missing":
        path.unlink()
    elif damage in ("shape", "present"):
        np.save(path, array[:-1])
    else:
        nested = data[:10] + b"(" * 118 + data[128:]
        damaged = {"cut": data[:-1], "empty": b"", "header": b"x" + data[1:], "nested": nested}
        path.write_bytes(damaged[damage])
    capsys.readouterr()
    again = PackedDataset(source, tmp_path / "cache")
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "is damaged" in said and path.name in said and "it is made anew" in said
    assert path.read_bytes() == data
    np.testing.assert_array_equal(again[2].targets["depth"], source[2].targets["depth"])


ROOMS = """
import multiprocessing, signal, sys, threading, time
from pathlib import Path
from mtl_vision.synthetic.dataset import write_rooms
signal.signal(signal.SIGINT, signal.default_int_handler)
def tell():
    while len(multiprocessing.active_children()) < 2:
        time.sleep(0.01)
    time.sleep(float(sys.argv[2]))
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
threading.Thread(target=tell, daemon=True).start()
try:
    write_rooms(Path(sys.argv[1]), 100_000, (48, 64), workers=2)
except KeyboardInterrupt:
    sys.exit(130)
"""
LOADING = """
import multiprocessing, sys, time
from pathlib import Path
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.loading.loader import Loader
loader = Loader(FolderDataset(Path(sys.argv[1]), "train"), ["depth"], (48, 64), 1, workers=2)
batches = loader.epoch(0)
next(batches)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("code", [ROOMS, LOADING], ids=["rooms", "loading"])
def test_workers_end_when_their_parent_is_killed(tmp_path: Path, source: FolderDataset, code: str) -> None:
    process = begin(code, tmp_path / "rooms" if code is ROOMS else source.root, 0)
    assert process.stdout and process.stderr
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 2 and all(map(is_alive, workers)), process.stderr.read()
    process.kill()
    process.wait()
    end = time.monotonic() + 4  # torch's own look whether their parent lives every 5 seconds
    while time.monotonic() < end and any(map(is_alive, workers)):
        time.sleep(0.05)
    left = [pid for pid in workers if is_alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    process.stdout.close()
    process.stderr.close()
    assert not left


def test_interrupted_room_making_ends_soon_and_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in a terminal reaches the workers as well."""
    process = begin(ROOMS, tmp_path / "rooms", 0.7)
    assert process.stdout
    process.stdout.readline()
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    error = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 130 and time.monotonic() - start < 10
    assert "Traceback" not in error, error
    assert list(tmp_path.iterdir()) == []


STARTED = """
import os, sys, time
from mtl_vision.config import DataConfig
from mtl_vision.engine import build
os.chdir(sys.argv[1])
print("ready", flush=True)
while not os.path.exists("go"):
    time.sleep(0.01)
print(build.data_root(DataConfig(size=(48, 64), synthetic_count=30)))
"""


def test_starts_at_once_share_the_rooms_and_remove_what_was_killed(
    python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one that was killed in the middle something stays, until the next start, which may need no rooms."""
    monkeypatch.chdir(tmp_path)
    killed = begin(ROOMS, tmp_path / "data/other", 0.7)
    assert killed.stdout
    killed.stdout.readline()
    while not any(tmp_path.glob("data/.*.partial/train/rgb/*.png")):
        time.sleep(0.02)
    (left,) = tmp_path.glob("data/.*.partial")
    starts = [begin(STARTED, tmp_path, executable=python) for _ in range(2)]
    for start in starts:
        assert start.stdout and start.stdout.readline() == b"ready\n"
    (tmp_path / "go").touch()
    for start in starts:
        out, error = start.communicate(timeout=100)
        assert start.returncode == 0 and out.decode().strip() == "data/synthetic_30_48x64", error.decode()
    assert left.exists(), "its maker is at work"
    killed.kill()
    killed.communicate()
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [left.name, "synthetic_30_48x64"]
    assert len(FolderDataset(build.data_root(DataConfig(size=(48, 64), synthetic_count=30)), "train")) == 24
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["synthetic_30_48x64"]


def test_a_worker_that_is_ended_is_told_without_a_traceback(tmp_path: Path) -> None:
    """Soon: with all rooms handed over at once, Python's pool hung here."""
    process = begin(ROOMS, tmp_path / "rooms", 0.2)
    assert process.stdout
    os.kill(int(process.stdout.readline().split()[0]), signal.SIGKILL)
    error = process.communicate(timeout=30)[1].decode()
    assert "DataError: a process that makes rooms was ended from outside" in error
    assert list(tmp_path.iterdir()) == []


def test_sigterm_ends_a_training_as_ctrl_c_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Waiting:
        def __init__(self, *_: object) -> None: ...

        def train(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    monkeypatch.setattr(cli, "Run", Waiting)
    assert commands.train(["--run.device=cpu"]) == 143
    assert "interrupted; resume with" in capsys.readouterr().err


# damaged records


def damaged_history(folder: Path) -> Path:
    lines = [
        '{"step": 0, "weight": {"depth": 1.0, "normals": 3.0}, "loss": {"depth": 2.0}}',
        "3",
        "[]",
        "null",
        '{"weight": {"depth": 9.0}}',
        '{"step": "1", "weight": {"depth": 9.0}}',
        '{"step": 1, "weight": {"de',
        "[" * 100_000,
        "\udcff{}",
        '{"step": 1, "weight": 3, "loss": {"depth": "high"}, "grad_norm": null}',
        '{"step": 2, "loss": {"normals": NaN}, "rate": {"depth": 1' + "0" * 400 + "}}",
        '{"step": 3, "weight": {"depth": 2.0}}',
    ]
    (folder / "history.jsonl").write_bytes("".join(line + "\n" for line in lines).encode(errors="surrogateescape"))
    return folder


def test_good_records_behind_damaged_lines_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = read_history(damaged_history(tmp_path))
    assert [record["step"] for record in history] == [0, 1, 2, 3]
    said = capsys.readouterr().out
    assert "8 of 12 lines" in said and said.count("\n") == 1
    assert mean_weights(tmp_path) == {"depth": 1.5, "normals": 3.0}


def test_a_resumed_run_keeps_the_records_behind_damaged_lines(tmp_path: Path) -> None:
    """One bad line dropped all later ones."""
    tracker = Tracker(damaged_history(tmp_path), False, 3)
    tracker.step({"step": 3, "loss": {}})
    tracker.close()
    history = read_history(tmp_path)
    assert [record["step"] for record in history] == [0, 1, 2, 3] and "weight" not in history[-1]


@pytest.mark.parametrize("records", ["damaged", "none"])
def test_weights_are_drawn_from_damaged_records(tmp_path: Path, records: str) -> None:
    history = read_history(damaged_history(tmp_path)) if records == "damaged" else []
    plot_weights(history, tmp_path / "weights.png")
    assert (tmp_path / "weights.png").stat().st_size > 5000


# names


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../out", "a/b", "/tmp/out", "a\\b", "a\0b", "a\nb", "\x1b[31m", "x" * 251, "ä" * 126]
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    for resume, function in ((False, lambda config: new_folder(config, "rooms")), (True, resumed_folder)):
        config = Config(run=RunConfig(name=name, dir=str(tmp_path / "runs"), resume=resume))
        with pytest.raises(ValueError, match="run.name is .*: expected a name without slashes") as found:
            function(config)
        assert "\x1b" not in str(found.value) and "\n" not in str(found.value)


def test_names_and_places_that_are_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is a file: choose another run.name"):
        new_folder(Config(run=RunConfig(name="file", dir=str(tmp_path))), "rooms")
    for place in (str(tmp_path / "file"), "a\0b"):
        with pytest.raises(ValueError, match="run.dir is .*: expected a folder"):
            new_folder(Config(run=RunConfig(dir=place)), "rooms")


def test_a_data_set_of_a_long_name(tmp_path: Path) -> None:
    """Its name goes into those of the run and of the packed copy."""
    source = FolderDataset(write_folder(tmp_path / ("s" * 250), {"train": planes(1)}), "train")
    assert make_folder(new_folder(Config(run=RunConfig(dir=str(tmp_path))), source.root.name), True).is_dir()
    assert len(PackedDataset(source, tmp_path / "cache")) == 1
