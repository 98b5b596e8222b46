"""What the whole suite shares: one thread a test process, a Python that starts soon, and a small set of rooms."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start, too
WARM = Path(__file__).with_name("warm.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much hostile input is made; another seed makes other input."""
    parser.addoption("--hostile", type=int, default=10_000, metavar="N", help="hostile inputs to try (10,000)")
    parser.addoption("--hostile-seed", type=int, default=0, metavar="N", help="which ones (0)")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tests run side by side: each keeps to one core."""
    if importlib.util.find_spec("torch"):  # the runtime's tests run without it too
        import torch

        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def python() -> Iterator[str]:
    """In place of `sys.executable`: a Python that has torch and its like, but nothing of ours, imported (warm.py)."""
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path_factory's: the path of a socket has to be short
        place, script = f"{folder}/socket", Path(folder) / "python"
        words = shlex.join([sys.executable, "-SI", str(WARM), place])
        script.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        script.chmod(0o755)
        pipe = subprocess.PIPE
        command = [sys.executable, str(WARM), place, "--serve", str(script)]
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as server:
            assert server.stdin and server.stdout and server.stdout.readline() == "ready\n"
            yield str(script)
            server.stdin.close()


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A canonical folder of 30 rooms at 48x64: 24 train, 3 val, 3 test."""
    from mtl_vision.synthetic.dataset import write_rooms

    root = tmp_path_factory.mktemp("data") / "rooms"
    write_rooms(root, 30, (48, 64), workers=1)
    return root
