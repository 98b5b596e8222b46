"""mtl-infer on full disks, beside itself, interrupted, and among files with hostile names."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_model import build_model, manifest

from mtl_vision.runtime import pipeline, steps, terminal
from mtl_vision.runtime.cli import main
from mtl_vision.runtime.inputs import collect
from mtl_vision.runtime.lock import LockedError
from mtl_vision.runtime.results import Results
from mtl_vision.runtime.terminal import printable, say

ROOT = Path(__file__).parents[2]
PNG = cv2.imencode(".png", np.full((4, 6, 3), 99, np.uint8))[1].tobytes()
Infer = Callable[..., int]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("model") / "model.onnx", manifest(), (48, 64))


@pytest.fixture
def infer(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Infer:
    """Run the command on the folder `in`, or on the given arguments, into the folder `out`; beside both."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    return lambda *arguments: main([str(model), *(arguments or ["in"]), "--out", "out", "--save", "depth"])


@pytest.fixture
def start(model: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """The same in a process of its own; `code` is run in it first."""

    def start(*arguments: str, code: str = "", env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        words = [str(model), "in", "--out", "out", "--save", "depth", *arguments]
        door = ["-c", f"{code}\nfrom mtl_vision.runtime.__main__ import main; raise SystemExit(main())"]
        command = [sys.executable, *(door if code else [str(ROOT / "infer.py")]), *words]
        env = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=tmp_path, env=env, stdout=pipe, stderr=pipe, text=True)

    return start


def images(*names: str) -> None:
    for name in names:
        path = Path("in", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)


def lines() -> dict[str, dict]:
    """Name -> line; every line is whole, and no name comes twice."""
    text = Path("out/results.jsonl").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    assert text.endswith("\n") or not text
    assert len({line["name"] for line in found}) == len(found)
    return {line["name"]: line for line in found}


def files() -> set[str]:
    """What there is in the output folder, hidden or not."""
    return {str(path.relative_to("out")) for path in Path("out").rglob("*") if not path.is_dir()}


def fill_the_disk(monkeypatch: pytest.MonkeyPatch, after: int, number: int = errno.ENOSPC) -> None:
    """No file takes more than a few bytes once `after` were written."""
    write, count = Path.write_bytes, iter(range(10**6))

    def full(self: Path, data: bytes) -> int:
        if next(count) < after:
            return write(self, data)
        write(self, data[:9])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", full)


# High 4: the disk is full


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_ends_the_run_with_one_sentence_and_a_rerun_goes_on(
    infer: Infer, capfd: pytest.CaptureFixture[str], quiet: list[str], number: int
) -> None:
    images(*(f"{i:02}.png" for i in range(30)))
    with pytest.MonkeyPatch.context() as patch:
        fill_the_disk(patch, after=7, number=number)
        assert infer("in", *quiet) == 3
    out, err = capfd.readouterr()
    (sentence,) = [line for line in err.splitlines() if "stopped" in line]
    assert os.strerror(number) in sentence and "of 30 images" in sentence and "--resume" in sentence
    assert ("done" in out) is not bool(quiet) and "failed:" not in out + err
    before = lines()
    assert set(before) == {f"{i:02}" for i in range(len(before))} and len(before) <= 7
    assert not [name for name in files() if name.startswith(".")]
    written = {name: Path("out", line["files"][0]).stat().st_mtime_ns for name, line in before.items()}
    assert infer("in", "--resume") == 0
    assert list(lines()) == [f"{i:02}" for i in range(30)] and files() == {
        "results.jsonl",
        *(f"{i:02}.depth.png" for i in range(30)),
    }
    assert all(Path("out", f"{name}.depth.png").stat().st_mtime_ns == at for name, at in written.items())
    assert all(lines()[name] == line for name, line in before.items())


def test_results_that_grow_no_further_hold_whole_lines_and_a_rerun_goes_on(
    infer: Infer, start: Callable[..., subprocess.Popen[str]]
) -> None:
    images(*(f"{i:02}.png" for i in range(30)))
    limit = 2000  # the kernel takes a part of the line that crosses it
    process = start("--quiet", code=f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3 and out == "" and len(err.splitlines()) == 1 and "File too large" in err, err
    assert 5 < len(lines()) < 30 and limit - 300 < Path("out/results.jsonl").stat().st_size <= limit
    assert infer("in", "--resume") == 0 and list(lines()) == [f"{i:02}" for i in range(30)]


def test_a_disk_that_is_full_from_the_start(infer: Infer, capfd: pytest.CaptureFixture[str], monkeypatch) -> None:
    images("a.png")
    fill_the_disk(monkeypatch, after=0)
    assert infer() == 3 and lines() == {} and files() == {"results.jsonl"}
    assert "stopped after 0 of 1 images: No space left" in capfd.readouterr().err


def test_a_log_on_the_full_disk_stops_nothing(infer: Infer, start: Callable[..., subprocess.Popen[str]]) -> None:
    images("a.png", "b.png")
    process = start(code="import os; full = os.open('/dev/full', os.O_WRONLY); os.dup2(full, 1); os.dup2(full, 2)")
    process.communicate(timeout=60)
    assert process.returncode == 0 and set(lines()) == {"a", "b"}


def test_results_that_are_deleted_meanwhile_end_the_run(infer: Infer, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    images(*(f"{i:02}.png" for i in range(30)))
    write = steps.keep

    def deletes(job: steps.Job, *rest) -> None:
        write(job, *rest)
        if job.name == "05":
            Path("out/results.jsonl").unlink()

    monkeypatch.setattr(steps, "keep", deletes)
    assert infer() == 3 and "deleted while it was written" in capfd.readouterr().err


# --resume


def test_resuming_does_what_is_missing_torn_or_failed_and_no_more(infer: Infer, capfd) -> None:
    names = ["bad", "done", "empty", "gone", "moved", "torn"]
    images(*(f"{name}.png" for name in names))
    Path("in/bad.png").write_bytes(b"")
    assert infer() == 2
    images("bad.png")
    Path("out/gone.depth.png").unlink()
    Path("out/empty.depth.png").write_bytes(b"")
    all_lines = Path("out/results.jsonl").read_bytes().splitlines(keepends=True)
    all_lines[4] = all_lines[4].replace(b"in/moved.png", b"other/moved.png")  # another image of that name
    torn, other = all_lines.pop(), b'{"name": "other", "status": "failed"}\n'
    Path("out/results.jsonl").write_bytes(
        b"".join([*all_lines, other, b"\xff no line\n", b"[" * 9999 + b"\n", b'{"name": []}\n', torn[:-9]])
    )
    at = Path("out/done.depth.png").stat().st_mtime_ns
    capfd.readouterr()
    assert infer("in", "--resume") == 0
    assert "5 done and 1 before, 0 failed" in capfd.readouterr().out
    assert set(lines()) == {*names, "other"} and Path("out/done.depth.png").stat().st_mtime_ns == at
    assert lines()["moved"]["image"] == "in/moved.png"
    assert infer("in", "--resume") == 0 and "0 done and 6 before" in capfd.readouterr().out
    assert infer("in", "--resume", "--raw") == 0 and "6 done, 0 failed" in capfd.readouterr().out  # NAME.npz lacks


def test_without_resuming_everything_is_done_again(infer: Infer) -> None:
    images("a.png", "b.png")
    assert infer() == 0
    Path("in/b.png").unlink()
    assert infer() == 0 and set(lines()) == {"a"}


# Medium 6: two at once


def test_a_second_process_on_one_folder_ends_and_changes_nothing(infer: Infer, capfd) -> None:
    images("a.png")
    assert infer() == 0
    before = Path("out/results.jsonl").read_bytes()
    capfd.readouterr()
    with Results(Path("out")):
        for options in ([], ["--resume"], ["--quiet"]):
            assert infer("in", *options) == 1
            out, err = capfd.readouterr()
            assert out == "" and err.count("\n") == 1
            assert "another process is writing its results to 'out': wait until it ends, or choose another" in err
        assert Path("out/results.jsonl").read_bytes() == before
    assert infer() == 0


def test_the_folder_is_locked_until_the_last_file_is_written(infer: Infer, monkeypatch: pytest.MonkeyPatch) -> None:
    images(*(f"{i}.png" for i in range(9)))
    shutdown, held = pipeline.ThreadPoolExecutor.shutdown, []

    def locked(self: pipeline.ThreadPoolExecutor, **options: bool) -> None:
        with pytest.raises(LockedError):
            Results(Path("out"))
        held.append(True)
        shutdown(self, **options)

    monkeypatch.setattr(pipeline.ThreadPoolExecutor, "shutdown", locked)
    fill_the_disk(monkeypatch, after=3)
    assert infer() == 3 and held == [True]


# Temporary files after kill -9


def test_what_a_killed_process_left_is_gone_after_the_next(infer: Infer, start) -> None:
    images("a.png", "sub/b.png")
    kills = (
        "import os; from pathlib import Path; Path.replace = lambda *a: Path('{}').exists() and os.kill(os.getpid(), 9)"
    )
    for there in ("out", "out/sub"):  # at the first file, and at the second
        process = start(code=kills.format(there))
        process.communicate(timeout=60)
        assert process.returncode == -9
    assert [name for name in files() if ".partial" in name]
    assert infer() == 0 and files() == {"results.jsonl", "a.depth.png", "sub/b.depth.png"}


# Names


def test_names_of_any_length_are_done_and_shortened_ones_are_told(infer: Infer, capfd) -> None:
    lengths = [*range(236, 256)]
    images(*("x" * (n - 4) + ".png" for n in lengths))
    images("é" * 125 + ".png", "y" * 250 + "a.png", "y" * 250 + "b.png", "y" * 250 + "A.png")
    images("d" * 255 + "/" + "z" * 251 + ".png")
    assert infer("in", "--raw") == 0
    shortened, said = [name for name in lines() if "-" in name], capfd.readouterr().err
    assert f"{len(shortened)} names are too long for their results: shortened, with a hash" in said
    assert len(lines()) == len(lengths) + 5 and "x" * 238 in lines() and "x" * 239 not in lines()
    assert len(shortened) == 13 + 5 and len({name.casefold() for name in lines()}) == len(lines())
    assert any(name.startswith("é" * 100) for name in shortened)
    first = dict.fromkeys(lines())
    assert infer("in", "--resume") == 0 and dict.fromkeys(lines()) == first  # the same names each time


def test_numbered_names_fit_as_well(tmp_path: Path) -> None:
    for folder in "abc":
        (tmp_path / folder / "same").mkdir(parents=True)
        (tmp_path / folder / "same" / ("x" * 238 + ".png")).touch()
    names = [item.name for item in collect([tmp_path / f / "same" for f in "abc"], tmp_path / "out")]
    assert len(set(names)) == 3 and all(len(name.rpartition("/")[2]) <= 238 for name in names)


@pytest.mark.parametrize(
    "name",
    [
        "results.jsonl.png",
        "results.jsonl/a.png",
        "Results.JSONL/a.png",
        "overview.png",
        "-x.png",
        "CON.png",
        "a.depth.png",
    ],
)
def test_names_that_look_like_something_else(infer: Infer, name: str) -> None:
    images(name, "a.png")
    assert infer() == 0
    assert len(lines()) == 2 and files() == {"results.jsonl", *(line["files"][0] for line in lines().values())}


def test_names_of_dots_and_dashes_can_be_given(infer: Infer) -> None:
    images("..png", "...png", ".png.png", "-x.png")
    assert infer("in/..png", "in/...png", "in/.png.png", "in/-x.png") == 0
    assert len(lines()) == 4 and files() == {"results.jsonl", *(line["files"][0] for line in lines().values())}


def test_names_that_some_disks_take_for_one_are_kept_apart(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    for name in (composed, apart):
        (tmp_path / f"{name}.png").touch()
    names = {unicodedata.normalize("NFC", item.name) for item in collect([tmp_path], tmp_path / "out")}
    assert len(names) == 2


HOSTILE = "a\x1b[2J\x1b]0;title\x07\r\nb\u202egnp\u2028\x9b31m\udcff"


def test_names_cannot_steer_the_terminal(infer: Infer, capfd: pytest.CaptureFixture[str]) -> None:
    images(f"{HOSTILE}.png", f"{HOSTILE}/x.png")
    Path("in", f"{HOSTILE}.png").write_bytes(b"no image")
    Path("in", "link").symlink_to(Path("in", HOSTILE).absolute())
    assert infer() == 2
    assert infer(f"{HOSTILE}.jpg") == 1
    with pytest.raises(SystemExit):
        infer("in", f"--{HOSTILE}")
    out, err = capfd.readouterr()
    for text in (out, err):
        assert "a\\x1b[2J" in text and all(line == printable(line) for line in text.split("\n"))
    assert HOSTILE in lines() and f"{HOSTILE}/x" in lines()


def test_terminals_that_know_few_letters(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="ascii") as stream:
        say("é\udcff\x1b", stream)
    assert (tmp_path / "log").read_text() == "\\xe9\\udcff\\x1b\n"


# Folders


def test_links_to_folders_are_followed_once_and_loops_end(infer: Infer, capfd) -> None:
    images("a.png", "sub/b.png")
    Path("elsewhere/deep").mkdir(parents=True)
    Path("elsewhere/deep/c.png").write_bytes(PNG)
    for link, target in {
        "in/to": "elsewhere",
        "in/again": "elsewhere/deep",
        "in/loop": "in",
        "elsewhere/back": "in/sub",
        "elsewhere/up": ".",
        "in/.hidden": "in/sub",
        "in/results": "out",
        "in/self": "in/self",
    }.items():
        Path(link).symlink_to(Path(target).absolute())
    assert infer() == 0
    assert {Path(line["image"]).name for line in lines().values()} == {"a.png", "b.png", "c.png"}
    assert {"a", "sub/b", "again/c"} == set(
        lines()
    ) and "links to folders in 'in' were followed" in capfd.readouterr().err
    assert infer() == 0 and len(lines()) == 3  # results are no images


def test_folders_in_folders_in_folders(infer: Infer) -> None:
    images("a.png")
    here, before = "in", Path.cwd()
    for _ in range(1200):  # deeper than Python's calls may be
        here += "/d"
        os.mkdir(here)  # noqa: PTH102 - quick
    Path(here, "b.png").write_bytes(PNG)
    try:
        assert infer() in (0, 2) and lines()["a"]["status"] == "ok" and len(lines()) == 2
    finally:
        for folder in ("in", "out"):  # pytest's own clean-up is recursive
            subprocess.run(["rm", "-rf", folder], cwd=before, check=True)


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_results_that_are_no_file_are_refused(infer: Infer, capfd, kind: str) -> None:
    images("a.png")
    Path("out").mkdir()
    Path("precious").write_text("precious")
    path = Path("out/results.jsonl")
    {
        "link": lambda: path.symlink_to(Path("precious").absolute()),
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
    }[kind]()
    assert infer() == 1
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and "expected a file" in err and kind in err
    assert Path("precious").read_text() == "precious"


@pytest.mark.parametrize("kind", ["file", "loop", "dangling", "below a file"])
def test_an_output_that_is_no_folder(model: Path, infer: Infer, capfd, kind: str) -> None:
    images("a.png")
    Path("a file").touch()
    Path("loop").symlink_to("loop")
    Path("dangling").symlink_to("none/none")
    out = {"file": "a file", "below a file": "a file/out"}.get(kind, kind)
    assert main([str(model), "in", "--out", out]) == 1
    assert capfd.readouterr().err.count("\n") == 1


def test_a_named_image_in_a_loop_of_links(infer: Infer) -> None:
    images("a.png")
    Path("loop").symlink_to("loop")
    assert infer("in/a.png", "loop/a.png") == 2 and len(lines()) == 2


def test_a_long_name_first_does_not_hide_the_images_after_it(infer: Infer) -> None:
    images("a.png")
    assert infer("x" * 5000, "in/a.png") == 2 and lines()["a"]["status"] == "ok"


def test_images_that_vanish_meanwhile_fail_by_name(infer: Infer, monkeypatch: pytest.MonkeyPatch) -> None:
    images(*(f"{i:02}.png" for i in range(40)))
    read = steps.read

    def vanish(job: steps.Job, *rest) -> None:
        for i in range(20, 40):
            Path(f"in/{i}.png").unlink(missing_ok=True)
        read(job, *rest)

    monkeypatch.setattr(steps, "read", vanish)
    assert infer() == 2 and [line["status"] for line in lines().values()] == ["ok"] * 20 + ["failed"] * 20


def test_an_image_that_becomes_a_pipe_meanwhile_is_not_waited_for(
    infer: Infer, monkeypatch: pytest.MonkeyPatch
) -> None:
    images("a.png", "b.png")
    size = steps.file_size

    def becomes_a_pipe(path: Path, most: int) -> int:
        found = size(path, most)
        if path.name == "a.png":
            path.unlink()
            os.mkfifo(path)
        return found

    monkeypatch.setattr(steps, "file_size", becomes_a_pipe)
    assert infer() == 2 and "a device or a pipe" in lines()["a"]["error"] and lines()["b"]["status"] == "ok"


def test_save_may_be_given_twice(model: Path, infer: Infer) -> None:
    images("a.png")
    save = ["--save", "normals", "--save", "depth", "depth"]
    assert main([str(model), "in", "--out", "out", *save]) == 0
    assert lines()["a"]["files"] == ["a.depth.png", "a.normals.png"]


# What is said, and signals


def test_a_log_gets_few_lines(infer: Infer, capfd, monkeypatch: pytest.MonkeyPatch) -> None:
    images(*(f"{i:03}.png" for i in range(300)))
    monkeypatch.setattr(terminal, "PAUSE", 0)  # as if each image took long
    assert infer() == 0
    err = capfd.readouterr().err
    assert "\r" not in err and 2 <= len(err.splitlines()) <= 101 and err.splitlines()[-1].startswith("300/300 images")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_what_is_under_way(infer: Infer, start, number: int, code: int) -> None:
    images(*(f"{i:03}.png" for i in range(200)))
    slow = (
        "import time; from mtl_vision.runtime import steps; write = steps.keep\n"
        "steps.keep = lambda *a: (time.sleep(0.05), write(*a))"
    )
    process = start(code=slow)
    wait_for(lambda: len(list(Path("out").glob("*.png"))) > 2)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code and "finishing what is under way" in err and "Traceback" not in err, err
    assert " done, 0 failed" in out and 2 < len(lines()) < 200
    assert files() == {"results.jsonl", *(f"{name}.depth.png" for name in lines())}
    assert infer("in", "--resume") == 0 and len(lines()) == 200


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_it_at_once(infer: Infer, start, number: int, code: int) -> None:
    images("a.png", "b.png")
    process = start(
        code="import time, pathlib; from mtl_vision.runtime import steps\n"
        "steps.keep = lambda *a: (pathlib.Path('writing').touch(), time.sleep(60))"
    )
    wait_for(Path("writing").exists)
    process.send_signal(number)
    assert process.stderr.readline() == "\n" and "finishing" in process.stderr.readline()
    process.send_signal(number)
    assert process.wait(10) == code and "Traceback" not in process.communicate()[1]


@pytest.mark.parametrize("door", [["infer.py"], ["-m", "mtl_vision.runtime"]])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_modules_are_imported_ends_without_a_traceback(
    tmp_path: Path, door: list[str], number: int, code: int
) -> None:
    (tmp_path / "cv2.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, *door, "--help"], cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "importing\n"
    process.send_signal(number)
    assert process.communicate(timeout=10) == ("", "") and process.returncode == code


def wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)
