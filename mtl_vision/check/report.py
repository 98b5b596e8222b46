"""What the check found: faults, and a summary of each split, for people and for programs."""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mtl_vision.check.normals import degrees_to_depth
from mtl_vision.check.statistics import Fix, SplitStatistics
from mtl_vision.datasets.description import Description
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.runtime.kinds import IGNORE
from mtl_vision.runtime.terminal import printable

FAULTS = 20  # of a split that are printed
ALIKE, NAMED = 3, 8  # sentences that differ in their file only and are printed each; files named where they are not
USUAL = 4.0  # degrees between stored normals and those of the depth, in NYUv2
CLASSES = 13  # that are named


@dataclass(frozen=True)
class Summary:
    """count: samples; read: of those, read; sizes: samples by HxW; targets: files by target; depth in metres;
    classes: percent of the labelled pixels; scenes: how many, 0 if that is not known."""

    count: int
    read: int
    sizes: dict[str, int]
    targets: dict[str, int]
    depth: dict[str, float] = field(default_factory=dict)
    normals: dict[str, float] = field(default_factory=dict)
    classes: dict[str, float] = field(default_factory=dict)
    unlabelled_percent: float | None = None
    scenes: int = 0


@dataclass(frozen=True)
class Fault:
    """A sentence, the test that found it, the split (None: the whole set), and what fixes it in the description."""

    test: str
    text: str
    split: str | None = None
    fix: Fix | None = None


@dataclass
class Report:
    """What was found.

    unknown: what no sample shows; absent: splits that are described, but do not exist; notes: what is there and not
    read, or described and not there.
    """

    root: Path
    description: Description
    opened: dict[str, FolderDataset] = field(default_factory=dict)
    summaries: dict[str, Summary] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    shared_scenes: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def fixed(self) -> Description:
        """The description with the fixes of all faults."""
        description = self.description
        for fault in self.faults:
            description = fault.fix(description) if fault.fix else description
        return description

    def unreadable(self) -> list[str]:
        """The splits that exist, but could not be opened."""
        return sorted({fault.split for fault in self.faults if fault.split is not None} - set(self.summaries))

    def of(self, split: str | None) -> list[Fault]:
        """The faults of a split; None: of the whole set."""
        return [fault for fault in self.faults if fault.split == split]


def summarise(dataset: FolderDataset, split: SplitStatistics) -> Summary:
    sizes = Counter("x".join(map(str, sample.size)) for sample in split.samples if sample.size is not None)
    degrees = degrees_to_depth(split.thumbnails) if split.description.normals is not None else None
    histogram = sum((sample.labels for sample in split.samples if sample.labels is not None), np.zeros(256, np.int64))
    labelled, total = max(int(histogram[:IGNORE].sum()), 1), int(histogram.sum())
    names = dataset.classes.names if dataset.classes and total else ()
    return Summary(
        count=len(dataset),
        read=len(split.samples),
        sizes=dict(sizes.most_common()),
        targets={name: sum(stem in files for stem in dataset.stems) for name, files in dataset.files.items()},
        depth=_depth(split),
        normals={} if degrees is None else {"median_degrees_to_depth": degrees},
        classes={name: round(100 * int(histogram[i]) / labelled, 3) for i, name in enumerate(names)},
        unlabelled_percent=round(100 * int(histogram[IGNORE]) / total, 2) if total else None,
        scenes=len(scenes(dataset)),
    )


def scenes(dataset: FolderDataset) -> set[str]:
    return {dataset.scenes[stem] for stem in dataset.stems if stem in dataset.scenes}


def _depth(split: SplitStatistics) -> dict[str, float]:
    found = [(sample.depth, sample.invalid_percent) for sample in split.samples if sample.depth is not None]
    if not any(depth.size for depth, _ in found):
        return {}
    low, median, high = np.percentile(np.concatenate([depth for depth, _ in found]), (1, 50, 99)).tolist()
    invalid = float(np.mean([percent for _, percent in found]))
    farthest = max(sample.farthest for sample in split.samples)
    return {"p1": low, "median": median, "p99": high, "max": farthest, "invalid_percent": invalid}


