"""Messages between the processes of one machine are what gloo gives, of all types and sizes; an end is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from processes import InProcesses
from torch import Tensor

from mtl_vision.engine import distributed
from mtl_vision.engine.ending import PeerError, leave
from mtl_vision.engine.mesh import LARGEST

SIZES = [(), (0,), (3,), (2, 5), (LARGEST // 4,), (LARGEST // 4 + 1,), (100_000,)]


def exchanged() -> list[Tensor]:
    found = []
    for size in SIZES:
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.int64):
            tensor = torch.full(size, 2 + distributed.rank()).to(dtype)
            found += [distributed.gather(tensor), distributed.total(tensor)]
            assert tensor.eq(2 + distributed.rank()).all()
    parameter = torch.ones(3, requires_grad=True)
    return [*found, distributed.mean(parameter * (1 + distributed.rank())).detach()]


@pytest.mark.slow
@pytest.mark.parametrize("one_machine", [True, False])
def test_three_processes(in_processes: InProcesses, tmp_path: Path, one_machine: bool) -> None:
    for found in in_processes(exchanged, 3, tmp_path, one_machine=one_machine):
        *pairs, mean = found
        dtypes = [tensor.dtype for tensor in pairs[:8:2]]
        assert dtypes == [torch.float32, torch.float64, torch.bfloat16, torch.int64]
        for k, size in enumerate(SIZES):
            for gathered, total in zip(pairs[8 * k : 8 * k + 8 : 2], pairs[8 * k + 1 : 8 * k + 8 : 2], strict=True):
                assert gathered.shape == (3, *size) and total.shape == size
                assert all(row.eq(2 + rank).all() for rank, row in enumerate(gathered))
                assert total.eq(9).all()
        assert mean.tolist() == [2, 2, 2]


def abandoned() -> str:
    if distributed.rank() == 1:
        assert distributed.first_to_fail()
        leave(0)
    try:
        distributed.gather(torch.ones(3))
    except PeerError as error:
        os._exit(7 if "another process does not answer (" in str(error) and not distributed.first_to_fail() else 8)
    return "went on"


@pytest.mark.slow
@pytest.mark.parametrize("one_machine", [True, False])
def test_a_process_that_ends_is_told(in_processes: InProcesses, tmp_path: Path, one_machine: bool) -> None:
    with pytest.raises(Exception, match="exit code 7"):
        in_processes(abandoned, 2, tmp_path, one_machine=one_machine)
