"""`dataset.yaml`: what a folder of pictures and ground truth holds and how its files are to be read.

    source: where the ground truth comes from; printed beside every metric
    splits: {train: train, val: val, test: test}     # folder of each split; a missing one is simply absent
    image: rgb                                       # folder of the pictures
    depth: {folder: depth, scale: 0.001, offset: 0, invalid: 0}       # metres = value * scale + offset
    normals: {folder: normals, axes: [x, y, z]}      # stored vectors' axes in our frame; or {derive: true}
    segmentation: {folder: label, first: 0, void: 255, classes: nyu13}  # or classes: [names], palette: [[r, g, b]]
    intrinsics: {fx: .., fy: .., cx: .., cy: .., height: 480, width: 640}

A target that does not exist is left out.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from mtl_vision.data.classes import ClassSet, class_set, make_palette
from mtl_vision.data.sample import Intrinsics
from mtl_vision.runtime.kinds import IGNORE

FILE_NAME = "dataset.yaml"
AXES = ("x", "y", "z", "-x", "-y", "-z")


class DataError(Exception):
    """The data are not as expected; the message names the file, what was expected and what to do."""


@dataclass(frozen=True)
class DepthFormat:
    """metres = value * scale + offset; `invalid` is the stored value that means no depth (None: there is none)."""

    folder: str = "depth"
    scale: float = 0.001
    offset: float = 0.0
    invalid: int | None = 0


@dataclass(frozen=True)
class NormalsFormat:
    """RGB pictures of (n + 1) / 2, 8 or 16 bits, black = invalid; `derive` takes them from depth instead.

    axes: our x, y, z in terms of the stored vector's axes, for sources of another frame: [x, -y, -z] turns y and z.
    """

    folder: str = "normals"
    axes: tuple[str, str, str] = ("x", "y", "z")
    derive: bool = False


@dataclass(frozen=True)
class LabelFormat:
    """Class ids as pixel values; the first class stands at `first`, `void` means no label."""

    folder: str = "label"
    first: int = 0
    void: int = 255
    classes: str | list[str] = "nyu13"
    palette: list[tuple[int, int, int]] | None = None

    def class_set(self) -> ClassSet:
        """The classes as they are stored."""
        if isinstance(self.classes, str):
            return class_set(self.classes)
        palette = self.palette or make_palette(len(self.classes))
        return ClassSet(tuple(self.classes), tuple(tuple(colour) for colour in palette))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Description:
    """A data set's `dataset.yaml`."""

    source: str = "not stated"
    splits: dict[str, str] = field(default_factory=lambda: {s: s for s in ("train", "val", "test")})
    image: str = "rgb"
    depth: DepthFormat | None = None
    normals: NormalsFormat | None = None
    segmentation: LabelFormat | None = None
    intrinsics: dict[str, float] | None = None

    def targets(self) -> tuple[str, ...]:
        """The targets that exist."""
        return tuple(name for name in ("depth", "normals", "segmentation") if getattr(self, name) is not None)

    def camera(self, size: tuple[int, int]) -> Intrinsics | None:
        """The camera at an image size (H, W)."""
        if self.intrinsics is None:
            return None
        k = self.intrinsics
        held = (round(k["height"]), round(k["width"]))
        return Intrinsics(k["fx"], k["fy"], k["cx"], k["cy"]).resized(held, size)

    def to_yaml(self) -> str:
        """The file's text."""
        data = {key: value for key, value in asdict(self).items() if value is not None}
        return yaml.safe_dump(_plain(data), sort_keys=False, allow_unicode=True, default_flow_style=None)


