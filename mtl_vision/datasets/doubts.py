"""What is most likely misread, seen in a few frames before all are converted, packed or trained on."""

from collections.abc import Callable, Iterable

import numpy as np

from mtl_vision.datasets import DataError
from mtl_vision.datasets.axes import compare
from mtl_vision.datasets.folder import FolderDataset, spread
from mtl_vision.datasets.normals import normals_from_depth
from mtl_vision.datasets.targets import kind_of
from mtl_vision.runtime.terminal import say

FRAMES, SIDE = 5, 160  # that are read of a split, and their longer side in pixels: 0.2 seconds of a core at 480x640


def normals_frame(source: FolderDataset) -> str | None:
    """Stored normals that do not fit those of the depth as they are read."""
    normals = source.description.normals
    if normals is None or "normals" not in source.files or "depth" not in source.files:
        return None
    having = [i for i, stem in enumerate(source.stems) if all(stem in source.files[n] for n in ("normals", "depth"))]
    frames = [_frame(source, having[i]) for i in spread(len(having), FRAMES)]
    compared = compare([frame for frame in frames if frame is not None], normals.axes)
    if compared is None or compared.state == "fit":
        return None
    state, degrees, axes, best = compared
    found = f"in a few frames the stored normals are {degrees:.0f} degrees (median) from those of the depth"
    if state == "turned":
        return (
            f"{found}, and {best:.0f} with other axes: set `normals.axes: [{', '.join(axes)}]`, now "
            f"[{', '.join(normals.axes)}], as `mtl-data check {source.root} --fix` does, given the same description"
        )
    if state == "mirrored":
        return f"{found}, and nearer mirrored left to right: see what `mtl-data check {source.root}` finds"
    return (
        f"{found}, and {best:.0f} with the axes that fit best, [{', '.join(axes)}], where about 4 are expected: one of "
        f"the two is damaged, inverted, or of other images; see what `mtl-data check {source.root}` finds"
    )


# Each looks at a split, and gives a sentence that says what was found and what to do, or None.
DOUBTS: tuple[Callable[[FolderDataset], str | None], ...] = (normals_frame,)


def doubts(source: FolderDataset) -> list[str]:
    """A sentence for everything about a split that is most likely misread."""
    return [f"{source.split}: {sentence}" for doubt in DOUBTS if (sentence := doubt(source)) is not None]


def warn(sentences: Iterable[str]) -> None:
    """Say them on stderr, each in a line that begins with WARNING."""
    for sentence in sentences:
        say(f"WARNING    {sentence}")


def _frame(source: FolderDataset, index: int) -> tuple[np.ndarray, np.ndarray] | None:
    """A sample's stored normals and those of its depth, small; None where the camera is not known, or a file broken.

    Normals do not depend on the depth's unit: a wrong one, with which all would be too far, hides nothing.
    """
    try:
        depth, normals = source.values("depth", index), source.read("normals", index)
    except DataError:  # reading the whole sample says it
        return None
    if depth is None or normals is None or normals.shape[:2] != depth.shape or not (depth > 0).any():
        return None
    size = depth.shape[0], depth.shape[1]
    if (camera := source.description.camera(size)) is None:
        return None
    scale = min(SIDE / max(size), 1)
    small = max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
    depth = kind_of("depth").resize(depth / np.median(depth[depth > 0]), small)
    return kind_of("normals").resize(normals, small), normals_from_depth(depth, camera.resized(size, small))
