"""The whole check: look at every split, ask every test, say what was found, mend the description."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mtl_vision.check import apart, depth, figures, files, frames, labels, mirror, overlap
from mtl_vision.check.evidence import Evidence, Fix, Verdict, pooled
from mtl_vision.check.look import Opened, look_at, open_split
from mtl_vision.datasets.description import DataError, Description
from mtl_vision.datasets.files import no_splits, splits_there

# Each by the key that names it in the JSON. What is mirrored apart leaves the test of the whole set without ground.
TESTS: dict[str, Callable[[Evidence], Verdict]] = {
    "depth_unit": depth.unit,
    "depth_wraps": depth.wraps,
    "label_ids": labels.ids,
    "normals_frame": frames.frame,
    "normals_length": frames.length,
    "mirrored_apart": apart.apart,
    "mirrored_in_some": apart.in_some,
    "mirrored_whole": mirror.whole,
}


ALIKE, NAMED = 3, 8  # sentences of one kind that are said one by one; files that are named where they are not


@dataclass(frozen=True)
class Fault:
    """A sentence, the test that it comes from, the split (None: the whole set), and the description that mends it."""

    test: str
    text: str
    split: str | None = None
    fix: Fix | None = None


@dataclass
class Report:
    """What was found. open: what could not be told; absent: splits that are described, but not there."""

    root: Path
    description: Description
    opened: dict[str, Opened]
    figures: dict[str, figures.Figures] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    shared_scenes: dict[str, int] = field(default_factory=dict)

    def mended(self) -> Description:
        """The description with every fix that the faults offer."""
        description = self.description
        for fault in self.faults:
            description = fault.fix(description) if fault.fix else description
        return description


def check_folder(root: Path, description: Description, classes: str | None = None, most: int | None = None) -> Report:
    """Look at up to `most` samples of each split (None: all). Raises DataError where not one split can be opened."""
    there = splits_there(root, description)
    if not there:
        raise no_splits(root, description)
    opened: dict[str, Opened] = {}
    faults: list[Fault] = []
    for split in there:
        one, problems = open_split(root, split, description, classes)
        faults += [Fault("files", problem, split) for problem in problems]
        if one is not None:
            opened[split] = one
    if not opened:
        raise DataError(faults[0].text)
    report = Report(root, description, opened, faults=faults)
    report.absent = [split for split in description.splits if split not in there]
    evidence = {split: look_at(one, most) for split, one in opened.items()}
    for split, one in opened.items():
        report.figures[split] = figures.figures(one.whole, evidence[split])
        problems = [problem for look in evidence[split].looks for problem in look.problems]
        report.faults += [Fault("files", problem, split) for problem in files.missing(one.whole) + problems]
    report.faults += [Fault("overlap", text) for text in overlap.shared(evidence)]
    report.shared_scenes = overlap.shared_scenes({split: _scenes(one) for split, one in opened.items()})
    _ask(report, evidence)
    return report


def _scenes(one: Opened) -> set[str]:
    return {one.whole.scenes[stem] for stem in one.whole.stems if stem in one.whole.scenes}


def _ask(report: Report, evidence: Mapping[str, Evidence]) -> None:
    for name, test in TESTS.items():
        if name == "mirrored_whole" and any(fault.test.startswith("mirrored") for fault in report.faults):
            continue
        found = settle(name, test, evidence)
        report.faults += found[0]
        report.open += found[1]
    if any(fault.test == "mirrored_in_some" for fault in report.faults):  # to mirror all would break the others
        report.faults = [fault for fault in report.faults if fault.test != "mirrored_apart"]


def settle(
    name: str, test: Callable[[Evidence], Verdict], evidence: Mapping[str, Evidence]
) -> tuple[list[Fault], list[str]]:
    """The faults that a test finds, and what it can not tell.

    A description holds for all splits: a fault is the set's, and its fix applies, where no split says otherwise. Splits
    that are too small to tell anything are asked together.
    """
    verdicts = {split: test(one) for split, one in evidence.items()}
    states = {verdict.state for verdict in verdicts.values()}
    if "fine" in states:
        only = "of this split alone, so no change of the description mends it: "
        broken = {split: verdict for split, verdict in verdicts.items() if verdict.state == "fault"}
        return [Fault(name, only + verdict.text, split) for split, verdict in broken.items()], []
    together = test(pooled(evidence.values())) if len(evidence) > 1 else next(iter(verdicts.values()))
    if together.state != "fault" and "fault" in states:
        together = next(verdict for verdict in verdicts.values() if verdict.state == "fault")
    if together.state == "fault":
        return [Fault(name, together.text, None, together.fix)], []
    return [], [together.text] if together.state == "open" and together.text else []


def to_text(report: Report, named: int = 20) -> str:
    """The report for people, with at most `named` faults of files a split; the JSON has all."""
    lines = [f"source: {report.description.source}"]
    for split, one in report.figures.items():
        lines.append(figures.to_text(split, one))
        own = [fault.text for fault in report.faults if fault.split == split]
        own = grouped(own, report.root)
        lines += [f"  FAULT     {text}" for text in own[:named]]
        lines += [f"  FAULT     and {len(own) - named} more: see the figures' file"] if len(own) > named else []
    lost = {fault.split for fault in report.faults if fault.split is not None} - set(report.figures)
    for split in sorted(lost):
        lines += [f"{split}: can not be read"] + [f"  FAULT     {f.text}" for f in report.faults if f.split == split]
    lines += [f"{split}: not there" for split in report.absent]
    lines.append("all splits:")
    if report.description.normals is not None and report.description.normals.derive:
        lines.append("  normals   none stored; derived from the depth when they are read")
    lines += [f"  scenes    {pair} share {count}" for pair, count in report.shared_scenes.items()]
    lines += [f"  not told  {text}" for text in report.open]
    whole = [f"  FAULT     {fault.text}" for fault in report.faults if fault.split is None]
    return "\n".join(lines + (whole or ["  no fault of the whole set" if report.faults else "  no faults"]))


def grouped(texts: Sequence[str], root: Path) -> list[str]:
    """One sentence for many that differ in their files (of `root`) alone, with the names of some."""
    path = re.compile(re.escape(str(root)) + r".*?\.\w+(?=[\s:,]|$)")
    groups: dict[str, list[str]] = {}
    for text in texts:
        groups.setdefault(path.sub("", text), []).append(text)
    lines: list[str] = []
    for ones in groups.values():
        if len(ones) <= ALIKE:
            lines += ones
            continue
        names = [Path(found.group()).name for text in ones[1:] if (found := path.search(text))]
        more = f" and {len(names) - NAMED} more: see the figures' file" if len(names) > NAMED else ""
        lines.append(f"{ones[0]}; the same of {len(ones) - 1} more: {', '.join(names[:NAMED])}{more}")
    return lines


def to_json(report: Report) -> dict[str, Any]:
    """The report for programs; data/README.md tells the keys."""

    def told(split: str | None) -> list[dict[str, Any]]:
        return [
            {"test": fault.test, "text": fault.text, "fixable": fault.fix is not None}
            for fault in report.faults
            if fault.split == split
        ]

    splits: dict[str, Any] = {split: {**asdict(one), "faults": told(split)} for split, one in report.figures.items()}
    lost = {fault.split for fault in report.faults if fault.split is not None} - set(splits)
    return {
        "folder": str(report.root),
        "source": report.description.source,
        "fine": not report.faults,
        "splits": splits | {split: {"faults": told(split)} for split in sorted(lost)},
        "absent": report.absent,
        "shared_scenes": report.shared_scenes,
        "not_told": report.open,
        "faults": told(None),
    }
