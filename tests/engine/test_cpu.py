"""How a command sets its process up for torch on a CPU."""

import os
import subprocess
import sys

import pytest

# in blocks that glibc would map and unmap: page faults of each one after the first
FAULTS = """
import resource, sys
from mtl_vision.commands import keep_freed_memory
keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(2**26)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def run(code: str, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    return subprocess.run([sys.executable, "-c", code], env=kept | settings, capture_output=True, text=True, check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_freed_memory_is_kept_unless_the_user_says_otherwise() -> None:
    assert int(run(FAULTS).stdout) < 100
    assert int(run(FAULTS, MALLOC_TRIM_THRESHOLD_="100000").stdout) > 1000
