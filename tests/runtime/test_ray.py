"""Workers on Ray give what one machine gives, each image once, also where some of them are killed."""

import json
import os
import pickle
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from mtl_vision.runtime import ray_engine
from mtl_vision.runtime.budget import Budget
from mtl_vision.runtime.cli import main
from mtl_vision.runtime.contract import ModelError
from mtl_vision.runtime.inputs import collect
from mtl_vision.runtime.model import Model
from mtl_vision.runtime.pipeline import run
from mtl_vision.runtime.ray_engine import RayEngine, Worker, connected, in_chunks
from mtl_vision.runtime.results import RESULTS, Line
from mtl_vision.runtime.steps import NO_MORE, Job

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: the extra `ray` has it")


@pytest.fixture(scope="session")
def cluster() -> Iterator[ModuleType]:
    """A cluster of two workers on this machine, for all tests."""
    import ray  # type: ignore[import-not-found]

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    yield connected()
    ray.shutdown()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 20 photos, two broken files and a depth map; one name is no UTF-8."""
    folder, rng = tmp_path / "in", np.random.default_rng(0)
    folder.mkdir()
    for i in range(20):
        small = rng.uniform(0, 255, (6, 8, 3)).astype(np.float32)
        cv2.imwrite(str(folder / f"{i:02}.png"), cv2.resize(small, (90 + i, 60)).astype(np.uint8))
    (folder / "05.png").rename(os.fsdecode(os.fsencode(folder) + b"/05\xff.png"))
    (folder / "20.png").write_bytes(b"")
    (folder / "21.jpg").write_text("no image")
    cv2.imwrite(str(folder / "22.png"), np.full((60, 90), 3000, np.uint16))
    return folder


def lines(out: Path, name: str = RESULTS) -> list[Line]:
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


def same(line: Line) -> Line:
    return {key: value for key, value in line.items() if key != "seconds"}


def files(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file() and "results" not in p.name}


def engine(model_file: Path) -> RayEngine:
    return RayEngine(partial(Model, model_file, threads=1), workers=2)


def check_complete(model: Model, photos: Path, out: Path) -> None:
    """Every image has one line and the files that one machine makes; nothing else is there."""
    alone = out.with_name("alone")
    run(model, collect([photos], alone), alone, quiet=True)
    assert files(out) == files(alone)
    by_name = {line["name"]: same(line) for line in lines(alone)}
    assert Counter(line["name"] for line in lines(out)) == Counter(list(by_name))
    assert {line["name"]: same(line) for line in lines(out)} == by_name


@needs_ray
def test_the_command_gives_what_one_machine_gives(
    cluster: ModuleType, model: Model, model_file: Path, photos: Path, tmp_path: Path, monkeypatch
) -> None:
    import pyarrow.parquet as pq  # type: ignore[import-not-found]

    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_bytes(
        b"".join(os.fsencode(p.relative_to(tmp_path)) + b"\n" for p in photos.iterdir())
    )
    call = [os.path.relpath(model_file), "@list.txt", "--raw", "--quiet"]
    assert main([*call, "--out", "one"]) == 2  # two files are broken
    assert main([*call, "--out", "many", "--engine", "ray", "--workers", "2"]) == 2
    one, many = Path("one"), Path("many")
    assert len(files(one)) == 21 * 5 and files(one) == files(many)
    found = {line["name"]: same(line) for line in lines(many)}
    assert len(lines(many)) == 23 and found == {line["name"]: same(line) for line in lines(one)}

    rows = pq.read_table(many / "results.parquet").to_pylist()
    assert [row["status"] for row in rows] == [line["status"] for line in lines(many)]
    row, line = (next(r for r in rs if r["name"] == "03") for rs in (rows, lines(many)))
    assert {k: v for k, v in row.items() if v is not None} == {k: v for k, v in line.items() if v is not None}
    assert {row["name"] for row in rows} == {f"{i:02}" for i in range(23) if i != 5} | {"05\\udcff"}


@needs_ray
def test_a_rerun_does_what_is_left(cluster: ModuleType, model: Model, model_file: Path, photos: Path, tmp_path) -> None:
    out, count = tmp_path / "out", iter(range(100))
    items = collect([photos], out)
    first = run(model, items, out, quiet=True, engine=engine(model_file), stopped=lambda: next(count) > 4)
    assert 0 < first.done < 20
    gone = out / lines(out)[0]["files"][0]
    gone.unlink()
    before = {p: p.stat().st_mtime_ns for p in out.glob("*.png")}
    second = run(model, items, out, quiet=True, resume=True, engine=engine(model_file))
    assert second.done == 20 - second.before and second.before >= first.done - 1 and gone.is_file()
    again = [line["name"] for line in lines(out)[: second.before]]
    assert all(p.stat().st_mtime_ns == time for p, time in before.items() if p.name.split(".")[0] in again)
    third = run(model, items, out, quiet=True, resume=True, engine=engine(model_file))
    assert (third.done, third.before, third.skipped, len(third.failed)) == (0, 20, 1, 2)
    check_complete(model, photos, out)


class DiesOnce(Worker):
    """Killed in the middle of a chunk, when some of its files are written."""

    mark: Path

    def do(self, jobs: list) -> dict:
        if any(name == "13" for _, name, *_ in jobs) and not self.mark.exists():
            self.mark.touch()
            super().do(jobs[:2])
            os.kill(os.getpid(), signal.SIGKILL)
        return super().do(jobs)


@needs_ray
def test_a_killed_worker_loses_and_doubles_nothing(
    cluster: ModuleType, model: Model, model_file: Path, photos: Path, tmp_path: Path, monkeypatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(ray_engine, "Worker", type("Once", (DiesOnce,), {"mark": tmp_path / "killed"}))
    summary = run(model, collect([photos], out), out, quiet=True, engine=engine(model_file))
    assert (tmp_path / "killed").exists()
    assert (summary.done, summary.skipped, len(summary.failed)) == (20, 1, 2)
    check_complete(model, photos, out)


class DiesOf13(Worker):
    def do(self, jobs: list) -> dict:
        if any(name == "13" for _, name, *_ in jobs):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().do(jobs)


@needs_ray
def test_an_image_that_kills_its_worker_fails_alone(
    cluster: ModuleType, model: Model, model_file: Path, photos: Path, tmp_path: Path, monkeypatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(ray_engine, "Worker", DiesOf13)
    monkeypatch.setattr(ray_engine, "RETRIES", 0)
    summary = run(model, collect([photos], out), out, quiet=True, engine=engine(model_file))
    failed = {Path(path).name: error for path, error in summary.failed}
    assert summary.done == 19 and failed.keys() == {"13.png", "20.png", "21.jpg"}
    assert failed["13.png"] == ray_engine.KILLED
    monkeypatch.undo()
    run(model, collect([photos], out), out, quiet=True, resume=True, engine=engine(model_file))
    check_complete(model, photos, out)


class Full(Worker):
    def do(self, jobs: list) -> dict:
        return {"lines": [], "full": (NO_MORE[0], "No space left on device", "disk")}


@needs_ray
def test_what_ends_a_run(cluster: ModuleType, model: Model, photos: Path, tmp_path: Path, monkeypatch) -> None:
    items = collect([photos], tmp_path / "out")
    with pytest.raises(ModelError, match=r"^the worker on \S+ cannot open the model: no model at 'gone.onnx'.*none$"):
        run(model, items, tmp_path / "out", quiet=True, engine=engine(Path("gone.onnx")))
    with pytest.raises(ValueError, match="expected a Ray cluster with 64 cores for a worker, found 2 cores"):
        run(model, items, tmp_path / "out", quiet=True, engine=RayEngine(lambda: model, threads=64))
    monkeypatch.setattr(ray_engine, "Worker", Full)
    summary = run(model, items, tmp_path / "out", quiet=True, engine=engine(model.path))
    assert summary.stopped == "No space left on device: 'disk'"


def test_a_worker_alone_finds_a_full_disk(model: Model, photos: Path, tmp_path: Path, monkeypatch) -> None:
    wanted: list = []
    monkeypatch.setattr(ray_engine.cv2, "setNumThreads", lambda count: None)

    def fails(*args: object, **kwargs: object) -> Iterator[Line]:
        yield {"name": "00"}
        raise OSError(NO_MORE[0], "No space left on device", "disk")

    def engine(model, jobs, given, batch, stopped):  # type: ignore[no-untyped-def]
        wanted.append(given)
        yield from ()

    run(model, [(photos / "00.png", "00")], tmp_path / "out", quiet=True, engine=engine)  # type: ignore[list-item]
    monkeypatch.setattr(ray_engine, "locally", fails)
    done = Worker(lambda: model, wanted[0], 1, 1).do([[str(photos / "00.png"), "00", False, None]])
    assert done == {"lines": [{"name": "00"}], "full": (NO_MORE[0], "No space left on device", "disk")}


def test_without_ray(model_file: Path, photos: Path, tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([str(model_file), str(photos), "--out", str(tmp_path / "out"), "--engine", "ray"]) == 1
    assert "python -m pip install 'mtl_vision[ray]'" in capfd.readouterr().err
    assert main([str(model_file), str(photos), "--out", str(tmp_path / "out"), "--workers", "2"]) == 1
    assert "--workers is for --engine ray" in capfd.readouterr().err


@pytest.mark.parametrize("batch", [1, 7, 64, 100])
@pytest.mark.parametrize("workers", [1, 2, 50])
@pytest.mark.parametrize("count", [0, 1, 9, 2000])
def test_chunks_are_all_of_the_list_in_whole_batches(count: int, workers: int, batch: int) -> None:
    jobs = [Job(Path(), str(i)) for i in range(count)]
    chunks = in_chunks(jobs, workers, batch)
    assert [job for chunk in chunks for job in chunk] == jobs
    assert all(len(chunk) % batch == 0 for chunk in chunks[:-1])
    assert all(0 < len(chunk) < 64 + batch for chunk in chunks)
    assert batch > 1 or len(chunks) >= min(count, workers)


def test_a_batch_below_one() -> None:
    with pytest.raises(ValueError, match="batch is 0"):
        in_chunks([], 1, 0)


@pytest.mark.parametrize(
    ("threads", "gpu", "resources", "count"),
    [
        (1, False, {"CPU": 96.0}, 96),
        (4, False, {"CPU": 95.0}, 23),
        (4, True, {"CPU": 96.0, "GPU": 8.0}, 8),
        (16, True, {"CPU": 96.0, "GPU": 8.0}, 6),
    ],
)
def test_the_room_of_a_cluster(threads: int, gpu: bool, resources: dict[str, float], count: int) -> None:
    assert RayEngine(lambda: None, None, threads, gpu).room(resources) == count  # type: ignore[arg-type, return-value]


def test_a_budget_in_another_process_is_its_own() -> None:
    budget = Budget(100)
    with budget.claim(80):
        copy = pickle.loads(pickle.dumps(budget))
        assert copy.total == 100
        with copy.claim(100):
            pass
