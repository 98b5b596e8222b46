"""Several processes, for the tests of the engine."""

from functools import partial

import processes
import pytest


@pytest.fixture
def in_processes(python: str) -> processes.InProcesses:
    """in_processes(function, world, folder, *args, one_machine=True), see processes.py."""
    return partial(processes.in_processes, python)
