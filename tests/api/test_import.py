"""What importing costs: the API is light until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest


def loaded(code: str, *names: str) -> list[str]:
    """Which of the modules a fresh process has after running the code."""
    script = f"{code}\nimport sys; print(*[n for n in {names!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_importing_the_package_imports_neither_torch_nor_onnxruntime() -> None:
    assert loaded("import mtl_vision as mtl; mtl.__version__", "torch", "onnxruntime", "numpy", "cv2") == []


def test_using_the_api_imports_torch() -> None:
    assert loaded("import mtl_vision as mtl; mtl.load", "torch") == ["torch"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    import mtl_vision

    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        mtl_vision.trian  # noqa: B018
