"""What a target is: one kind of ground truth, registered once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtl_vision.datasets import DataError
from mtl_vision.runtime.kinds import KINDS, Kind
from mtl_vision.runtime.near import did_you_mean

if TYPE_CHECKING:
    from mtl_vision.datasets.camera import Intrinsics
    from mtl_vision.datasets.classes import ClassSet
    from mtl_vision.datasets.sample import Sample


@dataclass(frozen=True)
class Target:
    """One kind of ground truth. `register` makes it known to data sets, geometry, cache and loader.

    The functions are module-level ones, so that loading processes find them. They raise DataError, without the file.

    Attributes:
        name: a word
        kind: a name in `KINDS`, from which type, storage and geometry follow
        read: (stored, section): from a file's values (H, W) or (H, W, 3) to the target's, such as metres or ids;
            section: its section in dataset.yaml. None for a target without files, as every one from outside is
        finish: (values, section, classes): from these to the map; classes: the class set that labels are wanted in
        write: (map, section): from the map to the pixels of a PNG, uint8 or uint16; None where they are the same
        derive: (sample): the map (H, W[, C]) from others of the sample, or None where it is not known; called when
            the sample has all that it `needs`
        needs: names of other targets
        length: values are lengths, which a zoom by s divides by s
        place: (values, section, root, camera): after `read`, what needs the data set's folder or the image's camera
    """

    name: str
    kind: str
    read: Callable[[np.ndarray, Any], np.ndarray] | None = None
    finish: Callable[[np.ndarray, Any, ClassSet | None], np.ndarray] | None = None
    write: Callable[[np.ndarray, Any], np.ndarray] | None = None
    derive: Callable[[Sample], np.ndarray | None] | None = None
    needs: tuple[str, ...] = ()
    length: bool = False
    place: Callable[[np.ndarray, Any, Path, Intrinsics | None], np.ndarray] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # a loading process that is not forked knows the target by the functions' modules, which this imports
        return _arrived, tuple(getattr(self, field.name) for field in fields(self))

    def checked(self, array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """A derived map, if it is of its kind's type and the image's size (H, W). Raises DataError."""
        shape, dtype = (*size, *KINDS[self.kind].tail), np.dtype(KINDS[self.kind].dtype)
        if array.shape != shape or array.dtype != dtype:
            raise DataError(
                f"derived target '{self.name}' is {array.dtype} of {array.shape}: expected {dtype} of {shape}, as a "
                f"{self.kind} of this image is"
            )
        return array


TARGETS: dict[str, Target] = {}


def register(target: Target) -> Target:
    """Make a target known by its name; one's own may be registered again, as a notebook's cell does.

    Raises ValueError where name, kind or functions are no target's.
    """
    if not target.name.isidentifier() or target.name == "image":
        raise ValueError(f"target name '{target.name}': expected a word of letters, digits and '_', and not 'image'")
    if target.kind not in KINDS:
        near = did_you_mean(target.kind, KINDS)
        raise ValueError(f"target '{target.name}' is of kind '{target.kind}'{near}; expected {', '.join(KINDS)}")
    if target.derive is None and target.read is None:
        raise ValueError(f"target '{target.name}' has no function derive: expected one from a sample to its map")
    known = TARGETS.get(target.name)
    if known not in (None, target) and (known.read or known.derive).__module__.startswith(str(__package__)):  # type: ignore[union-attr]
        raise ValueError(f"target '{target.name}' is the package's own: choose another name")
    TARGETS[target.name] = target
    return target


def target_of(name: str) -> Target:
    """The target of this name. Raises ValueError that names the nearest."""
    if name not in TARGETS:
        near = did_you_mean(name, TARGETS)
        raise ValueError(f"unknown target '{name}'{near}; expected {', '.join(TARGETS)}, or one that is registered")
    return TARGETS[name]


def kind_of(name: str) -> Kind:
    """The kind of the target of this name."""
    return KINDS[target_of(name).kind]


def one_channel(stored: np.ndarray) -> np.ndarray:
    """Stored values as (H, W); grey that is stored as three equal channels is one. Raises DataError."""
    if stored.ndim == 3 and stored.shape[2] == 3 and (stored == stored[..., :1]).all():
        stored = stored[..., 0]
    if stored.ndim != 2:
        raise DataError(f"expected one channel of 8 or 16 bits, found {stored.dtype} of shape {stored.shape}")
    return native(stored)


def native(stored: np.ndarray) -> np.ndarray:
    """Numbers in this machine's order of bytes: arrays of other machines have another."""
    return stored.astype(stored.dtype.newbyteorder("="), copy=False)


def _arrived(*values: Any) -> Target:
    return TARGETS.setdefault(values[0], Target(*values))
