"""Which images are meant: patterns, lists, standard input, shards; and what --resume takes for done."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_model import build_model, manifest

from mtl_vision.runtime.cli import main
from mtl_vision.runtime.inputs import collect, read_list, share
from mtl_vision.runtime.lock import LockedError
from mtl_vision.runtime.results import RESULTS, Item, Results, shard_file

ROOT = Path(__file__).parents[2]
PNG = cv2.imencode(".png", np.full((4, 6, 3), 99, np.uint8))[1].tobytes()
Infer = Callable[..., int]


@pytest.fixture
def infer(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Infer:
    monkeypatch.chdir(tmp_path)
    return lambda *words: main([str(model_file), *words, "--out", "out", "--save", "depth", "--quiet"])


@pytest.fixture
def told(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Infer:
    """As `infer`, without --quiet."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: main([str(model_file), *words, "--out", "out", "--save", "depth"])


def images(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(PNG)


def names(file: str = RESULTS) -> list[str]:
    return [json.loads(line)["name"] for line in Path("out", file).read_text().splitlines()]


# Patterns


def test_a_pattern_stands_for_the_images_it_matches(infer: Infer) -> None:
    images("in/b.png", "in/sub/a.png", "in/sub/deep/c.png", "in/.hidden/d.png", "other/e.png")
    Path("in/notes.txt").touch()
    assert infer("in/**/*") == 0 and names() == ["b", "sub/a", "sub/deep/c"]
    assert infer("i[n]/*.png") == 0 and names() == ["in/b"], "its name begins before the first wildcard"
    assert infer("*/*.png") == 0 and names() == ["in/b", "other/e"], "results are no images"
    assert infer("in/s*") == 0 and names() == ["sub/a", "sub/deep/c"], "a folder that it matches is searched"
    assert infer("in/*.jpg") == 1


def test_a_pattern_that_is_a_files_name_is_that_file(infer: Infer) -> None:
    images("in/a[1].png", "in/a1.png")
    assert infer("in/a[1].png") == 0 and names() == ["a[1]"]


def test_results_that_a_pattern_matches_are_left_out(
    infer: Infer, told: Infer, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of an earlier run into a folder among the images; a file that only has such a name elsewhere is an image."""
    images("in/a.png", "in/sub/b.png", "in/c.depth.png")
    assert infer("in/a.png", "in/sub") == 0
    Path("out").rename("in/sub/earlier")
    images("in/sub/earlier/new.png")
    assert told("in/**/*.png") == 0
    assert names() == ["a", "c.depth", "sub/b", "sub/earlier/new"]
    assert "2 results of earlier runs were left out of what a pattern matches" in capfd.readouterr().err


def test_links_to_an_image_that_is_given_are_told(told: Infer, capfd: pytest.CaptureFixture[str]) -> None:
    images("in/a.png")
    Path("in/link.png").symlink_to("a.png")
    assert told("in/a.png", "in/link.png", "in/../in/a.png") == 0 and names() == ["a"]
    assert "1 files are links to others that are given: each image is done once" in capfd.readouterr().err


def test_files_of_the_users_own_are_not_replaced(infer: Infer, capfd: pytest.CaptureFixture[str]) -> None:
    """Beside the images: recorded depth of the same name, and an image that has the name of a result."""
    images("out/a.png", "out/a.depth.png")
    mine = Path("out/a.depth.png").read_bytes()
    assert infer("out/a.png") == 1
    assert "a.depth.png' is there, and no earlier run wrote it" in capfd.readouterr().err
    assert Path("out/a.depth.png").read_bytes() == mine and not Path("out", RESULTS).exists()
    Path("out/a.depth.png").rename("out/b.png")
    assert infer("out/a.png") == 0 and infer("out/a.png", "--resume") == 0 and infer("out/a.png") == 0
    assert infer("out/a.png", "out/a.depth.png") == 1, "an image is never replaced, whoever wrote it"


def test_results_of_another_image_with_the_same_name(told: Infer, capfd: pytest.CaptureFixture[str]) -> None:
    images("one/a.png", "two/a.png")
    assert told("one/a.png") == 0 and told(str(Path("one/a.png").absolute()), "--resume") == 0
    assert "1 results of other images" not in capfd.readouterr().err
    assert told("two/a.png", "--resume") == 0
    assert "1 results of other images have the same names and are replaced" in capfd.readouterr().err


def test_depth_maps_that_a_pattern_matches_are_skipped(infer: Infer) -> None:
    images("in/a.png")
    cv2.imwrite("in/depth.png", np.ones((4, 6), np.uint16))
    assert infer("in/*.png") == 0
    status = {line["name"]: line["status"] for line in map(json.loads, Path("out", RESULTS).read_text().splitlines())}
    assert status == {"a": "ok", "depth": "skipped"}


# Lists


def test_a_list_names_images_below_what_their_folders_share(infer: Infer) -> None:
    images("in/one/a.png", "in/two/a.png", "in/two/b.png")
    here = Path.cwd()
    Path("list.txt").write_text(f"in/one/a.png\r\n\n{here}/in/two/../two/a.png\nin/two/none.png\n")
    assert infer("@list.txt") == 2 and names() == ["one/a", "two/a", "two/none"]
    Path("list.txt").write_text("in/two/b.png\n")
    assert infer("@list.txt", "in/one/a.png") == 0 and names() == ["a", "b"]
    Path("list.txt").write_text("\n")
    assert infer("@list.txt") == 1 and infer("@none.txt") == 1


def test_nothing_in_a_list_leads_out_of_the_output(infer: Infer, tmp_path: Path) -> None:
    images("in/a.png", "b.png")
    os.chdir("in")
    found = collect(
        [], "out", listed=[[Path("a.png"), Path("../b.png"), Path("../in/./../b.png"), Path("/x/../c.png")]]
    )
    assert len(found) == 3 and not any(".." in item.name or item.name.startswith("/") for item in found)
    os.chdir(tmp_path)


def test_a_list_from_standard_input(infer: Infer, monkeypatch: pytest.MonkeyPatch) -> None:
    images("in/a.png", "in/é b.png")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("in/a.png\nin/é b.png".encode())))
    assert infer("-") == 0 and names() == ["a", "é b"]


def test_a_list_may_hold_any_name_of_a_file() -> None:
    assert read_list(b"a\xff.png\n #b\n") == [Path(os.fsdecode(b"a\xff.png")), Path(" #b")]


def test_lists_as_other_systems_write_them() -> None:
    assert read_list(b"\xef\xbb\xbfa.png\r\nb.png\r\n") == [Path("a.png"), Path("b.png")]
    with pytest.raises(ValueError, match="the list has UTF-16: expected a path a line, in UTF-8"):
        read_list("a.png\r\n".encode("utf-16"))
    with pytest.raises(ValueError, match="zero bytes, as find -print0 writes them: expected a path a line"):
        read_list(b"a.png\0b.png\0")


@pytest.mark.parametrize("name", ["pipe", "folder"])
def test_a_list_is_a_file(infer: Infer, name: str) -> None:
    Path("folder").mkdir()
    os.mkfifo("pipe")
    assert infer(f"@{name}") == 1


# Shards


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_shards_are_disjoint_complete_and_even(count: int) -> None:
    items = [Item(Path(f"{i * 7 % 10:02}"), f"{i}") for i in range(10)]
    shards = [share(items, i + 1, count) for i in range(count)]
    assert sorted(item.name for part in shards for item in part) == [str(i) for i in range(10)]
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert shards == [share(items[::-1], i + 1, count) for i in range(count)], "whatever the order they were given in"


def test_shards_share_a_folder_and_keep_lines_of_their_own(infer: Infer) -> None:
    images(*(f"in/{i}.png" for i in range(5)), "in/results.1-of-2.jsonl/x.png")
    for i in (1, 2):
        assert infer("in", "--shard", f"{i}/2") == 0
    assert names(shard_file(1, 2)) == ["0", "2", "4"] and names(shard_file(2, 2))[:2] == ["1", "3"]
    assert len(list(Path("out").rglob("*.depth.png"))) == 6
    at = Path("out/0.depth.png").stat().st_mtime_ns
    Path("out/2.depth.png").unlink()
    assert infer("in", "--shard", "1/2", "--resume") == 0 and names(shard_file(1, 2)) == ["0", "4", "2"]
    assert Path("out/0.depth.png").stat().st_mtime_ns == at and Path("out/2.depth.png").exists()
    assert infer("out") == 1, "the results of shards are no images either"
    assert infer("in", "--shard", "9/9") == 0, "a part may be empty"


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_what_is_no_shard(infer: Infer, text: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        infer("in", f"--shard={text}")
    assert stopped.value.code == 1


def test_two_shards_may_run_at_once_but_no_shard_twice_and_no_whole_run(infer: Infer, monkeypatch) -> None:
    images("in/a.png")
    monkeypatch.setattr("mtl_vision.runtime.results.PATIENCE", 0.1)
    Path("out").mkdir()
    with Results(Path("out"), shard_file(1, 2)) as first:
        first.start([], None)
        with Results(Path("out"), shard_file(2, 2)) as second:
            second.start([], None)
            for wrong in (RESULTS, shard_file(1, 2)):
                with pytest.raises(LockedError, match="another process is writing"):
                    Results(Path("out"), wrong)
    with Results(Path("out")), pytest.raises(LockedError):
        Results(Path("out"), shard_file(1, 2))


def test_a_shard_leaves_the_files_that_another_is_writing(tmp_path: Path) -> None:
    partial = tmp_path / ".0123456789ab.partial.png"
    partial.touch()
    items = [Item(Path("a.png"), "a")]
    with Results(tmp_path, shard_file(1, 2)) as first:
        first.start([], None)
        with Results(tmp_path, shard_file(2, 2)) as second:
            second.start(items, None)
            assert partial.exists()
    with Results(tmp_path, shard_file(2, 2)) as alone:
        alone.start(items, None)
        assert not partial.exists()


def test_job_arrays_at_once(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images(*(f"in/{i:02}.png" for i in range(20)))
    command = [sys.executable, str(ROOT / "infer.py"), str(model_file), "in", "--out", "out", "--save", "depth"]
    jobs = [subprocess.Popen([*command, "--quiet", "--shard", f"{i}/3"], env=os.environ) for i in (1, 2, 3)]
    assert [job.wait(60) for job in jobs] == [0, 0, 0]
    assert sorted(name for i in (1, 2, 3) for name in names(shard_file(i, 3))) == [f"{i:02}" for i in range(20)]


# --resume, --tasks


def test_what_another_model_did_is_done_again(infer: Infer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    images("in/a.png", "in/b.png")
    other = str(build_model(tmp_path / "other.onnx", manifest(metrics={"depth.rmse": 1.0})))
    assert infer("in") == 0
    words = ["in", "--out", "out", "--save", "depth", "--resume"]
    assert main([other, *words]) == 0
    out, err = capfd.readouterr()
    assert "2 done, 0 failed" in out and "2 images were done with another model: they are done again" in err
    assert main([other, *words]) == 0
    out, err = capfd.readouterr()
    assert "0 done and 2 before" in out and "another model" not in err


def test_tasks_are_the_only_outputs(model_file: Path, infer: Infer) -> None:
    images("in/a.png")
    words = [str(model_file), "in", "--out", "out", "--quiet", "--tasks", "normals, depth"]
    assert main(words) == 0
    assert {path.name for path in Path("out").iterdir()} == {
        "results.jsonl",
        "a.depth.png",
        "a.normals.png",
        "a.overview.jpg",
    }
    assert main([*words, "--save", "segmentation"]) == 1 and main([*words[:-1], "albedo"]) == 1
    with pytest.raises(SystemExit):
        main([*words[:-1], ","])
