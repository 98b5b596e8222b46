"""Threads that wait asleep while other programs want the cores."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from mtl_vision.engine import crowding


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in crowding.SETTINGS:
        monkeypatch.delenv(name, raising=False)


def team() -> bool:
    return any(thread.name == crowding.TEAM for thread in threading.enumerate())


def comes(condition: Callable[[], bool]) -> bool:
    """Whether it comes true within seconds."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


class Cores:
    """In every look two threads have had a core for 60 ns more, and waited for `wait` ns more."""

    def __init__(self) -> None:
        self.wait, self.had, self.without = 0, 0, 0

    def times(self) -> crowding.Times:
        self.had, self.without = self.had + 60, self.without + self.wait
        return {"1": (self.had, self.without), "2": (self.had, self.without)}


def test_share_of_the_time() -> None:
    before = {"1": (100, 5), "2": (0, 0), "ended": (7, 7)}
    now = {"1": (150, 25), "2": (10, 20), "new": (0, 1000)}
    assert crowding.waited(before, now) == pytest.approx(40 / 100)
    assert crowding.waited(now, now) == 0


def test_the_system_tells() -> None:
    if not crowding.THREADS.exists():
        pytest.skip("this system has no /proc/self/task")
    had, without = crowding.times()[str(threading.get_native_id())]
    assert had > 0
    assert without >= 0


@pytest.mark.usefixtures("two_threads")
def test_a_second_team_while_it_is_crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = Cores()
    monkeypatch.setattr(crowding, "times", cores.times)
    monkeypatch.setattr(crowding, "PERIOD", 0.01)
    with crowding.asleep_when_crowded():
        cores.wait = 6  # less than the share that is crowded
        time.sleep(0.1)
        assert not team()
        cores.wait = 40
        assert comes(team)
        cores.wait = 6  # more than the share that is free
        time.sleep(0.1)
        assert team()
        cores.wait = 0
        assert comes(lambda: not team())
        cores.wait = 40
        assert comes(team)
    assert comes(lambda: not team())


@pytest.mark.usefixtures("two_threads")
def test_the_team_has_threads_of_its_own_and_ends() -> None:
    """The one that holds it and a second one, beside those that a step has; what is computed stays the same."""
    maps = Path("/proc/self/maps")
    if not (maps.exists() and "libgomp" in maps.read_text()):
        pytest.skip("this torch computes without GNU's OpenMP")

    def count() -> int:
        return len(list(crowding.THREADS.iterdir()))

    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    layer = torch.nn.Conv2d(3, 32, 3)
    alone, before, over = layer(images), count(), threading.Event()
    thread = threading.Thread(target=crowding.hold_team, args=(over,))
    thread.start()
    try:
        assert comes(lambda: count() == before + 2)
        assert torch.equal(layer(images), alone)
    finally:
        over.set()
        thread.join()
    assert comes(lambda: count() == before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("setting", crowding.SETTINGS)
def test_a_setting_of_the_users_stays(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv(setting, "1")
    with crowding.asleep_when_crowded():
        assert not any(thread.name.startswith("crowding") for thread in threading.enumerate())


def test_one_thread_waits_for_nobody() -> None:
    assert torch.get_num_threads() == 1  # the suite's setting
    with crowding.asleep_when_crowded():
        assert not any(thread.name.startswith("crowding") for thread in threading.enumerate())


@pytest.mark.usefixtures("two_threads")
def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowding, "times", dict)
    with crowding.asleep_when_crowded():
        assert not any(thread.name.startswith("crowding") for thread in threading.enumerate())
