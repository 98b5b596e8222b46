"""How the threads of a step wait for each other: awake while the cores are free, asleep while others want them too.

A step is computed by one OpenMP thread a core. One that is done first waits awake for the others, for milliseconds: to
be woken takes time, and alone this is fastest. Where other programs want the cores, it takes them from the very thread
that it waits for. GNU's libgomp lets threads sleep at once where a process has more of them than the machine has cores.
So while the cores are crowded, a second team, which does nothing, is kept here. No result depends on it. With another
OpenMP, or where the system does not tell how long a thread has waited for a core, nothing changes.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

PERIOD = 1.0  # seconds from one look to the next
CROWDED, FREE = 0.2, 0.05  # share of the time that threads waited for a core: alone it is .00 to .04, beside another .4
SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # a user's own stay
THREADS = Path("/proc/self/task")
TEAM = "crowding team"

Times = Mapping[str, tuple[int, int]]  # thread -> nanoseconds that it had a core, and that it waited for one


@contextmanager
def asleep_when_crowded() -> Iterator[None]:
    """Look after the cores until the block ends."""
    if torch.get_num_threads() == 1 or any(name in os.environ for name in SETTINGS) or not times():
        yield
        return
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(ended,), name="crowding", daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join()


def _watch(ended: threading.Event) -> None:
    over: threading.Event | None = None  # of the second team
    before = times()
    while not ended.wait(PERIOD):
        now = times()
        share = waited(before, now)
        before = now
        if over is None and share > CROWDED:
            over = threading.Event()
            threading.Thread(target=hold_team, args=(over,), name=TEAM, daemon=True).start()
        elif over is not None and share < FREE:
            over.set()
            over = None
    if over is not None:
        over.set()


def hold_team(over: threading.Event) -> None:
    """Have a team of threads, as one computes a step, until it is over; they sleep."""
    torch.zeros(torch.get_num_threads(), 2**16).add_(1)  # enough for every thread: the team of this one is made here,
    over.wait()  # and ends with it


def waited(before: Times, now: Times) -> float:
    """The share that threads waited for a core, of the time in which they had one or waited for it."""
    both = now.keys() & before.keys()
    had, without = (sum(now[name][k] - before[name][k] for name in both) for k in (0, 1))
    return without / max(had + without, 1)


def times() -> Times:
    """Of the threads of this process; empty where the system does not tell."""
    found = {}
    for path in THREADS.glob("*/schedstat"):
        try:
            had, without, _ = path.read_text().split()
        except (OSError, ValueError):  # the thread has ended
            continue
        found[path.parent.name] = (int(had), int(without))
    return found
