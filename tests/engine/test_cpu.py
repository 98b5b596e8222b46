"""How a command sets its process up for torch on a CPU."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

spec = find_spec("torch")
assert spec is not None and spec.origin is not None
GOMP = next(Path(spec.origin).parent.glob("lib/libgomp*"), None)
LOAD = f"""
from mtl_vision.commands import use_cpu_well
use_cpu_well()
import ctypes
ctypes.CDLL({str(GOMP)!r})  # as importing torch does
"""
# in blocks that glibc would map and unmap: page faults of each one after the first
FAULTS = """
import resource, sys
from mtl_vision.commands import use_cpu_well
use_cpu_well()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(2**26)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def run(code: str, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MALLOC_"))}
    return subprocess.run([sys.executable, "-c", code], env=kept | settings, capture_output=True, text=True, check=True)


@pytest.mark.skipif(GOMP is None, reason="this torch does not come with libgomp")
@pytest.mark.parametrize(
    ("settings", "spins"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "30000000000")],
    ids=["nothing set", "spins set", "policy set"],
)
def test_waiting_threads_soon_sleep_unless_the_user_says_otherwise(settings: dict[str, str], spins: str) -> None:
    said = run(LOAD, OMP_DISPLAY_ENV="verbose", **settings).stderr
    assert re.findall(r"GOMP_SPINCOUNT = '(\d+)'", said) == [spins]


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_freed_memory_is_kept_unless_the_user_says_otherwise() -> None:
    assert int(run(FAULTS).stdout) < 100
    assert int(run(FAULTS, MALLOC_TRIM_THRESHOLD_="100000").stdout) > 1000
