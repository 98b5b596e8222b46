"""The Python that starts soon (warm.py) does as Python does."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest


def test_it_does_as_python_does(python: str, tmp_path: Path) -> None:
    def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run([python, *words], cwd=tmp_path, capture_output=True, text=True, **options)

    code = "import os, sys; print(sys.argv, os.getcwd(), os.environ['A'], input()); sys.exit('é')"
    done = run("-c", code, "x y", input="typed\n", env=os.environ | {"A": "é"})
    assert (done.returncode, done.stdout, done.stderr) == (1, f"['-c', 'x y'] {tmp_path} é typed\n", "é\n")
    (tmp_path / "script.py").write_text(
        "import sys, atexit\natexit.register(print, 'end')\nprint(__name__, sys.argv)\n"
    )
    for words in (["script.py"], ["-m", "script"]):
        done = run(*words, "a")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("__main__ [") and done.stdout.endswith("script.py', 'a']\nend\n")
    assert run("-c", "import os; os.kill(os.getpid(), 9)").returncode == -9
    failed = run("-W", "error", "-c", "import warnings; warnings.warn('x')")
    assert failed.returncode == 1 and failed.stderr.endswith("UserWarning: x\n")
    nested = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', 'exit(4)']).returncode)"
    assert run("-c", nested).returncode == 4
    loaded = run("-c", "import sys; print('torch' in sys.modules, [m for m in sys.modules if m.startswith('mtl')])")
    assert loaded.stdout.endswith(" []\n")


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_its_processes_end_with_it(python: str, end: str) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with subprocess.Popen([python, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        pid = int(process.stdout.readline())
        getattr(process, end)()
    assert process.returncode == (-15 if end == "terminate" else -9)
    until = time.monotonic() + 30
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < until:  # noqa: PTH110
        time.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