def read_description(path: Path) -> Description:
    """Read a `dataset.yaml`. Raises DataError for a missing or malformed one, naming the nearest known key."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"no description at {path}: expected a {FILE_NAME} (its form is told in data/README.md)"
        ) from None
    except OSError as error:
        raise DataError(f"{path} can not be read ({error.strerror}): expected a {FILE_NAME}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid YAML: {error}") from error
    description = _build(Description, data, str(path))
    for name, cls in (("depth", DepthFormat), ("normals", NormalsFormat), ("segmentation", LabelFormat)):
        value = getattr(description, name)
        if value is not None:
            description = _replace(description, name, _build(cls, value, f"{path}: {name}"))
    _check(description, path)
    return description


def _check(description: Description, path: Path) -> None:
    normals, camera = description.normals, description.intrinsics
    if description.depth is not None and description.depth.scale == 0:
        raise DataError(f"{path}: depth.scale is 0: expected metres a step, such as 0.001 for millimetres")
    if camera is not None and set(camera) != {"fx", "fy", "cx", "cy", "height", "width"}:
        raise DataError(f"{path}: intrinsics has {sorted(camera)}: expected fx, fy, cx, cy, height and width")
    if camera is not None and min(camera[key] for key in ("fx", "fy", "height", "width")) <= 0:
        raise DataError(f"{path}: intrinsics is {camera}: expected fx, fy, height and width above 0, in pixels")
    if normals is not None:
        letters = sorted(axis[-1:] for axis in normals.axes)
        if len(normals.axes) != 3 or letters != ["x", "y", "z"] or any(axis not in AXES for axis in normals.axes):
            raise DataError(
                f"{path}: normals.axes is {list(normals.axes)}: expected x, y and z once each, or negated (-x)"
            )
        if normals.derive and (description.depth is None or camera is None):
            raise DataError(f"{path}: normals.derive needs depth and intrinsics; give both, or leave normals out")
    if description.segmentation is not None:
        _check_labels(description.segmentation, path)


def _check_labels(labels: LabelFormat, path: Path) -> None:
    try:
        classes = labels.class_set()
    except ValueError as error:
        raise DataError(f"{path}: segmentation.classes: {error}") from None
    count = len(classes.names)
    if not 1 <= count <= IGNORE:
        raise DataError(f"{path}: segmentation.classes has {count} names: expected 1 to {IGNORE}")
    if len(classes.palette) != count:
        raise DataError(f"{path}: segmentation.palette has {len(classes.palette)} colours for {count} classes")
    if not 0 <= labels.first <= 65536 - count or labels.void > 65535:
        raise DataError(
            f"{path}: segmentation.first is {labels.first}, .void {labels.void}: expected values of a picture of 16 "
            "bits at most (a negative .void where there is none)"
        )


def _build(cls: type, data: Any, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise DataError(f"{where}: expected a mapping of {', '.join(f.name for f in fields(cls))}; found {data!r}")
    known = [f.name for f in fields(cls)]
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            raise DataError(
                f"{where}: unknown key '{key}'" + (f", did you mean '{near[0]}'?" if near else f": expected {known}")
            )
        expected, read = _FORMS[key]
        try:
            values[key] = read(value)
        except (TypeError, ValueError, OverflowError):
            raise DataError(f"{where}: {key} is {value!r}: expected {expected}") from None
    return cls(**values)


def _replace(description: Description, name: str, value: Any) -> Description:
    return Description(
        **{f.name: value if f.name == name else getattr(description, f.name) for f in fields(description)}
    )


def _is(*types: type) -> Callable[[Any], Any]:
    """The value itself, if it is of one of the types (True and False are no numbers here)."""

    def read(value: Any) -> Any:
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise TypeError
        return value

    return read


def _number(value: Any) -> float:
    number = float(_is(int, float, str)(value))  # YAML takes 1e-3 for a text
    if not math.isfinite(number):
        raise ValueError
    return number


def _list_of(read: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda value: [read(item) for item in _is(list, tuple)(value)]


def _mapping_of(read: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {_text(key): read(item) for key, item in _is(dict)(value).items()}


def _colour(value: Any) -> tuple[int, int, int]:
    red, green, blue = _list_of(_is(int))(value)
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ValueError
    return red, green, blue


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


_text = _is(str)
# How the value under a key is read, and how to say it; a key means the same wherever it stands.
_FORMS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "source": ("a text", _text),
    "splits": ("a mapping from a split to its folder", _mapping_of(_text)),
    "image": ("the name of a folder", _text),
    "folder": ("the name of a folder", _text),
    "scale": ("a number", _number),
    "offset": ("a number", _number),
    "invalid": ("a whole number, or null", _or_none(_is(int))),
    "axes": ("a list of three axes, such as [x, -y, -z]", lambda value: tuple(_list_of(_text)(value))),
    "derive": ("true or false", _is(bool)),
    "first": ("a whole number", _is(int)),
    "void": ("a whole number", _is(int)),
    "classes": ("nyu13, nyu40 or a list of names", lambda v: v if isinstance(v, str) else _list_of(_text)(v)),
    "palette": ("a list of [red, green, blue], each 0 to 255", _or_none(_list_of(_colour))),
    "intrinsics": ("a mapping from fx, fy, cx, cy, height and width to numbers", _or_none(_mapping_of(_number))),
    **dict.fromkeys(("depth", "normals", "segmentation"), ("a mapping", lambda value: value)),
}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items() if v is not None or key == "invalid"}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
