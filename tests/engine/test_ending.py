"""How the command ends: what is said of each error, and by which of several processes."""

from __future__ import annotations

import errno
import subprocess
import sys
from datetime import timedelta
from typing import Any, cast

import pytest
import torch
from torch._C._distributed_c10d import HashStore

from mtl_vision.datasets import DataError
from mtl_vision.engine import cli, distributed, ending
from mtl_vision.engine.ending import PeerError, answered
from mtl_vision.engine.evaluate import evaluate
from mtl_vision.loading.loader import Loader
from mtl_vision.models import Network
from mtl_vision.tasks import Task

SAID = {
    1: (
        (torch.OutOfMemoryError("CUDA out of memory."), "CUDA out of memory.\nlower data.batch_size"),
        (MemoryError(), "out of memory\nlower data.batch_size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9"), "can't allocate memory: 9\nlower data"),
        (DataError("a sample is bad"), "\nmtl-train: a sample is bad\n"),
        (OSError(errno.ENOSPC, "No space left"), "\nmtl-train: [Errno 28] No space left\n"),
        (PeerError("Connection closed\nby peer"), "another process does not answer (Connection closed): it was"),
    ),
    130: ((KeyboardInterrupt(), "interrupted before the training"),),
}
CASES = [(code, error, text) for code, found in SAID.items() for error, text in found]


class Left(BaseException):
    """In place of the end of a process."""


def fails(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def parse(arguments: Any) -> Any:
        raise error

    monkeypatch.setattr(cli, "parse", parse)


@pytest.mark.parametrize("code, error, text", CASES)
def test_one_process_says_it_and_returns(
    code: int, error: BaseException, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails(monkeypatch, error)
    assert cli.main([]) == code
    assert text in capsys.readouterr().err


def test_what_is_not_known_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    fails(monkeypatch, RuntimeError("a mistake"))
    with pytest.raises(RuntimeError, match="a mistake"):
        cli.main([])


@pytest.mark.parametrize("first", [KeyboardInterrupt(), RuntimeError("a mistake")])
def test_of_several_the_first_says_it_and_all_leave(
    first: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave(code: int) -> None:
        raise Left(code)

    monkeypatch.setattr(ending, "leave", leave)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setattr(distributed, "_store", HashStore())
    said = []
    for error in (first, PeerError("it has ended"), RuntimeError("gloo is confused")):
        fails(monkeypatch, error)
        with pytest.raises(Left):
            cli.main([])
        said.append(capsys.readouterr().err)
    assert ("Traceback" in said[0] and "a mistake" in said[0]) or "interrupted" in said[0]
    assert said[1:] == ["", ""]


def test_a_store_that_is_gone_silences_nobody() -> None:
    class Gone(HashStore):
        def set_timeout(self, timeout: timedelta) -> None:
            raise RuntimeError("Broken pipe")

    assert ending.is_first(Gone()) and ending.is_first(None)
    store = HashStore()
    assert [ending.is_first(store) for _ in range(3)] == [True, False, False]


def test_what_torch_raises_is_of_a_peer() -> None:
    with pytest.raises(PeerError, match=r"does not answer \(Connection closed by peer\): "), answered():
        raise RuntimeError("Connection closed by peer\nat line 12")
    with pytest.raises(ValueError, match="mine"), answered():
        raise ValueError("mine")


def test_it_leaves_with_its_code_where_nothing_more_can_be_written() -> None:
    """As on a full disk."""
    command = """
import io, sys
from mtl_vision.engine import ending

class Full(io.StringIO):
    def flush(self):
        raise OSError("No space left on device")

sys.stdout = Full()
ending.leave(7)
"""
    assert subprocess.run([sys.executable, "-c", command]).returncode == 7


def test_a_metrics_own_error_is_not_taken_for_a_peers() -> None:
    class Broken:
        total = torch.zeros(())

        def to(self, device: torch.device) -> Broken:
            return self

        def compute(self) -> None:
            raise RuntimeError("shapes differ")

    class Own:
        def metrics(self) -> Broken:
            return Broken()

    model, tasks = cast(Network, torch.nn.Identity()), cast("dict[str, Task]", {"own": Own()})
    with pytest.raises(RuntimeError, match="shapes differ"):
        evaluate(model, tasks, Loader([], [], (8, 8), 1), torch.device("cpu"))
