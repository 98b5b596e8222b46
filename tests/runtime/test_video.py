"""Video files and cameras: frames in, an annotated video, a line a frame, and files of each frame out."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_model import build_model, manifest

from mtl_vision.runtime import frames
from mtl_vision.runtime.cli import main
from mtl_vision.runtime.frames import run_videos
from mtl_vision.runtime.model import Model
from mtl_vision.runtime.preview import HOST, Preview
from mtl_vision.runtime.results import Item
from mtl_vision.runtime.video import Reader, VideoError, Writer, is_video, usable_codec, writing

ROOT = Path(__file__).parents[2]
SIZE = (48, 64)
Infer = Callable[..., int]


def make_video(path: Path, count: int = 12, size: tuple[int, int] = SIZE, fps: float = 10.0) -> Path:
    """Frames of one grey each, 20 times their number."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, size[::-1])
    for i in range(count):
        writer.write(np.full((*size, 3), 20 * i % 256, np.uint8))
    writer.release()
    return path


def lines(out: Path = Path("out")) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def read(path: Path) -> list[np.ndarray]:
    return [frame for _, _, frame in Reader(path).frames()]


def drawn(name: str) -> Path:
    return Path("out", f"{name}.overview{usable_codec(Path('out'))[1]}")


@pytest.fixture
def infer(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Infer:
    monkeypatch.chdir(tmp_path)
    return lambda *words: main([str(model_file), *words, "--out", "out"])


class Capture:
    """In the place of OpenCV's: frames of the sizes that are given, 0 for one that cannot be read."""

    sizes: tuple[int, ...] = ()

    def __init__(self, *source: object) -> None:
        self.source, self.left = source, list(self.sizes)

    def isOpened(self) -> bool:  # noqa: N802
        return bool(self.sizes)

    def get(self, key: int) -> float:
        return -1.0

    def set(self, key: int, value: float) -> None:
        pass

    def release(self) -> None:
        pass

    def grab(self) -> bool:
        return bool(self.left)

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        size = self.left.pop(0)
        return size > 0, np.full((size, size, 3), 99, np.uint8)


# Videos


def test_a_video_gives_an_annotated_video_and_a_line_a_frame(infer: Infer, capfd: pytest.CaptureFixture[str]) -> None:
    make_video(Path("clip.avi"))
    assert infer("clip.avi") == 0
    out, err = capfd.readouterr()
    assert "12 done, 0 failed" in out and "frames/s on CPU" in out and "12/12 frames" in err
    assert {path.name for path in Path("out").iterdir()} == {"results.jsonl", drawn("clip").name}
    shown = read(drawn("clip"))
    assert len(shown) == 12 and {frame.shape for frame in shown} == {shown[0].shape}
    found = lines()
    assert [line["frame"] for line in found] == [*range(12)] and found[3]["time"] == 0.3
    line = found[6]
    assert (line["image"], line["name"], line["status"], line["files"]) == ("clip.avi", "clip/000006", "ok", [])
    assert (line["width"], line["height"], line["error"]) == (64, 48, None)
    depth = 0.5 + 5 * 120 / 255
    assert line["outputs"]["depth"] == {"valid": 1.0} | dict.fromkeys(
        ("min", "median", "max"), pytest.approx(depth, abs=0.05)
    )
    assert line["outputs"]["segmentation"] == {"valid": 1.0, "shares": {"dark": 1.0}}
    assert found[7]["outputs"]["segmentation"]["shares"] == {"bright": 1.0}
    assert line["outputs"]["normals"] == {"valid": 1.0}


def test_each_nth_frame_and_the_files_of_each(infer: Infer) -> None:
    make_video(Path("clip.avi"))
    assert infer("clip.avi", "--every", "5", "--save", "depth", "overview", "--raw", "--quiet") == 0
    numbers = ["000000", "000005", "000010"]
    assert {path.name for path in Path("out/clip").iterdir()} == {
        f"{n}.{e}" for n in numbers for e in ("depth.png", "npz")
    }
    assert len(read(drawn("clip"))) == 3 and [line["frame"] for line in lines()] == [0, 5, 10]
    depth = cv2.imread("out/clip/000005.depth.png", cv2.IMREAD_UNCHANGED)
    assert depth.shape == SIZE and abs(depth.astype(int) - (500 + 5000 * 100 / 255)).max() < 50
    assert Reader(drawn("clip")).fps == 2


def test_without_the_overview_there_is_no_video(infer: Infer) -> None:
    make_video(Path("clip.avi"), 2)
    assert infer("clip.avi", "--save", "normals") == 0
    assert {path.name for path in Path("out").iterdir()} == {"results.jsonl", "clip"}


@pytest.mark.parametrize("given", [[], ["--range", "1", "4"]])
def test_colours_mean_the_same_throughout(infer: Infer, given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    make_video(Path("clip.avi"), 12)
    spans = []

    def draw(*args, **options) -> np.ndarray:
        spans.append(dict(args[4]))
        return frames_draw(*args, **options)

    frames_draw = frames.draw
    monkeypatch.setattr(frames, "draw", draw)
    assert infer("clip.avi", *given) == 0
    assert len(spans) == 12 and all(span == spans[0] for span in spans)
    low, high = spans[0]["depth"]
    expected = (1, 4) if given else (0.5, 0.5 + 5 * 140 / 255)  # of the first eight frames
    assert (low, high) == pytest.approx(expected, abs=0.06)


def test_several_videos_have_names_of_their_own(infer: Infer) -> None:
    Path("a").mkdir()
    make_video(Path("clip.avi"), 2)
    make_video(Path("a/clip.avi"), 3)
    assert infer("clip.avi", "a/clip.avi") == 0
    assert {line["name"].rpartition("/")[0] for line in lines()} == {
        line["name"].rpartition("/")[0] for line in lines()
    }
    assert len(lines()) == 5 and len(list(Path("out").rglob("*.overview.*"))) == 2


@pytest.mark.parametrize("size", [(47, 63), (480, 640)])
def test_odd_sizes(infer: Infer, size: tuple[int, int]) -> None:
    path = make_video(Path("clip.avi"), 2, size)
    height, width = Reader(path).size
    assert infer("clip.avi", "--save", "depth") == 0
    assert (lines()[0]["height"], lines()[0]["width"]) == (height, width)
    with writing(Path("out/odd"), 10) as writer:
        for _ in range(3):
            writer.write(np.full((*size, 3), 50, np.uint8))
    (frame, *_) = read(writer.path)
    assert frame.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)


# What goes wrong


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Path("clip.mp4").write_text("no video"), "OpenCV cannot open it"),
        (lambda: Path("clip.mp4").touch(), "OpenCV cannot open it"),
        (lambda: None, "no such file"),
        (lambda: os.mkfifo("clip.mp4"), "a device or a pipe"),
    ],
)
def test_what_is_no_video(infer: Infer, capfd: pytest.CaptureFixture[str], make: Callable, message: str) -> None:
    make()
    make_video(Path("other.avi"), 2)
    assert infer("clip.mp4", "other.avi", "--quiet") == 2
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and message in err
    assert [(line["status"], line["name"]) for line in lines()] == [
        ("failed", "clip"),
        ("ok", "other/000000"),
        ("ok", "other/000001"),
    ]
    assert {path.name for path in Path("out").iterdir()} == {"results.jsonl", drawn("other").name}


