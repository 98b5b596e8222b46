"""Dataclasses from a YAML file's values, by the fields' annotations; `Annotated[T, "..."]` words what is expected."""

import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from mtl_vision.datasets import DataError
from mtl_vision.datasets.text import CONTROL, shown
from mtl_vision.runtime.near import did_you_mean

Folder = Annotated[str, "the name of a folder"]
Variable = Annotated[str, "the name of a variable"]
WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def build(cls: type, data: Any, where: str) -> Any:
    """A dataclass from a mapping. Raises DataError for unknown keys, naming the nearest, and for wrong values."""
    hints = get_type_hints(cls, include_extras=True)
    if not isinstance(data, Mapping):
        raise DataError(f"{where}: expected a mapping of {', '.join(hints)}; found {shown(repr(data))}")
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in hints:
            near = did_you_mean(key, hints) or f": expected {list(hints)}"
            raise DataError(f"{where}: unknown key '{shown(str(key))}'{near}")
        try:
            values[key] = _read(value, hints[key], f"{where}: {key}")
        except (TypeError, ValueError, OverflowError):
            raise DataError(f"{where}: {key} is {shown(repr(value))}: expected {_words(hints[key])}") from None
    return cls(**values)


def _read(value: Any, hint: Any, where: str) -> Any:
    """The value, if it is what the annotation says."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _read(value, parts[0], where)
    if origin in (Union, UnionType):
        if value is None and NoneType in parts:
            return None
        *others, last = (part for part in parts if part is not NoneType)
        return _read(value, next((part for part in others if isinstance(value, get_origin(part) or part)), last), where)
    if is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    if origin is dict and isinstance(value, dict):
        return {_read(key, parts[0], where): _read(item, parts[1], where) for key, item in value.items()}
    if origin in (list, tuple) and isinstance(value, (list, tuple)):
        each = parts if origin is tuple and ... not in parts else parts[:1] * len(value)
        return origin(_read(item, part, where) for item, part in zip(value, each, strict=True))
    if hint is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        value = float(value)  # YAML takes 1e-3 for a text
    wrong = (isinstance(value, str) and CONTROL.search(value)) or (
        isinstance(value, float) and not math.isfinite(value)
    )
    if type(value) is not hint or wrong:
        raise TypeError
    return value


def _words(hint: Any) -> str:
    parts = get_args(hint)
    if get_origin(hint) is Annotated:
        return parts[1]
    return f"{_words(parts[0])}, or null" if NoneType in parts else WORDS[hint]
