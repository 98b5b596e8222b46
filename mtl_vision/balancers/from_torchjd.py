"""TorchJD (https://torchjd.org, MIT), which keeps many methods well. It is an optional extra:
`pip install mtl-vision[torchjd]`. `scalarizers.py` and `aggregators.py` make balancers of its methods.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

Method = Any  # a TorchJD Scalarizer or Weighting: the package may be missing


def torchjd(part: str) -> Any:
    """torchjd.scalarization or torchjd.aggregation. Raises ValueError, saying what to install."""
    try:
        return import_module(f"torchjd.{part}")
    except ImportError as error:
        raise ValueError(
            f"this balancer comes from TorchJD, which is not there ({error}): pip install 'mtl-vision[torchjd]'"
        ) from None
