"""A file is whole or absent."""

import errno
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mtl_vision.runtime.files import atomic_folder, atomic_path, atomic_write, map_png, png, sweep
from mtl_vision.runtime.lock import LockedError, lock


def test_atomic_write_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for data in (b"one", b"two"):
        atomic_write(path, data)
        assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_what_stood_there(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    atomic_write(path, b"before")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        assert temporary.parent == path.parent and temporary.suffix == ".npz"
        raise RuntimeError
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(tmp_path / "a.bin", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_name_as_long_as_the_disk_allows(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".png")
    atomic_write(path, b"data")
    assert path.read_bytes() == b"data"


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "a.bin"
    with pytest.raises(OSError, match="a.bin") as found:
        atomic_write(path, b"data")
    assert found.value.filename == str(path)


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder"
    with pytest.raises(RuntimeError), atomic_folder(path) as work:
        (work / "half").write_bytes(b"")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []
    path.mkdir()  # an empty one may stand there
    with atomic_folder(path) as work:
        (work / "whole").write_bytes(b"")
        assert work.parent == path.parent and not list(path.iterdir())
    assert [one.name for one in path.parent.rglob("*")] == ["folder", "whole"]


def test_a_folder_that_another_process_has_made_stays(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with pytest.raises(FileExistsError, match="another process"), atomic_folder(path) as work:
        (work / "ours").write_bytes(b"")
        path.mkdir()
        (path / "theirs").write_bytes(b"")
    assert [one.name for one in tmp_path.rglob("*")] == ["folder", "theirs"]


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_makes_stays(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib; from mtl_vision.runtime.files import atomic_folder, atomic_path\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "with atomic_folder(path / 'folder') as work, atomic_path(path / 'file.png') as file:\n"
        "    (work / 'half').write_bytes(b''); file.write_bytes(b''); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    assert sorted(one.suffix for one in tmp_path.iterdir()) == [".partial", ".png"]
    (tmp_path / ".partial").mkdir()
    with atomic_folder(tmp_path / "one"):
        with atomic_folder(tmp_path / "two"):
            pass
        assert sum(one.suffix == ".partial" for one in tmp_path.iterdir()) == 1  # the live one's
    sweep(tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == [".partial", "one", "two"]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (tmp_path / "file").open("ab") as first, (tmp_path / "file").open("ab") as second:
        lock(first)
        with pytest.raises(LockedError, match="another process is writing to it"):
            lock(second)
        first.close()
        lock(second)


def test_processes_that_ask_at_once_are_not_in_each_others_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (tmp_path / "file").open("r+b") as first, (tmp_path / "file").open("r+b") as second:
        assert lock(first, shared=True) and lock(second, shared=True)
        with pytest.raises(LockedError):
            lock(second)


def test_without_locks_no_folder_counts_as_abandoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(file: object, how: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with atomic_folder(tmp_path / "one") as work:
        with atomic_folder(tmp_path / "two"):
            pass
        (work / "whole").write_bytes(b"")
    assert (tmp_path / "one" / "whole").exists() and (tmp_path / "two").is_dir()


def test_a_folder_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="expected a folder, found a file"), atomic_folder(tmp_path / "file/a"):
        pass


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (30, 41)])
def test_the_png_of_a_map_has_its_pixels(size: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    found = cv2.imdecode(np.frombuffer(map_png(rgb), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(found, rgb[..., ::-1])


def test_the_png_of_a_map_is_smaller() -> None:
    u, v = np.meshgrid(np.linspace(-1, 1, 96), np.linspace(-1, 1, 64))
    rgb = np.rint(np.stack([np.sin(3 * u), np.cos(2 * u * v), u + v], -1) * 60 + 120).astype(np.uint8)
    assert len(map_png(rgb)) < 0.9 * len(png(rgb))