def to_text(report: Report) -> str:
    """The report for people, with at most FAULTS faults of each split; the JSON has all."""
    lines = [f"source: {report.description.source}"]
    for split in [*report.summaries, *report.unreadable()]:
        one = report.summaries.get(split)
        lines += _summary_lines(split, one) if one else [f"{split}: cannot be read"]
        texts = _grouped([fault.text for fault in report.of(split)], report.root)
        lines += [f"  FAULT     {text}" for text in texts[:FAULTS]]
        if len(texts) > FAULTS:
            lines.append(f"  FAULT     and {len(texts) - FAULTS} more: see check.json")
    lines += [*(f"{split}: does not exist" for split in report.absent), "all splits:"]
    if report.description.normals is not None and report.description.normals.derive:
        lines.append("  normals   none stored; derived from the depth when they are read")
    lines += [f"  scenes    {pair} share {count}" for pair, count in report.shared_scenes.items()]
    lines += [f"  note      {text}" for text in report.notes]
    lines += [f"  unknown   {text}" for text in report.unknown]
    none = "  no fault of the whole set" if report.faults else "  no faults"
    lines += [f"  FAULT     {fault.text}" for fault in report.of(None)] or [none]
    return "\n".join(map(printable, lines))


def _summary_lines(split: str, f: Summary) -> list[str]:
    seen = "" if f.read == f.count else f" ({f.read} read)"
    scenes = f", {f.scenes} scenes" if f.scenes else ""
    sizes = ", ".join(f"{count} of {size}" for size, count in f.sizes.items()) or "none readable"
    sizes = f"all {next(iter(f.sizes))}" if len(f.sizes) == 1 else sizes
    parts = (f"{name} for {'all' if count == f.count else count}" for name, count in f.targets.items())
    lines = [f"{split}: {f.count} samples{seen}{scenes}, {sizes}; {', '.join(parts) or 'no targets'}"]
    if f.depth:
        span = f"{f.depth['p1']:.2f} .. {f.depth['median']:.2f} .. {f.depth['p99']:.2f} m (1 %, median, 99 %)"
        lines.append(f"  depth     {span}, up to {f.depth['max']:.4g} m, {f.depth['invalid_percent']:.1f} % invalid")
    if f.normals:
        degrees = f.normals["median_degrees_to_depth"]
        doubt = f"; about {USUAL:.0f} is usual: are both of the same images?" if degrees > 2 * USUAL else ""
        lines.append(f"  normals   {degrees:.1f} degrees (median) from those of the depth{doubt}")
    if f.classes:
        found = sorted(((share, name) for name, share in f.classes.items() if share > 0), reverse=True)
        shares = ", ".join(f"{name} {share:.1f} %" for share, name in found[:CLASSES])
        more = f" and {len(found) - CLASSES} more" if len(found) > CLASSES else ""
        lines.append(f"  labels    {f.unlabelled_percent:.1f} % unlabelled; {shares}{more} of {len(f.classes)}")
    return lines


def _grouped(texts: Sequence[str], root: Path) -> list[str]:
    """One sentence for many that differ in their file (in `root`) only, with the names of some."""
    path = re.compile(re.escape(str(root)) + r".*?\.\w+(?=[\s:,]|$)")
    groups: dict[str, list[str]] = {}
    for text in texts:
        groups.setdefault(path.sub("", text), []).append(text)
    for alike in groups.values():
        if len(alike) > ALIKE:
            names = [Path(found.group()).name for text in alike[1:] if (found := path.search(text))]
            more = f" and {len(names) - NAMED} more: see check.json" if len(names) > NAMED else ""
            alike[:] = [f"{alike[0]}; the same for {len(alike) - 1} more: {', '.join(names[:NAMED])}{more}"]
    return list(itertools.chain.from_iterable(groups.values()))


def to_json(report: Report) -> dict[str, Any]:
    """The report for programs; data/README.md describes the keys."""

    def faults(split: str | None) -> list[dict[str, Any]]:
        return [{"test": one.test, "text": one.text, "fixable": one.fix is not None} for one in report.of(split)]

    return {
        "folder": str(report.root),
        "source": report.description.source,
        "fine": not report.faults,
        "splits": {split: {**asdict(one), "faults": faults(split)} for split, one in report.summaries.items()}
        | {split: {"faults": faults(split)} for split in report.unreadable()},
        "absent": report.absent,
        "shared_scenes": report.shared_scenes,
        "notes": report.notes,
        "unknown": report.unknown,
        "faults": faults(None),
    }
