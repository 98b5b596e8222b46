"""Feed hostile inputs one after another, in a process of its own: one that dies or hangs is named by its number.

    python -m tests.hostile.worker KIND SEED NUMBER                          # one again, to look at
    python -m tests.hostile.worker KIND SEED FIRST STOP STEP FOLDER          # many, as the tests do it

On stdout it writes a line of JSON before an input, [number], and one where something went wrong, [number, problem].
With a FOLDER, what the tested code prints goes to FOLDER/log, which holds the words on the last input only.
"""

import faulthandler
import importlib
import json
import os
import resource
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, BinaryIO

LIMIT = 20  # seconds an input, on a machine that does much else
MOST = 1 << 30  # bytes of memory that an input may take
WALL = 6 << 30  # bytes at which allocations fail, so that the machine does not
FOREIGN = {"socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen", "os.system", "os.exec"}
FOREIGN |= {"os.posix_spawn", "os.fork", "pickle.find_class"}
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Guard:
    """Notes what Python code does beyond reading and writing to `out`, and forbids it. out: None lets all pass."""

    def __init__(self) -> None:
        self.out: str | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.out is None:
            return
        paths: tuple[Any, ...] = ()
        if event == "open":
            paths = arguments[:1] if arguments[2] & WRITING else ()
        elif event == "os.truncate" or (event in CHANGES and arguments[-1] in (-1, None)):
            paths = arguments[:2] if event in ("os.rename", "os.link") else arguments[:1]
        outside = [str(path) for path in paths if not self._inside(path, follow=event == "open")]
        if outside or event in FOREIGN:
            self.seen.append(f"{event} {outside or arguments!r:.200}")
            raise PermissionError(f"the test forbids {self.seen[-1]}")

    def _inside(self, path: Any, follow: bool) -> bool:
        """Whether a path is `out` or in it; follow: where it leads, if it is a link."""
        if isinstance(path, int):
            return True
        folder, name = os.path.split(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100 - it is no Path
        full = os.path.realpath(os.path.join(folder, name) if follow else folder)  # noqa: PTH118
        full = full if follow else f"{full}/{name}"
        return full in (self.out, os.devnull) or full.startswith(f"{self.out}/")


def main(kind: str, seed: int, numbers: range, folder: Path, log: BinaryIO) -> None:
    """Feed the inputs of these numbers, in `folder`."""
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    faulthandler.enable(log)
    module = importlib.import_module(f"{__package__}.generate.{kind}")
    (folder / "home" / "cwd").mkdir(parents=True)
    os.chdir(folder / "home" / "cwd")
    os.environ.update(HOME=str(folder / "home"), TMPDIR=str(folder / "home"), MPLCONFIGDIR=str(folder / "base"))
    (folder / "base").mkdir()
    base = module.make_base(folder / "base")
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + WALL, resource.RLIM_INFINITY))
    guard = Guard()
    for number in numbers:
        print(json.dumps([number]), file=report)
        limit = module.limit(number) if hasattr(module, "limit") else LIMIT
        faulthandler.dump_traceback_later(limit, exit=True, file=log)
        problem = attempt(module, Random(f"{kind} {seed} {number}"), base, Path("inputs", str(number)), guard)
        if problem:
            print(json.dumps([number, problem]), file=report)
        sys.stdout.flush()
        if log.seekable():
            log.seek(0)
            log.truncate()
    faulthandler.cancel_dump_traceback_later()


def attempt(module: ModuleType, random: Random, base: Any, folder: Path, guard: Guard) -> str:
    """Make and feed one input; what is wrong with what came of it, if anything is."""
    folder.mkdir(parents=True)
    problem = ""
    try:
        case = module.generate(random, base, folder)
        before, held = _files(), _memory("RSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        guard.out = os.path.realpath(folder / "out")
        try:
            module.feed(case, folder)
        finally:
            guard.out = None
        taken = _memory("HWM") - held
        assert taken <= MOST, f"it took {taken >> 20} MiB of memory"
        changed = {path for path, _ in before.symmetric_difference(_files())}
        changed = {path for path in changed if not path.startswith(f"{folder}/out")}
        assert not changed, f"these were written, changed or removed: {sorted(changed)}"
    except BaseException as error:
        problem = "".join(traceback.format_exception(error, limit=-8))[-6000:]
    seen, guard.seen = guard.seen, []  # what was tested may have caught the error
    shutil.rmtree(folder)
    return f"{problem}it tried {seen[:5]}" if seen else problem


def _memory(which: str) -> int:
    """Bytes of this process: RSS, what it has, or HWM, the most that it had."""
    words = Path("/proc/self/status").read_text().split()
    return int(words[words.index(f"Vm{which}:") + 1]) << 10


def _files() -> set[tuple[str, tuple[int, int]]]:
    """Every file and folder of the home, in which the working folder lies, with its size and time of change."""
    found = []
    for root, folders, files in os.walk("..", followlinks=False):
        found += [os.path.join(root, name) for name in folders + files]  # noqa: PTH118 - 10,000 times
    return {(path.removeprefix("../cwd/"), _state(path)) for path in found}


def _state(path: str) -> tuple[int, int]:
    stat = os.lstat(path)
    return (0, 0) if os.path.isdir(path) else (stat.st_size, stat.st_mtime_ns)  # noqa: PTH112


if __name__ == "__main__":
    kind, *words = sys.argv[1:]
    if len(words) > 2:
        seed, *bounds = map(int, words[:4])
        main(kind, seed, range(*bounds), Path(words[4]), (Path(words[4]) / "log").open("wb", buffering=0))
    else:
        with tempfile.TemporaryDirectory() as place:
            number = int(words[1])
            main(kind, int(words[0]), range(number, number + 1), Path(place), os.fdopen(os.dup(2), "wb", buffering=0))
