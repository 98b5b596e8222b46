"""Which samples are trained on and which are measured: splits, a part held out, samples that can not be read."""

from collections.abc import Sequence
from copy import copy
from itertools import filterfalse
from pathlib import Path
from typing import Literal

from mtl_vision.datasets.description import DataError, Description
from mtl_vision.datasets.files import splits_there
from mtl_vision.datasets.folder import CORES, FolderDataset, in_threads
from mtl_vision.datasets.recognise import describe

HOLDOUT = "holdout"  # the name of the held out part of the training split
STRETCH = 5  # neighbouring frames often show the same scene: most of them stay on one side
OnError = Literal["stop", "skip"]


def open_data(
    root: Path,
    *,
    description: Description | str | Path | None = None,
    classes: str | None = None,
    train_split: str = "train",
    eval_split: str | None = None,
    holdout: int = 0,
    on_error: OnError = "stop",
    derived: Sequence[str] = (),
) -> tuple[FolderDataset, FolderDataset]:
    """What is trained on, and what is measured.

    description, classes, derived: as of FolderDataset. eval_split: the split that is measured, or `holdout` for the
    part held out; None for test, or val if there is no test. holdout: samples of the training split that are held out,
    always the same ones. on_error: skip reads all samples once and leaves out those that can not be read, see `faults`
    of the data sets. Raises DataError, or ValueError for an argument.
    """
    described = describe(root, description)
    train = FolderDataset(root, train_split, described, classes, derived)
    measured = eval_split or next((s for s in ("test", "val") if s in splits_there(root, described)), None)
    if measured is None:
        raise ValueError(
            f"{root} has neither test nor val to measure: hold out a part of the training split (holdout "
            f"{max(len(train) // 10, 1)}, eval_split {HOLDOUT}), or name a split as eval_split"
        )
    everything = _read(train, on_error)
    if measured in (HOLDOUT, train_split):
        evaluation = _part(everything, measured, holdout)
    else:
        evaluation = _read(FolderDataset(root, measured, described, classes, derived), on_error)
    return _part(everything, train_split, holdout), evaluation


def open_split(
    root: Path,
    split: str,
    *,
    description: Description | str | Path | None = None,
    classes: str | None = None,
    train_split: str = "train",
    holdout: int = 0,
    on_error: OnError = "stop",
    derived: Sequence[str] = (),
) -> FolderDataset:
    """One split; of the training split, the part that is held out or the rest. Arguments as of `open_data`."""
    stored = train_split if split == HOLDOUT else split
    source = _read(FolderDataset(root, stored, description, classes, derived), on_error)
    return _part(source, split, holdout) if stored == train_split else source


def held_out(stems: Sequence[str], count: int) -> list[str]:
    """`count` of the sorted stems, in stretches of neighbours spread evenly over them; the same ones every time.

    Raises ValueError where more than half would be held out.
    """
    if not 0 < count <= len(stems) // 2:
        raise ValueError(f"holdout is {count}: expected 1 to {len(stems) // 2}, half of the training samples")
    stretches = -(-count // STRETCH)
    # each stretch begins in a part of the split of its own, so that none overlaps
    starts = [k * len(stems) // stretches for k in range(stretches)]
    return [stems[start + k] for start in starts for k in range(min(STRETCH, count))][:count]


def find_faults(source: FolderDataset, workers: int = CORES) -> dict[str, str]:
    """What is wrong with each sample that can not be read, by its name. Reads every file."""
    stored = copy(source)
    stored.derived = ()  # what is computed has no file to be at fault

    def fault(index: int) -> str | None:
        try:
            stored[index]
        except DataError as error:
            return str(error)
        return None

    found = in_threads(fault, len(source), f"reading {source.split}", workers)
    return {stem: message for stem, message in zip(source.stems, found, strict=True) if message is not None}


def readable_part(source: FolderDataset) -> FolderDataset:
    """The split without the samples that can not be read, which its `faults` name. Raises DataError if none is left."""
    faults = find_faults(source)
    if len(faults) == len(source):
        raise DataError(
            f"none of the {len(source)} samples of split '{source.split}' can be read: {next(iter(faults.values()))}"
        )
    part = source.only([stem for stem in source.stems if stem not in faults], source.split)
    part.faults = faults
    return part


def _read(source: FolderDataset, on_error: OnError) -> FolderDataset:
    if on_error not in ("stop", "skip"):
        raise ValueError(f"on_error is {on_error}: expected stop or skip")
    return source if on_error == "stop" else readable_part(source)


def _part(everything: FolderDataset, split: str, holdout: int) -> FolderDataset:
    """Of the training split, what is held out or the rest."""
    if split != HOLDOUT and not holdout:
        return everything
    out = held_out(everything.stems, holdout)
    rest = list(filterfalse(set(out).__contains__, everything.stems))
    return everything.only(out if split == HOLDOUT else rest, split)
