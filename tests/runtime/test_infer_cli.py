"""The command line: exit codes and what it says."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_model import OUTPUTS, manifest

from mtl_vision.runtime.cli import main

ROOT = Path(__file__).parents[2]
NO_RANGES = ("5 1", "2 2", "-1 4", "0 inf", "nan 4", "1")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "ab":
        cv2.imwrite(str(folder / f"{name}.jpg"), np.full((30, 40, 3), 99, np.uint8))
    return folder


def test_all_done(model_file: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(model_file), str(photos), "--out", str(tmp_path / "out")]) == 0
    out, err = capfd.readouterr()
    assert "2 done, 0 failed" in out and "images/s" in out and str(tmp_path / "out") in out
    assert "2/2" in err


def test_some_failed(model_file: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for i in range(7):
        (photos / f"bad{i}.tif").write_bytes(b"II*\0 cut short")
    assert main([str(model_file), str(photos), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 7  # nothing of OpenCV's own
    assert main([str(model_file), str(photos), "--out", str(tmp_path / "out"), "--batch", "2", "--threads", "1"]) == 2
    out, _ = capfd.readouterr()
    assert "2 done, 7 failed" in out and "bad0.tif: the file is truncated" in out and "... and 2 more" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.onnx", "photos", "--out", "out"], "no model at 'none.onnx'"),
        (["photos/a.jpg", "photos", "--out", "out"], "not an ONNX model"),
        (["MODEL", "none", "none.jpg", "--out", "out"], "no images in none, none.jpg"),
        (["MODEL", "empty", "--out", "out"], "no images in empty"),
        (["MODEL", "photos", "--out", "photos"], "both an input and the output"),
        (["MODEL", "photos", "--out", "photos/a.jpg"], "File exists"),
        (["MODEL", "photos", "--out", "out", "--save", "albedo"], "no output albedo; it has depth"),
        (["MODEL", "photos", "--out", "out", "--full-range"], "give it as --range NEAR FAR"),
    ],
)
def test_nothing_could_start(
    model_file: Path, photos: Path, arguments: list[str], message: str, capfd: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.chdir(photos.parent)
    Path("empty").mkdir()
    assert main([str(model_file) if a == "MODEL" else a for a in arguments]) == 1
    out, err = capfd.readouterr()
    assert message in err and out == "" and len(err.splitlines()) == 1
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["m.onnx"],
        ["m.onnx", "a.jpg"],
        ["m.onnx", "a.jpg", "--out", "o", "--batch", "0"],
        *(["m.onnx", "a.jpg", "--out", "o", "--range", *span.split()] for span in NO_RANGES),
    ],
)
def test_wrong_arguments_exit_with_1(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 1 and "usage:" in capsys.readouterr().err


def test_a_range_colours_every_overview_alike_and_changes_no_map(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    """Grey is 3 m away: the near end of the range of a photo that is grey alone, the far end of one with black."""
    depth, *others = OUTPUTS
    model = str(make_model(manifest(outputs=[replace(depth, range=(0.0, 10.0)), *others])))
    for name, level in (("a", 127), ("b", 0)):
        image = np.full((300, 400, 3), 127, np.uint8)
        image[:150] = level
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    paths, low = [str(tmp_path / f"{name}.png") for name in "ab"], {}
    for options in ([], ["--range", "1", "6"], ["--full-range"]):
        out = tmp_path / ("out" + "".join(options))
        assert main([model, *paths, "--out", str(out), "--quiet", *options]) == 0
        drawn = [cv2.imread(str(out / f"{name}.overview.jpg")).astype(int) for name in "ab"]
        low[out.name] = [shown[280, 400 + 8 + 8 + 200] for shown in drawn]
        stored = (out / "b.depth.png").read_bytes()
        assert stored == (tmp_path / "out" / "b.depth.png").read_bytes()
    own, given, full = (abs(a - b).max() for a, b in low.values())
    assert own > 50 and given <= 8 and full <= 8  # JPEG
    assert abs(low["out--range16"][0] - low["out--full-range"][0]).max() > 20


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    out = capsys.readouterr().out
    assert stopped.value.code == 0 and "exit code" in out and "results.jsonl" in out


def test_a_name_that_is_no_text(model_file: Path, photos: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(photos) + b"/\xff.jpg")
    Path(odd).write_bytes((photos / "a.jpg").read_bytes())
    Path(os.fsdecode(os.fsencode(photos) + b"/\xfe.jpg")).write_bytes(b"")
    command = [sys.executable, "infer.py", str(model_file), str(photos), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert done.returncode == 2 and b"3 done, 1 failed" in done.stdout, done.stderr


def test_interrupted_keeps_what_is_done(model_file: Path, photos: Path, tmp_path: Path) -> None:
    big = cv2.imencode(".jpg", np.zeros((1000, 1500, 3), np.uint8))[1].tobytes()
    for i in range(300):
        (photos / f"c{i}.jpg").write_bytes(big)
    out = tmp_path / "out"
    command = [sys.executable, "infer.py", str(model_file), str(photos), "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(out.glob("*.depth.png"))) < 3:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    shown, complaints = process.communicate(timeout=60)
    assert process.returncode == 130, complaints
    assert "finishing what is under way" in complaints and "Traceback" not in complaints and " done, 0 failed" in shown
    names = {line.split('"name": "')[1].split('"')[0] for line in (out / "results.jsonl").read_text().splitlines()}
    assert 0 < len(names) < 300
    assert {p.name.split(".")[0] for p in out.glob("*.png")} == names
