"""Checks of what a method is constructed with. Their errors name the argument, what it is, and what was expected."""

import math
from typing import Any, get_args

RANGES = {
    "at least 0": lambda x: 0 <= x < math.inf,
    "at least 1": lambda x: 1 <= x < math.inf,
    "at least 0 and below 1": lambda x: 0 <= x < 1,
    "a number above 0": lambda x: 0 < x < math.inf,
    "a share above 0, at most 1": lambda x: 0 < x <= 1,
}


def expect(expected: Any, **arguments: Any) -> None:
    """ValueError for an argument that is not in the range, or is none of a `Literal`'s values."""
    choices = get_args(expected)
    for name, value in arguments.items():
        if not (value in choices if choices else RANGES[expected](value)):
            raise ValueError(f"{name} is {value!r}: expected {', '.join(choices) or expected}")
