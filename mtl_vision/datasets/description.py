"""`dataset.yaml`: what a folder of images and ground truth holds and how its files are to be read.

    source: where the ground truth comes from; printed beside every metric
    splits: {train: train, val: val, test: test}     # folder of each split; a missing one is simply absent
    image: rgb                                       # folder of the images
    depth: {folder: depth, scale: 0.001, offset: 0, invalid: 0}       # metres = value * scale + offset
    normals: {folder: normals, axes: [x, y, z]}      # stored vectors' axes in our frame; or {derive: true}
    segmentation: {folder: label, first: 0, void: 255, classes: nyu13}  # or classes: [names], palette: [[r, g, b]]
    intrinsics: {fx: .., fy: .., cx: .., cy: .., height: 480, width: 640}         # or nyuv2, a camera known by name
    crop: {top: 45, left: 40, height: 425, width: 560}  # the part of the camera's images that the files are

A target that does not exist is left out. `layout: NAME` takes every key that is not given from a known layout
(layouts/NAME.yaml). data/README.md explains every key.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml

from mtl_vision.datasets import DataError, schema
from mtl_vision.datasets.camera import CAMERAS, Intrinsics, camera_at, crop_camera
from mtl_vision.datasets.layouts import layouts
from mtl_vision.datasets.rules import FILE_NAME, check_rules
from mtl_vision.datasets.targets import DepthFiles, InstancesFiles, LabelFiles, NormalsFiles
from mtl_vision.datasets.text import MOST_YAML, load_yaml, read_text, shown
from mtl_vision.runtime.near import did_you_mean

SECTIONS = ("depth", "normals", "segmentation", "instances")  # the targets that have files
# A given key takes the place of these of a known layout: they say the same thing in another way.
INSTEAD = {
    "scale": ("full_scale", "offset"),
    "full_scale": ("scale", "offset", "scale8"),
    "folder": ("derive",),
    "axes": ("derive",),
    "numbered": ("lists", "columns"),
    "lists": ("numbered", "match"),
    "columns": ("match",),
    "match": ("lists", "columns"),
    "intrinsics": ("crop",),  # another camera is the picture's own
}
Camera = Annotated[
    dict[str, float],
    f"a mapping from fx, fy, cx, cy, height and width to numbers, or a known camera ({', '.join(CAMERAS)})",
]
Crop = Annotated[dict[str, int], "a mapping from top, left, height and width to whole numbers of pixels"]


@dataclass(frozen=True)
class Description:
    """A data set's `dataset.yaml`.

    A folder name with `{split}` in it is taken from the root, else from the split's folder; one with `*` is a
    pattern, whose stars are the sample's name. lists: for each split, a file that lists its samples; columns: what the
    columns of its lines hold. numbered: the files have NYUv2's official numbers, the first of which is this one, and
    the official split. match: names are times, paired where they are nearer than so many seconds. mirrored: the files
    are mirrored left to right. image_key: variable of images in .mat and HDF5 files. fit: images and maps are resized
    to the first map. scenes: a file of lines "sample scene". intrinsics: the pictures' camera; with crop, that of the
    images which the pictures are a part of.
    """

    source: str = "not stated"
    splits: Annotated[dict[str, str], "a mapping from a split to its folder"] = field(
        default_factory=lambda: {s: s for s in ("train", "val", "test")}
    )
    lists: Annotated[dict[str, str], "a mapping from a split to the file that lists it"] | None = None
    columns: Annotated[list[str], f"a list of image, {', '.join(SECTIONS)}, or other words"] | None = None
    numbered: int | None = None
    match: Annotated[float, "a number of seconds"] | None = None
    mirrored: bool = False
    fit: bool = False
    image: schema.Folder = "rgb"
    image_key: schema.Variable | None = None
    depth: DepthFiles | None = None
    normals: NormalsFiles | None = None
    segmentation: LabelFiles | None = None
    instances: InstancesFiles | None = None
    intrinsics: Camera | None = None
    crop: Crop | None = None
    scenes: Annotated[str, "the name of a file"] | None = None

    def section(self, name: str) -> Any:
        """The section of a target; None where there is none."""
        return getattr(self, name) if name in SECTIONS else None

    def targets(self) -> tuple[str, ...]:
        """The targets that have a section."""
        return tuple(name for name in SECTIONS if self.section(name) is not None)

    def folders(self) -> dict[str, str]:
        """The folder of each target that has files."""
        sections = {name: self.section(name) for name in self.targets()}
        return {name: section.folder for name, section in sections.items() if not getattr(section, "derive", False)}

    def camera(self, size: tuple[int, int]) -> Intrinsics | None:
        """The camera at an image size (H, W)."""
        known = self.own_camera()
        return None if known is None else camera_at(known, size)

    def own_camera(self) -> dict[str, float] | None:
        """`intrinsics` of the pictures themselves: those of the crop, if they are cropped."""
        if self.intrinsics is None or self.crop is None:
            return self.intrinsics
        return crop_camera(self.intrinsics, self.crop)

    def to_yaml(self) -> str:
        """The file's text."""
        data = asdict(self)
        if self.normals is not None and self.normals.derive:
            data["normals"] = {"derive": True}
        if self.depth is not None and self.depth.full_scale is not None:
            del data["depth"]["scale"]
        return yaml.safe_dump(_plain(data), sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def read_description(path: Path) -> Description:
    """Read a `dataset.yaml`. Raises DataError for a missing or malformed one, naming the nearest known key."""
    return make_description(read_yaml(path), str(path))


def read_yaml(path: Path) -> Any:
    """What a `dataset.yaml` says. Raises DataError for a missing one, and for what is not YAML."""
    try:
        return load_yaml(read_text(path, MOST_YAML))
    except FileNotFoundError:
        raise DataError(f"no description at {path}: expected a {FILE_NAME} (data/README.md explains it)") from None
    except OSError as error:
        raise DataError(f"{path} can not be read ({error.strerror}): expected a {FILE_NAME}") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid YAML: {error}") from error


def known_description(name: str) -> Description:
    """The description of a known layout, by its name."""
    return make_description({"layout": name}, name)


def make_description(data: Any, where: str) -> Description:
    """A description from what a YAML file says; where: the file, for the errors."""
    if isinstance(data, Mapping):
        if isinstance(depth := data.get("depth"), Mapping) and depth.get("full_scale") and "scale" in depth:
            raise DataError(f"{where}: depth has scale and full_scale: metres of one step, or of all; give one of them")
        if data.get("numbered") is not None and data.get("lists") is not None:
            raise DataError(f"{where}: numbered and lists both give the splits; give one of them")
        data = _over_layout(data, where) if "layout" in data else data
        camera = data.get("intrinsics")
        data = {**data, "intrinsics": CAMERAS.get(camera, camera) if isinstance(camera, str) else camera}
    description: Description = schema.build(Description, data, where)
    check_rules(description, where)
    return description


def _over_layout(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The data over those of the layout that they name; the keys of a section one by one, other values as one."""
    given = dict(data)
    name = given.pop("layout")
    if not isinstance(name, str) or name not in layouts():
        near = did_you_mean(name, layouts())
        raise DataError(
            f"{where}: layout: unknown layout '{shown(str(name))}'{near}; expected one of {', '.join(layouts())}"
        )
    known = layouts()[name].description

    def joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        said = [name for name, value in other.items() if value is not None or name == "intrinsics"]
        gone = {key for name in said for key in INSTEAD.get(name, ())}
        return {**{key: value for key, value in one.items() if key not in gone}, **other}

    both = joined(known, given)
    for name in SECTIONS:
        if isinstance(known.get(name), Mapping) and isinstance(given.get(name), Mapping):
            both[name] = joined(known[name], given[name])
    return {key: value for key, value in both.items() if value is not None}


def _plain(value: Any) -> Any:
    """Without absent values: null and false are the defaults everywhere but for `invalid`."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items() if key == "invalid" or (v is not None and v is not False)}
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e9:
        return int(value)
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
