"""What a folder holds: by the description that was named, the one beside the data, or the layout that it has."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from mtl_vision.datasets import DataError
from mtl_vision.datasets.arrays import read_rgb
from mtl_vision.datasets.axes import FRAMES, Axes, compare, small_maps
from mtl_vision.datasets.description import FILE_NAME, Description, known_description, make_description, read_yaml
from mtl_vision.datasets.files import SplitFiles, find_files, splits_there, spread
from mtl_vision.datasets.layouts import fitting, layouts
from mtl_vision.datasets.maps import finish_map, read_map
from mtl_vision.datasets.targets import NormalsFiles
from mtl_vision.datasets.text import explained
from mtl_vision.runtime.near import did_you_mean

MAT = "nyu_depth_v2_labeled.mat"


@dataclass(frozen=True)
class Recognised:
    """What a folder holds.

    missing: by target, the folder in which its layout has it, where no file is; also: folders of the layout that need
    not be read; axes: of the stored normals, where their depth shows others than the layout has.
    """

    description: Description
    missing: dict[str, str] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    axes: Axes | None = None


def describe(root: Path, named: Description | str | Path | None = None) -> Description:
    """The description of the data at `root`; arguments and errors as of `recognise`."""
    return recognise(root, named).description


@explained
def recognise(root: Path, named: Description | str | Path | None = None) -> Recognised:
    """What the data at `root` are.

    named: a description, its file, or the name of a known layout. Raises DataError where there is none.
    """
    if isinstance(named, Description):
        return Recognised(named)
    if root.is_file() and root.name == FILE_NAME:
        raise DataError(f"{root} is a description: give the folder that it is in, and the file as the description")
    if root.is_file() and root.suffix == ".mat":
        raise DataError(_to_convert(root))
    if not root.is_dir():
        raise DataError(f"{root}: {'expected a folder, found a file' if root.exists() else 'no such folder'}")
    found = [str(named)] if str(named) in layouts() else []
    if not found and (named is not None or (root / FILE_NAME).exists()):
        return _described(root, Path(named or root / FILE_NAME))
    found = found or fitting(root)
    if len(found) == 1:
        return _of_layout(root, found[0], known_description(found[0]))
    if found:
        raise DataError(f"{root} could be {' or '.join(found)}: name one of them as the description")
    if (root / MAT).exists():
        raise DataError(_to_convert(root))
    there = sorted(path.name for path in root.iterdir())[:20]
    raise DataError(
        f"{root} has no {FILE_NAME} and has none of the known layouts ({', '.join(layouts())}): expected a folder as "
        f"data/README.md explains, or a description of it; found {there}"
    )


def _to_convert(place: Path) -> str:
    return f"{place}: expected a folder of samples, found {MAT}: mtl-data convert {place} --out DIR"


def _described(root: Path, path: Path) -> Recognised:
    """By a file; with a known layout in it, targets without a section are as they are found."""
    if not path.exists() and not path.suffix:
        near = did_you_mean(path, layouts())
        raise DataError(f"{path} is no file and no known layout{near}; expected one of {', '.join(layouts())}")
    data = read_yaml(path)
    description = make_description(data, str(path))
    return _of_layout(root, data["layout"], description, data) if "layout" in data else Recognised(description)


def _of_layout(root: Path, layout: str, described: Description, given: Collection[str] = ()) -> Recognised:
    """As the layout describes it, without what is not there; given: the keys that the user's file has itself."""
    files: list[SplitFiles] = []
    for split in splits_there(root, described):
        with suppress(DataError):  # opening the split raises it again
            files.append(find_files(root, described, split))
    found = _as_found(files, described, given)
    gone = {name: folder for name, folder in described.folders().items() if name not in found.folders()}
    axes = _measured_axes(root, files, found) if layouts()[layout].measured and "normals" not in given else None
    if axes is not None and found.normals is not None:
        found = replace(found, normals=replace(found.normals, axes=axes))
    known = known_description(layout)
    return Recognised(found, gone, (*layouts()[layout].also, known.image, *known.folders().values()), axes)


def _as_found(found: Sequence[SplitFiles], description: Description, given: Collection[str]) -> Description:
    """The description without what is not so here: targets that no file holds, and the crop of pictures that are whole.

    Normals that no file holds come from depth, if the camera is known.
    """
    if not found:
        return description
    stored = {name for files in found for name, paths in files.targets.items() if paths}
    derived = {"normals"} if description.normals and description.normals.derive else set()
    gone = set(description.targets()) - stored - derived - set(given)
    description = replace(description, **dict.fromkeys(gone))
    if "crop" not in given and _is_whole(description, found):
        description = replace(description, crop=None)
    derivable = description.depth is not None and description.intrinsics is not None
    if "normals" not in given and (derived or description.normals is None):
        return replace(description, normals=NormalsFiles(derive=True) if derivable else None)
    return description


def _is_whole(description: Description, found: Sequence[SplitFiles]) -> bool:
    """Whether the first picture is as large as the camera's whole images: copies of a set may be cropped or not."""
    first = next((path for files in found for path in files.images.values()), None)
    if description.crop is None or description.intrinsics is None or first is None:
        return False
    with suppress(DataError):  # reading the sample raises it again
        whole = description.intrinsics["height"], description.intrinsics["width"]
        return read_rgb(first, description.image_key).shape[:2] == whole
    return False


def _measured_axes(root: Path, found: Sequence[SplitFiles], description: Description) -> Axes | None:
    """The axes that bring the stored normals to those of the depth; None: those described do, or it is unknown."""
    d, maps = description, []
    if d.normals is None or d.normals.derive or d.depth is None:
        return None
    for files in found:
        stems = [stem for stem in files.stems if all(stem in files.targets[name] for name in ("normals", "depth"))]
        for stem in (stems[i] for i in spread(len(stems), FRAMES)):
            with suppress(DataError):  # reading the sample raises it again
                depth, vectors = (read_map(files.targets[n][stem], n, d, root) for n in ("depth", "normals"))
                if depth is not None and vectors is not None:
                    normals = finish_map(vectors, files.targets["normals"][stem], "normals", d)
                    maps += small_maps(depth, normals, d.camera((depth.shape[0], depth.shape[1])))
    compared = compare(maps, d.normals.axes)
    return compared.axes if compared is not None and compared.state == "turned" else None
