"""Thousands of damaged and adversarial inputs: none crashes, hangs, is lost or writes outside its output.

`--hostile 100000` makes ten times as many, `--hostile-seed 1` others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .generate import SHARES
from .generate.faulty import WAYS

REPO = Path(__file__).parents[2]
PARTS = 2  # of each kind, which run side by side
DEATHS = 20  # of the feeding process, after which a part gives up
SHOWN = 5
HEAVY = ("datasets", "runs", "commands")  # they import torch


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", SHARES)
def test_hostile_input_does_no_harm(
    kind: str, part: int, python: str, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    total, seed = pytestconfig.getoption("--hostile"), pytestconfig.getoption("--hostile-seed")
    numbers = range(part, -(-total * SHARES[kind] // sum(SHARES.values())), PARTS)
    found = feed(python if kind in HEAVY else sys.executable, kind, seed, numbers, tmp_path)
    again = f"python -m tests.hostile.worker {kind} {seed}"
    told = [f"{problem}\nagain: {again} {number}" for number, problem in list(found.items())[:SHOWN]]
    assert not found, "\n".join([f"{len(found)} of {len(numbers)} inputs: {sorted(found)}", *told])


@pytest.mark.slow
def test_every_way_to_fail_is_found(tmp_path: Path) -> None:
    found = feed(sys.executable, "faulty", 0, range(len(WAYS)), tmp_path)
    assert sorted(found) == [i for i, way in enumerate(WAYS) if "nothing" not in way]
    for number, problem in found.items():
        assert list(WAYS)[number] in problem


def feed(python: str, kind: str, seed: int, numbers: range, folder: Path) -> dict[int, str]:
    """What went wrong, by the inputs' numbers. A process that dies is followed by another, from the next input on."""
    found: dict[int, str] = {}
    for death in range(DEATHS):
        place = folder / str(death)
        place.mkdir()
        last, code = _process(python, kind, seed, numbers, place, found)
        if code == 0:
            return found
        words = (place / "log").read_text(errors="replace")[-3000:]
        if last is None:
            raise RuntimeError(f"the valid {kind} cannot be made:\n{words}")
        found[last] = f"the process ended with code {code}:\n{words}"
        numbers = numbers[numbers.index(last) + 1 :]
    return found


def _process(
    python: str, kind: str, seed: int, numbers: range, folder: Path, found: dict[int, str]
) -> tuple[int | None, int]:
    """Feed in a process of its own. Adds to `found`; returns the last input that was begun, and the exit code."""
    bounds = map(str, (seed, numbers.start, numbers.stop, numbers.step, folder))
    places = [REPO, REPO / "tests" / "runtime", REPO / "tests" / "data", *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"JSONARGPARSE_DEPRECATION_WARNINGS": "off"}  # `os.system` as a component: it warns before we refuse
    command = [python, "-W", "error", "-m", "tests.hostile.worker", kind, *bounds]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, text=True, cwd=REPO)
    last = None
    for last, *problem in map(json.loads, done.stdout.splitlines()):
        if problem:
            found[last] = problem[0]
    return last, done.returncode
