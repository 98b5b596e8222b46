"""--fix: write the description that the faults ask for."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mtl_vision.datasets.description import Description
from mtl_vision.runtime.files import write_whole


def write_mended(path: Path, before: Description, after: Description) -> str:
    """Write `after` to `path` and say what changed; what stood there, its comments too, is kept beside it."""
    kept = ""
    if path.exists():
        names = (path.with_name(f"{path.name}.before{number}") for number in itertools.chain([""], itertools.count(2)))
        copy = next(name for name in names if not name.exists())
        shutil.copy2(path, copy)
        kept = f" (as it was, with its comments: {copy})"
    write_whole(path, after.to_yaml().encode())
    return f"fixed: {', '.join(changes(before, after))} in {path}{kept}"


def changes(before: Description, after: Description) -> Iterator[str]:
    """key old -> new, for every key that differs."""
    old, new = dict(_flat(asdict(before))), dict(_flat(asdict(after)))
    return (f"{key} {_say(old.get(key))} -> {_say(value)}" for key, value in new.items() if old.get(key) != value)


def _flat(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _say(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
