"""What benchmarks/device.py measures of a process: under a limit of memory, on one core."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_model import build_model, manifest

from benchmarks import device

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="control groups are Linux's")


def test_a_process_says_what_it_took_and_a_small_group_ends_it(tmp_path: Path) -> None:
    file, photo = build_model(tmp_path / "m.onnx", manifest(), (48, 64)), tmp_path / "photo.jpg"
    cv2.imwrite(str(photo), np.zeros((60, 80, 3), np.uint8))
    with device.cgroup(512) as group:
        found = device.measured(Path(sys.executable), group, file, photo, repeat=2)
    assert found and 0 < found["network"] < found["photo"] < 1000 * found["first"]
    assert 40 < found["peak"] < 512
    if group is None:
        pytest.skip("no control group can be made here (it takes root): a limit is not tried")
    assert not group.exists()
    with device.cgroup(16) as small:
        assert device.measured(Path(sys.executable), small, file, photo, repeat=2) is None


def test_packages_of_an_environment(tmp_path: Path) -> None:
    for name, size in {
        "onnxruntime/a/b.so": 3,
        "onnxruntime-1.2.dist-info/RECORD": 1,
        "cv2/c.so": 9,
        "pip/d": 5,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size * 10**5))
    assert device.packages(tmp_path) == pytest.approx({"cv2": 0.9, "onnxruntime": 0.4})
