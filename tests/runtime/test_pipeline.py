"""From a folder of images to a folder of results, with good and bad files."""

import errno
import json
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_model import manifest

from mtl_vision.runtime import pipeline, steps
from mtl_vision.runtime.inputs import collect
from mtl_vision.runtime.model import Model
from mtl_vision.runtime.pipeline import run
from mtl_vision.runtime.results import Results

ENDINGS = ["depth.png", "normals.png", "segmentation.png", "overview.jpg"]


def write_image(path: Path, rgb: tuple[int, int, int] = (255, 51, 153), size: tuple[int, int] = (30, 40)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = cv2.imencode(path.suffix.lower(), np.full((*size, 3), rgb[::-1], np.uint8))[1]
    path.write_bytes(data.tobytes())
    return path


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def names(*paths: Path, out: Path = Path("nowhere")) -> dict[str, str]:
    return {name: path.name for path, name, _ in collect(paths, out)}


def test_folders_are_searched_in_order(tmp_path: Path) -> None:
    for name in ["b.JPG", "a.png", "sub/c.jpeg", "sub/deep/d.bmp", ".hidden/e.png", "sub/.f.png", "out/g.png"]:
        write_image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    found = collect([tmp_path], tmp_path / "out")
    assert [item.name for item in found] == ["a", "b", "sub/c", "sub/deep/d"]
    assert all(path.is_file() for path, *_ in found)


def test_named_files_are_always_tried(tmp_path: Path) -> None:
    note = tmp_path / "notes.txt"
    note.write_text("no image")
    assert names(note, tmp_path / "none.jpg") == {"notes": "notes.txt", "none": "none.jpg"}


def test_no_two_images_share_a_name(tmp_path: Path) -> None:
    for name in ["x.jpg", "x.png", "X.bmp", "x.jpg.png", "y.jpg"]:
        write_image(tmp_path / "one" / name)
    write_image(tmp_path / "two" / "y.jpg")
    write_image(tmp_path / "other" / "two" / "y.jpg")
    found = names(tmp_path / "one", tmp_path / "two", tmp_path / "other" / "two")
    assert found == {
        "X.bmp": "X.bmp",
        "one/x.jpg": "x.jpg",  # as x.jpg is what x.jpg.png is called
        "x.jpg.png": "x.jpg.png",
        "x.png": "x.png",
        "one/y.jpg": "y.jpg",
        "two/y.jpg": "y.jpg",
        "two/y.jpg-2": "y.jpg",
    }


def test_an_image_given_twice_is_done_once(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to(path)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    assert names(path, tmp_path) == {"a": "a.png", "self": "self.png"}


def test_the_output_folder_cannot_be_the_input(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="both an input and the output"):
        collect([tmp_path], tmp_path / "sub" / "..")


def test_results_by_hand(model: Model, tmp_path: Path) -> None:
    path, out = write_image(tmp_path / "in" / "a.png"), tmp_path / "out"
    summary = run(model, collect([path], out), out, raw=True, quiet=True)
    assert (summary.done, summary.failed) == (1, [])
    (line,) = lines(out)
    assert line.pop("seconds") > 0
    assert line == {
        "image": str(path),
        "name": "a",
        "status": "ok",
        "width": 40,
        "height": 30,
        "files": [*(f"a.{ending}" for ending in ENDINGS), "a.npz"],
        "error": None,
        "model": model.checksum[:12],
    }
    assert sorted(p.name for p in out.iterdir()) == sorted([*line["files"], "results.jsonl"])
    depth = cv2.imread(str(out / "a.depth.png"), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16 and depth.shape == (30, 40) and (depth == 3500).all()
    normal = np.array([255, 51, 154]) / np.linalg.norm([255, 51, 154])
    normals = cv2.imread(str(out / "a.normals.png"))[..., ::-1]
    np.testing.assert_array_equal(normals, np.broadcast_to(np.rint((normal + 1) * 127.5), (30, 40, 3)))
    with np.load(out / "a.npz") as raw:
        assert {k: v.dtype for k, v in raw.items()} == {
            "depth": np.float32,
            "normals": np.float32,
            "segmentation": np.uint8,
        }
        np.testing.assert_allclose(raw["depth"], np.full((30, 40), 3.5), rtol=1e-6)
        np.testing.assert_allclose(raw["normals"], np.broadcast_to(normal, (30, 40, 3)), atol=1e-6)
        np.testing.assert_array_equal(raw["segmentation"], np.ones((30, 40)))


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_bad_files_stop_no_others_and_order_is_kept(model: Model, tmp_path: Path, batch: int) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for i in range(12):
        write_image(folder / f"{i:02}.png", rgb=(i, i, i), size=(30 + i, 40))
    (folder / "02.png").write_bytes(b"")
    (folder / "05.png").write_bytes((folder / "05.png").read_bytes()[:-20])
    (folder / "06.png").write_text("no image")
    (folder / "07.png").unlink()
    (folder / "07.png").mkdir()
    summary = run(model, collect([folder], out), out, save=["depth"], batch=batch, quiet=True)
    found = lines(out)
    assert [line["name"] for line in found] == [f"{i:02}" for i in range(12)]
    failed = {line["name"]: line["error"] for line in found if line["status"] == "failed"}
    assert {name: error.split()[0:3] for name, error in failed.items()} == {
        "02": ["the", "file", "is"],
        "05": ["the", "file", "is"],
        "06": ["not", "an", "image"],
        "07": ["expected", "an", "image,"],
    }
    assert summary.done == 8 and len(summary.failed) == 4
    for line in found:
        if line["status"] == "ok":
            depth = cv2.imread(str(out / line["files"][0]), cv2.IMREAD_UNCHANGED)
            value = int(line["name"])
            assert depth.shape == (30 + value, 40) and (depth == round(500 + 5000 * value / 255)).all()
        else:
            assert line["files"] == [] and line["width"] is None


def test_dynamic_sizes_in_batches(make_model: Callable[..., Path], tmp_path: Path) -> None:
    model = Model(make_model(manifest(dynamic_size=True)))
    sizes = [(30, 40), (30, 40), (40, 30), (10, 90), (10, 90)]
    for i, size in enumerate(sizes):
        write_image(tmp_path / "in" / f"{i}.png", size=size)
    assert run(model, collect([tmp_path / "in"], tmp_path), tmp_path / "out", batch=2, quiet=True).done == 5
    assert [(line["height"], line["width"]) for line in lines(tmp_path / "out")] == sizes


@pytest.mark.parametrize("save", [["depth"], ["overview"], ["normals", "segmentation"]])
def test_save_picks(model: Model, tmp_path: Path, save: list[str]) -> None:
    path = write_image(tmp_path / "in" / "sub" / "a.png")
    run(model, collect([path.parent.parent], tmp_path), tmp_path / "out", save=save, quiet=True)
    kept = {p.name for p in (tmp_path / "out" / "sub").iterdir()}
    assert kept == {f"a.{ending}" for ending in ENDINGS if ending.split(".")[0] in save}


def test_an_unknown_name_to_save(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no output albedo; it has depth, normals, segmentation, overview"):
        run(model, [], tmp_path / "out", save=["albedo"])
    assert not (tmp_path / "out").exists()


def test_a_failing_write_is_told_and_leaves_no_half_file(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def fills(self: Path, data: bytes) -> int:
        if self.suffix == ".jpg" and self.parent.name == "b":
            write(self, data[:10])
            raise OSError(errno.EFBIG, "File too large")
        return write(self, data)

    for folder in "abc":
        write_image(tmp_path / "in" / folder / "x.png")
    items = collect([tmp_path / "in"], tmp_path)
    monkeypatch.setattr(Path, "write_bytes", fills)
    summary = run(model, items, tmp_path / "out", quiet=True)
    assert summary.done == 2 and "File too large" in summary.failed[0][1]
    assert [line["status"] for line in lines(tmp_path / "out")] == ["ok", "failed", "ok"]
    assert lines(tmp_path / "out")[1]["files"] == [f"b/x.{ending}" for ending in ENDINGS[:3]]
    assert {p.name for p in (tmp_path / "out" / "b").iterdir()} == {f"x.{ending}" for ending in ENDINGS[:3]}


def test_results_that_cannot_be_written_on_end_the_run(model: Model, tmp_path: Path, monkeypatch) -> None:
    add = Results.add

    def fills(self: Results, line: dict) -> None:
        if line["name"] == "3":
            raise OSError(errno.EIO, "Input/output error", str(self.path))
        add(self, line)

    path = write_image(tmp_path / "a.png")
    monkeypatch.setattr(Results, "add", fills)
    summary = run(model, [(path, f"{i}") for i in range(20)], tmp_path / "out", quiet=True)
    assert summary.done == 3 and summary.stopped == f"Input/output error: '{tmp_path / 'out' / 'results.jsonl'}'"
    assert [line["name"] for line in lines(tmp_path / "out")] == ["0", "1", "2"]


def test_a_failing_network_fails_only_its_image(model: Model, tmp_path: Path, monkeypatch) -> None:
    calls = []

    def sometimes(images: np.ndarray) -> dict[str, np.ndarray]:
        calls.append(len(images))
        if (images == 3).any():
            raise RuntimeError("out of memory")
        return Model.run(model, images)

    for i in range(6):
        write_image(tmp_path / "in" / f"{i}.png", rgb=(i, i, i), size=(48, 64))
    items = collect([tmp_path / "in"], tmp_path)
    monkeypatch.setattr(model, "run", sometimes)
    run(model, items, tmp_path / "out", batch=2, quiet=True)
    assert calls == [2, 2, 1, 1, 2]  # the failing batch again, one image at a time
    errors = [line["error"] for line in lines(tmp_path / "out")]
    assert errors == [*[None] * 3, "the network failed: out of memory", *[None] * 2]


def test_few_images_are_under_way_at_once(model: Model, tmp_path: Path, monkeypatch) -> None:
    read, write, lock = steps.read, steps.keep, threading.Lock()
    count = {"now": 0, "most": 0}

    def counted_read(*args) -> None:
        with lock:
            count["now"] += 1
            count["most"] = max(count.values())
        read(*args)

    def counted_write(*args) -> None:
        write(*args)
        with lock:
            count["now"] -= 1

    monkeypatch.setattr(steps, "read", counted_read)
    monkeypatch.setattr(steps, "keep", counted_write)
    monkeypatch.setattr(pipeline.os, "cpu_count", lambda: 1)
    path = write_image(tmp_path / "a.png")
    run(model, [(path, f"{i}") for i in range(100)], tmp_path / "out", save=["depth"], batch=2, quiet=True)
    assert count["most"] <= 12


def test_stopping_finishes_what_is_under_way(model: Model, tmp_path: Path) -> None:
    path, asked = write_image(tmp_path / "a.png"), iter([False, False, True])
    items = [(path, f"{i}") for i in range(50)]
    summary = run(model, items, tmp_path / "out", batch=2, quiet=True, stopped=lambda: next(asked))
    assert summary.done == 4
    assert [line["name"] for line in lines(tmp_path / "out")] == ["0", "1", "2", "3"]
    assert len(list((tmp_path / "out").iterdir())) == 4 * 4 + 1


def test_lines_are_there_when_the_run_is_cut_off(model: Model, tmp_path: Path) -> None:
    path, asked = write_image(tmp_path / "a.png"), iter([False] * 20)
    with pytest.raises(RuntimeError):  # as a second Ctrl-C would: out of the loop at once
        run(
            model,
            [(path, f"{i}") for i in range(50)],
            tmp_path / "out",
            quiet=True,
            stopped=lambda: next(asked),
        )
    found = lines(tmp_path / "out")
    assert 10 < len(found) <= 20 and all(line["status"] == "ok" for line in found)
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.startswith(".")]
