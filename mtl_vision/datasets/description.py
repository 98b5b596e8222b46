"""`dataset.yaml`: what a folder of pictures and ground truth holds and how its files are to be read.

    source: where the ground truth comes from; printed beside every metric
    splits: {train: train, val: val, test: test}     # folder of each split; a missing one is simply absent
    image: rgb                                       # folder of the pictures
    depth: {folder: depth, scale: 0.001, offset: 0, invalid: 0}       # metres = value * scale + offset
    normals: {folder: normals, axes: [x, y, z]}      # stored vectors' axes in our frame; or {derive: true}
    segmentation: {folder: label, first: 0, void: 255, classes: nyu13}  # or classes: [names], palette: [[r, g, b]]
    intrinsics: {fx: .., fy: .., cx: .., cy: .., height: 480, width: 640}

A target that does not exist is left out. `format: NAME` takes all that is not said from a known form (formats.py).
data/README.md tells every key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from mtl_vision.datasets import schema as forms
from mtl_vision.datasets.classes import ClassSet, class_set, make_palette
from mtl_vision.datasets.error import DataError
from mtl_vision.datasets.layouts import formats, over
from mtl_vision.datasets.sample import Intrinsics
from mtl_vision.runtime.kinds import IGNORE
from mtl_vision.runtime.near import did_you_mean

FILE_NAME = "dataset.yaml"
AXES = ("x", "y", "z", "-x", "-y", "-z")
COLUMNS = ("image", "depth", "normals", "segmentation", "instances")


@dataclass(frozen=True)
class DepthFormat:
    """metres = value * scale + offset; `invalid` is the stored value that means no depth (None: there is none).

    full_scale: metres at the largest value that the file's type holds, in place of scale. wraps: 16-bit values that
    start again at 0 beyond 65535. raw: folder of the maps with the sensor's holes. key: variable of .mat files.
    """

    folder: str = "depth"
    scale: float = 0.001
    offset: float = 0.0
    invalid: int | None = 0
    full_scale: float | None = None
    wraps: bool = False
    raw: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class NormalsFormat:
    """Vectors (.npy, .mat), or RGB pictures of (n + 1) / 2, 8 or 16 bits; `derive` takes them from depth instead.

    Vectors far from unit length (black or grey pixels) are invalid. axes: our x, y, z in terms of the stored vector's
    axes, for sources of another frame: [x, -y, -z] turns y and z.
    """

    folder: str = "normals"
    axes: tuple[str, str, str] = ("x", "y", "z")
    derive: bool = False
    key: str | None = None


@dataclass(frozen=True)
class LabelFormat:
    """Class ids as values; the first class stands at `first`, `void` means no label."""

    folder: str = "label"
    first: int = 0
    void: int = 255
    classes: str | list[str] = "nyu13"
    palette: list[tuple[int, int, int]] | None = None
    key: str | None = None

    def class_set(self) -> ClassSet:
        """The classes as they are stored."""
        if isinstance(self.classes, str):
            return class_set(self.classes)
        palette = self.palette or make_palette(len(self.classes))
        return ClassSet(tuple(self.classes), tuple(tuple(colour) for colour in palette))  # type: ignore[arg-type]


@dataclass(frozen=True)
class InstancesFormat:
    """Numbers that tell the things in a picture apart, 0 to 254; 255 means none. No task uses them yet."""

    folder: str = "instances"


@dataclass(frozen=True)
class Description:
    """A data set's `dataset.yaml`.

    A folder name with `{split}` in it is taken from the root, else it lies in the split's folder; one with `*` is a
    pattern, whose star is the sample's name. lists: a file a split that lists its samples; columns: what stands in the
    columns of its lines. numbered: the files have NYUv2's official numbers, the first of which is this one, and the
    official split. mirrored: the files are mirrored left to right. fit: pictures are resized to their maps.
    scenes: a file of lines "sample scene".
    """

    source: str = "not stated"
    splits: dict[str, str] = field(default_factory=lambda: {s: s for s in ("train", "val", "test")})
    lists: dict[str, str] | None = None
    columns: list[str] | None = None
    numbered: int | None = None
    mirrored: bool = False
    fit: bool = False
    image: str = "rgb"
    depth: DepthFormat | None = None
    normals: NormalsFormat | None = None
    segmentation: LabelFormat | None = None
    instances: InstancesFormat | None = None
    intrinsics: dict[str, float] | None = None
    scenes: str | None = None

    def targets(self) -> tuple[str, ...]:
        """The targets that exist."""
        return tuple(name for name in TARGETS if getattr(self, name) is not None)

    def camera(self, size: tuple[int, int]) -> Intrinsics | None:
        """The camera at an image size (H, W)."""
        if self.intrinsics is None:
            return None
        k = self.intrinsics
        held = (round(k["height"]), round(k["width"]))
        return Intrinsics(k["fx"], k["fy"], k["cx"], k["cy"]).resized(held, size)

    def to_yaml(self) -> str:
        """The file's text."""
        data = asdict(self)
        if self.normals is not None and self.normals.derive:
            data["normals"] = {"derive": True}
        if self.depth is not None and self.depth.full_scale is not None:
            del data["depth"]["scale"]
        return yaml.safe_dump(_plain(data), sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


TARGETS = {
    "depth": DepthFormat,
    "normals": NormalsFormat,
    "segmentation": LabelFormat,
    "instances": InstancesFormat,
}


def read_description(path: Path) -> Description:
    """Read a `dataset.yaml`. Raises DataError for a missing or malformed one, naming the nearest known key."""
    return make_description(read_yaml(path), str(path))


def read_yaml(path: Path) -> Any:
    """What a `dataset.yaml` says. Raises DataError for a missing one, and for what is no YAML."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(
            f"no description at {path}: expected a {FILE_NAME} (its form is told in data/README.md)"
        ) from None
    except OSError as error:
        raise DataError(f"{path} can not be read ({error.strerror}): expected a {FILE_NAME}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid YAML: {error}") from error


def known_description(name: str) -> Description:
    """The description of a known form (formats.py), by its name."""
    return make_description(_known(name, "format"), name)


def make_description(data: Any, where: str) -> Description:
    """A description from what a YAML file says; where: the file, for the errors."""
    _contradictions(data, where)
    if isinstance(data, Mapping) and "format" in data:
        said = {key: value for key, value in data.items() if key != "format"}
        data = over(_known(data["format"], f"{where}: format"), said, TARGETS)
    description: Description = forms.build(Description, data, where, _FORMS)
    for name, cls in TARGETS.items():
        value = getattr(description, name)
        if value is not None:
            description = replace(description, **{name: forms.build(cls, value, f"{where}: {name}", _FORMS)})
    _check(description, where)
    return description


def _known(name: Any, where: str) -> dict[str, Any]:
    if not isinstance(name, str) or name not in formats():
        near = did_you_mean(name, formats())
        raise DataError(f"{where}: unknown form '{name}'{near}; expected one of {', '.join(formats())}")
    return formats()[name].description


def _contradictions(data: Any, where: str) -> None:
    """Raise DataError where one file says the same thing in two ways."""
    depth = data.get("depth") if isinstance(data, Mapping) else None
    if isinstance(depth, Mapping) and depth.get("full_scale") is not None and "scale" in depth:
        raise DataError(f"{where}: depth has scale and full_scale: metres of one step, or of all; give one of them")
    if isinstance(data, Mapping) and data.get("numbered") is not None and data.get("lists") is not None:
        raise DataError(f"{where}: numbered and lists both tell the splits; give one of them")


def _check(description: Description, where: str) -> None:
    normals, camera = description.normals, description.intrinsics
    if description.depth is not None:
        _check_depth(description.depth, where)
    if camera is not None and set(camera) != {"fx", "fy", "cx", "cy", "height", "width"}:
        raise DataError(f"{where}: intrinsics has {sorted(camera)}: expected fx, fy, cx, cy, height and width")
    if camera is not None and min(camera[key] for key in ("fx", "fy", "height", "width")) <= 0:
        raise DataError(f"{where}: intrinsics is {camera}: expected fx, fy, height and width above 0, in pixels")
    if normals is not None:
        letters = sorted(axis[-1:] for axis in normals.axes)
        if len(normals.axes) != 3 or letters != ["x", "y", "z"] or any(axis not in AXES for axis in normals.axes):
            raise DataError(
                f"{where}: normals.axes is {list(normals.axes)}: expected x, y and z once each, or negated (-x)"
            )
        if normals.derive and (description.depth is None or camera is None):
            raise DataError(f"{where}: normals.derive needs depth and intrinsics; give both, or leave normals out")
    if description.segmentation is not None:
        _check_labels(description.segmentation, where)
    if description.columns is not None and ("image" not in description.columns or description.lists is None):
        raise DataError(f"{where}: columns is {description.columns}: expected 'image' among them, and lists")


def _check_depth(depth: DepthFormat, where: str) -> None:
    if depth.scale == 0 or depth.full_scale == 0:
        raise DataError(f"{where}: depth.scale is 0: expected metres a step, such as 0.001 for millimetres")
    if depth.full_scale is not None and depth.wraps:
        raise DataError(f"{where}: depth.wraps needs depth.scale, not depth.full_scale: say the metres of one step")


def _check_labels(labels: LabelFormat, where: str) -> None:
    try:
        classes = labels.class_set()
    except ValueError as error:
        raise DataError(f"{where}: segmentation.classes: {error}") from None
    count = len(classes.names)
    if not 1 <= count <= IGNORE:
        raise DataError(f"{where}: segmentation.classes has {count} names: expected 1 to {IGNORE}")
    if len(classes.palette) != count:
        raise DataError(f"{where}: segmentation.palette has {len(classes.palette)} colours for {count} classes")
    if not 0 <= labels.first <= 65536 - count or labels.void > 65535:
        raise DataError(
            f"{where}: segmentation.first is {labels.first}, .void {labels.void}: expected values of a picture of 16 "
            "bits at most (a negative .void where there is none)"
        )


# How the value under a key is read, and how to say it; a key means the same wherever it stands.
_FORMS: dict[str, forms.Form] = {
    "source": ("a text", forms.text),
    "splits": ("a mapping from a split to its folder", forms.mapping_of(forms.text)),
    "lists": ("a mapping from a split to the file that lists it", forms.or_none(forms.mapping_of(forms.text))),
    "columns": (f"a list of {', '.join(COLUMNS)}, or other words", forms.or_none(forms.list_of(forms.text))),
    "numbered": ("a whole number, or null", forms.or_none(forms.is_a(int))),
    "image": ("the name of a folder", forms.text),
    "folder": ("the name of a folder", forms.text),
    "raw": ("the name of a folder, or null", forms.or_none(forms.text)),
    "key": ("the name of a variable, or null", forms.or_none(forms.text)),
    "scenes": ("the name of a file, or null", forms.or_none(forms.text)),
    "scale": ("a number", forms.number),
    "offset": ("a number", forms.number),
    "full_scale": ("a number of metres, or null", forms.or_none(forms.number)),
    "invalid": ("a whole number, or null", forms.or_none(forms.is_a(int))),
    "axes": ("a list of three axes, such as [x, -y, -z]", lambda value: tuple(forms.list_of(forms.text)(value))),
    "first": ("a whole number", forms.is_a(int)),
    "void": ("a whole number", forms.is_a(int)),
    "classes": (
        "nyu13, nyu40 or a list of names",
        lambda v: v if isinstance(v, str) else forms.list_of(forms.text)(v),
    ),
    "palette": ("a list of [red, green, blue], each 0 to 255", forms.or_none(forms.list_of(forms.colour))),
    "intrinsics": (
        "a mapping from fx, fy, cx, cy, height and width to numbers",
        forms.or_none(forms.mapping_of(forms.number)),
    ),
    **dict.fromkeys(("derive", "wraps", "mirrored", "fit"), ("true or false", forms.is_a(bool))),
    **dict.fromkeys(TARGETS, ("a mapping", lambda value: value)),
}


def _plain(value: Any) -> Any:
    """Without what is not there: null and false are the defaults everywhere but for `invalid`."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items() if key == "invalid" or (v is not None and v is not False)}
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e9:
        return int(value)
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
