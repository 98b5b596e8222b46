"""How much memory images may take, and its sharing among those under way."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path, PurePosixPath
from threading import Condition, Lock

SHARE = 0.5  # of the process's memory is for images: the network and the libraries take theirs
UNKNOWN = 2**32  # bytes, where no limit can be found out


class Budget:
    """Bytes that images under way may take together: a claim waits until as many are free.

    One that claims a second time while it holds a first must hold `reading` meanwhile: were there several, each might
    wait for the others for ever.
    """

    def __init__(self, total: int | None = None) -> None:
        self.total = default_budget() if total is None else total
        self.reading = Lock()
        self._claimed, self._freed = 0, Condition()

    def __reduce__(self) -> tuple[type["Budget"], tuple[int]]:
        """A copy in another process has its own claims."""
        return Budget, (self.total,)

    @contextmanager
    def claim(self, amount: int) -> Iterator[None]:
        """Hold `amount` bytes within the block. More than `total` are given to one that is alone."""
        with self._freed:
            self._freed.wait_for(lambda: not self._claimed or self._claimed + amount <= self.total)
            self._claimed += amount
        try:
            yield
        finally:
            with self._freed:
                self._claimed -= amount
                self._freed.notify_all()


@cache
def default_budget() -> int:
    """Bytes that images may take: a share of what this process may."""
    return int(SHARE * memory_limit())


def memory_limit(root: Path = Path("/")) -> int:
    """Bytes that this process may take: the least of the machine's memory, its cgroups' limits and RLIMIT_AS.

    root: where /proc and /sys are.
    """
    limits = list(_cgroup_limits(root))
    with suppress(AttributeError, OSError, ValueError):  # not on Windows
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(ImportError, OSError):  # not on Windows
        import resource

        limits += [limit for limit in resource.getrlimit(resource.RLIMIT_AS)[:1] if limit != resource.RLIM_INFINITY]
    return min((limit for limit in limits if limit > 0), default=UNKNOWN)


def _cgroup_limits(root: Path) -> Iterator[int]:
    """The limits of the process's cgroup and of those above it, of version 1 or 2."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for number, controllers, group in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if number != "0" and "memory" not in controllers.split(","):
            continue
        mounts, name = (("", "unified"), "memory.max") if number == "0" else (("memory",), "memory.limit_in_bytes")
        path = PurePosixPath(group.lstrip("/"))
        # In a container the path may be that of the host: what is mounted here is then the group itself
        for mount in mounts:
            for place in (path, *path.parents, PurePosixPath()):
                with suppress(OSError, ValueError):  # "max": no limit
                    yield int((root / "sys/fs/cgroup" / mount / place / name).read_text())
