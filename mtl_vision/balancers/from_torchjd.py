"""TorchJD (https://torchjd.org, MIT), which keeps many methods well. It is an optional extra:
`python -m pip install 'mtl-vision[torchjd]'`. `scalarizers.py` and `aggregators.py` make balancers of its methods.
"""

from importlib import import_module
from typing import Any

Method = Any  # a TorchJD Scalarizer or Weighting: the package may be missing


def torchjd(part: str, name: str, *args: Any, **settings: Any) -> Method:
    """One of torchjd.scalarization or torchjd.aggregation. Raises ValueError with what to install."""
    try:
        return getattr(import_module(f"torchjd.{part}"), name)(*args, **settings)
    except ImportError as error:  # of TorchJD, or of a solver that a method needs
        raise ValueError(f"{name} needs TorchJD ({error}): python -m pip install 'mtl-vision[torchjd]'") from None
