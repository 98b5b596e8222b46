"""Folders that hold more than photos: depth maps beside them, and results of earlier runs."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mtl_vision.runtime import steps
from mtl_vision.runtime.cli import main
from mtl_vision.runtime.headers import NotAPhotoError, check
from mtl_vision.runtime.inputs import collect
from mtl_vision.runtime.model import Model
from mtl_vision.runtime.pipeline import run
from mtl_vision.runtime.predictor import batches
from mtl_vision.runtime.results import Item, written_in

DEPTH = np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50
RGB = np.full((30, 40, 3), 99, np.uint8)


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """The documented layout of one folder: three frames, colour and depth side by side."""
    for i in range(3):
        write(tmp_path / "in" / f"frame-{i:06}.color.jpg", RGB)
        write(tmp_path / "in" / f"frame-{i:06}.depth.png", DEPTH)
    return tmp_path / "in"


def lines(out: Path) -> dict[str, dict]:
    return {line["name"]: line for line in map(json.loads, (out / "results.jsonl").read_text().splitlines())}


def statuses(out: Path) -> dict[str, str]:
    return {name: line["status"] for name, line in lines(out).items()}


COLOURS = [f"frame-{i:06}.color" for i in range(3)]
DEPTHS = [f"frame-{i:06}.depth" for i in range(3)]


def test_depth_maps_in_a_folder_are_skipped_and_said(
    model_file: Path, frames: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(model_file), str(frames), "--out", str(out), "--save", "depth"]) == 0
    assert statuses(out) == dict.fromkeys(COLOURS, "ok") | dict.fromkeys(DEPTHS, "skipped")
    assert list(lines(out)) == sorted([*COLOURS, *DEPTHS]), "in order"
    line = lines(out)[DEPTHS[0]]
    assert line["files"] == [] and line["width"] is None and "one channel of 16 bits: a depth map" in line["error"]
    assert sorted(path.name for path in out.glob("*.png")) == [f"{name}.depth.png" for name in COLOURS]
    shown = capfd.readouterr().out
    assert "3 done, 0 failed" in shown and shown.count("skipped") == 1
    assert "skipped: 3 images of one channel of 16 bits or more, as depth maps have; name a file itself" in shown


@pytest.mark.parametrize("folder_first", [True, False])
def test_a_depth_map_that_is_named_is_run(model_file: Path, frames: Path, tmp_path: Path, folder_first: bool) -> None:
    out, named = tmp_path / "out", frames / f"{DEPTHS[1]}.png"
    (tmp_path / "link.png").symlink_to(named)
    for one, name in ((named, DEPTHS[1]), (tmp_path / "link.png", DEPTHS[1] if folder_first else "link")):
        paths = [str(frames), str(one)]
        paths = paths if folder_first else paths[::-1]
        assert main([str(model_file), *paths, "--out", str(out), "--save", "depth", "--quiet"]) == 0
        assert [found for found, status in statuses(out).items() if status == "ok"] == sorted(
            [*COLOURS, name], key=lambda found: (not folder_first and found == name and -1, found)
        )
    assert main([str(model_file), str(named), "--out", str(out), "--quiet"]) == 0
    assert statuses(out) == {DEPTHS[1]: "ok"}


def test_resuming_leaves_skipped_images_and_does_those_that_are_named_now(
    model_file: Path, frames: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    call = [str(model_file), str(frames), "--out", str(out), "--save", "depth"]
    assert main(call) == 0
    before = (out / "results.jsonl").read_bytes()
    read, seen = steps.read, []
    monkeypatch.setattr(steps, "read", lambda job, *more: (seen.append(job.name), read(job, *more)))
    assert main([*call, "--resume"]) == 0
    shown = capfd.readouterr().out
    assert "0 done and 3 before" in shown and "skipped: 3 images" in shown and seen == []
    assert (out / "results.jsonl").read_bytes() == before
    assert main([call[0], str(frames / f"{DEPTHS[2]}.png"), *call[1:], "--resume"]) == 0
    assert seen == [DEPTHS[2]]
    assert statuses(out) == dict.fromkeys([*COLOURS, DEPTHS[2]], "ok") | dict.fromkeys(DEPTHS[:2], "skipped")
    assert main([*call]) == 0  # found in the folder again: afresh, it is skipped
    assert statuses(out)[DEPTHS[2]] == "skipped"


@pytest.mark.parametrize("options", [[], ["--quiet"], ["--resume"]])
def test_a_folder_of_depth_maps_alone(
    model_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str]
) -> None:
    call = [str(model_file), str(tmp_path / "in"), "--out", str(tmp_path / "out"), *options]
    for count, words in ((1, "one has one channel"), (2, "all 2 images have one channel")):
        write(tmp_path / "in" / f"{count}.png", DEPTH)
        for _ in range(2):
            assert main(call) == 1
            out, err = capfd.readouterr()
            told = [line for line in err.splitlines() if line.startswith("mtl-infer")]
            assert out == "" and len(told) == 1 and f"no photos in {tmp_path / 'in'}: {words}" in told[0]
    (tmp_path / "in" / "3.png").write_bytes(b"")
    assert main(call) == 2, "what fails is told by its own code"


def maps_and_photos(folder: Path) -> tuple[set[str], set[str]]:
    """Files that are maps, and files that could be photos."""
    for name in ("gray.png", "gray.tif", "gray.pgm"):
        write(folder / f"16{name}", DEPTH)
        write(folder / f"8{name}", RGB[..., 0])
    write(folder / "float.tif", DEPTH.astype(np.float32))
    for name in ("rgb.png", "rgb.tif", "rgb.ppm"):
        write(folder / f"16{name}", np.repeat(DEPTH[..., None], 3, axis=2))
    write(folder / "16rgba.png", np.repeat(DEPTH[..., None], 4, axis=2))
    Image.fromarray(DEPTH).save(folder / "pil.tiff")
    Image.fromarray(DEPTH).save(folder / "pil.jp2")
    Image.fromarray(RGB[..., 0]).save(folder / "8gray.jp2")
    Image.fromarray(RGB).quantize(8).save(folder / "palette.png")
    Image.fromarray(RGB[..., 0] > 50).save(folder / "bits.png")
    (folder / "text.pgm").write_bytes(b"P2 40 30 65535\n" + b" ".join(b"%d" % v for v in DEPTH.ravel()))
    (folder / "text8.pgm").write_bytes(b"P2 40 30 255\n" + b"7 " * 1200)
    maps = {"16gray.png", "16gray.tif", "16gray.pgm", "float.tif", "pil.tiff", "pil.jp2", "text.pgm"}
    return maps, {path.name for path in folder.iterdir()} - maps


def test_maps_of_every_format_are_known_by_channel_and_bits(model: Model, tmp_path: Path) -> None:
    maps, photos = maps_and_photos(tmp_path / "in")
    items = collect([tmp_path / "in"], tmp_path / "out")
    summary = run(model, items, tmp_path / "out", save=["depth"], quiet=True)
    found = {Path(line["image"]).name: line["status"] for line in lines(tmp_path / "out").values()}
    assert found == dict.fromkeys(maps, "skipped") | dict.fromkeys(photos, "ok")
    assert (summary.done, summary.skipped, summary.failed) == (len(photos), len(maps), [])


def test_a_map_is_skipped_whatever_its_size_and_a_damaged_one_fails(tmp_path: Path) -> None:
    data = write(tmp_path / "a.png", DEPTH).read_bytes()
    with pytest.raises(NotAPhotoError, match="one channel of 16 bits"):
        check(data, max_pixels=10, only_photos=True)
    with pytest.raises(ValueError, match="truncated") as found:
        check(data[:-20], only_photos=True)
    assert not isinstance(found.value, NotAPhotoError)
    assert check(data).is_map


def test_batches_are_full_with_depth_maps_among_the_photos(
    model: Model, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(model, "run", lambda images: calls.append(len(images)) or Model.run(model, images))
    run(model, collect([frames], tmp_path), tmp_path / "out", batch=2, save=["depth"], quiet=True)
    assert calls == [2, 1] and list(lines(tmp_path / "out")) == sorted([*COLOURS, *DEPTHS])


def test_batches_by_hand() -> None:
    def split(text: str, most: int) -> list[str]:
        return ["".join(batch) for batch in batches(text, most, lambda c: None if c == "." else c)]

    assert split("aaabb", 2) == ["aa", "a", "bb"]
    assert split("a.a.b", 2) == ["a.a", ".", "b"]
    assert split("a....a", 2) == ["a...", ".", "a"], "the photo does not wait for ever"
    assert split("..a.b.", 3) == [".", ".", "a.", "b."]
    assert split("", 1) == [] and split("aaa", 1) == ["a", "a", "a"]


def test_results_of_an_earlier_run_are_no_photos(
    model_file: Path, frames: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Into a folder inside that of the photos, then into another: the first one's results stay out."""
    write(frames / "sub" / "deep.png", RGB)
    first, second = frames / "out", frames / "more" / "out"
    for out in (first, first, second, second):
        assert main([str(model_file), str(frames), "--out", str(out)]) == 0
        assert set(lines(out)) == {*COLOURS, *DEPTHS, "sub/deep"}
    assert "16 results of earlier runs in" in capfd.readouterr().err
    assert main([str(model_file), str(frames), "--out", str(tmp_path / "out")]) == 0
    assert "32 results of earlier runs in" in capfd.readouterr().err
    assert set(lines(tmp_path / "out")) == {*COLOURS, *DEPTHS, "sub/deep"}
    assert main([str(model_file), str(first), "--out", str(tmp_path / "out")]) == 1
    assert "no images in" in capfd.readouterr().err


