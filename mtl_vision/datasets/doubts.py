"""What is most likely misread, seen in a few frames before all are converted, packed or trained on."""

from collections.abc import Callable, Iterable
from contextlib import suppress

from mtl_vision.datasets import DataError
from mtl_vision.datasets.axes import FRAMES, Maps, compare, small_maps
from mtl_vision.datasets.camera import unlikely
from mtl_vision.datasets.files import spread
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.sentinel import sentinels, tail
from mtl_vision.runtime.terminal import say


def normals_frame(source: FolderDataset) -> str | None:
    """Stored normals that do not fit those of the depth as they are read."""
    normals = source.description.normals
    if normals is None or "normals" not in source.files or "depth" not in source.files:
        return None
    having = [i for i, stem in enumerate(source.stems) if all(stem in source.files[n] for n in ("normals", "depth"))]
    maps = [pair for i in spread(len(having), FRAMES) for pair in _maps(source, having[i])]
    compared = compare(maps, normals.axes)
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


def depth_marks(source: FolderDataset) -> str | None:
    """Stored depth values that stand for none, such as 65535 for a hole, and are read as depth."""
    section, tails = source.description.depth, []
    if section is None:
        return None
    having = [i for i, stem in enumerate(source.stems) if stem in source.files.get("depth", {})]
    for index in (having[i] for i in spread(len(having), FRAMES)):
        with suppress(DataError):  # reading the whole sample says it
            if (stored := source.stored("depth", index)) is not None:
                tails.append((source.stems[index], tail(stored, section)))
    sentences = []
    for one in sentinels([found for _, found in tails]):
        sentences.append(one.told([stem for stem, _ in tails], section))
        section = section.with_mark(one.value)
    return f"in a few frames {'; '.join(sentences)}" if sentences else None


def camera(source: FolderDataset) -> str | None:
    """Intrinsics that no camera of rooms has."""
    known = source.description.intrinsics
    return None if known is None else unlikely(known)


# Each looks at a split, and gives a sentence that says what was found and what to do, or None.
DOUBTS: tuple[Callable[[FolderDataset], str | None], ...] = (camera, normals_frame, depth_marks)


def doubts(source: FolderDataset) -> list[str]:
    """A sentence for everything about a split that is most likely misread."""
    return [f"{source.split}: {sentence}" for doubt in DOUBTS if (sentence := doubt(source)) is not None]


def warn(sentences: Iterable[str]) -> None:
    """Say them on stderr, each in a line that begins with WARNING."""
    for sentence in sentences:
        say(f"WARNING    {sentence}")


def _maps(source: FolderDataset, index: int) -> Maps:
    """A sample's stored normals and those of its depth; nothing where the camera is not known, or a file broken."""
    try:
        depth, normals = source.values("depth", index), source.read("normals", index)
    except DataError:  # reading the whole sample says it
        return []
    if depth is None or normals is None:
        return []
    return small_maps(depth, normals, source.description.camera((depth.shape[0], depth.shape[1])))