def test_a_video_that_ends_early_keeps_what_was_done(infer: Infer, capfd: pytest.CaptureFixture[str]) -> None:
    data = make_video(Path("clip.avi"), 40, (96, 128)).read_bytes()
    Path("clip.avi").write_bytes(data[: len(data) // 2])
    assert infer("clip.avi", "--quiet") == 2
    *done, last = lines()
    assert 10 < len(done) < 30 and {line["status"] for line in done} == {"ok"}
    assert last["name"] == "clip" and f"it ends after {len(done)} of 40 frames" in last["error"]
    assert len(read(drawn("clip"))) == len(done) and "copy it again" in capfd.readouterr().err


def test_a_video_that_changes_size_keeps_what_was_done(infer: Infer, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("clip.avi").touch()
    with monkeypatch.context() as patch:
        patch.setattr(Capture, "sizes", (48, 48, 48, 96, 48))
        patch.setattr(cv2, "VideoCapture", Capture)
        patch.setattr(Writer, "check", lambda self: None)
        assert infer("clip.avi") == 2
    assert [line["status"] for line in lines()] == ["ok", "ok", "ok", "failed"]
    assert "frame 3 has 96 x 96 pixels, those before it 48 x 48" in lines()[-1]["error"]
    assert len(read(drawn("clip"))) == 3


@pytest.mark.parametrize(("sizes", "message"), [((0,), "has no frames that OpenCV can decode"), ((), "cannot open")])
def test_no_frames(sizes: tuple[int, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.avi").touch()
    monkeypatch.setattr(Capture, "sizes", sizes)
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    with pytest.raises(VideoError, match=message):
        list(Reader(tmp_path / "clip.avi").frames())


def test_a_frame_that_fails_is_left_out(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "clip.avi", 5)

    def sometimes(images: np.ndarray) -> dict[str, np.ndarray]:
        if abs(images.mean() - 40) < 5:
            raise RuntimeError("out of memory")
        return Model.run(model, images)

    monkeypatch.setattr(model, "run", sometimes)
    summary = run_videos(model, [Item(path, "clip")], tmp_path / "out", quiet=True)
    assert summary.done == 4 and summary.failed == [("clip/000002", "the network failed: out of memory")]
    (film,) = (tmp_path / "out").glob("clip.overview.*")
    assert len(read(film)) == 4


def test_a_full_disk_is_told_and_leaves_no_half_video(
    infer: Infer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video(Path("clip.avi"), 5)
    monkeypatch.setattr(Writer, "write", lambda self, rgb: setattr(self, "count", self.count + 1))  # as OpenCV's does
    assert infer("clip.avi", "--quiet") == 3
    assert "only 0 of 5 frames of the video could be written; is the disk full?" in capfd.readouterr().err
    assert {path.name for path in Path("out").iterdir()} == {"results.jsonl"} and len(lines()) == 5


def test_frames_too_large_for_the_memory_fail_before_they_are_read(infer: Infer) -> None:
    make_video(Path("clip.avi"), 2)
    assert infer("clip.avi", "--max-pixels", "1000", "--quiet") == 2
    assert "expected frames of at most 0.001 megapixels, found 64 x 48" in lines()[0]["error"]


def test_a_pattern_stands_for_the_videos_that_it_matches(infer: Infer) -> None:
    Path("in/sub").mkdir(parents=True)
    make_video(Path("in/a.avi"), 2)
    make_video(Path("in/sub/b.avi"), 2)
    assert infer("in/**/*.avi") == 0
    assert [line["name"] for line in lines()] == ["a/000000", "a/000001", "b/000000", "b/000001"]
    before = Path("out/results.jsonl").read_bytes()
    assert infer("in/*.mp4") == 2 and Path("out/results.jsonl").read_bytes() != before, "one that fails has its line"


def test_a_video_of_the_users_own_is_not_replaced(infer: Infer, capfd: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    make_video(Path("out/a.avi"), 2)
    for suffix in (".mp4", ".avi"):
        Path(f"out/a.overview{suffix}").write_bytes(b"mine")
    assert infer("out/a.avi") == 1 and "is there, and no earlier run wrote it" in capfd.readouterr().err
    assert Path("out/a.overview.mp4").read_bytes() == b"mine" and not Path("out/results.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clip.avi", "a.png"], "expected videos alone, found a.png"),
        (["clip.avi", "--resume"], "leave out --resume"),
        (["clip.avi", "--batch", "2"], "leave out --batch"),
        (["clip.avi", "--shard", "1/2"], "leave out --shard"),
        (["clip.avi", "--save", "albedo"], "no output albedo"),
        (["a.png", "--every", "2"], "are for videos and cameras"),
        (["a.png", "--preview", "0"], "are for videos and cameras"),
    ],
)
def test_what_does_not_go_together(infer: Infer, words: list[str], message: str, capfd) -> None:
    assert infer(*words) == 1 and message in capfd.readouterr().err and not Path("out").exists()


def test_few_frames_are_under_way(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read, done, most = make_video(tmp_path / "clip.avi", 100, (16, 16)), [], [], []
    prepare, count = frames.prepare, frames._count
    monkeypatch.setattr(
        frames, "prepare", lambda *a: (read.append(1), most.append(len(read) - len(done)), prepare(*a))[2]
    )
    monkeypatch.setattr(frames, "_count", lambda *a: (done.append(1), count(*a))[1])
    assert run_videos(model, [Item(path, "clip")], tmp_path / "out", quiet=True).done == 100
    assert max(most) <= frames.FIRST + 10


# Ends from outside


def test_stopping_completes_the_video(model: Model, tmp_path: Path) -> None:
    path, asked = make_video(tmp_path / "clip.avi", 60), iter([False] * 15 + [True] * 99)
    summary = run_videos(model, [Item(path, "clip")], tmp_path / "out", quiet=True, stopped=lambda: next(asked))
    (film,) = (tmp_path / "out").glob("clip.overview.*")
    assert 10 <= summary.done == len(read(film)) == len(lines(tmp_path / "out")) < 60 and not summary.failed


def test_ctrl_c_completes_the_video(tmp_path: Path) -> None:
    model = build_model(tmp_path / "model.onnx", manifest(), SIZE)
    make_video(tmp_path / "clip.avi", 2000, SIZE)
    command = [sys.executable, str(ROOT / "infer.py"), str(model), "clip.avi", "--out", "out"]
    pipe, out = subprocess.PIPE, tmp_path / "out"
    process = subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (out / "results.jsonl").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=30)
    assert process.returncode == 130 and "finishing" in complaints and "Traceback" not in complaints, complaints
    (film,) = out.glob("clip.overview.*")
    assert 0 < len(read(film)) == len(lines(out)) < 2000
    assert {path.name for path in out.iterdir()} == {"results.jsonl", film.name}


# Cameras


def test_a_camera_is_read_until_it_is_stopped(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = iter([False] * 20 + [True] * 99)
    with monkeypatch.context() as patch:
        patch.setattr(Capture, "sizes", (48,) * 1000)
        patch.setattr(cv2, "VideoCapture", Capture)
        patch.setattr(Writer, "check", lambda self: None)
        item = Item(Path("camera:3"), "camera3")
        summary = run_videos(model, [item], tmp_path / "out", quiet=True, stopped=lambda: next(asked))
    assert 10 < summary.done < 25 and not summary.failed
    assert [line["frame"] for line in lines(tmp_path / "out")] == [*range(summary.done)]


@pytest.mark.parametrize(("sizes", "message"), [((), "cannot open this camera"), ((48, 48), "is it still connected?")])
def test_no_camera(infer: Infer, sizes: tuple[int, ...], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Capture, "sizes", sizes)
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    monkeypatch.setattr(Writer, "check", lambda self: None)
    assert infer("camera:0", "--quiet") == 2
    assert message in lines()[-1]["error"] and lines()[-1]["name"] == "camera0" and len(lines()) == len(sizes) + 1


def test_what_is_a_video() -> None:
    assert all(is_video(name) for name in ("a.MP4", "b/c.mov", "camera:0", Path("camera:12")))
    assert not any(is_video(name) for name in ("a.gif", "mp4", "camera:", "camera:x", "camera.png", "http://a/b"))
    assert is_video("camera:1") and not is_video("a/camera:1")


# Preview


def test_the_preview_shows_the_newest_frame_and_queues_none() -> None:
    with Preview(0) as preview:
        preview.show(np.full((40, 60, 3), 10, np.uint8))
        with urllib.request.urlopen(f"http://localhost:{preview.port}/", timeout=10) as viewer:
            assert viewer.headers["Content-Type"].startswith("multipart/x-mixed-replace")
            shades = [part_of(viewer)]
            for level in range(20, 200):
                preview.show(np.full((40, 60, 3), level, np.uint8))
            while shades[-1] < 198:
                shades.append(part_of(viewer))
        assert shades[0] == 10 and shades == sorted(shades) and len(shades) < 100


def part_of(viewer) -> int:
    """The grey of the next picture."""
    while not (line := viewer.readline()).startswith(b"Content-Length"):
        pass
    viewer.readline()
    return int(cv2.imdecode(np.frombuffer(viewer.read(int(line.split()[1])), np.uint8), 0).mean())


def test_the_preview_is_for_this_machine_alone() -> None:
    with Preview(0) as preview:
        assert preview._server.server_address[0] == HOST == "127.0.0.1"
        for url, host in (("/", "example.org"), ("/x", "localhost")):
            request = urllib.request.Request(f"http://localhost:{preview.port}{url}", headers={"Host": host})
            with pytest.raises(urllib.error.HTTPError, match="404") as refused:
                urllib.request.urlopen(request, timeout=10)
            refused.value.close()


def test_a_port_that_is_taken(infer: Infer, capfd: pytest.CaptureFixture[str]) -> None:
    make_video(Path("clip.avi"), 2)
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        assert infer("clip.avi", "--preview", str(taken.getsockname()[1])) == 1
    assert "in use" in capfd.readouterr().err
    assert infer("clip.avi", "--preview", "0") == 0 and "preview at http://localhost:" in capfd.readouterr().err
