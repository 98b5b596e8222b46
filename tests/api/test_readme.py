"""The code of the README and of docs/ runs in one folder and one process, but for what is said there to take long."""

from __future__ import annotations

import importlib
import io
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from doc_blocks import REPO, blocks, commands
from test_docs import MODULES, TRAIN, is_ours, program_of, said

LEFT_OUT = "do not run it"  # in a first comment of Python


def lay_out(folder: Path, rooms: Path) -> None:
    """What the commands name, of a trained run and its exported file: in each of their words."""
    for name in ("RUN", "RUN_DIR", "DEPTH", "NORMALS", "SEGMENTATION", "runs/synthetic_1000_120x160-gradnorm-1"):
        shutil.copytree(folder / "runs/first", folder / name)
    shutil.copy(folder / "model.onnx", folder / "MODEL.onnx")
    shutil.copy(folder / "photo.jpg", folder / "PHOTO")
    for name in ("photos", "IMAGES", "data/synthetic_1000_120x160/test/rgb"):
        (folder / name).mkdir(parents=True)
        for k in range(2):
            cv2.imwrite(str(folder / name / f"{k}.jpg"), np.full((60, 80 + k, 3), 90, np.uint8))
    (folder / "list.txt").write_text("photos/0.jpg\nphotos/1.jpg\n")
    for name in ("PATH", "SOURCE"):
        shutil.copytree(rooms, folder / name)
    shutil.copy(rooms / "dataset.yaml", folder / "mine.yaml")
    clip = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (80, 60))
    for k in range(6):
        clip.write(np.full((60, 80, 3), 40 * k, np.uint8))
    clip.release()


def run(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> object:
    """Call a program as its command does; its exit code."""
    program, arguments = program_of(tuple(word.removesuffix("...") for word in words))
    name = "mtl_vision.commands" if program in TRAIN else MODULES[program]
    main = getattr(importlib.import_module(name), "train" if program in TRAIN else "main")
    listed = io.TextIOWrapper(io.BytesIO(b"photos/0.jpg\n"))
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    monkeypatch.setattr(sys, "stdin", listed)
    try:
        return main(arguments)
    except SystemExit as end:  # --help, --inspect
        return end.code or 0


@pytest.mark.slow
def test_the_code_of_the_documentation_runs(rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(REPO / "configs", "configs")
    cv2.imwrite("photo.jpg", np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8))
    python = [block for block in blocks("python") if LEFT_OUT not in block.text.splitlines()[0]]
    assert len(python) >= 5
    names: dict = {}
    for block in python:
        exec(compile(block.text, block.name, "exec"), names)
    maps, weight = names["maps"], names["balancer"].weight
    assert maps["depth"].shape == maps["segmentation"].shape == (90, 160) and len(names["many"]) == 2
    assert names["overview"].dtype == np.uint8 and names["overview"].shape[2] == 3
    assert float(weight.sum()) == pytest.approx(2, abs=1e-5) and weight[1] < weight[0]  # b's gradient is far larger

    lay_out(tmp_path, rooms)
    ran = 0
    for command in commands():
        if command.note or not is_ours(program_of(command.words)[0]):  # test_docs.py holds that each says why
            continue
        if "--resume" not in command.words:
            shutil.rmtree("out", ignore_errors=True)
        if "convert" in command.words:  # into a new folder
            shutil.rmtree("DIR", ignore_errors=True)
        with said() as text:
            code = run(command.words, monkeypatch)
            assert code == 0, f"{command.block.name}: {command}\n{text.getvalue()[-2000:]}"
        if "--out" in command.words:
            assert Path(command.words[command.words.index("--out") + 1]).exists()
        ran += 1
    assert ran >= 20
