"""Rooms without end: each is rendered when training asks for it, once, and written nowhere.

They are measured on the default set's test and val, which are on disk; what is held out are rooms of its train. Those
have the seeds 0 to 999; a training's rooms have the seeds from APART * (its own seed + 1) on, as many as it takes: no
room is in both, and none in the trainings of two seeds.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.splits import HOLDOUT, OnError, held_out
from mtl_vision.datasets.splits import open_split as open_stored
from mtl_vision.runtime.kinds import Size
from mtl_vision.synthetic.dataset import DEFAULT, splits_of
from mtl_vision.synthetic.render import render_room

TRAIN = "train"
EPOCH = len(splits_of(DEFAULT)[TRAIN])  # rooms: an epoch has as many steps as one of the default set
APART = 2**40  # 10**6 epochs of 10**6 rooms


class RenderedRooms(FolderDataset):
    """A split of a folder of rooms that is not in the folder: rooms[i] is rendered, from seeds[i], each time.

    seeds: of all rooms, without end for a training's; `count` of them are an epoch, and its `len`. size: (H, W). The
    rest as of FolderDataset; description and derived targets are those of the folder's test.
    """

    def __init__(self, root: Path, split: str, seeds: Sequence[int], count: int, size: Size, **as_read: Any) -> None:
        super().__init__(root, "test", **as_read)
        self.split, self.seeds, self.size = split, seeds, size
        self.stems, self.images, self.files, self.scenes = [f"{seed:06d}" for seed in seeds[:count]], {}, {}, {}
        if len(seeds) > count:
            source = f"{self.description.source}; {count} new ones every epoch"
            self.description = replace(self.description, source=source)

    def __getitem__(self, index: int) -> Sample:
        """Render one room; no pixel is invalid."""
        return self.with_derived(render_room(self.seeds[index], self.size))


def open_data(root: Path, *, eval_split: str | None = None, **settings: Any) -> tuple[FolderDataset, FolderDataset]:
    """What is trained on, and what is measured: by default test. The other settings are those of `open_split`."""
    if eval_split == TRAIN:
        raise ValueError(f"eval_split is {TRAIN}: expected test, val or {HOLDOUT}, since no new room is seen twice")
    return open_split(root, TRAIN, **settings), open_split(root, eval_split or "test", **settings)


def open_split(
    root: Path,
    split: str,
    size: Size,
    seed: int,
    *,
    train_split: str = TRAIN,
    holdout: int = 0,
    on_error: OnError = "stop",
    **as_read: Any,
) -> FolderDataset:
    """The rooms of the training with this seed (`train`), what is held out (`holdout`), or what is in the folder.

    Arguments as of mtl_vision.datasets.splits. Raises ValueError for another training split, and as those do.
    """
    if train_split != TRAIN:
        raise ValueError(f"train_split is {train_split}: expected {TRAIN}, since rooms that are on disk are not new")
    if split == HOLDOUT or holdout:
        names = held_out([f"{seed:06d}" for seed in splits_of(DEFAULT)[TRAIN]], holdout)
        if split == HOLDOUT:
            return RenderedRooms(root, split, [int(name) for name in names], len(names), size, **as_read)
    if split == TRAIN:
        return RenderedRooms(root, split, range(APART * (seed + 1), APART * (seed + 2)), EPOCH, size, **as_read)
    return open_stored(root, split, on_error=on_error, **as_read)
