"""What settings may be. The errors name the setting, what it is, and what was expected."""

import math
from numbers import Real
from typing import Any, get_args


def within(low: float, high: float, **settings: Any) -> None:
    """ValueError for a setting that is no number from `low` to `high`."""
    for name, value in settings.items():
        number: Any = value if isinstance(value, Real) else math.nan
        if not low <= number <= high:
            raise ValueError(f"{name} is {value!r:.40}: expected {low} to {high}")


def one_of(literal: Any, **settings: Any) -> None:
    """ValueError for a setting that is none of a `Literal`'s values."""
    for name, value in settings.items():
        if value not in get_args(literal):
            raise ValueError(f"{name} is {value!r:.40}: expected {', '.join(get_args(literal))}")
