"""A Python that begins with torch and its like imported: each of its processes is a fork of one that has them.

    python tests/warm.py SOCKET WORDS...     # what `python WORDS...` does, by the server at that socket
    python tests/warm.py SOCKET --serve ...  # the server; ...: what its processes are told is their Python

A process imports itself what is ours, so it is as new as any other, but for seconds of imports. It is for tests of what
a script does; one of how a process starts, of what it imports, or of its memory takes `sys.executable`. A client passes
its streams, folder and environment on (not OMP_NUM_THREADS); it ends as its process ends, and its process with it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PACKAGES = (  # not onnxruntime, which starts threads
    "torch", "torch._dynamo", "torch.onnx", "torch.distributed.run", "torchvision", "timm", "albumentations", "cv2",
    "scipy.io", "scipy.optimize", "scipy.sparse.csgraph", "h5py", "jsonargparse", "matplotlib.figure", "jinja2",
    "safetensors.torch", "onnx", "onnxscript", "torchjd",
)  # fmt: skip


def client(place: str, words: list[str]) -> int:
    """Have the server run `python WORDS`. Returns its exit code, or dies by the same signal."""
    pid, early = 0, []

    def forward(number: int, frame: FrameType | None) -> None:
        if pid:
            os.kill(pid, number)
        else:
            early.append(number)

    for number in FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(place)
        request = json.dumps({"words": words, "cwd": str(Path.cwd()), "env": dict(os.environ)}).encode()
        socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
        server.sendall(request)
        answers = server.makefile()
        pid = int(answers.readline())
        for number in early:
            os.kill(pid, number)
        status = int(answers.readline() or signal.SIGKILL)  # without an answer the server is gone
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    if (number := os.WTERMSIG(status)) != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number


def serve(place: str) -> dict[str, Any] | None:
    """Fork for every request until stdin ends. Returns it in the fork, with its streams; None in the server."""
    import selectors

    running: dict[int, socket.socket] = {}
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as events:
        listener.bind(place)
        listener.listen(64)
        for source in (listener, woken, sys.stdin):
            events.register(source, selectors.EVENT_READ)
        print("ready", flush=True)
        while True:
            for key, _ in events.select():
                if key.fileobj is sys.stdin:
                    for pid in running:
                        os.kill(pid, signal.SIGKILL)
                    return None
                if key.fileobj is listener:
                    connection, request = receive(listener)
                    pid = os.fork()
                    if pid == 0:
                        signal.set_wakeup_fd(-1)
                        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                        for one in (wake, woken, connection, *running.values()):
                            one.close()
                        return request
                    for file in request["streams"]:
                        os.close(file)
                    running[pid] = connection
                    events.register(connection, selectors.EVENT_READ, pid)
                    answer(connection, pid)
                elif key.fileobj is woken:
                    woken.recv(1000)
                elif key.data in running:  # a client that is gone takes its process with it
                    events.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)
            while running:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                with running.pop(pid) as connection:
                    with suppress(KeyError):
                        events.unregister(connection)
                    answer(connection, status)


def receive(listener: socket.socket) -> tuple[socket.socket, dict[str, Any]]:
    connection, _ = listener.accept()
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb") as file:
        return connection, json.loads(file.read(int.from_bytes(size, "big"))) | {"streams": streams}


def answer(connection: socket.socket, number: int) -> None:
    with suppress(OSError):  # the client is gone
        connection.sendall(f"{number}\n".encode())


def become(request: dict[str, Any], executable: str) -> list[str]:
    """Take the streams, folder and environment; returns the words."""
    for number, file in enumerate(request["streams"]):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    at_once = bool(os.environ.get("PYTHONUNBUFFERED"))
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=at_once)
    sys.executable = executable
    return request["words"]


def execute(words: list[str]) -> None:
    """Do as `python WORDS` does."""
    import runpy
    import types
    import warnings

    while words[0] in ("-u", "-W"):
        if words.pop(0) == "-W":
            warnings.simplefilter(words.pop(0))  # type: ignore[arg-type]
        else:
            sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    how = words.pop(0) if words[0] in ("-c", "-m") else ""
    first = Path.cwd() if how else Path(words[0]).resolve().parent
    sys.path[:1] = [str(first), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    if how == "-m":
        sys.argv = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif how == "-c":
        sys.argv = ["-c", *words[1:]]
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(compile(words[0], "<string>", "exec"), vars(main))
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


def end(work: Callable[[list[str]], object], words: list[str]) -> None:
    """Work, and end the process as Python does; but what is imported is not taken apart, which takes seconds."""
    import atexit
    import threading

    code: object = None
    try:
        work(words)
    except SystemExit as error:
        code = error.code
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 130 if isinstance(error, KeyboardInterrupt) else 1
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit((code or 0) & 0xFF)


def warm_up() -> None:
    """Import what there is of it, without the garbage collector, which would look through all of it again and again."""
    import gc
    from importlib import import_module

    gc.disable()
    for name in PACKAGES:
        with suppress(ImportError):
            import_module(name)
    gc.freeze()
    gc.enable()


if __name__ == "__main__":
    place, *words = sys.argv[1:]
    if words[0] != "--serve":
        sys.exit(client(place, words))
    warm_up()
    if request := serve(place):
        end(execute, become(request, words[1]))
    os._exit(0)