def test_results_beside_the_photos_are_left_out_and_photos_are_not(model_file: Path, tmp_path: Path) -> None:
    photo = write(tmp_path / "in" / "a.jpg", RGB)
    assert main([str(model_file), str(photo), "--out", str(tmp_path / "in"), "--quiet"]) == 0
    assert main([str(model_file), str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert statuses(tmp_path / "out") == {"a": "ok"}
    result = tmp_path / "in" / "a.overview.jpg"
    assert main([str(model_file), str(result), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert statuses(tmp_path / "out") == {"a.overview": "ok"}, "what is named is run"


def test_a_folder_below_the_output_keeps_its_photos_alone(model_file: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos" / "sub", tmp_path / "photos"
    write(photos / "sub" / "a.jpg", RGB)  # its results are written to the folder above it
    for _ in range(2):
        assert main([str(model_file), str(photos), "--out", str(out), "--quiet"]) == 0
        assert statuses(out) == {"sub/a": "ok"}
    assert (photos / "a.overview.jpg").exists()


def test_results_of_another_model_are_known_by_its_lines(tmp_path: Path) -> None:
    old = tmp_path / "in" / "old"
    for name in ("a.edges.png", "a.jpg", "b.edges.png"):
        write(old / name, RGB)
    line = {"image": "a.jpg", "status": "ok", "name": "a", "files": ["a.edges.png", "a.npz"], "error": None}
    for text, written, names in (
        (json.dumps(line) + "\n", {".edges.png", ".npz"}, ["old/a"]),
        (json.dumps(line)[:-9], None, ["old/a", "old/a.edges", "old/b.edges"]),
        ("", set(), ["old/a", "old/a.edges", "old/b.edges"]),  # a run that was stopped at once
        ('{"name": "x", "score": 1}\n', None, ["old/a", "old/a.edges", "old/b.edges"]),  # not ours
        ('{"name": 1, "status": []}\n[]\n\xff\n', None, ["old/a", "old/a.edges", "old/b.edges"]),
        ('{"name": "x", "status": "ok", "files": [1, "y.png"]}\n', set(), ["old/a", "old/a.edges", "old/b.edges"]),
    ):
        (old / "results.jsonl").write_text(text, encoding="latin-1")
        assert written_in(old) == written
        assert sorted(item.name for item in collect([tmp_path / "in"], tmp_path / "out")) == names
    (old / "results.jsonl").write_text("")
    found = collect([tmp_path / "in"], tmp_path / "out", written=[".edges.png"])
    assert [item.name for item in found] == ["old/a"], "this model's own names"
    (old / "results.jsonl").unlink()
    os.mkfifo(old / "results.jsonl")  # nobody waits for it
    assert len(collect([tmp_path / "in"], tmp_path / "out", written=[".edges.png"])) == 3


def test_pairs_are_items(model: Model, tmp_path: Path) -> None:
    """A path with its name is named, not found."""
    path = write(tmp_path / "a.png", DEPTH)
    run(model, [(path, "pair"), Item(path, "item"), Item(path, "found", True)], tmp_path / "out", quiet=True)  # type: ignore[list-item]
    assert statuses(tmp_path / "out") == {"pair": "ok", "item": "ok", "found": "skipped"}
